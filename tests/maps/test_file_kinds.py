"""Files that are no FITS images are named as what they are, with a way to a FITS image."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from bigsf.errors import DataError
from bigsf.maps.file_kinds import has_fits_name, has_patch_file_name
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.masks import read_mask

MASK = np.zeros((4, 6), np.uint8)
MASK[1, 2:4] = 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "fil.reg",
            b"# Region file format: DS9 version 4.1\ngalactic\n",
            "it is a DS9 file of regions. .* Draw the",
        ),
        ("fil.reg", b"galactic\nline(30,0,31,0)\n", "it is a file of regions. .* and save that under its"),
        ("spines.csv", b"l,b\n30,0\n", "it is a text file. .* A table holds no pixels. Draw the"),
        ("sky.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "it is an HDF5 file. .* takes a patch file named"),
        ("mask.jpg", b"\xff\xd8\xff\xe0" + bytes(100), "it is a JPEG picture. .*plt.imread"),
        ("mask", b"something else", "it does not begin with SIMPLE"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is not a FITS file that can be read: {message}"):
        FitsImage(tmp_path / name)


@pytest.mark.parametrize("name", ["mask.npy", "mask.png"])
def test_the_line_of_python_makes_a_fits_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    fits.writeto("MAP.fits", np.ones((4, 6)), fits.Header({"OBJECT": "W43"}))
    if name == "mask.npy":
        np.save(name, MASK.astype(bool))
    else:
        plt.imsave(name, MASK, origin="lower", cmap="gray")
    with pytest.raises(DataError, match="Expected a FITS image") as error:
        FitsImage(Path(name))
    (line,) = re.findall(r"In Python: (fits.writeto\(.*\))\.", str(error.value))
    exec(line, {"fits": fits, "np": np, "plt": plt})
    np.testing.assert_array_equal(fits.getdata("mask.fits"), MASK)
    assert fits.getheader("mask.fits")["OBJECT"] == "W43"


def test_a_table_of_positions_is_no_mask(tmp_path: Path) -> None:
    Table({"x": [1, 2], "y": [3, 4]}).write(tmp_path / "spines.fits")
    with pytest.raises(DataError, match=r"spines.fits holds no image: .* A table holds no pixels. Draw the"):
        FitsImage(tmp_path / "spines.fits")


def test_an_hdu_behind_the_name_of_a_file_is_explained(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "map.fits", MASK)
    with pytest.raises(DataError, match=r"map.fits has no HDU 'SCI,2'; it has 0 PRIMARY"):
        FitsImage(tmp_path / "map.fits[SCI,2]")
    with pytest.raises(DataError, match=r"other.fits does not exist\.$"):
        FitsImage(tmp_path / "other.fits[1]")


def test_a_file_that_calls_itself_no_standard_fits_is_refused(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "map.fits", MASK)
    content = (tmp_path / "map.fits").read_bytes()
    (tmp_path / "map.fits").write_bytes(content.replace(b" T /", b" F /", 1))
    with pytest.raises(DataError, match="its card SIMPLE is F, so it is no standard FITS"):
        FitsImage(tmp_path / "map.fits")


def test_a_coverage_becomes_a_mask_by_the_line_of_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fits.writeto("coverage.fits", np.where(MASK, 3.5, 0))
    with (
        FitsImage(Path("coverage.fits")) as plane,
        pytest.raises(DataError, match=r"0 and 1: 3.5. Expected 1") as error,
    ):
        read_mask(plane, "valid", 0, 4)
    (line,) = re.findall(r'python -c "(.*)"', str(error.value))
    exec(line, {})
    np.testing.assert_array_equal(fits.getdata("valid.fits"), MASK)


def test_identifiers_of_structures_are_a_mask_of_labels(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "ids.fits", MASK * np.arange(1, 7, dtype=np.int32))
    with FitsImage(tmp_path / "ids.fits") as plane:
        np.testing.assert_array_equal(read_mask(plane, "target", 0, 4), MASK)
        with pytest.raises(DataError, match=r"the valid mask .* other than 0 and 1: 3, 4\. Expected 1"):
            read_mask(plane, "valid", 0, 4)


def test_integers_beyond_any_identifier_are_values_of_a_map(tmp_path: Path) -> None:
    """Every float32 of 1e22 is an integer."""
    fits.writeto(tmp_path / "map.fits", np.full((4, 5), 1e22, np.float32))
    with FitsImage(tmp_path / "map.fits") as plane, pytest.raises(DataError, match=r"identifiers: 1e\+22\. Pass"):
        read_mask(plane, "target", 0, 4)


@pytest.mark.parametrize("odd", [-1.0, 0.5])
def test_values_that_are_no_identifiers_are_binarised_by_the_option_of_the_message(tmp_path: Path, odd: float) -> None:
    fits.writeto(tmp_path / "weights.fits", np.where(MASK, 3.0, odd))
    with FitsImage(tmp_path / "weights.fits") as plane:
        with pytest.raises(DataError, match=rf"0, 1 and identifiers: {odd:g}\. Pass a 'target_threshold'"):
            read_mask(plane, "target", 0, 4)
        np.testing.assert_array_equal(read_mask(plane, "target", 0, 4, threshold=1), MASK)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("a.fits", "a.FIT", "a.b.fts", "a.fits.gz", "a.fit.bz2", "a.fits.fz", "a.fts.xz")),
        *((name, False) for name in ("a.h5", "a.gz", "a.fits.zip", "fits", ".fits")),
    ],
)
def test_fits_files_are_known_by_their_names(name: str, expected: bool) -> None:
    assert has_fits_name(Path(name)) == expected


@pytest.mark.parametrize(("name", "expected"), [("a.h5", True), ("A.H5", True), ("a.b.hdf5", True), ("a.fits", False)])
def test_patch_files_are_known_by_their_names(name: str, expected: bool) -> None:
    assert has_patch_file_name(Path(name)) == expected
