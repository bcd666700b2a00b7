"""FITS files that are odd, but not wrong, are read as what they mean."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigsf.maps.fits_image import FitsImage, output_header
from bigsf.patches.patch_file import PatchFile
from command_processes import Commands
from conftest import Ended, galactic_header, shared_data
from fits_files import (
    EQUATORIAL,
    NX,
    NY,
    VALUES,
    Writer,
    cards,
    compressed,
    extension,
    projected,
    quantised,
    replaced,
    scaled,
    second_block,
    several,
    shaped,
    under,
    write_hdus,
    zipped,
)

ODD: dict[str, Writer] = {
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


@pytest.mark.parametrize("name", ODD)
def test_odd_file_is_read_as_what_it_means(name: str, ended: Ended, tmp_path: Path) -> None:
    path = tmp_path / "odd.fits"
    expected = ODD[name](path)
    ended(0, "preprocess", path, "--patch-size", 8)
    made = PatchFile(tmp_path / "odd.h5")
    np.testing.assert_array_equal(made.image[0], expected)
    with FitsImage(path) as image:
        here, there = image.wcs, made.wcs
    assert (here is None) == (there is None) == (name in ("no WCS", "axes of 1 at the end"))
    if here is not None and there is not None:
        assert here.pixel_to_world(3, 5).separation(there.pixel_to_world(3, 5)).arcsec < 1e-3


@pytest.mark.parametrize("name", ODD)
def test_odd_file_is_segmented_on_its_own_grid(name: str, trained: Path, ended: Ended, tmp_path: Path) -> None:
    path = tmp_path / "odd.fits"
    expected = ODD[name](path)
    ended(0, "segment", trained, path)
    with FitsImage(path) as image, FitsImage(tmp_path / "odd_segmented.fits") as made:
        assert made.shape == (NY, NX)
        output_header(fits.getheader(tmp_path / "odd_segmented.fits"))  # without a warning: it is good FITS
        np.testing.assert_array_equal(np.isfinite(made.read()), np.isfinite(expected))
        if image.wcs is not None and made.wcs is not None:
            assert image.wcs.pixel_to_world(3, 5).separation(made.wcs.pixel_to_world(3, 5)).arcsec < 1e-3


def test_long_and_duplicate_cards_are_kept(trained: Path, ended: Ended, tmp_path: Path) -> None:
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
    shape: tuple[int, int], trained: Path, ended: Ended, tmp_path: Path
) -> None:
    path = tmp_path / "line.fits"
    fits.PrimaryHDU(np.full(shape, 1e22)).writeto(path)
    result = ended(4, "preprocess", path)
    assert f"line.fits has {shape[1]} x {shape[0]} pixels (x, y), too few for a patch of 64" in result.err
    ended(0, "segment", trained, path)
    with FitsImage(tmp_path / "line_segmented.fits") as made:
        assert made.shape == shape
        assert np.isfinite(made.read()).all()


def test_a_wcs_that_cannot_be_read_is_left_out_and_said(trained: Path, ended: Ended, tmp_path: Path) -> None:
    header = projected("TAN", "RA", "DEC", **EQUATORIAL)
    header.update({"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0})
    write_hdus(tmp_path / "odd.fits", fits.PrimaryHDU(VALUES, header))
    result = " ".join(ended(0, "preprocess", "odd.fits", "--patch-size", 8).err.split())
    assert "The WCS cannot be read and is left out: " in result
    assert "singular" in result
    assert "The WCS cannot be read and is left out: " in ended(0, "segment", trained, "odd.fits").err
    np.testing.assert_array_equal(PatchFile(tmp_path / "odd.h5").image[0], VALUES)
    assert PatchFile(tmp_path / "odd.h5").wcs is None


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
def test_real_odd_file(name: str, trained: Path, ended: Ended) -> None:
    path = shared_data("odd", name)
    ended(ODD_FILES[name], "preprocess", path, "--patch-size", 16)
    ended(ODD_FILES[name], "segment", trained, path, "--stride", 16)


def test_cards_that_cannot_be_read_are_counted(command: Commands, tmp_path: Path) -> None:
    path = tmp_path / "odd.fits"
    fits.PrimaryHDU(np.ones((20, 20)), galactic_header(20, 20)).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"CUNIT1  = 'deg", b"CUNIT1  = \x00\x01de"))
    result = command("preprocess", path, "--patch-size", 8)
    assert result.code == 0
    assert result.err == "Warning: odd.fits: cards of its header that cannot be read are left out (1).\n"
