"""Tiles and the grid of their mosaic -> errors and warnings before the long work begins."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from astropy import units
from rich.filesize import decimal

from bigsf.errors import DataError, UsageError, warn
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.fits_writer import check_fits_name
from bigsf.maps.hdus import files_of
from bigsf.maps.mosaic.sky_grid import SkyGrid
from bigsf.maps.mosaic.tiles import MosaicTile
from bigsf.maps.planes import check_same_grid
from bigsf.maps.wcs import beam_px, pixel_scale_deg
from bigsf.option_names import option

_SAME_AREA = 0.02  # the relative difference of pixels or beams that count as equal
_LEAST_FILLED = 0.1  # of the area of a mosaic that the tiles must cover


def check_output(output: Path, paths: Sequence[Path]) -> None:
    """Raise `UsageError` where the output is the file of a tile, or is not named as a FITS file."""
    if output.resolve() in [path.resolve() for path in files_of(paths)]:
        raise UsageError(
            f"{output} is a tile and would be the mosaic: leave it out, or name another {option('output')}."
        )
    check_fits_name(output, "mosaic")


def refuse_twice(tiles: Sequence[MosaicTile]) -> None:
    """Raise `UsageError` where two tiles are the same plane of a file, however it is named."""
    planes = [(tile.image.path.resolve(), tile.image.hdu) for tile in tiles]
    for tile, plane in zip(tiles, planes, strict=True):
        if planes.count(plane) > 1:
            raise UsageError(f"The tile {tile.path} is given twice.")


def refuse_masks(tiles: Sequence[MosaicTile]) -> None:
    """Raise `UsageError` where a tile is a mask: its middle rows hold 0 and 1 alone."""
    for tile in tiles:
        middle = tile.grid.shape[0] // 2
        rows = tile.image.read(max(0, middle - 32), min(tile.grid.shape[0], middle + 32))
        values = np.unique(rows[np.isfinite(rows)])
        if np.array_equal(values, [0, 1]):
            raise UsageError(
                f"{tile.path.name} holds 0 and 1 alone. If it is a mask of the map, it is no tile: give it as "
                f"{option('target')}, {option('background')}, {option('missing')} or "
                f"{option('truth')}; several images are tiles of one map."
            )


def common_unit(tiles: Sequence[MosaicTile]) -> str:
    """Return the unit of all tiles; warn of a tile without BUNIT, which is taken to have the unit of the others.

    Raises
    ------
    DataError
        Where two tiles have different units, or one per pixel or per beam and pixels or beams of different areas.
    """
    known = [tile for tile in tiles if tile.image.unit]
    for tile in known[1:]:
        if not _same_unit(tile.image.unit, known[0].image.unit):
            raise DataError(
                f"{tile.image.name} is in {tile.image.unit} but {known[0].image.name} is in {known[0].image.unit} "
                "(BUNIT). Tiles of a mosaic must share one unit."
            )
        for what in ("pixel", "beam"):
            area, other = (_area(each, what) for each in (tile, known[0]))
            if area and other and abs(area / other - 1) > _SAME_AREA:
                raise DataError(
                    f"{tile.image.name} and {known[0].image.name} are in {known[0].image.unit}, and the {what}s of the "
                    f"first have {area / other:.4g} times the area of those of the second. Convert both to a unit that "
                    f"is not per {what}, e.g. MJy/sr."
                )
    unknown = [tile.image.name for tile in tiles if not tile.image.unit]
    if known and unknown:
        warn(f"{', '.join(unknown)} has no BUNIT; it is taken to be in {known[0].image.unit} as {known[0].image.name}.")
    return known[0].image.unit if known else ""


def _area(tile: MosaicTile, what: str) -> float:
    """Return the size of a pixel or beam in deg2 where the unit of a tile is per pixel or beam; 0 otherwise."""
    if what[:3] not in tile.image.unit.lower():
        return 0.0
    header, wcs = tile.image.header, tile.grid.wcs
    long_px = 1.0 if what == "pixel" else beam_px(header, wcs) or 0.0
    short_px = long_px if what == "pixel" else beam_px(header, wcs, "BMIN") or long_px
    return long_px * short_px * pixel_scale_deg(wcs) ** 2


def _same_unit(one: str, other: str) -> bool:
    return one == other or bool(units.Unit(one, parse_strict="silent") == units.Unit(other, parse_strict="silent"))


def shared_masks(tiles: Sequence[MosaicTile], roles: Sequence[str]) -> list[str]:
    """Return the masks that the tiles bring.

    Raises
    ------
    DataError
        Where some tiles bring a mask and others do not.
    """
    shared = []
    for role in roles:
        without = [tile.path.name for tile in tiles if role not in tile.masks]
        if 0 < len(without) < len(tiles):
            raise DataError(
                f"{len(tiles) - len(without)} of {len(tiles)} tiles bring a {role.upper()} extension, {without[0]} "
                f"does not. Give it one (0 where there is nothing), or pass {option(role)} with a plane of the "
                f"whole mosaic."
            )
        if not without:
            shared.append(role)
    return shared


def check_size(output: Path, shape: tuple[int, int], size_bytes: int, tiles: Sequence[MosaicTile]) -> None:
    """Raise `DataError` where a mosaic would be mostly empty, or larger than the free disk space."""
    ny, nx = shape
    filled = sum(tile.pixels_of_mosaic for tile in tiles) / (ny * nx)
    if filled < _LEAST_FILLED:
        raise DataError(
            f"The tiles would fill at most {filled:.1%} of a mosaic of {nx} x {ny} pixels (x, y): they lie too far "
            "apart for one map. Co-add neighbours, or preprocess each tile by itself."
        )
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if size_bytes > free:
        raise DataError(
            f"A mosaic of {nx} x {ny} pixels (x, y) takes {decimal(size_bytes)}, but {decimal(free)} are "
            f"free in {folder}."
        )


def warn_of_lost_detail(grid: SkyGrid, tiles: Sequence[MosaicTile]) -> None:
    """Warn where the pixels of a tile are more than 10 % finer than those of the mosaic."""
    finest = min(tiles, key=lambda tile: tile.grid.pixel_area_deg2)
    ratio = (grid.pixel_area_deg2 / finest.grid.pixel_area_deg2) ** 0.5
    if ratio > 1.1:
        warn(
            f"The pixels of {finest.path.name} are {ratio:.3g} times finer than those of the mosaic, which takes the "
            f"grid of {tiles[0].path.name}: detail is lost. Name the finest tile first to keep it."
        )


def check_on_grid(grid: SkyGrid, planes: Sequence[str | Path], stack: ExitStack) -> None:
    """Raise `DataError` where a plane that is to go with the mosaic lies on another grid; the stack closes it."""
    for path in planes:
        try:
            check_same_grid(grid, stack.enter_context(FitsImage(path)))
        except DataError as error:
            raise DataError(
                f"{error} Masks of single tiles can go into their files, as extensions TARGET, BACKGROUND and VALID."
            ) from None
