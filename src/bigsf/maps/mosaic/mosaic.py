"""Overlapping maps of the sky -> one map."""

import shutil
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.wcs import WCS
from rich.filesize import decimal

from bigsf import console
from bigsf.errors import BigsfWarning, DataError, UsageError
from bigsf.files import atomic_path, refuse_overwrite, sha256
from bigsf.maps.fits_image import FitsImage, stem_of
from bigsf.maps.fits_writer import FitsWriter, check_fits_name
from bigsf.maps.mosaic.overlaps import Overlap, find_overlaps, match_backgrounds, warn_of_seams
from bigsf.maps.mosaic.sky_grid import SkyGrid, common_grid, import_reproject
from bigsf.maps.mosaic.tiles import Block, Tile
from bigsf.maps.planes import check_same_grid
from bigsf.maps.tiling import bands
from bigsf.provenance import provenance

_BAND_BYTES = 64e6


_LEAST_FILLED = 0.1


@dataclass
class MosaicReport:
    """The tiles of a mosaic, its grid and how its tiles agree."""

    output: Path
    shape: tuple[int, int]
    wcs: WCS
    unit: str
    tiles: list[Path]
    masks: list[str]
    interpolated: list[Path]
    overlaps: list[Overlap] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)
    """What was added to each tile, in the unit of the map."""
    valid: int = 0
    """Pixels that hold a value."""

    @property
    def bytes(self) -> int:
        """Size of the mosaic's file."""
        return self.shape[0] * self.shape[1] * (4 + len(self.masks))


def make_mosaic(
    tiles: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    match_background: bool = False,
    hdu: str | int | None = None,
    blank: float | None = None,
    masks: Sequence[str] = ("target", "background", "truth"),
    threshold: float | None = None,
    on_grid: Sequence[str | Path] = (),
    overwrite: bool = False,
    dry_run: bool = False,
) -> MosaicReport:
    """Co-add overlapping tiles into one FITS map, band by band: the mean of the valid pixels, NaN where there is none.

    The grid is that of the first tile, extended, where the others are on it (tiles cut from one survey grid: their
    pixels are then copied, not interpolated) or where its projection is cylindrical, e.g. Galactic CAR; otherwise the
    tangent plane of `reproject.mosaicking.find_optimal_celestial_wcs` in the frame of the first tile. Tiles on other
    grids are interpolated bilinearly by `reproject.reproject_interp`, their masks taken from the nearest pixel.

    Parameters
    ----------
    tiles
        FITS maps with a celestial WCS and one unit. A tile's extension VALID (or MISSING) masks it.
    output
        The mosaic; by default the first tile's name with `_mosaic.fits` in the current folder.
    match_background
        Add a constant to each tile but the first so that tiles agree where they overlap: the least-squares solution
        of the median differences of all pairs, weighted by their pixels (as Montage does: Jacob et al. 2010,
        arXiv:1005.4454, who also fit slopes).
    hdu, blank
        Of every tile, as for `FitsImage`.
    masks
        Which of the extensions TARGET, BACKGROUND and TRUTH to co-add too: 1 where a tile says so.
    threshold
        Those masks are 1 above it; by default they must hold 0 and 1 alone.
    on_grid
        MapRows that are to go with the mosaic: checked to be on its grid before the work begins.
    overwrite
        Replace an existing output.
    dry_run
        Read and check everything, write nothing.

    Raises
    ------
    ConfigError
        Where tiles lie on different grids and the package `reproject` is absent.
    DataError
        Where tiles do not fit together, or the mosaic would be mostly empty or larger than the free disk space.
    UsageError
        Where the output exists, or a tile is given twice.
    """
    paths = [Path(tile) for tile in tiles]
    output = Path(output) if output else default_mosaic_path(paths[0])
    _check_paths(paths, output)
    if not dry_run:
        refuse_overwrite(output, overwrite=overwrite)
    with ExitStack() as stack:
        opened = [Tile(path, hdu, blank, masks, threshold, stack) for path in paths]
        unit, roles = _one_unit(opened), _shared_masks(opened, masks)
        grid = common_grid(output.name, [tile.grid for tile in opened])
        for tile in opened:
            tile.place(grid)
        interpolated = [tile.path for tile in opened if not tile.shares_grid]
        if interpolated:
            import_reproject()
        report = MosaicReport(output, grid.shape, grid.wcs, unit, paths, roles, interpolated)
        _check_size(report, opened)
        _check_on_grid(grid, on_grid, stack)
        _warn_of_lost_detail(grid, opened)
        names = [path.name for path in paths]
        report.overlaps = find_overlaps(opened)
        report.offsets = [0.0] * len(opened)
        if match_background:
            report.offsets = match_backgrounds(names, report.overlaps)
        else:
            warn_of_seams(names, report.overlaps, unit)
        if not dry_run:
            _write(report, opened)
    return report


def default_mosaic_path(path: Path) -> Path:
    """Return what a mosaic is called after its first tile, in the current folder."""
    return Path(f"{stem_of(path)}_mosaic.fits")


def _write(report: MosaicReport, tiles: Sequence[Tile]) -> None:
    header = report.wcs.to_header()
    if report.unit:
        header["BUNIT"] = report.unit
    entries = {
        f"tile {number}": f"{tile.path} SHA-256 {sha256(tile.path)}, {offset:+.6g} added"
        for number, (tile, offset) in enumerate(zip(tiles, report.offsets, strict=True), 1)
    }
    header, table = provenance(header, "Mosaic", entries)
    header.remove("BTYPE")
    planes: dict[str, npt.DTypeLike] = {"PRIMARY": np.float32, **{role.upper(): np.uint8 for role in report.masks}}
    ny, nx = report.shape
    rows = max(1, int(_BAND_BYTES / (16 * nx)))
    with (
        atomic_path(report.output) as temporary,
        FitsWriter(temporary, report.shape, header, planes, [table]) as writer,
        console.progress("co-add", ny, "rows") as advance,
    ):
        for y0, y1 in bands(ny, rows):
            mean = _mean(tiles, report.offsets, (y0, y1, 0, nx))
            report.valid += int(np.isfinite(mean).sum())
            writer.write("PRIMARY", y0, mean)
            for role in report.masks:
                writer.write(role.upper(), y0, _union(tiles, role, (y0, y1, 0, nx)))
            advance(y1 - y0)


