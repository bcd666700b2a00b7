"""Odd and bad input through the command line: what works, and what is refused with which message and exit code."""

import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from astropy.io import fits

from bigsf.arrays import FloatArray
from bigsf.errors import BigsfWarning
from bigsf.maps.fits_image import FitsImage, output_header
from bigsf.patches.patch_file import PatchFile
from bigsf.training.snapshot import Snapshot
from conftest import Run, Said, Sky, galactic_header, shared_data

NY, NX = 20, 24
VALUES = np.arange(NY * NX, dtype=np.float32).reshape(NY, NX) % 100 + 1
HEADER = galactic_header(NX, NY, longitude=0.1)

Odd = Callable[[Path], FloatArray]
"""Writes a file and returns the pixels that it means."""


def hdus(path: Path, *parts: Any) -> None:
    fits.HDUList(list(parts)).writeto(path, output_verify="ignore")


def projected(code: str, first: str = "GLON", second: str = "GLAT", **cards: Any) -> fits.Header:
    header = HEADER.copy()
    header.update({"CTYPE1": f"{first.ljust(5, '-')}{code}"[-8:].rjust(8, "-"), "CTYPE2": "", **cards})
    header["CTYPE1"], header["CTYPE2"] = (f"{axis:-<5}{code}" for axis in (first, second))
    return header


def scaled(dtype: str, **cards: Any) -> Odd:
    def write(path: Path) -> FloatArray:
        header = HEADER.copy()
        header.update(cards)
        hdu = fits.PrimaryHDU(VALUES.astype(dtype), header)
        hdu.header.update(cards)
        hdus(path, hdu)
        values = VALUES * cards.get("BSCALE", 1) + cards.get("BZERO", 0)
        return np.where(cards.get("BLANK") == VALUES, np.nan, values).astype(np.float32)

    return write


def compressed(kind: str, dtype: str, **options: Any) -> Odd:
    def write(path: Path) -> FloatArray:
        tiles = fits.CompImageHDU(VALUES.astype(dtype), HEADER, compression_type=kind, **options)
        hdus(path, fits.PrimaryHDU(), tiles)
        return VALUES

    return write


def quantised(path: Path) -> FloatArray:
    tiles = fits.CompImageHDU(VALUES + 0.25, HEADER, compression_type="RICE_1", quantize_level=4, quantize_method=2)
    hdus(path, fits.PrimaryHDU(), tiles)
    return np.asarray(fits.getdata(path, 1), np.float32)


def under(header: fits.Header) -> Odd:
    def write(path: Path) -> FloatArray:
        hdus(path, fits.PrimaryHDU(VALUES, header))
        return VALUES

    return write


def replaced(card: str, by: str) -> Odd:
    def write(path: Path) -> FloatArray:
        hdus(path, fits.PrimaryHDU(VALUES, HEADER))
        start = path.read_bytes().index(card.encode())
        content = bytearray(path.read_bytes())
        content[start : start + 80] = by.encode().ljust(80)
        path.write_bytes(content)
        return VALUES

    return write


def shaped(*shape: int) -> Odd:
    def write(path: Path) -> FloatArray:
        hdus(path, fits.PrimaryHDU(VALUES.reshape(shape), HEADER))
        return VALUES

    return write


def several(path: Path) -> FloatArray:
    hdus(path, fits.PrimaryHDU(), fits.ImageHDU(VALUES, HEADER, name="A"), fits.ImageHDU(-VALUES, HEADER, name="B"))
    return VALUES


def extension(path: Path) -> FloatArray:
    hdus(path, fits.PrimaryHDU(), fits.ImageHDU(VALUES, HEADER))
    return VALUES


def zipped(path: Path) -> FloatArray:
    hdus(path, fits.PrimaryHDU(VALUES, HEADER))
    path.write_bytes(gzip.compress(path.read_bytes()))
    return VALUES


