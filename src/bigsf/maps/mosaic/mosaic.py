"""Overlapping maps of the sky -> one map."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from bigsf import console
from bigsf.arrays import BoolArray, Float64Array
from bigsf.files import sha256
from bigsf.maps.fits_image import stem_of
from bigsf.maps.fits_writer import FitsWriter
from bigsf.maps.hdus import files_of
from bigsf.maps.mosaic.checks import (
    check_on_grid,
    check_output,
    check_size,
    common_unit,
    refuse_masks,
    refuse_twice,
    shared_masks,
    warn_of_lost_detail,
)
from bigsf.maps.mosaic.overlaps import Overlap, find_overlaps, match_backgrounds, warn_of_seams
from bigsf.maps.mosaic.sky_grid import common_grid, import_reproject
from bigsf.maps.mosaic.tiles import MosaicTile
from bigsf.maps.tiling import CHUNK_PIXELS, Tile, row_chunks
from bigsf.outputs import Outputs
from bigsf.provenance import provenance

_SHARED_CARDS = ("BMAJ", "OBJECT")
"""Cards that the mosaic has where all tiles have one value of them."""

_OF_ELLIPSE = ("BMIN", "BPA")
"""The same for tiles in the coordinates of the mosaic, from whose north BPA counts."""


@dataclass
class MosaicReport:
    """The grid of a mosaic, its tiles, and how they agree."""

    output: Path
    """The FITS file."""
    shape: tuple[int, int]
    """(ny, nx) in pixels."""
    wcs: WCS
    """The celestial WCS."""
    unit: str
    """BUNIT, or an empty string."""
    tiles: list[Path]
    """The files of the tiles."""
    masks: list[str]
    """The masks that are co-added too: target, background, truth."""
    interpolated: list[Path]
    """The tiles that lie on another grid."""
    overlaps: list[Overlap] = field(default_factory=list)
    """Pairs of tiles that share valid pixels."""
    offsets: list[float] = field(default_factory=list)
    """The constant that is added to each tile, in the unit of the map."""
    valid: int = 0
    """Pixels that hold a value."""

    @property
    def bytes(self) -> int:
        """Size of the file of the mosaic, without its headers."""
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
    chunk_pixels: int = CHUNK_PIXELS,
    step_of: Outputs | None = None,
) -> MosaicReport:
    """Co-add overlapping tiles into one FITS map: the mean of their valid pixels, NaN where there is none.

    The mosaic takes the grid of the first tile, extended, where all tiles lie on it or where its projection is
    cylindrical about the equator of its frame, e.g. Galactic CAR with CRVAL2 = 0, unrotated. Otherwise it takes the
    tangent plane of `reproject.mosaicking.find_optimal_celestial_wcs` in the frame of the first tile.

    The pixels of tiles on the grid of the mosaic are copied, e.g. those of tiles that were cut from the grid of one
    survey. Tiles on other grids are interpolated bilinearly by `reproject.reproject_interp`; their masks are taken
    from the nearest pixel.

    Parameters
    ----------
    tiles
        FITS maps with a celestial WCS and one unit. A tile's extension VALID (or MISSING) masks it.
    output
        The mosaic; by default the first tile's name with `_mosaic.fits` in the current folder.
    match_background
        Add a constant to each tile but the first so that tiles agree where they overlap: the least-squares solution
        of the median differences of all pairs, weighted by their pixels. Montage does the same and also fits slopes
        (Jacob et al. 2010, arXiv:1005.4454).
    hdu, blank
        Of every tile, as for `FitsImage`.
    masks
        Which of the extensions TARGET, BACKGROUND and TRUTH to co-add too. A mask of the mosaic is 1 where that of
        any tile is 1.
    threshold
        The masks are 1 above this value; by default where they are 1 or another identifier, a positive integer.
    on_grid
        FITS planes of the whole mosaic. They are checked to lie on its grid before the work begins.
    overwrite
        Replace an existing output.
    dry_run
        Read and check everything, write nothing.
    chunk_pixels
        Pixels of the mosaic to hold in memory at a time.
    step_of
        Outputs, checked by the caller, of which the mosaic is the first to be written.

    Raises
    ------
    ConfigError
        Where tiles lie on different grids and the package `reproject` is absent.
    DataError
        Where tiles do not fit together, or the mosaic would be mostly empty or larger than the free disk space.
    UsageError
        Where the output exists, or a tile is given twice.

    Examples
    --------
    >>> report = bigsf.make_mosaic(["left.fits", "right.fits"], "map.fits")  # doctest: +SKIP
    """
    paths = [Path(tile) for tile in tiles]
    output = Path(output) if output else default_mosaic_path(paths[0])
    check_output(output, paths)
    outputs = step_of or Outputs(output)
    if step_of is None:
        outputs.check(files_of([*paths, *map(Path, on_grid)]), overwrite)
    with ExitStack() as stack:
        opened = [MosaicTile(path, hdu, blank, masks, threshold, stack) for path in paths]
        refuse_twice(opened)
        refuse_masks(opened)
        unit, roles = common_unit(opened), shared_masks(opened, masks)
        grid = common_grid(output.name, [tile.grid for tile in opened])
        for tile in opened:
            tile.place(grid)
        interpolated = [tile.path for tile in opened if not tile.shares_grid]
        if interpolated:
            import_reproject()
        report = MosaicReport(output, grid.shape, grid.wcs, unit, paths, roles, interpolated)
        check_size(output, report.shape, report.bytes, opened)
        check_on_grid(grid, on_grid, stack)
        warn_of_lost_detail(grid, opened)
        names = [path.name for path in paths]
        report.overlaps = find_overlaps(opened)
        report.offsets = [0.0] * len(opened)
        if match_background:
            report.offsets = match_backgrounds(names, report.overlaps)
        else:
            warn_of_seams(names, report.overlaps, unit)
        if not dry_run:
            _write(outputs, report, opened, chunk_pixels)
    return report


def default_mosaic_path(path: Path) -> Path:
    """Return the default file of a mosaic in the current folder, named after its first tile."""
    return Path(f"{stem_of(path)}_mosaic.fits")


def _write(outputs: Outputs, report: MosaicReport, tiles: Sequence[MosaicTile], chunk_pixels: int) -> None:
    """Write the mosaic by bands of rows, and count its valid pixels in the report."""
    header = report.wcs.to_header()
    if report.unit:
        header["BUNIT"] = report.unit
    same_north = {str(wcs.wcs.ctype[0])[:4] for wcs in (report.wcs, *(tile.image.wcs for tile in tiles)) if wcs}
    for keyword in (*_SHARED_CARDS, *(_OF_ELLIPSE if len(same_north) == 1 else ())):
        values = {tile.image.header.get(keyword) for tile in tiles}
        if len(values) == 1 and (value := values.pop()) is not None:
            header[keyword] = value
    entries = {
        f"tile {number}": f"{tile.path} SHA-256 {sha256(tile.image.path)}, {offset:+.6g} added"
        for number, (tile, offset) in enumerate(zip(tiles, report.offsets, strict=True), 1)
    }
    header, table = provenance(header, "Mosaic", entries, kind=None)
    planes: dict[str, npt.DTypeLike] = {"PRIMARY": np.float32, **{role.upper(): np.uint8 for role in report.masks}}
    ny, nx = report.shape
    with (
        outputs.writing_step(report.output) as temporary,
        FitsWriter(temporary, report.shape, header, planes, [table]) as writer,
        console.progress("co-add", ny, "rows") as advance,
    ):
        for y0, y1 in row_chunks(report.shape, chunk_pixels):
            mean = _mean(tiles, report.offsets, Tile(y0, y1, 0, nx))
            report.valid += int(np.isfinite(mean).sum())
            writer.write("PRIMARY", y0, mean)
            for role in report.masks:
                writer.write(role.upper(), y0, _union(tiles, role, Tile(y0, y1, 0, nx)))
            advance(y1 - y0)


def _mean(tiles: Sequence[MosaicTile], offsets: Sequence[float], window: Tile) -> Float64Array:
    """Return the mean of the valid pixels of all tiles in a window, NaN where there is none."""
    total = np.zeros(window.shape)
    count = np.zeros(total.shape, np.uint16)
    for tile, offset in zip(tiles, offsets, strict=True):
        for block in tile.blocks(window):
            here = block.within(window)
            values = tile.read(block)
            valid = np.isfinite(values)
            total[here] += np.where(valid, values + offset, 0)
            count[here] += valid
    total[count == 0] = np.nan
    mean: Float64Array = total / np.maximum(count, 1)
    return mean


def _union(tiles: Sequence[MosaicTile], role: str, window: Tile) -> BoolArray:
    """Return where a mask of any tile is 1 in a window."""
    union = np.zeros(window.shape, np.bool_)
    for tile in tiles:
        for block in tile.blocks(window):
            union[block.within(window)] |= tile.read_mask(role, block)
    return union
