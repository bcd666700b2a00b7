import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.errors import BigsfWarning, DataError
from bigsf.maps.fits_image import FitsImage, output_header, stem_of
from bigsf.maps.tiling import Tile
from conftest import galactic_header, shared_data
from ramp_files import RAMP, read, saved


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">f8", ">i2", ">i4", ">i8", "u1", "u2", "i1"])
def test_every_data_type_is_read_as_native_float32(tmp_path: Path, dtype: str) -> None:
    pixels = read(saved(tmp_path / "a.fits", RAMP.astype(dtype)))
    assert pixels.dtype == np.float32
    assert pixels.dtype.isnative
    np.testing.assert_array_equal(pixels, RAMP)


@pytest.mark.parametrize("dtype", ["u1", ">i2", ">i4", ">i8"])
def test_integers_are_scaled_and_blank_is_missing(tmp_path: Path, dtype: str) -> None:
    path = saved(tmp_path / "a.fits", RAMP.astype(dtype), BSCALE=0.5, BZERO=100.0, BLANK=7)
    expected = 100 + RAMP / 2
    expected[1, 2] = np.nan
    np.testing.assert_array_equal(read(path), expected)


def test_blank_zero_on_integers_is_missing(tmp_path: Path) -> None:
    pixels = read(saved(tmp_path / "a.fits", RAMP.astype("i2"), BLANK=0))
    assert np.isnan(pixels[0, 0])
    assert np.isfinite(pixels).sum() == 14


def test_blank_card_on_floats_is_ignored(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.fits", RAMP, BLANC=7)
    path.write_bytes(path.read_bytes().replace(b"BLANC ", b"BLANK "))  # astropy would not write it
    np.testing.assert_array_equal(read(path), RAMP)


def test_floats_are_scaled_and_blank_value_is_compared_after_scaling(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.fits", RAMP, BSCALE=2.0, BZERO=1.0)
    expected = 2 * RAMP + 1
    np.testing.assert_array_equal(read(path), expected)
    expected[0, 1] = np.nan
    np.testing.assert_array_equal(read(path, blank=3), expected)


@pytest.mark.parametrize("blank", [0.0, -999.9, 1e-7, 6e22])
def test_blank_value_marks_exactly_its_pixels(tmp_path: Path, blank: float) -> None:
    data = np.array([[blank, blank * 1.001 + 1e-9], [1e22, 1.0]], np.float32)
    np.testing.assert_array_equal(np.isnan(read(saved(tmp_path / "a.fits", data), blank=blank)), [[1, 0], [0, 0]])


def test_blank_value_adds_to_the_blank_card(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.fits", RAMP.astype("i2"), BLANK=7)
    np.testing.assert_array_equal(np.argwhere(np.isnan(read(path, blank=3))), [[0, 3], [1, 2]])


def test_infinite_and_too_large_values_are_missing(tmp_path: Path) -> None:
    data = np.array([[np.inf, -np.inf, np.nan, 1e39, -1e39, 1e38]])
    np.testing.assert_array_equal(np.isnan(read(saved(tmp_path / "a.fits", data))), [[1, 1, 1, 1, 1, 0]])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["a.fits", "c.fits"]))
def test_band_is_a_slice(tmp_path_factory: pytest.TempPathFactory, y0: int, rows: int, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / name
    if name == "a.fits":
        saved(path, RAMP)
    else:
        saved(path, None, fits.CompImageHDU(RAMP.astype("i4")))
    with FitsImage(path) as image:
        y1 = min(3, y0 + max(rows, 1))
        y0 = min(y0, 2)
        np.testing.assert_array_equal(image.read(y0, y1), RAMP[y0:y1])
        np.testing.assert_array_equal(image.read(y0), RAMP[y0:])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 5), (3, 5)),
        ((1, 3, 5), (3, 5)),
        ((1, 1, 3, 5), (3, 5)),
        ((3, 5, 1, 1), (3, 5)),
        ((1, 15), (1, 15)),
        ((15, 1), (15, 1)),
    ],
)
def test_degenerate_axes_are_dropped(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    with FitsImage(saved(tmp_path / "a.fits", RAMP.reshape(shape))) as image:
        assert image.shape == expected
        np.testing.assert_array_equal(image.read(), RAMP.reshape(expected))


@pytest.mark.parametrize("shape", [(3, 5, 1, 2), (2, 3, 5), (0, 5)])
def test_cube_and_empty_array_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    found = " x ".join(map(str, shape))
    with pytest.raises(DataError, match=f"a.fits holds an array of {found} pixels; expected one plane"):
        FitsImage(saved(tmp_path / "a.fits", np.zeros(shape, np.float32)))


def test_first_image_is_found_and_others_by_name_or_number(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.fits", None, fits.ImageHDU(RAMP, name="SCI"), fits.ImageHDU(2 * RAMP, name="ERR"))
    with FitsImage(path) as image:
        assert (image.name, image.hdu) == ("a.fits[1]", 1)
    for hdu in ("ERR", "err", 2, "2", -1):
        np.testing.assert_array_equal(read(path, hdu=hdu), 2 * RAMP)
    with pytest.raises(DataError, match=r"has no HDU 'DQ'; it has 0 PRIMARY \(\), 1 SCI \(3, 5\), 2 ERR \(3, 5\)"):
        FitsImage(path, hdu="DQ")
    with pytest.raises(DataError, match=r"has no HDU 3"):
        FitsImage(path, hdu=3)
    with pytest.raises(DataError, match=r"HDU 0 of .* is no image of ny x nx pixels"):
        FitsImage(path, hdu=0)


@pytest.mark.parametrize("data", [None, np.zeros(5)])
def test_file_without_image_is_refused(tmp_path: Path, data: npt.NDArray[Any] | None) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("A", "E", array=[1.0])], name="CAT")
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(data), table]).writeto(path)
    with pytest.raises(DataError, match=r"a.fits holds no image: its HDUs are 0 PRIMARY .*, 1 CAT table"):
        FitsImage(path)