def second_block(path: Path) -> FloatArray:
    header = HEADER.copy()
    header.update({f"KEY{number}": number for number in range(36)})
    header["TFIELDX"] = 10**9
    hdus(path, fits.PrimaryHDU(VALUES, header))
    path.write_bytes(path.read_bytes().replace(b"TFIELDX", b"TFIELDS"))
    return VALUES


def cards(path: Path) -> FloatArray:
    header = HEADER.copy()
    header["HIERARCH ESO TEL NAME"] = "a name"
    header["LONG"] = "text " * 40  # goes on in CONTINUE cards
    for text in ("one", "two"):
        header.append(("TWICE", text))
    hdus(path, fits.PrimaryHDU(VALUES, header))
    return VALUES


EQUATORIAL = {"CRVAL1": 266.4, "CRVAL2": -28.9}
ODD: dict[str, Odd] = {
    **{f"int{8 * int(t[-1])} scaled": scaled(t, BSCALE=0.5, BZERO=10.0, BLANK=7) for t in ("u1", ">i2", ">i4", ">i8")},
    **{f"unsigned {t}": scaled(t) for t in ("u2", "u4", "i1")},
    "float64": scaled(">f8"),
    "unsigned u4": scaled("u4"),
    "little-endian float32": scaled("<f4"),
    "BLANK on floats": replaced("BUNIT ", "BLANK   =                    7"),
    "float32 with BSCALE": scaled(">f4", BSCALE=2.0, BZERO=1.0),
    **{kind: compressed(kind, ">i2") for kind in ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1")},
    "float GZIP_2, lossless": compressed("GZIP_2", ">f4", quantize_level=0),
    "float RICE_1, quantised and dithered": quantised,
    "gzip": zipped,
    "in an extension": extension,
    "four axes": shaped(1, 1, NY, NX),
    "axes of 1 at the end": shaped(NY, NX, 1),
    "several images": several,
    "HIERARCH, CONTINUE and duplicate cards": cards,
    **{code: under(projected(code)) for code in ("CAR", "TAN", "AIT", "AZP", "SIN", "ZEA")},
    "FK4": under(projected("TAN", "RA", "DEC", RADESYS="FK4", EQUINOX=1950.0, **EQUATORIAL)),
    "FK5": under(projected("TAN", "RA", "DEC", RADESYS="FK5", EQUINOX=2000.0, **EQUATORIAL)),
    "ICRS": under(projected("TAN", "RA", "DEC", RADESYS="ICRS", **EQUATORIAL)),
    "more than 360 degrees": under(projected("CAR", CDELT1=-20.0, CRPIX1=5.0)),
    "no WCS": under(fits.Header()),
    "a unit that cannot be read": replaced("BUNIT ", "BUNIT   = 'cm^-2"),
    "a history of a billion axes": replaced("BUNIT ", "HISTORY NAXIS   =           1000000000"),
    "a second NAXIS, complex": replaced("BUNIT ", "NAXIS   = (1, 2)"),
    "TFIELDS of an image, 1.5": replaced("BUNIT ", "TFIELDS = 1.5"),
    "TFIELDS of an image, 2.0": replaced("BUNIT ", "TFIELDS = 2.0"),
    "a second header block with a TFIELDS of a billion": second_block,
    "a keyword that is none": replaced("BUNIT ", "BUN?T made to be broken"),
    "a keyword without a value": replaced("BUNIT ", "BUNIT   ? 'cm-2'"),
    "a card of binary rubbish": replaced("BUNIT ", "BUNIT   = \x00\x01\x02"),
}


@pytest.fixture
def ended(bigsf_command: Run, tmp_path: Path) -> Callable[..., Said]:
    """Return the command line in tmp_path; it ends without a traceback, and with no temporary file."""

    def run(code: int, *arguments: object) -> Said:
        said = bigsf_command(*arguments, cwd=tmp_path)
        assert said.code == code, said.err
        assert not list(tmp_path.rglob(".*.tmp"))
        assert code == 0 or "Error: " in said.err
        assert "Traceback" not in said.err
        return said

    return run


@pytest.mark.parametrize("name", ODD)
def test_odd_file_is_read_as_what_it_means(name: str, ended: Callable[..., Said], tmp_path: Path) -> None:
    path = tmp_path / "odd.fits"
    expected = ODD[name](path)
    ended(0, "preprocess", path, "--patch-size", 8)
    made = PatchFile(tmp_path / "odd.h5")
    np.testing.assert_array_equal(made.image[0], expected)
    with FitsImage(path) as image:
        here, there = image.wcs, made.wcs
    assert (here is None) == (there is None) == (name == "no WCS")
    if here is not None and there is not None:
        assert here.pixel_to_world(3, 5).separation(there.pixel_to_world(3, 5)).arcsec < 1e-3


@pytest.mark.parametrize("name", ODD)
def test_odd_file_is_segmented_on_its_own_grid(
    name: str, trained: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    path = tmp_path / "odd.fits"
    expected = ODD[name](path)
    ended(0, "segment", trained, path)
    with FitsImage(path) as image, FitsImage(tmp_path / "odd_segmented.fits") as made:
        assert made.shape == (NY, NX)
        output_header(fits.getheader(tmp_path / "odd_segmented.fits"))  # without a warning: it is good FITS
        np.testing.assert_array_equal(np.isfinite(made.read()), np.isfinite(expected))
        if image.wcs is not None and made.wcs is not None:
            assert image.wcs.pixel_to_world(3, 5).separation(made.wcs.pixel_to_world(3, 5)).arcsec < 1e-3


def test_long_and_duplicate_cards_are_kept(trained: Path, ended: Callable[..., Said], tmp_path: Path) -> None:
    cards(tmp_path / "odd.fits")
    ended(0, "preprocess", "odd.fits", "--patch-size", 8)
    ended(0, "segment", trained, "odd.fits")
    ended(0, "segment", trained, "odd.h5", "-o", "patches_segmented.fits")
    for name in ("odd_segmented.fits", "patches_segmented.fits"):
        header = fits.getheader(tmp_path / name)
        assert header["ESO TEL NAME"] == "a name"
        assert header["LONG"].strip() == ("text " * 40).strip()
        assert [header["TWICE", i] for i in range(header.count("TWICE"))] == ["one", "two"]


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (1, 1)])
def test_a_line_of_pixels_is_segmented_and_too_small_for_patches(
    shape: tuple[int, int], trained: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    path = tmp_path / "line.fits"
    fits.PrimaryHDU(np.full(shape, 1e22)).writeto(path)
    said = ended(4, "preprocess", path)
    assert f"line.fits has {shape[1]} x {shape[0]} pixels (x, y), too few for a patch of 64" in said.err
    ended(0, "segment", trained, path)
    with FitsImage(tmp_path / "line_segmented.fits") as made:
        assert made.shape == shape
        assert np.isfinite(made.read()).all()


def without_end(path: Path) -> None:
    hdus(path, fits.PrimaryHDU(VALUES, HEADER))
    path.write_bytes(path.read_bytes().replace(b"END" + b" " * 77, b" " * 80))


def cut(path: Path) -> None:
    hdus(path, fits.PrimaryHDU(VALUES, HEADER))
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
    "no image": (lambda path: hdus(path, fits.PrimaryHDU()), "bad.fits holds no image: its HDUs are 0 PRIMARY"),
    "a cube": (lambda path: hdus(path, fits.PrimaryHDU(np.ones((3, 4, 5)))), "array of 3 x 4 x 5 pixels; expected one"),
    "no pixels": (lambda path: hdus(path, fits.PrimaryHDU(np.ones((0, 5)))), "holds an array of 0 x 5 pixels"),
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
    "no pixels across": (lambda path: hdus(path, fits.PrimaryHDU(np.ones((5, 0)))), "holds an array of 5 x 0 pixels"),
    "BITPIX of none": (replaced("BITPIX ", "BITPIX  =                   17"), "bad.fits"),
    "BSCALE of none": (replaced("BUNIT ", "BSCALE  =                  abc"), "bad.fits"),
    "damaged tiles": (rotten, "bad.fits"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # astropy may leave the file open
@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_an_error_of_data_for_both_commands(
    name: str, trained: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    write, message = BAD[name]
    write(tmp_path / "bad.fits")
    for command in (["preprocess", "bad.fits", "--patch-size", 8], ["segment", trained, "bad.fits"]):
        assert pytest.raises(AssertionError, match=message).matches(AssertionError(ended(4, *command).err))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.fits"]


def test_a_wcs_that_cannot_be_read_is_left_out_and_said(
    trained: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    header = projected("TAN", "RA", "DEC", **EQUATORIAL)
    header.update({"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0})
    hdus(tmp_path / "odd.fits", fits.PrimaryHDU(VALUES, header))
    said = " ".join(ended(0, "preprocess", "odd.fits", "--patch-size", 8).err.split())
    assert "The WCS cannot be read and is left out: " in said
    assert "singular" in said
    assert "The WCS cannot be read and is left out: " in ended(0, "segment", trained, "odd.fits").err
    np.testing.assert_array_equal(PatchFile(tmp_path / "odd.h5").image[0], VALUES)
    with pytest.warns(BigsfWarning, match="The WCS cannot be read"):
        assert PatchFile(tmp_path / "odd.h5").wcs is None


# --- planes and tiles that do not fit ---------------------------------------------------------------------------------


def plane(path: Path, values: Any, header: fits.Header = HEADER, **changes: Any) -> Path:
    header = header.copy()
    header.update(changes)
    hdus(path, fits.PrimaryHDU(np.asarray(values), header))
    return path


PLANES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "of another shape": (np.ones((NY, NX - 1), "u1"), {}, "plane.fits has 23 x 20 pixels .* All planes must share one"),
    "of another WCS": (np.ones((NY, NX), "u1"), {"CRVAL1": 5.0}, "plane.fits has another WCS than map.fits"),
    "of other values": (VALUES, {}, "plane.fits is the .* mask but holds values other than 0 and 1: 2, 3, 4, 5, 6"),
    "of more axes": (np.ones((2, NY, NX), "u1"), {}, "plane.fits holds an array of 2 x 20 x 24 pixels"),
    "inverted": (np.zeros((NY, NX), "u1"), {}, "is it inverted?|The target plane is 0 on every valid pixel"),
}


@pytest.mark.parametrize("name", PLANES)
def test_planes_that_do_not_fit_are_an_error_of_data(
    name: str, trained: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
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


def test_a_target_of_other_values_is_binarised_on_request(ended: Callable[..., Said], tmp_path: Path) -> None:
    plane(tmp_path / "map.fits", VALUES)
    ended(0, "preprocess", "map.fits", "--patch-size", 8, "--target", "map.fits", "--target-threshold", 50)
    np.testing.assert_array_equal(PatchFile(tmp_path / "map.h5").target, VALUES > 50)


def test_a_map_of_nothing(trained: Path, ended: Callable[..., Said], tmp_path: Path) -> None:
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
def test_tiles_that_do_not_fit_are_an_error_of_data(name: str, ended: Callable[..., Said], tmp_path: Path) -> None:
    write, options, message = TILES[name]
    plane(tmp_path / "a.fits", VALUES)
    write(tmp_path / "b.fits")
    assert re.search(message, ended(4, "preprocess", "a.fits", "b.fits", "--patch-size", 8, *options).err)
    assert not list(tmp_path.glob("*mosaic*"))
    assert not list(tmp_path.glob("*.h5"))


ODD_FILES = {
    "perseus_empty_primary_ext.fits": 0,
    "g035_4d_degenerate.fits": 0,
    "gc_2mass_k_int16_scaled.fits": 0,
    "ngc1316_rice_int16.fits": 0,
    "gc_msx_e.fits.gz": 0,
    "gc_bolocam_1mm.fits": 0,
    "stereo_int32_blank0.fts": 0,
    "truncated.fits": 4,
    "not_actually_fits.fits": 4,
}


@pytest.mark.parametrize("name", ODD_FILES)
def test_real_odd_file(name: str, trained: Path, ended: Callable[..., Said]) -> None:
    path = shared_data("odd", name)
    ended(ODD_FILES[name], "preprocess", path, "--patch-size", 16)
    ended(ODD_FILES[name], "segment", trained, path, "--stride", 16)


# --- other rows -------------------------------------------------------------------------------------------------------


def test_wrong_use_of_options_is_a_usage_error_in_their_words(
    sky: Sky, patch_path: Path, ended: Callable[..., Said]
) -> None:
    image = sky.path("image")
    for options, message in (
        (["--missing", image, "--valid", image], "Error: missing and valid are two names of one plane"),
        (["--patch-size", 0], "Error: --patch-size: found 0, expected greater than 0."),
        (["--patch-size", 8, "--stride", 9], "Error: stride is 9 but patches have 8 pixels"),
        (["-o", "out.fits"], "Error: The output out.fits is a patch file (HDF5): name it *.h5."),
        (["-o", image / "out.h5"], "is a file, not a folder"),
    ):
        assert message in ended(2, "preprocess", image, *options).err
    for options, message in (
        (["-k", 2], "Error: k is 2; training, validation and test need a fold each"),
        (["--strategy", "rnd"], "Error: --strategy: unknown type 'rnd'"),
        (["--overlap", 4, "--gap", 4], "Error: overlap 4 and gap 4 contradict each other"),
    ):
        assert message in ended(2, "split", patch_path, "-o", "folds.json", *options).err


def test_an_option_replaces_any_name_of_its_key_and_amends_the_strategy(
    patch_path: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "split.yaml").write_text("nb_folds: 3\narea_size: 32\nstrategy: {type: balanced, seed: 1}\n")
    ended(0, "split", patch_path, "--config", "split.yaml", "-k", 4, "--seed", 5, "-o", "folds.json")
    parameters = json.loads((tmp_path / "folds.json").read_text())["parameters"]
    assert (parameters["k"], parameters["strategy"]) == (4, {"type": "balanced", "seed": 5})


@pytest.mark.parametrize("content", ["- a\n", "&a [*a]", "k: [" * 2000, "text", "k: many\n", None])
def test_what_is_no_configuration_is_a_config_error(
    content: str | None, patch_path: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content) if content is not None else path.mkdir()
    assert "wrong.yaml" in ended(3, "split", patch_path, "--config", "wrong.yaml", "-o", "folds.json").err
    assert "wrong.yaml" in ended(3, "train", "wrong.yaml").err


def test_aliases_that_multiply_are_refused(ended: Callable[..., Said], tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    assert "its anchors make 100,000 keys or more" in ended(3, "train", "bomb.yaml").err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainer": {"run_name": "../x"}}, "expected the name of a folder, without slashes"),
        ({"trainer": {"run_name": "/tmp/x"}}, "expected the name of a folder, without slashes"),
        ({"trainer": {"run_name": ".."}}, "expected the name of a folder, without slashes"),
        ({"trainer": {"model": {"type": "unet", "depth": 5}}}, "use a multiple of 32, for example 32"),
        ({"trainer": {"model": {"type": "unet", "depth": 4, "norm": "instance"}}}, "Use patches of 32, norm: group"),
        ({"trainer": {"model": {"type": "unet", "depth": 4, "in_channels": 2}}}, "in_channels is 2 but sky.h5 has 1"),
        ({"trainer": {"best_by": "val_beauty"}}, "which is not logged"),
    ],
)
def test_impossible_combinations_are_config_errors(
    change: dict[str, Any],
    message: str,
    run_dict: Callable[..., dict[str, Any]],
    ended: Callable[..., Said],
    tmp_path: Path,
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict(**change["trainer"])))
    for command in ("train", "kfold"):
        assert message in ended(3, command, "run.yaml").err
        assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("k: 4\nfolds: 3\n", "line 2, folds: unknown key"),
        ("strategy: !Randm {}\n", "Randm"),
        ("k: 4\n  step: 1\n", "line 2"),
        ("gap: -1\n", "line 1, gap: found -1, expected greater than or equal to 0."),
        ("k: 4\nk: 5\n", "wrong.yaml"),
    ],
)
def test_each_mistake_in_a_configuration_is_named(
    content: str, message: str, patch_path: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "wrong.yaml").write_text(content)
    assert message in ended(3, "split", patch_path, "--config", "wrong.yaml", "-o", "folds.json").err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_file_identity": "0" * 64}, "was made for another patch file (00000000... there"),
        ({"format_version": 9}, "has format 9, newer than 1"),
        ({"x_edges": [0, 160]}, "holds other edges of areas than its parameters give"),
        ({"grid": [[1]]}, "the grid must have"),
        ({"parameters": {"k": 5}}, "was made with other parameters (k: 5 there, 4 here"),
    ],
)
def test_folds_of_something_else_are_an_error_of_data(
    change: dict[str, Any],
    message: str,
    folds_path: Path,
    run_dict: Callable[..., dict[str, Any]],
    ended: Callable[..., Said],
    tmp_path: Path,
) -> None:
    folds = json.loads(folds_path.read_text())
    change = {key: {**folds[key], **value} if isinstance(value, dict) else value for key, value in change.items()}
    (tmp_path / "sky.folds.json").write_text(json.dumps({**folds, **change}))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict()))
    for command in ("train", "kfold"):
        assert message in " ".join(ended(4, command, "run.yaml").err.split())


