import gzip
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.arrays import FloatArray
from bigsf.maps import fingerprint as module
from bigsf.maps.fingerprint import FINGERPRINT_KEYS, WINDOW_PX, MapFingerprint, recognise, window_keys
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.planes import FitsMap
from conftest import ArrayMap, galactic_header

NY, NX = 120, 150


def noise(seed: int = 0, shape: tuple[int, int] = (NY, NX)) -> FloatArray:
    return np.random.default_rng(seed).lognormal(50, 0.3, shape).astype(np.float32)


def write(path: Path, image: npt.ArrayLike, header: fits.Header | None = None) -> Path:
    fits.PrimaryHDU(np.asarray(image), header).writeto(path)
    return path


def fingerprint(path: Path) -> MapFingerprint:
    with FitsImage(path) as image:
        return MapFingerprint.of(FitsMap([image]))


def found(path: Path, *known: MapFingerprint, hdu: int | None = None) -> str | None:
    with FitsImage(path, hdu) as image:
        return recognise(path.name, FitsMap([image]), known)


# --- keys of windows --------------------------------------------------------------------------------------------------


def test_each_window_of_different_values_has_a_key() -> None:
    row = np.arange(WINDOW_PX + 2.0, dtype=np.float32)[None]
    assert len(window_keys(row)) == 3
    assert len(set(window_keys(row).tolist())) == 3
    assert len(window_keys(row[:, :-3])) == 0, "narrower than a window"


@pytest.mark.parametrize("row", [np.zeros(40), np.full(40, np.nan), np.full(40, 1e22), np.arange(40) % 7])
def test_windows_that_are_alike_in_many_maps_have_none(row: npt.NDArray[np.float64]) -> None:
    assert len(window_keys(row[None].astype(np.float32))) == 0


def test_a_window_with_a_missing_pixel_has_none_and_the_others_keep_theirs() -> None:
    row = noise()[:1, :40]
    holed = row.copy()
    holed[0, 20] = np.nan
    whole = window_keys(row).tolist()
    assert window_keys(holed).tolist() == whole[:5] + whole[21:]


def test_windows_of_small_whole_numbers_have_different_keys() -> None:
    """In such a map many windows begin with the same values, and their keys differ by the hash of all values alone."""
    counts = np.random.default_rng(0).poisson(6, (1000, 1000)).astype(np.float32)
    keys = window_keys(counts)
    windows = np.lib.stride_tricks.sliding_window_view(counts, WINDOW_PX, axis=1).reshape(-1, WINDOW_PX)
    assert len(keys) > len(windows) / 2
    assert len(np.unique(keys)) == len(keys)


def test_greatest_keys_alone_are_asked_for() -> None:
    keys = window_keys(noise())
    least = int(np.median(keys))
    np.testing.assert_array_equal(window_keys(noise(), least), keys[keys >= least])


@pytest.mark.parametrize("block_pixels", [1, 1000, 1 << 18])
def test_a_fingerprint_holds_the_greatest_keys_whatever_the_blocks(
    block_pixels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_PIXELS", block_pixels)
    image = noise()
    expected = np.unique(window_keys(image))[-FINGERPRINT_KEYS:]
    assert len(expected) == FINGERPRINT_KEYS
    np.testing.assert_array_equal(fingerprint(write(tmp_path / "map.fits", image)).pixels, expected)


# --- the same pixels --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> MapFingerprint:
    """The fingerprint of a map without a WCS, which has four times as many windows as the fingerprint keeps."""
    return fingerprint(write(tmp_path_factory.mktemp("known") / "known.fits", noise()))


class ArraySource(ArrayMap):
    """A map in memory without a WCS."""

    channels, unit, wcs, beam_px, image_sha256 = 1, "", None, None, ""

    def output_header(self) -> fits.Header:
        return fits.Header()


@settings(max_examples=50)
@given(st.integers(0, NY - 30), st.integers(0, NX - 40))
def test_a_cut_is_recognised_wherever_it_begins(known: MapFingerprint, y: int, x: int) -> None:
    cut = recognise("cut.fits", ArraySource(noise()[None, y : y + 30, x : x + 40]), [known])
    assert cut == "100% of the pixels of cut.fits are pixels of a map that the model was trained on"


def test_a_map_that_holds_a_part_of_a_known_one_is_recognised(known: MapFingerprint, tmp_path: Path) -> None:
    larger = noise(1, (2 * NY, NX))
    larger[30 : 30 + NY // 2] = noise()[: NY // 2]
    assert (clause := found(write(tmp_path / "larger.fits", larger), known))
    assert float(clause.partition("%")[0]) == pytest.approx(25, abs=3)


def test_another_file_of_the_same_pixels_is_recognised(known: MapFingerprint, tmp_path: Path) -> None:
    write(tmp_path / "plain.fits", noise(), galactic_header(NX, NY))
    with (tmp_path / "plain.fits").open("rb") as plain, gzip.open(tmp_path / "packed.fits.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    write(tmp_path / "double.fits", noise().astype(np.float64))
    tiled = fits.CompImageHDU(noise(), compression_type="GZIP_2", quantize_level=0)
    tiled.writeto(tmp_path / "tiled.fits")
    for name in ("plain.fits", "packed.fits.gz", "double.fits", "tiled.fits"):
        assert found(tmp_path / name, known) == (
            f"100% of the pixels of {name} are pixels of a map that the model was trained on"
        )


def test_missing_pixels_do_not_matter(known: MapFingerprint, tmp_path: Path) -> None:
    holed = noise()
    holed[10:90, 40:120] = np.nan
    assert found(write(tmp_path / "holed.fits", holed), known) == (
        "100% of the pixels of holed.fits are pixels of a map that the model was trained on"
    )


def test_another_map_is_not_recognised(known: MapFingerprint, tmp_path: Path) -> None:
    for number, image in enumerate((noise(1), noise() * np.float32(1.5), noise()[:, ::-1], np.zeros((NY, NX)))):
        assert found(write(tmp_path / f"{number}.fits", image), known) is None


def test_a_map_that_has_no_keys_is_recognised_by_its_file(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(0.5, (NY, NX))
    path = write(tmp_path / "counts.fits", counts)
    known = fingerprint(path)
    assert len(known.pixels) == 0
    assert found(path, known) == "counts.fits is a map that the model was trained on"
    assert found(write(tmp_path / "again.fits", counts + 1), known) is None


# --- the same sky -----------------------------------------------------------------------------------------------------


def test_a_map_in_another_unit_is_recognised_by_its_sky(tmp_path: Path) -> None:
    known = fingerprint(write(tmp_path / "map.fits", noise(), galactic_header(NX, NY)))
    half = galactic_header(NX, NY)
    half["CRPIX1"] -= NX / 2
    assert found(write(tmp_path / "unit.fits", noise() * np.float32(1e-20), galactic_header(NX, NY)), known) == (
        "unit.fits shows sky of a map that the model was trained on, with other pixel values (100% of the smaller map)"
    )
    assert (clause := found(write(tmp_path / "half.fits", noise(1), half), known))
    assert "(50% of the smaller map)" in clause
    beside = galactic_header(NX, NY)
    beside["CRPIX1"] -= NX
    assert found(write(tmp_path / "beside.fits", noise(1), beside), known) is None