@pytest.mark.parametrize("name", ["a.fits.gz", "a.fits"])
def test_gzip_is_read_under_any_name(tmp_path: Path, name: str) -> None:
    content = saved(tmp_path / "plain.fits", RAMP).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content))
    np.testing.assert_array_equal(read(tmp_path / name), RAMP)


@pytest.mark.parametrize(
    "name",
    [
        "a.b.fits[1]",
        "a.b.fits.gz[SCI,2]",
        "a.b.fits",
        "a.b.fits.gz",
        "a.b.fits.bz2",
        "a.b.fits.fz",
        "a.b.FITS.GZ",
        "a.b.fts.xz",
    ],
)
def test_the_stem_of_a_map_has_none_of_its_endings(name: str) -> None:
    assert stem_of(Path("folder") / name) == "a.b"


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_archives_are_read_and_guarded(tmp_path: Path, module: Any) -> None:
    content = saved(tmp_path / "plain.fits", RAMP).read_bytes()
    (tmp_path / "a.fits").write_bytes(module.compress(content))
    np.testing.assert_array_equal(read(tmp_path / "a.fits"), RAMP)
    broken = content.replace(b"NAXIS   =                    2", b"NAXIS   =           9999999999")
    (tmp_path / "b.fits").write_bytes(module.compress(broken))
    with pytest.raises(DataError, match="its NAXIS is 9999999999"):
        FitsImage(tmp_path / "b.fits")


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"])
def test_tile_compressed_integers_are_scaled(tmp_path: Path, kind: str) -> None:
    data = np.arange(64 * 48, dtype=np.int16).reshape(64, 48)
    hdu = fits.CompImageHDU(data, compression_type=kind)
    hdu.header.update(BSCALE=2.0, BZERO=10.0, BLANK=3)
    expected = 2.0 * data + 10
    expected[0, 3] = np.nan
    np.testing.assert_array_equal(read(saved(tmp_path / "a.fits", None, hdu)), expected)