def no_hdf5(path: Path) -> None:
    path.write_text("text")


def other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["image"] = VALUES


def newer(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 9


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_zeros(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL") + 16
    content[start : start + 512] = bytes(512)
    path.write_bytes(content)


def of_strings(path: Path) -> None:
    kind = h5py.h5t.vlen_create(h5py.h5t.py_create(h5py.string_dtype(), logical=True))
    with h5py.File(path, "r+") as file:
        del file.attrs["unit"]
        h5py.h5a.create(file.id, b"unit", kind, h5py.h5s.create(h5py.h5s.SCALAR))


PATCH_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no HDF5": (no_hdf5, "bad.h5 is not a patch file that can be read"),
    "another HDF5": (other_hdf5, "bad.h5 is an HDF5 file but no patch file of BigSF"),
    "a newer format": (newer, "bad.h5 has format 9"),
    "cut": (halved, "bad.h5 is not a patch file that can be read|bad.h5 is cut short"),
    "a block of zeros": (with_zeros, "bad.h5 is damaged: its strings cannot be read"),
    "a list for a string": (of_strings, "bad.h5 is damaged: unit is not a string"),
    "absent": (Path.unlink, "bad.h5 does not exist"),
}


@pytest.mark.parametrize("name", PATCH_FILES)
def test_what_is_no_patch_file_is_an_error_of_data_for_all_who_read_it(
    name: str,
    trained: Path,
    patch_path: Path,
    run_dict: Callable[..., dict[str, Any]],
    ended: Callable[..., Said],
    tmp_path: Path,
) -> None:
    write, message = PATCH_FILES[name]
    shutil.copy(patch_path, tmp_path / "bad.h5")
    write(tmp_path / "bad.h5")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict()))
    path = tmp_path / "bad.h5"
    commands: list[list[object]] = [
        ["split", "bad.h5"],
        ["train", "run.yaml", "--set", f"data.path={path}"],
        ["kfold", "run.yaml", "--set", f"data.path={path}"],
        ["segment", trained, "bad.h5"],
    ]
    for command in commands:
        assert re.search(message, ended(4, *command).err), command


