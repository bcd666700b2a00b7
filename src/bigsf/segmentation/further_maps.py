"""Further FITS maps, and distances -> what the catalogue measures besides the map and its probability."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units
from astropy.wcs import WCS

from bigsf.arrays import FloatArray
from bigsf.errors import DataError
from bigsf.filaments.catalogue import MeasuredMap
from bigsf.filaments.masses import check_column_density
from bigsf.filaments.photometry import PlaneRows
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.map_units import parse_unit
from bigsf.maps.planes import MapSource, check_same_grid
from bigsf.option_names import option
from bigsf.segmentation.config import SegmentConfig


class FurtherMaps(NamedTuple):
    """What the catalogue measures besides the map and its probability."""

    distance: float | PlaneRows | None
    """The distance in kpc, or rows of a map of distances; None without one."""
    measured: Mapping[str, MeasuredMap]
    """Further maps by name."""


class _Grid(NamedTuple):
    name: str
    shape: tuple[int, int]
    wcs: WCS | None


def further_maps(name: str, source: MapSource, opened: Mapping[str, FitsImage], config: SegmentConfig) -> FurtherMaps:
    """Return the further maps of a segmentation, which lie on the grid of its map.

    Parameters
    ----------
    name
        The map, for messages.
    source
        The map.
    opened
        The planes of `config.further_maps`, by what they are.
    config
        Names the maps and the distance.

    Raises
    ------
    DataError
        Where a map lies on another grid; or where there is a distance, and the map has no WCS or is no column density,
        or the unit of a map of distances is no length.
    """
    for role in config.further_maps:
        check_same_grid(_Grid(name, source.shape, source.wcs), opened[role])
    measured = {key: opened[f"measure {key}"] for key in config.measure}
    if config.distance is not None:
        if source.wcs is None:
            raise DataError(
                f"{name} has no celestial WCS: {option('distance')} needs the size of its pixels on the sky."
            )
        check_column_density(name, source.unit)
    distance = _in_kpc(opened["distance"]) if isinstance(config.distance, Path) else config.distance
    return FurtherMaps(distance, {key: MeasuredMap(plane.read, plane.unit) for key, plane in measured.items()})


def _in_kpc(plane: FitsImage) -> PlaneRows:
    """Return a function that reads rows of a map of distances in kpc; without BUNIT, it is taken to be in kpc."""
    unit = parse_unit(plane.unit)
    if plane.unit and (unit is None or not unit.is_equivalent(units.kpc)):
        raise DataError(
            f"{plane.name} is the map of {option('distance')}, and its unit (BUNIT) is {plane.unit}. Expected a "
            "length, such as kpc."
        )
    factor = np.float32(1 if unit is None else unit.to(units.kpc))

    def read(y0: int, y1: int) -> FloatArray:
        return plane.read(y0, y1) * factor

    return read
