"""A mask of filaments -> their skeletons, outlines, and a catalogue."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from astropy.table import Table
from astropy.wcs import WCS
from scipy.ndimage import find_objects, label
from typing_extensions import override

from bigsf.arrays import Float64Array, FloatArray
from bigsf.described import Described
from bigsf.errors import DataError, warn
from bigsf.filaments.branches import Branches
from bigsf.filaments.cleaning import CONNECTED
from bigsf.filaments.columns import COLUMNS as COLUMNS
from bigsf.filaments.columns import DISTANCE_COLUMNS, STATISTICS, column, make_table
from bigsf.filaments.designations import designations
from bigsf.filaments.lines import (
    Arrays,
    FilamentPixels,
    SkeletonLines,
    arrays_of_parts,
    measure_outlines,
    parts_of_arrays,
)
from bigsf.filaments.masses import at_distance
from bigsf.filaments.photometry import PlaneRows, as_plane, measure_map, measure_photometry, rows_of
from bigsf.filaments.shapes import measure_shapes
from bigsf.filaments.spine import Points, Spine
from bigsf.maps.tiling import CHUNK_PIXELS, bands
from bigsf.maps.wcs import sky_period_px

AT_A_TIME = 50
"""Filaments whose lines are measured at a time: their graphs, and the borders before they are simplified, take far more
memory than what remains."""


class MeasuredMap(NamedTuple):
    """A further map, on the grid of the mask."""

    plane: FloatArray | PlaneRows
    """The map `(ny, nx)`, or a function that returns rows of it, NaN where missing."""
    unit: str
    """Its BUNIT, or an empty string."""


class Filaments(Described):
    """The filaments of a mask: its 8-connected components, however small.

    In memory are the labels of the filaments (4 bytes per pixel) and the skeletons, and no copy of any other plane.

    Parameters
    ----------
    mask
        Above 0 on filaments, `(ny, nx)`, e.g. MASK of a segmented map or of out_of_fold.fits. NaN is no filament.

    Attributes
    ----------
    labels
        The id of the filament of each pixel, from 1, and 0 elsewhere, int32 `(ny, nx)`.

    Raises
    ------
    DataError
        Where the mask has another number of dimensions.

    Examples
    --------
    >>> table = Filaments(np.eye(20)).catalog()
    >>> float(table["orientation"][0])
    135.0
    """

    def __init__(self, mask: npt.NDArray[Any]) -> None:
        if np.ndim(mask) != 2:
            raise DataError(f"The mask has the shape {np.shape(mask)}; expected (ny, nx).")
        self._set_labels(*label(np.ma.filled(mask, 0) > 0, CONNECTED))

    @classmethod
    def from_labels(cls, labels: npt.NDArray[np.int32]) -> Self:
        """Return the filaments of a plane of ids, `(ny, nx)`: from 1 on without gaps, and 0 elsewhere."""
        filaments = cls.__new__(cls)
        filaments._set_labels(labels)
        return filaments

    def _set_labels(self, labels: npt.NDArray[np.int32], number: int = 0) -> None:
        self.labels = labels
        self._pixels = FilamentPixels(labels, find_objects(labels, number))

    @override
    def facts(self) -> Mapping[str, object]:
        ny, nx = self.labels.shape
        return {"filaments": len(self), "map": f"{nx} x {ny} pixels (x, y)"}

    def __len__(self) -> int:
        return len(self._pixels.boxes)

    def skeleton(self) -> npt.NDArray[np.int32]:
        """Return the skeletons, lines one pixel wide that are connected as the mask is, int32 `(ny, nx)`.

        They hold the ids of the filaments, as `labels` does.
        """
        plane = np.zeros(self.labels.shape, np.int32)
        lines: list[SkeletonLines] = vars(self).get("_lines", [])  # spines and branches take far longer
        known = [skeleton for group in lines for skeleton in group.skeletons]
        for number, pixels in enumerate(known or map(self._pixels.skeleton, range(len(self))), 1):
            plane[tuple(pixels.T)] = number
        return plane

    def outlines(self) -> list[Points]:
        """Return the border of each filament, precise to half a pixel.

        Each is a list of points (y, x) in pixels, `(n, 2)`, of which the last is the first. It leads to the border of
        each hole and back on the same way, so that a polygon of these points has the holes.
        """
        return self._outlines

    def measure_lines(
        self, rank: int = 0, size: int = 1, *, outlines: bool = True, skeletons: bool = True
    ) -> dict[str, npt.NDArray[Any]]:
        """Measure the share of one of several processes in the lines of the filaments.

        Parameters
        ----------
        rank, size
            Number of this process, and of all.
        outlines
            Measure the outlines.
        skeletons
            Measure the skeletons, their spines and branches.

        Returns
        -------
        dict
            Arrays of numbers for `take_lines`. Those of different processes have different names.
        """
        arrays: dict[str, npt.NDArray[Any]] = {}
        for numbers in self._groups[rank::size]:
            lines = arrays_of_parts("outlines", measure_outlines(self._pixels, numbers)) if outlines else {}
            if skeletons:
                lines |= SkeletonLines.measure(self._pixels, numbers).arrays()
            arrays |= {f"{numbers.start}/{name}": values for name, values in lines.items()}
        return arrays

    def take_lines(self, arrays: Arrays) -> None:
        """Take the lines that all processes have measured, so that they are not measured again."""
        groups: dict[str, dict[str, npt.NDArray[Any]]] = {str(numbers.start): {} for numbers in self._groups}
        for name, values in arrays.items():
            start, _, quantity = name.partition("/")
            if start in groups:
                groups[start][quantity] = values
        if all("outlines" in group for group in groups.values()):
            self._outlines = [outline for group in groups.values() for outline in parts_of_arrays(group, "outlines")]
        if all("skeletons" in group for group in groups.values()):
            self._lines = [SkeletonLines.from_arrays(group) for group in groups.values()]

    def catalog(
        self,
        image: FloatArray | PlaneRows | None = None,
        probability: FloatArray | PlaneRows | None = None,
        wcs: WCS | None = None,
        unit: str = "",
        chunk_pixels: int = CHUNK_PIXELS,
        *,
        prefix: str = "",
        distance: float | FloatArray | PlaneRows | None = None,
        measured: Mapping[str, MeasuredMap] | None = None,
    ) -> Table:
        """Return a table with one row per filament and the columns of `COLUMNS`.

        Parameters
        ----------
        image
            The map `(ny, nx)`, or a function that returns rows of it (e.g. `FitsImage.read`), NaN where missing.
        probability
            The probabilities, likewise.
        wcs
            A celestial WCS of the map. Without one the columns on the sky are NaN, and designations are empty.
        unit
            BUNIT of the map. Where astropy cannot read it, it is kept in the meta of the table only.
        chunk_pixels
            Bound on the pixels of `image` and `probability` that are held in memory. It does not change the result.
        prefix
            The acronym of the catalogue, with which designations begin.
        distance
            The distance in kpc of all filaments, or a map of distances. The table then has `DISTANCE_COLUMNS` too.
        measured
            Further maps by name. The table then has the columns of `STATISTICS` of each, e.g. `T_mean`.

        Returns
        -------
        Table
            Undefined values are NaN: columns on the sky without a WCS, or of a filament off the sky (in a corner of an
            all-sky map); columns of the map without a map; the orientation of a round spot; the width and straightness
            of a filament without length; the contrast where the background has no valid pixel or is not positive; and
            what depends on a distance that is missing or not positive.

        Raises
        ------
        DataError
            Where there is a distance, and the unit of the map is not that of a column density; where a plane has
            another shape than the mask or a unit of its own; or where the WCS has more than two axes.
        """
        if wcs is not None and wcs.naxis != 2:
            raise DataError(f"The WCS has {wcs.naxis} axes; pass the two on the sky alone, wcs.celestial.")
        shape = self.labels.shape
        image, probability = (
            None if plane is None else as_plane(plane, name, shape)
            for name, plane in (("image", image), ("probability", probability))
        )
        pixels, boxes = map(self._pixels.pixels, range(len(self))), self._pixels.boxes
        values = measure_shapes(pixels, boxes, self._spines, self.branches.lengths_beside(len(self)), wcs)
        values |= measure_photometry(self.labels, boxes, image, probability, chunk_pixels)
        values["branches"] = np.bincount(self.branches.owners, minlength=len(self))
        values["hubs"] = np.bincount(self.branches.hub_owners, minlength=len(self))
        values["excess_px"] = (values["mean"].astype(np.float64) - values["background"]) * values["valid"]
        values["excess_arcmin2"] = values["excess_px"] * values["pixel_arcmin2"]
        lb = np.stack([values["l"], values["b"]], axis=1)
        values["designation"] = np.array(designations(lb, prefix), np.str_)
        period = sky_period_px(wcs, shape)
        if repeated := int((values["x1"] >= period).sum()):
            warn(
                f"{repeated} of {len(self)} filaments reach into the columns from {period:.0f} on, in which the map "
                "shows its first columns again: they are in the catalogue twice, whole or in part."
            )
        fields = COLUMNS
        if distance is not None:
            fields = COLUMNS | DISTANCE_COLUMNS
            values |= at_distance(values, self._distances(distance, chunk_pixels), unit)
        table = make_table(values, fields, unit)
        table.meta["BUNIT"] = unit
        for name, further in (measured or {}).items():
            statistics = measure_map(self.labels, len(self), as_plane(further.plane, name, shape), chunk_pixels)
            for statistic, field in STATISTICS.items():
                field = field._replace(meaning=field.meaning.format(name))
                table.add_column(column(f"{name}_{statistic}", field, statistics[statistic], further.unit))
        return table

    @cached_property
    def branches(self) -> Branches:
        """The branches of the skeletons and the hubs where they meet: lines, and tables of them."""
        return Branches([lines.branches for lines in self._lines])

    def _distances(self, distance: float | FloatArray | PlaneRows, chunk_pixels: int) -> Float64Array:
        """Return the distance of each filament in kpc, `(n,)`; NaN where a map has none that is positive."""
        if isinstance(distance, int | float | np.number):
            return np.full(len(self), distance if distance > 0 else np.nan, np.float64)
        plane = as_plane(distance, "distance", self.labels.shape)

        def positive(y0: int, y1: int) -> FloatArray:
            rows = rows_of(plane, y0, y1)
            return np.where(rows > 0, rows, np.float32(np.nan))

        return measure_map(self.labels, len(self), positive, chunk_pixels)["median"].astype(np.float64)

    @property
    def _groups(self) -> list[range]:
        """The numbers of the filaments whose lines are measured at a time."""
        return [range(first, end) for first, end in bands(len(self), AT_A_TIME)]

    @cached_property
    def _outlines(self) -> list[Points]:
        return [outline for numbers in self._groups for outline in measure_outlines(self._pixels, numbers)]

    @cached_property
    def _lines(self) -> list[SkeletonLines]:
        return [SkeletonLines.measure(self._pixels, numbers) for numbers in self._groups]

    @property
    def _spines(self) -> list[Spine]:
        """The longest path through each skeleton."""
        return [spine for lines in self._lines for spine in lines.spines]