def spanned(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\6\7") + 16] = 2  # the number of disks of a zip64 archive
    path.write_bytes(content)


class _Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("hostile",)


SNAPSHOTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no snapshot": (lambda path: path.write_text("text"), "is no PyTorch file, or it was cut short"),
    "a FITS file": (
        lambda path: fits.PrimaryHDU(VALUES).writeto(path, overwrite=True),
        "is a FITS file; expected a snapshot",
    ),
    "another file of torch": (lambda path: torch.save({"a": 1}, path), "is a PyTorch file but no snapshot of BigSF"),
    "cut": (halved, "is no PyTorch file, or it was cut short"),
    "one of several archives": (spanned, "is not a snapshot that can be read: zipfiles that span multiple disks"),
    "hostile": (lambda path: torch.save(_Hostile(), path), "holds more than plain data"),
    "absent": (Path.unlink, "does not exist"),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_what_is_no_snapshot_is_an_error_of_its_own_for_all_who_read_it(
    name: str,
    trained: Path,
    sky: Sky,
    run_dict: Callable[..., dict[str, Any]],
    ended: Callable[..., Said],
    tmp_path: Path,
) -> None:
    write, message = SNAPSHOTS[name]
    path = tmp_path / "bad.pt"
    shutil.copy(trained / "last.pt", path)
    write(path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict(start_from=str(path))))
    for command in (["segment", "bad.pt", sky.path("image")], ["resume", "bad.pt"], ["train", "run.yaml"]):
        assert message in " ".join(ended(5, *command).err.split()), command
    assert not (tmp_path / "hostile").exists()