def test_tile_compressed_floats_keep_their_missing_pixels(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    data[5:9, 7:20] = np.nan
    pixels = read(saved(tmp_path / "a.fits", None, fits.CompImageHDU(data, quantize_level=64)))
    np.testing.assert_array_equal(np.isnan(pixels), np.isnan(data))
    np.testing.assert_allclose(pixels, data, atol=0.02)


def test_unit_and_wcs(tmp_path: Path) -> None:
    with FitsImage(saved(tmp_path / "a.fits", RAMP)) as image:
        assert (image.unit, image.wcs) == ("", None)
    with FitsImage(saved(tmp_path / "a.fits", RAMP, **dict(galactic_header(5, 3, longitude=0.02)))) as image:
        assert image.unit == "cm-2"
        assert image.wcs is not None
        sky = image.wcs.pixel_to_world([0, 2, 3], [1, 1, 1])
        np.testing.assert_allclose(sky.l.wrap_at("180d").deg, [0.02, 0, -0.01], atol=1e-9)


def test_output_header_keeps_the_sky_and_the_history_but_not_the_array() -> None:
    header = galactic_header(5, 3)
    kept = ("CTYPE1", "CRVAL2", "CRPIX1", "CDELT2", "OBJECT", "EQUINOX")
    lost = ("BSCALE", "BZERO", "BLANK", "BUNIT", "DATAMIN", "DATAMAX", "CHECKSUM")
    header.update(OBJECT="W43", EQUINOX=2000.0, **dict.fromkeys(set(lost) - {"BUNIT"}, 1))
    header["PC1_1"] = 1.0
    header.add_history("first")
    header.add_history("second")
    output = output_header(header)
    assert [card for card in lost if card in output] == []
    assert all(output[card] == header[card] for card in (*kept, "PC1_1"))
    assert list(output["HISTORY"]) == ["first", "second"]
    assert "BUNIT" in header


def test_what_is_left_out_of_the_wcs_is_said_once(tmp_path: Path) -> None:
    cards = dict(galactic_header(5, 3)) | {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}
    with FitsImage(saved(tmp_path / "sun.fits", RAMP, **cards)) as image:
        with pytest.warns(BigsfWarning, match=r"sun\.fits: .*HPLN-TAN HPLT-TAN.* pixel coordinates are used") as said:
            assert [image.wcs, image.wcs] == [None, None]
        assert len(said) == 1
        assert image.output_header()["CTYPE1"] == "HPLN-TAN"


def test_stokes_as_the_first_axis_leaves_the_sky_its_place(tmp_path: Path) -> None:
    sky = galactic_header(5, 3)
    header = fits.Header({"CTYPE1": "STOKES", "CRPIX1": 1.0, "CRVAL1": 1.0, "CDELT1": 1.0})
    header.update({f"{key[:-1]}{int(key[-1]) + 1}": value for key, value in sky.items() if key[-1].isdigit()})
    fits.PrimaryHDU(np.zeros((3, 5, 1), np.float32), header).writeto(tmp_path / "a.fits")
    with FitsImage(tmp_path / "a.fits") as image:
        assert image.wcs is not None
        expected = WCS(sky).pixel_to_world(4, 2)
        assert WCS(image.output_header()).pixel_to_world(4, 2).separation(expected).arcsec < 1e-6
        assert image.wcs.pixel_to_world(4, 2).separation(expected).arcsec < 1e-6


@pytest.mark.parametrize(
    ("name", "shape", "missing", "median", "has_wcs"),
    [
        ("perseus_empty_primary_ext.fits", (400, 400), 0, 0.0, False),
        ("g035_4d_degenerate.fits", (512, 256), 0.857460, 1.5317e-05, True),
        ("gc_2mass_k_int16_scaled.fits", (720, 721), 0, 535.23364, True),
        ("ngc1316_rice_int16.fits", (300, 440), 0, 253, True),
        ("gc_msx_e.fits.gz", (599, 599), 0, 3.96008e-06, True),
        ("gc_bolocam_1mm.fits", (638, 640), 0.049958, 0.0166960, True),
        ("stereo_int32_blank0.fts", (256, 256), 0.5, 6935, False),  # helioprojective
    ],
)
def test_odd_real_files_are_read(
    name: str, shape: tuple[int, int], missing: float, median: float, has_wcs: bool
) -> None:
    with FitsImage(shared_data("odd", name)) as image:
        pixels = image.read()
        assert image.shape == pixels.shape == shape
        assert (image.plane_wcs.wcs is not None) == has_wcs
    assert np.isnan(pixels).mean() == pytest.approx(missing, abs=1e-3)
    assert np.nanmedian(pixels) == pytest.approx(median, rel=1e-4)


def test_a_blank_of_integers_is_that_value_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.fits", np.arange(999_995, 1_000_006, dtype=">i4").reshape(1, -1))
    assert np.isnan(read(path, blank=1_000_000)).sum() == 1


def test_a_part_of_a_map_keeps_its_place_in_linear_and_physical_coordinates(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.fits", np.zeros((8, 9), ">f4"), CRPIX1=1.0, CRVAL1=5.0, CDELT1=2.0, LTV1=0.0, LTV2=3.0)
    with FitsImage(path, cutout=Tile(2, 6, 3, 9)) as image:
        header = image.output_header()
    assert [header[key] for key in ("CRPIX1", "LTV1", "LTV2")] == [-2.0, -3.0, 1.0]
