import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter

from bigsf.errors import BigsfWarning, DataError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.shapes.drawn_mask import DrawnMask, is_drawn
from bigsf.maps.tiling import Tile
from bigsf.maps.wcs import galactic_lb
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess

NY, NX = 40, 60


def car(longitude: float = 0.0, pixel_deg: float = 0.01, nx: int = NX) -> fits.Header:
    """A Galactic plate carree map whose middle column shows a longitude."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "GLON-CAR", "GLAT-CAR"
    header["CRVAL1"], header["CRVAL2"] = longitude, 0.0
    header["CRPIX1"], header["CRPIX2"] = nx / 2 + 0.5, NY / 2 + 0.5
    header["CDELT1"], header["CDELT2"] = -pixel_deg, pixel_deg
    return header


@pytest.fixture
def grid(tmp_path: Path) -> FitsImage:
    fits.writeto(tmp_path / "map.fits", np.ones((NY, NX), np.float32), car())
    with FitsImage(tmp_path / "map.fits") as image:
        image.wcs  # noqa: B018
        return image


def drawn(grid: FitsImage, name: str, text: str, width: float = 3.0) -> np.ndarray:
    path = grid.path.with_name(name)
    path.write_text(text, encoding="utf-8")
    assert is_drawn(path)
    return DrawnMask(path, grid, width).read(0, NY) > 0


def box(y: slice, x: slice) -> np.ndarray:
    mask = np.zeros((NY, NX), bool)
    mask[y, x] = True
    return mask


def test_a_polygon_in_pixels_covers_the_pixels_whose_centre_is_in_it(grid: FitsImage) -> None:
    mask = drawn(grid, "a.reg", "image\npolygon(10.6,5.6,20.4,5.6,20.4,8.4,10.6,8.4)\n")  # DS9 counts from 1
    np.testing.assert_array_equal(mask, box(slice(5, 8), slice(10, 20)))


def test_excluded_regions_are_erased_whatever_their_order(grid: FitsImage) -> None:
    text = "image\n-box(15,7,4,20,0)\npolygon(10.6,5.6,20.4,5.6,20.4,8.4,10.6,8.4)\n"
    mask = drawn(grid, "a.reg", text)
    assert mask.sum() == 30 - 3 * 3  # of columns 13 to 17 from 1, those whose centre lies in the box
    assert mask[6, 10]
    assert not mask[6, 14]


@pytest.mark.parametrize("line", ["line(11,21,31,21)", "# segment(11,21,21,21,31,21)"])
def test_lines_have_the_width_that_is_asked_for(grid: FitsImage, line: str) -> None:
    mask = drawn(grid, "a.reg", f"image\n{line}\n", width=5)
    assert mask[:, 20].nonzero()[0].tolist() == [18, 19, 20, 21, 22]
    assert mask[20].nonzero()[0].tolist() == list(range(8, 33))


def test_regions_on_the_sky_lie_where_the_wcs_says_across_longitude_zero(grid: FitsImage) -> None:
    mask = drawn(grid, "a.reg", "galactic\ncircle(359.9,0.05,0.035)\n")
    y, x = np.argwhere(mask).mean(axis=0)
    assert galactic_lb(WCS(car()), np.array([[y, x]]))[0] == pytest.approx([359.9, 0.05], abs=1e-3)
    assert mask.sum() == 32  # the pixels of a circle of 3.5 pixels around a corner
    polygon = "galactic\npolygon(0.05,-0.05,359.95,-0.05,359.95,0.05,0.05,0.05)\n"
    assert drawn(grid, "a.reg", polygon).sum() == pytest.approx(100, abs=21)


@pytest.mark.parametrize("width_deg", [60, 200])
def test_a_wide_box_is_as_wide_as_it_says(width_deg: int, tmp_path: Path) -> None:
    fits.writeto(tmp_path / "map.fits", np.ones((NY, 400), np.float32), car(pixel_deg=0.5, nx=400))
    with FitsImage(tmp_path / "map.fits") as image:
        mask = drawn(image, "a.reg", f"galactic\nbox(0,0,{width_deg},2,0)\n")
    assert mask.sum() == min(2 * width_deg, 400) * 4


def rotated(ctype: str, degrees: float, latitude: float) -> fits.Header:
    """A map of 200 x 160 pixels of 0.01 degrees whose plane is turned and whose middle lies at a latitude."""
    header = car()
    header["CTYPE1"], header["CTYPE2"] = f"GLON-{ctype}", f"GLAT-{ctype}"
    if ctype == "TAN":
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
        header["CRVAL1"], header["CRVAL2"] = 266.4, -28.9
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    header["PC1_1"], header["PC1_2"], header["PC2_1"], header["PC2_2"] = cosine, -sine, sine, cosine
    header["CRPIX1"], header["CRPIX2"] = 100.5, 80.5 - latitude / 0.01
    return header


@pytest.mark.parametrize("frame", ["galactic", "icrs", "fk5"])
@pytest.mark.parametrize("header", [rotated("CAR", 0, 0), rotated("CAR", 0, 45), rotated("TAN", 40, 0)])
def test_angles_and_axes_of_regions_are_those_of_their_own_frame(
    frame: str, header: fits.Header, tmp_path: Path
) -> None:
    fits.writeto(tmp_path / "map.fits", np.ones((160, 200), np.float32), header)
    wcs = WCS(header)
    sky = wcs.pixel_to_world(*np.indices((160, 200))[::-1]).transform_to(frame)
    middle = wcs.pixel_to_world(99.5, 79.5).transform_to(frame)
    place = f"{middle.spherical.lon.deg:.9f},{middle.spherical.lat.deg:.9f}"
    distance, angle = middle.separation(sky).deg, middle.position_angle(sky).rad
    along, across = distance * np.sin(angle - np.deg2rad(30)), distance * np.cos(angle - np.deg2rad(30))
    shapes = {
        f"ellipse({place},0.5,0.1,30)": (along / 0.5) ** 2 + (across / 0.1) ** 2 <= 1,
        f"box({place},0.8,0.2,30)": (abs(along) <= 0.4) & (abs(across) <= 0.1),
        f"circle({place},0.3)": distance <= 0.3,
        f"annulus({place},0.2,0.3)": (distance <= 0.3) & (distance > 0.2),
    }
    with FitsImage(tmp_path / "map.fits") as image:
        for text, expected in shapes.items():
            (tmp_path / "a.reg").write_text(f"{frame}\n{text}\n", encoding="utf-8")
            mask = DrawnMask(tmp_path / "a.reg", image, 3.0).read(0, 160) > 0
            assert (mask != expected).sum() < 0.02 * expected.sum(), text


def test_crtf_regions_are_read(grid: FitsImage) -> None:
    mask = drawn(grid, "a.crtf", "#CRTFv0\ncenterbox[[14.5pix, 6pix], [10pix, 3pix]]\n")
    np.testing.assert_array_equal(mask, box(slice(5, 8), slice(10, 20)))


def test_what_is_left_out_is_counted_in_one_warning(grid: FitsImage) -> None:
    with pytest.warns(
        BigsfWarning,
        match="left out: 1 region off map.fits, and 2 points, texts or polygons of fewer than three points",
    ):
        drawn(grid, "a.reg", "image\ncircle(20,20,3)\ncircle(2000,20,3)\npoint(3,3)\npolygon(3,3)\n")


def test_regions_off_the_map_alone_are_refused(grid: FitsImage) -> None:
    with pytest.raises(DataError, match="holds 1 region, and none covers a pixel"):
        drawn(grid, "a.reg", "image\ncircle(2000,20,3)\n")


def test_regions_that_nothing_knows_are_named(grid: FitsImage) -> None:
    with pytest.warns(BigsfWarning, match="1 lines are left out; the first"):
        drawn(grid, "a.reg", "image\ncircle(20,20,3)\nwedge(1,2,3)\n")


@pytest.mark.parametrize("columns", ["l,b", "x,y"])
def test_spines_of_a_table(grid: FitsImage, columns: str) -> None:
    points = np.array([[20.0, 10.0], [20.0, 30.0], [30.0, 50.0], [35.0, 50.0]])
    values = points[:, ::-1] if columns == "x,y" else galactic_lb(WCS(car()), points)
    rows = "\n".join(f"{number},{a:.8f},{b:.8f}" for number, (a, b) in zip([7, 7, 9, 9], values, strict=True))
    mask = drawn(grid, "spines.csv", f"id,{columns}\n{rows}\n", width=3)
    assert mask[19:22, 10:31].all()
    assert mask[30:36, 49:52].all()
    assert not mask[20:30, 33:48].any()  # two spines, not one


def test_spines_off_the_map_are_counted(grid: FitsImage) -> None:
    rows = "7,10,20\n7,30,20\n8,1000,20\n8,1030,20\n8,1040,20\n"
    path = grid.path.with_name("spines.csv")
    path.write_text(f"id,x,y\n{rows}", encoding="utf-8")
    with pytest.warns(BigsfWarning, match=r"spines.csv: 1 of 2 spines drawn, the others are off map.fits"):
        mask = DrawnMask(path, grid)
    assert mask.contents == "1 spine of 2 points"


@pytest.mark.parametrize("name", ["no.csv", "no.reg", "no.moc.fits"])
def test_a_drawing_that_is_not_there_is_named(name: str, grid: FitsImage) -> None:
    with pytest.raises(DataError, match=f"{name} does not exist"):
        DrawnMask(grid.path.with_name(name), grid)


def test_a_table_without_an_id_says_what_is_expected(grid: FitsImage) -> None:
    with pytest.raises(DataError, match=r"has the columns l, b\. Expected points along spines: an id"):
        drawn(grid, "spines.csv", "l,b\n0,0\n")


def test_sky_positions_need_a_wcs(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "map.fits", np.ones((NY, NX), np.float32))
    with FitsImage(tmp_path / "map.fits") as image:
        with pytest.raises(DataError, match="has no celestial WCS"):
            drawn(image, "spines.csv", "id,l,b\n1,0,0\n1,0.1,0\n")
        assert drawn(image, "spines.csv", "id,x,y\n1,5,5\n1,9,5\n").any()


def test_a_shape_is_drawn_twice_where_the_map_shows_the_sky_twice(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "map.fits", np.ones((NY, 400), np.float32), car(pixel_deg=1.0, nx=400))
    with FitsImage(tmp_path / "map.fits") as image:
        mask = drawn(image, "spines.csv", "id,l,b\n1,170,0\n1,190,0\n", width=3)
    columns = mask[NY // 2].nonzero()[0]
    assert (np.diff(columns) > 1).sum() == 1
    pixels = np.stack([np.full(len(columns), NY / 2), columns], axis=1)
    assert np.abs(galactic_lb(WCS(car(pixel_deg=1.0, nx=400)), pixels)[:, 0] - 180).max() < 13


def test_a_moc_covers_the_pixels_whose_centre_it_holds(grid: FitsImage) -> None:
    mocpy = pytest.importorskip("mocpy", reason="reading a MOC takes mocpy: pip install 'bigsf[shapes]'")
    from astropy import units
    from astropy.coordinates import SkyCoord

    centre = SkyCoord(0.1, 0.05, unit="deg", frame="galactic").icrs
    moc = mocpy.MOC.from_cone(lon=centre.ra, lat=centre.dec, radius=0.05 * units.deg, max_depth=18)
    for name in ("area.fits", "area.json"):
        path = grid.path.with_name(name)
        moc.save(path, format=path.suffix[1:])
        assert is_drawn(path)
        mask = DrawnMask(path, grid)
        assert mask.contents == "a MOC of order 18"
        assert mask.read(0, NY).sum() == pytest.approx(np.pi * 25, abs=8)


@pytest.mark.parametrize(("on_sky", "pixel_deg"), [(True, 0.01), (True, 0.001 / 3600), (False, 0.01)])
def test_the_outlines_that_segment_writes_are_labels_again(tmp_path: Path, on_sky: bool, pixel_deg: float) -> None:
    """A mask -> its outlines as regions -> the same mask, with its holes and what lies in them."""
    from bigsf.filaments.catalogue import Filaments
    from bigsf.filaments.ds9_regions import write_regions

    truth = box(slice(10, 14), slice(5, 40)) | box(slice(20, 36), slice(45, 49))
    truth |= box(slice(18, 37), slice(4, 30)) & ~box(slice(21, 30), slice(7, 20)) & ~box(slice(33, 34), slice(25, 26))
    truth |= box(slice(24, 26), slice(10, 14))  # a filament in the hole of another one
    cards = car(pixel_deg=pixel_deg)
    fits.writeto(tmp_path / "map.fits", np.ones((NY, NX), np.float32) + truth, cards)
    write_regions(tmp_path / "found.reg", Filaments(truth).outlines(), WCS(cards) if on_sky else None)
    config = PreprocessConfig(image=tmp_path / "map.fits", target=tmp_path / "found.reg", patch_size=16)
    report = preprocess(config, tmp_path / "out.h5")
    assert report.contents == {"target": "4 polygons"}
    np.testing.assert_array_equal(PatchFile(tmp_path / "out.h5").target == 1, truth)


def test_identifiers_are_counted(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "map.fits", np.ones((NY, NX), np.float32))
    ids = 5 * box(slice(3, 6), slice(3, 30)) + 70_000 * box(slice(20, 24), slice(3, 30))
    fits.writeto(tmp_path / "ids.fits", ids.astype(np.int32))
    config = PreprocessConfig(image=tmp_path / "map.fits", target=tmp_path / "ids.fits", patch_size=16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = preprocess(config, tmp_path / "out.h5")
    assert report.contents == {"target": "2 identifiers"}
    assert report.counts["target"] == (ids > 0).sum()


def test_a_shape_beyond_the_horizon_lies_off_the_map(tmp_path: Path) -> None:
    header = car()
    header["CTYPE1"], header["CTYPE2"] = "GLON-TAN", "GLAT-TAN"
    fits.writeto(tmp_path / "map.fits", np.ones((NY, NX), np.float32), header)
    with FitsImage(tmp_path / "map.fits") as image:
        image.wcs  # noqa: B018
    with pytest.warns(BigsfWarning, match=r"left out: 1 region off map.fits\.$"):
        mask = drawn(image, "a.reg", "galactic\ncircle(180,0,0.1)\ncircle(0,0,0.02)\n")
    assert mask.any()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,x,y\n1,6,6\n1,,\n1,12,6\n", r"row 2 has nothing in x; expected a number\.$"),
        ("id,x,y\n1,6,6\n1,9,\n1,12,6\n", r"row 2 has nothing in y"),
        ("id,x,y\n1,6,6\n1,9,nan\n1,12,6\n", r"row 2 has nan in y"),
        ("id,x,y\n1,6,6\n1,9,abc\n", r"row 2 has 'abc' in y"),
        ("id,l,b\n1,0.1,0\n1,,\n", r"row 2 has nothing in l; expected a number, in degrees where the column has no"),
        ("id,ra,dec\n1,17:45:40,-28:50:00\n1,17:45:41,-28:50:00\n", r"row 1 has '17:45:40' in ra"),
        ("id,l,b\n1,0.1,0\n1,0.2,-95\n", r"row 2 has -95 in b, which is no latitude"),
        ("id,x,y\n", r"has no rows\. Expected points along spines"),
    ],
)
def test_a_row_without_a_position_is_named(grid: FitsImage, table: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        drawn(grid, "a.csv", table)


def test_empty_positions_on_the_sky_leave_those_in_pixels(grid: FitsImage) -> None:
    """A map without a WCS gives such a table."""
    expected = drawn(grid, "a.csv", "id,x,y\n1,6,6\n1,12,6\n")
    for empty in ("nan,nan", ","):
        assert (drawn(grid, "b.csv", f"id,l,b,x,y\n1,{empty},6,6\n1,{empty},12,6\n") == expected).all()


@pytest.mark.parametrize("name", ["a.reg", "a.csv"])
def test_pixels_of_a_file_count_from_the_whole_map_where_a_part_is_cut_out(tmp_path: Path, name: str) -> None:
    fits.writeto(tmp_path / "map.fits", np.ones((NY, NX), np.float32), car())
    regions = "image\npolygon(30.6,20.6,40.4,20.6,40.4,30.4,30.6,30.4)\nbox(51,26,3,3,0)\n"
    (tmp_path / name).write_text(regions if name == "a.reg" else "id,x,y\n1,30,20\n1,45,30\n")
    cutout = Tile(10, 36, 20, 55)
    with FitsImage(tmp_path / "map.fits") as whole, FitsImage(tmp_path / "map.fits", cutout=cutout) as part:
        expected, found = (DrawnMask(tmp_path / name, grid).mask for grid in (whole, part))
    assert found.any()
    np.testing.assert_array_equal(found, expected[cutout.rows, cutout.columns])


def test_far_shapes_are_not_drawn_pixel_by_pixel(grid: FitsImage) -> None:
    text = "image\ncircle(20,20,3)\npolygon(9e5,9e5,2e6,9e5,2e6,2e6)\nline(1e6,1e6,3e6,3e6)\n"
    with pytest.warns(BigsfWarning, match="left out: 2 regions off map.fits"):
        assert drawn(grid, "a.reg", text).sum() == 25


@pytest.mark.parametrize("table", ["filament,l,b\n1,0,0\n2,0.1,0\n", "filament,branches,x,y\n1,3,5,5\n1,3,9,9\n"])
def test_tables_of_filaments_and_hubs_are_no_spines(grid: FitsImage, table: str) -> None:
    with pytest.raises(DataError, match=r"is a table of filaments or hubs.*_segmented_spines\.ecsv"):
        drawn(grid, "a.csv", table)


@pytest.mark.parametrize("seed", range(5))
def test_outlines_of_ragged_masks_are_the_same_masks(tmp_path: Path, seed: int) -> None:
    from bigsf.filaments.catalogue import Filaments
    from bigsf.filaments.ds9_regions import write_regions

    truth = np.zeros((NY, NX), bool)
    truth[3:-3, 3:-3] = gaussian_filter(np.random.default_rng(seed).normal(size=(NY - 6, NX - 6)), 1.5) > 0.03
    fits.writeto(tmp_path / "map.fits", np.ones((NY, NX), np.float32), car())
    write_regions(tmp_path / "found.reg", Filaments(truth).outlines())
    with FitsImage(tmp_path / "map.fits") as image:
        np.testing.assert_array_equal(DrawnMask(tmp_path / "found.reg", image).mask, truth)


def test_a_row_without_an_identifier_is_named(grid: FitsImage) -> None:
    with pytest.raises(DataError, match=r"row 3 has nothing in filament; expected an identifier"):
        drawn(grid, "spines.csv", "filament,x,y\n0,10,10\n0,20,10\n,30,30\n1,50,30\n")