def test_damaged_patch_file_is_an_error_of_data_for_all_who_read_it(
    trained: Path, patch_path: Path, run_dict: Callable[..., dict[str, Any]], ended: Callable[..., Said], tmp_path: Path
) -> None:
    shutil.copy(patch_path, tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        file["positions"][0] = (10_000, 0)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict()))
    commands: list[list[object]] = [
        ["split", "bad.h5"],
        ["train", "run.yaml", "--set", f"data.path={tmp_path / 'bad.h5'}"],
        ["segment", trained, "bad.h5"],
    ]
    for command in commands:
        assert "bad.h5 is damaged: its planes, patches and attributes do not fit together" in ended(4, *command).err


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL_STATE", {"a": 1}, "is damaged: MODEL_STATE: Input should be an instance of Tensor"),
        ("PATCH_SIZE", "16", "is damaged: PATCH_SIZE: Input should be a valid integer"),
        ("THRESHOLDS", {}, "is damaged: its thresholds are {}"),
        ("GLOBAL_CONFIG", {"data": 1}, "The configuration in the snapshot cannot be used"),
        ("FORMAT_VERSION", 99, "has format 99"),
    ],
)
def test_damaged_snapshot_is_an_error_of_its_own(
    key: str, value: Any, message: str, trained: Path, sky: Sky, ended: Callable[..., Said], tmp_path: Path
) -> None:
    torch.save({**torch.load(trained / "last.pt", weights_only=True), key: value}, tmp_path / "model.pt")
    assert message in ended(5, "segment", "model.pt", sky.path("image")).err
    assert message in ended(5, "resume", "model.pt").err


