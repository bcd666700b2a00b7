"""FITS files that cannot be read, and planes and tiles that do not fit together, are errors of data."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from bigsf.patches.patch_file import PatchFile
from conftest import Ended
from fits_files import HEADER, NX, NY, VALUES, compressed, extension, plane, replaced, write_hdus


def without_end(path: Path) -> None:
    write_hdus(path, fits.PrimaryHDU(VALUES, HEADER))
    path.write_bytes(path.read_bytes().replace(b"END" + b" " * 77, b" " * 80))


def cut(path: Path) -> None:
    write_hdus(path, fits.PrimaryHDU(VALUES, HEADER))
    path.write_bytes(path.read_bytes()[:3500])


def rotten(path: Path) -> None:
    compressed("RICE_1", ">i2")(path)
    content = bytearray(path.read_bytes())
    content[-2880:-2800] = bytes(80)
    content[8640:9000] = b"\xff" * 360
    path.write_bytes(content)


def in_extension(card: str, by: str, zip_it: bool = False) -> Callable[[Path], None]:
    """Return what writes a file whose extension has another card."""

    def write(path: Path) -> None:
        extension(path)
        content = bytearray(path.read_bytes())
        start = content.index(card.encode(), 2880)
        content[start : start + 80] = by.encode().ljust(80)
        path.write_bytes(gzip.compress(content) if zip_it else content)

    return write


def zipped_billion(path: Path) -> None:
    replaced("NAXIS  ", "NAXIS   =           9999999999")(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no FITS": (lambda path: path.write_text("a,b\n1,2\n"), "bad.fits is not a FITS file that can be read"),
    "empty": (lambda path: path.write_bytes(b""), "bad.fits is not a FITS file that can be read"),
    "a folder": (lambda path: path.mkdir(), "bad.fits is a folder; expected a FITS file"),
    "cut": (cut, r"bad.fits is cut short: HDU 0 needs 4800 bytes, the file has 3500"),
    "no END": (without_end, "bad.fits is not a FITS file that can be read: Header missing END card"),
    "no image": (lambda path: write_hdus(path, fits.PrimaryHDU()), "bad.fits holds no image: its HDUs are 0 PRIMARY"),
    "a cube": (
        lambda path: write_hdus(path, fits.PrimaryHDU(np.ones((3, 4, 5)))),
        "array of 3 x 4 x 5 pixels; expected one",
    ),
    "no pixels": (lambda path: write_hdus(path, fits.PrimaryHDU(np.ones((0, 5)))), "holds an array of 0 x 5 pixels"),
    "NAXIS1 too large": (replaced("NAXIS1 ", "NAXIS1  =              1000000"), "is cut short: HDU 0 needs 80"),
    "NAXIS of a billion": (replaced("NAXIS  ", "NAXIS   =           9999999999"), "its NAXIS is 9999999999"),
    "NAXIS of a billion, zipped": (zipped_billion, "its NAXIS is 9999999999"),
    "NAXIS of a billion in an extension": (
        in_extension("NAXIS  ", f"NAXIS   = {10**9:>20}"),
        "its NAXIS is 1000000000",
    ),
    "the same, zipped": (in_extension("NAXIS  ", f"NAXIS   = {10**9:>20}", True), "its NAXIS is 1000000000"),
    "NAXIS1 of a billion in an extension": (
        in_extension("NAXIS1", f"NAXIS1  = {10**9:>20}"),
        "is cut short: HDU 1 needs",
    ),
    "columns of a billion": (in_extension("BUNIT ", f"TFIELDS = {10**9:>20}"), "its TFIELDS is 1000000000"),
    "negative GCOUNT": (in_extension("GCOUNT", "GCOUNT  = -2"), "HDU 1 claims -2880 bytes"),
    "NAXIS too small": (replaced("NAXIS  ", f"NAXIS   = {1:>20}"), "bad.fits holds no image"),
    "NAXIS of 3 without NAXIS3": (replaced("NAXIS  ", f"NAXIS   = {3:>20}"), "a header has no 'NAXIS3'"),
    "negative NAXIS1": (replaced("NAXIS1 ", f"NAXIS1  = {-24:>20}"), "bad.fits"),
    "no pixels across": (
        lambda path: write_hdus(path, fits.PrimaryHDU(np.ones((5, 0)))),
        "holds an array of 5 x 0 pixels",
    ),
    "BITPIX of none": (replaced("BITPIX ", "BITPIX  =                   17"), "bad.fits"),
    "BSCALE of none": (replaced("BUNIT ", "BSCALE  =                  abc"), "bad.fits"),
    "damaged tiles": (rotten, "bad.fits"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # astropy may leave the file open
@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_an_error_of_data_for_both_commands(name: str, trained: Path, ended: Ended, tmp_path: Path) -> None:
    write, message = BAD[name]
    write(tmp_path / "bad.fits")
    for command in (["preprocess", "bad.fits", "--patch-size", 8], ["segment", trained, "bad.fits"]):
        assert pytest.raises(AssertionError, match=message).matches(AssertionError(ended(4, *command).err))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.fits"]


# --- planes and tiles that do not fit ---------------------------------------------------------------------------------


PLANES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "of another shape": (np.ones((NY, NX - 1), "u1"), {}, "plane.fits has 23 x 20 pixels .* All planes must share one"),
    "of another WCS": (np.ones((NY, NX), "u1"), {"CRVAL1": 5.0}, "plane.fits has another WCS than map.fits"),
    "of other values": (
        VALUES + 0.5,
        {},
        "is the .* mask but holds values other than 0.* 1.*: 1.5, 2.5, 3.5",
    ),
    "of more axes": (np.ones((2, NY, NX), "u1"), {}, "plane.fits holds an array of 2 x 20 x 24 pixels"),
    "inverted": (np.zeros((NY, NX), "u1"), {}, "is it inverted?|The target plane is 0 on every valid pixel"),
}


@pytest.mark.parametrize("name", PLANES)
def test_planes_that_do_not_fit_are_an_error_of_data(name: str, trained: Path, ended: Ended, tmp_path: Path) -> None:
    values, changes, message = PLANES[name]
    plane(tmp_path / "map.fits", VALUES)
    plane(tmp_path / "plane.fits", values, **changes)
    commands: list[list[object]] = [
        ["preprocess", "map.fits", "--patch-size", 8, "--target", "plane.fits"],
        ["preprocess", "map.fits", "--patch-size", 8, "--valid", "plane.fits"],
        ["segment", trained, "map.fits", "--valid", "plane.fits"],
    ]
    for command in commands:
        assert re.search(message, ended(4, *command).err), command
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.fits", "plane.fits"]


def test_a_target_of_other_values_is_binarised_on_request(ended: Ended, tmp_path: Path) -> None:
    plane(tmp_path / "map.fits", VALUES)
    ended(0, "preprocess", "map.fits", "--patch-size", 8, "--target", "map.fits", "--target-threshold", 50)
    np.testing.assert_array_equal(PatchFile(tmp_path / "map.h5").target, VALUES > 50)


def test_a_map_of_nothing(trained: Path, ended: Ended, tmp_path: Path) -> None:
    plane(tmp_path / "map.fits", np.full((NY, NX), np.nan))
    assert "map.fits holds no finite pixel (of 480)" in ended(4, "preprocess", "map.fits", "--patch-size", 8).err
    assert "map.fits holds no valid pixel; the output is all NaN" in ended(0, "segment", trained, "map.fits").err
    plane(tmp_path / "full.fits", VALUES)
    plane(tmp_path / "none.fits", np.zeros((NY, NX), "u1"))
    labels = ["--target", "none.fits", "--background", "none.fits"]
    assert (
        "No valid pixel of full.fits is labelled" in ended(4, "preprocess", "full.fits", "--patch-size", 8, *labels).err
    )
    assert "full.fits has 24 x 20 pixels (x, y), too few for a patch of 64" in ended(4, "preprocess", "full.fits").err
    assert (
        "No pixel of full.fits reaches the threshold 1"
        in ended(0, "segment", trained, "full.fits", "--threshold", 1).err
    )


TILES: dict[str, tuple[Callable[[Path], Any], list[object], str]] = {
    "in another unit": (lambda path: plane(path, VALUES, BUNIT="K"), [], "b.fits is in K but a.fits is in cm-2"),
    "far away": (lambda path: plane(path, VALUES, CRVAL1=90.0), [], "The tiles would fill at most .* lie too far"),
    "without a WCS": (lambda path: plane(path, VALUES, fits.Header()), [], "b.fits has no celestial WCS"),
    "a cube": (lambda path: plane(path, np.ones((3, NY, NX))), [], "b.fits holds an array of 3 x 20 x 24 pixels"),
    "cut": (cut, [], "b.fits is cut short: HDU 0 needs 4800 bytes"),
    "no FITS": (lambda path: path.write_text("text"), [], "b.fits is not a FITS file that can be read"),
    "absent": (lambda path: None, [], "b.fits does not exist"),
    "with a channel of one tile": (
        lambda path: plane(path, VALUES, CRPIX1=1.0),
        ["--channel", "a.fits"],
        r"a.fits has 24 x 20 pixels \(x, y\) but .* All planes must share one grid",
    ),
}


@pytest.mark.parametrize("name", TILES)
def test_tiles_that_do_not_fit_are_an_error_of_data(name: str, ended: Ended, tmp_path: Path) -> None:
    write, options, message = TILES[name]
    plane(tmp_path / "a.fits", VALUES)
    write(tmp_path / "b.fits")
    assert re.search(message, ended(4, "preprocess", "a.fits", "b.fits", "--patch-size", 8, *options).err)
    assert not list(tmp_path.glob("*mosaic*"))
    assert not list(tmp_path.glob("*.h5"))
