import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import binary_dilation, binary_erosion

from bigsf.arrays import BoolArray
from bigsf.errors import ConfigError
from bigsf.maps import tiling
from bigsf.maps.shapes import moc_file
from bigsf.maps.shapes.canvas import Canvas
from bigsf.maps.shapes.moc_file import check_moc, draw_moc, moc_ranges, write_moc
from bigsf.maps.wcs import celestial_wcs
from conftest import galactic_header

mocpy = pytest.importorskip("mocpy", reason="MOCs take mocpy: pip install 'bigsf[shapes]'")

SQUARE = np.ones((3, 3), np.bool_)


def lines(ny: int, nx: int) -> BoolArray:
    """Return a mask of a wavy line and of an oblique one, 5 pixels wide, and of a spot at the corner."""
    y, x = np.indices((ny, nx))
    mask = np.abs(y - 0.3 * ny - 10 * np.sin(x / 15)) < 2.5
    mask |= np.abs((x - nx / 2) - 0.4 * (y - ny / 2)) < 2.5
    mask[:4, :9] = True
    return np.asarray(mask)


def header_of(
    kind: str, nx: int, ny: int, step_deg: float, centre: tuple[float, float], turned_deg: float = 0
) -> fits.Header:
    lon, lat = ("GLON-", "GLAT-") if kind in ("CAR", "AIT", "SFL") else ("RA---", "DEC--")
    cos, sin = np.cos(np.deg2rad(turned_deg)) * step_deg, np.sin(np.deg2rad(turned_deg)) * step_deg
    cards = {"CTYPE1": lon + kind, "CTYPE2": lat + kind, "CRVAL1": centre[0], "CRVAL2": centre[1]}
    cards |= {"CRPIX1": nx / 2, "CRPIX2": ny / 2, "CD1_1": -cos, "CD1_2": sin, "CD2_1": sin, "CD2_2": cos}
    return fits.Header(cards)


GRIDS = {
    "CAR across l = 0": (header_of("CAR", 150, 100, 0.01, (0, 0)), (100, 150)),
    "TAN at the pole": (header_of("TAN", 150, 100, 0.01, (10, 89.5)), (100, 150)),
    "TAN turned": (header_of("TAN", 150, 100, 0.01, (10, 40), 33), (100, 150)),
    "AIT of the whole sky": (header_of("AIT", 360, 180, 1, (0, 0)), (180, 360)),
    "SFL of the whole sky": (header_of("SFL", 360, 100, 1, (0, 0)), (100, 360)),
}


@pytest.mark.parametrize(("header", "shape"), GRIDS.values(), ids=GRIDS)
def test_a_mask_comes_back_to_a_pixel_and_with_its_area(
    header: fits.Header, shape: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moc_file, "READ_PIXELS", 1000)  # many chunks
    wcs, mask = celestial_wcs(header), lines(*shape)
    assert wcs is not None
    write_moc(tmp_path / "mask.moc.fits", [moc_ranges(mask, wcs)], wcs)
    canvas = Canvas(shape, wcs, "map")
    draw_moc(tmp_path / "mask.moc.fits", canvas)
    x, _ = wcs.pixel_to_world_values(*np.indices(shape)[::-1])
    on_sky = np.isfinite(x)
    inner = binary_erosion(on_sky, SQUARE, 3, border_value=1)  # the edge of the sky touches the opposite one
    assert not (canvas.mask & inner & ~binary_dilation(mask, SQUARE)).any()
    assert not (binary_erosion(mask & on_sky, SQUARE) & ~canvas.mask).any()


@pytest.mark.parametrize("first", [0, 180])
def test_sky_that_a_map_shows_twice_is_covered_wherever_it_is_marked(first: float, tmp_path: Path) -> None:
    header = header_of("CAR", 380, 20, 1, (first, 0))
    header["CRPIX1"] = 1.0  # longitudes from the first column on, beyond half a turn
    wcs, mask = celestial_wcs(header), np.zeros((20, 380), np.bool_)
    assert wcs is not None
    mask[5:8, 3:6] = mask[12:15, 370:373] = True
    write_moc(tmp_path / "mask.moc.fits", [moc_ranges(mask, wcs)], wcs)
    canvas = Canvas((20, 380), wcs, "map")
    draw_moc(tmp_path / "mask.moc.fits", canvas)
    expected = mask | np.roll(mask, 360, axis=1) | np.roll(mask, -360, axis=1)
    expected[:, 20:360] = mask[:, 20:360]
    assert (canvas.mask ^ expected).sum() <= 2


def test_the_area_is_that_of_the_mask(tmp_path: Path) -> None:
    mask = lines(100, 150)
    wcs = WCS(galactic_header(150, 100))
    write_moc(tmp_path / "mask.moc.fits", [moc_ranges(mask, wcs)], wcs)
    moc = mocpy.MOC.load(tmp_path / "mask.moc.fits", format="fits")
    cell_deg2 = 41252.961 / (12 * 4**moc.max_order)
    assert 0.25e-4 < cell_deg2 <= 1e-4, "no larger than a pixel of 0.01 degrees, and no smaller than needed"
    assert moc.sky_fraction * 41252.961 == pytest.approx(mask.sum() * 1e-4, rel=0.02)


def test_an_empty_mask_is_an_empty_moc(tmp_path: Path) -> None:
    wcs = WCS(galactic_header(60, 40))
    write_moc(tmp_path / "mask.moc.fits", [moc_ranges(np.zeros((40, 60), np.bool_), wcs)], wcs)
    assert mocpy.MOC.load(tmp_path / "mask.moc.fits", format="fits").empty()


def test_processes_share_the_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moc_file, "READ_PIXELS", 1000)
    mask, wcs = lines(100, 150), WCS(galactic_header(150, 100))
    shares = [moc_ranges(2 * mask.astype(np.int32), wcs, rank, 3) for rank in range(3)]
    assert all(len(share) for share in shares)
    write_moc(tmp_path / "shared.moc.fits", shares, wcs)
    write_moc(tmp_path / "alone.moc.fits", [moc_ranges(mask, wcs)], wcs)
    shared, alone = (mocpy.MOC.load(tmp_path / f"{name}.moc.fits", format="fits") for name in ("shared", "alone"))
    assert shared == alone


def test_memory_does_not_grow_with_the_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moc_file, "READ_PIXELS", 20_000)
    monkeypatch.setattr(tiling.row_chunks, "__defaults__", (20_000, 1))

    def peak(ny: int) -> int:
        mask = np.zeros((ny, 400), np.bool_)
        mask[::20] = True
        tracemalloc.start()
        try:
            write_moc(
                tmp_path / "mask.moc.fits",
                [moc_ranges(mask, WCS(galactic_header(400, ny)))],
                WCS(galactic_header(400, ny)),
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(200)  # what is loaded and cached at first
    assert peak(1600) < 2.5 * peak(200)


def test_a_moc_that_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wcs = WCS(galactic_header(60, 40))
    check_moc("map.fits", wcs)
    with pytest.raises(ConfigError, match=r"map\.fits has no celestial WCS\. Leave moc out of the products\."):
        check_moc("map.fits", None)
    monkeypatch.setitem(sys.modules, "mocpy", None)
    with pytest.raises(ConfigError, match=r"To write a MOC takes mocpy\. pip install 'bigsf\[shapes\]'"):
        check_moc("map.fits", wcs)