def test_resume_with_another_patch_file_is_an_error_of_data(
    trained: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    plane(tmp_path / "map.fits", VALUES)
    ended(0, "preprocess", "map.fits", "--target", "map.fits", "--target-threshold", 50, "--patch-size", 8)
    said = ended(4, "resume", shutil.copy(trained / "last.pt", tmp_path), "--data", "map.h5")
    assert re.search(r"another patch file \([0-9a-f]{8}\.\.\. there, [0-9a-f]{8}\.\.\. (here|in)", said.err)


def test_an_output_below_a_file_cannot_be_written(
    trained: Path,
    sky: Sky,
    patch_path: Path,
    run_dict: Callable[..., dict[str, Any]],
    ended: Callable[..., Said],
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict()))
    commands: list[list[object]] = [
        ["preprocess", sky.path("image"), "--patch-size", 16, "-o", "file/out.h5"],
        ["split", patch_path, "-k", 4, "-o", "file/out.json"],
        ["segment", trained, sky.path("image"), "-o", "file/out.fits"],
        ["train", "run.yaml", "--set", f"trainer.output_dir={tmp_path / 'file'}"],
        ["kfold", "run.yaml", "--set", f"trainer.output_dir={tmp_path / 'file'}"],
    ]
    for command in commands:
        assert re.search("is a file, not a folder|Not a directory|File exists", ended(2, *command).err), command