def _mean(tiles: Sequence[Tile], offsets: Sequence[float], window: Block) -> npt.NDArray[np.float64]:
    """Return the mean of the valid pixels of all tiles in a window, NaN where there is none."""
    y0, y1, x0, x1 = window
    total = np.zeros((y1 - y0, x1 - x0))
    count = np.zeros(total.shape, np.uint16)
    for tile, offset in zip(tiles, offsets, strict=True):
        for block in tile.blocks(window):
            here = _within(block, window)
            values = tile.read(block)
            valid = np.isfinite(values)
            total[here] += np.where(valid, values + offset, 0)
            count[here] += valid
    total[count == 0] = np.nan
    mean: npt.NDArray[np.float64] = total / np.maximum(count, 1)
    return mean


def _union(tiles: Sequence[Tile], role: str, window: Block) -> npt.NDArray[np.bool_]:
    union = np.zeros((window[1] - window[0], window[3] - window[2]), np.bool_)
    for tile in tiles:
        for block in tile.blocks(window):
            union[_within(block, window)] |= tile.read_mask(role, block)
    return union


def _within(block: Block, window: Block) -> tuple[slice, slice]:
    y, x = window[0], window[2]
    return slice(block[0] - y, block[1] - y), slice(block[2] - x, block[3] - x)


def _check_paths(paths: Sequence[Path], output: Path) -> None:
    resolved = [path.resolve() for path in paths]
    twice = next((path for path in paths if resolved.count(path.resolve()) > 1), None)
    if twice:
        raise UsageError(f"The tile {twice} is given twice.")
    if output.resolve() in resolved:
        raise UsageError(f"{output} is a tile and would be the mosaic: leave it out, or pass -o to write elsewhere.")
    check_fits_name(output, "mosaic")


def _one_unit(tiles: Sequence[Tile]) -> str:
    """Return the unit that all tiles have; one without BUNIT is taken to have it too, with a warning."""
    known = [tile for tile in tiles if tile.image.unit]
    for tile in known[1:]:
        if not _same_unit(tile.image.unit, known[0].image.unit):
            raise DataError(
                f"{tile.image.name} is in {tile.image.unit} but {known[0].image.name} is in {known[0].image.unit} "
                "(BUNIT). Tiles of a mosaic must share one unit."
            )
    unknown = [tile.image.name for tile in tiles if not tile.image.unit]
    if known and unknown:
        warnings.warn(
            f"{', '.join(unknown)} has no BUNIT; it is taken to be in {known[0].image.unit} as {known[0].image.name}.",
            BigsfWarning,
            stacklevel=3,
        )
    return known[0].image.unit if known else ""


def _same_unit(one: str, other: str) -> bool:
    return one == other or bool(units.Unit(one, parse_strict="silent") == units.Unit(other, parse_strict="silent"))


def _shared_masks(tiles: Sequence[Tile], roles: Sequence[str]) -> list[str]:
    """Return which masks the tiles bring: all of them, or none."""
    shared = []
    for role in roles:
        without = [tile.path.name for tile in tiles if role not in tile.masks]
        if 0 < len(without) < len(tiles):
            raise DataError(
                f"{len(tiles) - len(without)} of {len(tiles)} tiles bring a {role.upper()} extension, {without[0]} "
                f"does not. Give it one (0 where there is nothing), or pass --{role} with a plane of the whole mosaic."
            )
        if not without:
            shared.append(role)
    return shared


def _check_size(report: MosaicReport, tiles: Sequence[Tile]) -> None:
    ny, nx = report.shape
    filled = sum(tile.pixels_of_mosaic for tile in tiles) / (ny * nx)
    if filled < _LEAST_FILLED:
        raise DataError(
            f"The tiles would fill at most {filled:.1%} of a mosaic of {nx} x {ny} pixels (x, y): they lie too far "
            "apart for one map. Co-add neighbours, or preprocess each tile by itself."
        )
    folder = next(parent for parent in report.output.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if report.bytes > free:
        raise DataError(
            f"A mosaic of {nx} x {ny} pixels (x, y) takes {decimal(report.bytes)}, but {decimal(free)} are "
            f"free in {folder}."
        )


def _warn_of_lost_detail(grid: SkyGrid, tiles: Sequence[Tile]) -> None:
    finest = min(tiles, key=lambda tile: tile.grid.pixel_area_deg2)
    ratio = (grid.pixel_area_deg2 / finest.grid.pixel_area_deg2) ** 0.5
    if ratio > 1.1:
        warnings.warn(
            f"The pixels of {finest.path.name} are {ratio:.3g} times finer than those of the mosaic, which takes the "
            f"grid of {tiles[0].path.name}: detail is lost. Name the finest tile first to keep it.",
            BigsfWarning,
            stacklevel=3,
        )


def _check_on_grid(grid: SkyGrid, planes: Sequence[str | Path], stack: ExitStack) -> None:
    for path in planes:
        try:
            check_same_grid(grid, stack.enter_context(FitsImage(path)))
        except DataError as error:
            raise DataError(
                f"{error} Masks of single tiles can go into their files, as extensions TARGET, BACKGROUND and VALID."
            ) from None