def test_states_that_do_not_fit_are_an_error_of_the_snapshot(
    trained: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    content = torch.load(trained / "last.pt", weights_only=True)
    torch.save({**content, "OPTIMIZER_STATE": {}}, tmp_path / "last.pt")
    assert "cannot go on from the snapshot's state" in ended(5, "resume", "last.pt").err


# --- nothing is run that was not asked for ----------------------------------------------------------------------------


@pytest.fixture
def stranger(trained: Path, tmp_path: Path) -> Path:
    """Return a snapshot that names code, which makes a folder once it is imported."""
    (tmp_path / f"{tmp_path.name}.py").write_text(
        f"import os\nos.mkdir({str(tmp_path / 'made')!r})\nfrom bigsf.models.unet import UNet as Net\n"
    )
    content = torch.load(trained / "last.pt", weights_only=True)
    custom = {"type": "custom", "target": f"{tmp_path.name}:Net", "folder": str(tmp_path)}
    content["GLOBAL_CONFIG"]["trainer"]["model"] = custom
    torch.save(content, tmp_path / "last.pt")
    return tmp_path / "last.pt"


@pytest.mark.parametrize("command", ["segment", "resume", "start_from"])
def test_code_that_a_snapshot_names_is_not_run(
    command: str,
    stranger: Path,
    sky: Sky,
    run_dict: Callable[..., dict[str, Any]],
    ended: Callable[..., Said],
    tmp_path: Path,
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict(start_from=str(stranger), epochs=1)))
    commands: dict[str, list[object]] = {
        "segment": ["segment", stranger, sky.path("image")],
        "resume": ["resume", stranger],
        "start_from": ["train", "run.yaml", "--set", "trainer.model.features=8"],
    }
    arguments = commands[command]
    said = ended(5, *arguments)
    assert not (tmp_path / "made").exists()
    if command != "start_from":
        assert f"names code to run: {tmp_path.name}:Net in {tmp_path}. If that code is yours" in said.err
        assert "pass --trust" in said.err
        ended(5, *arguments, "--trust")  # its weights are those of another network
        assert (tmp_path / "made").exists()


# --- nothing is lost --------------------------------------------------------------------------------------------------


def test_dry_run_of_segment_finds_a_folder_that_cannot_be_written(
    trained: Path, sky: Sky, ended: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)  # root may write anywhere
    for command in (["segment", trained, sky.path("image")], ["preprocess", sky.path("image"), "--patch-size", 16]):
        assert "is read-only for you" in ended(2, *command, "--dry-run").err


def test_a_file_that_is_too_large_leaves_the_previous_output_whole(
    sky: Sky, trained: Path, ended: Callable[..., Said], tmp_path: Path
) -> None:
    import resource
    import signal

    commands: list[tuple[list[object], str]] = [
        (["preprocess", sky.path("image"), "--patch-size", 16, "--overwrite"], "image.h5"),
        (["segment", trained, sky.path("image"), "--overwrite"], "image_segmented.fits"),
    ]
    for command, name in commands:
        ended(0, *command)
        before = (tmp_path / name).read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            said = ended(2, *command)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert f"{name} could not be written: File too large" in said.err
        assert (tmp_path / name).read_bytes() == before
        ended(0, *command)


def test_lack_of_memory_says_what_to_lower(
    sky: Sky, trained: Path, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def huge(*_: object) -> None:
        torch.empty(2**60)

    monkeypatch.setattr(Snapshot, "build_model", huge)
    said = bigsf_command("segment", trained, sky.path("image"), cwd=tmp_path)
    assert said.code == 7
    assert "Out of memory" in said.err
    assert "Lower --batch-size" in said.err


def test_a_mistake_of_bigsf_keeps_its_traceback_and_says_to_report_it(
    sky: Sky, trained: Path, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Snapshot, "load", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        bigsf_command("segment", trained, sky.path("image"))
    assert "This is a mistake of bigsf" in caught.value.__notes__[0]
