"""Values that stand far apart from all others are named with their count and the option that ends them."""

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from bigsf.errors import BigsfWarning, DataError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.hdus import image_hdus
from bigsf.maps.odd_values import OddValue, ValueCensus, check_map, warn_of_absent_blank, warn_of_odd_values
from bigsf.maps.planes import FitsMap
from conftest import SHARED_DATA, shared_data

COLUMN_DENSITY = np.geomspace(5e21, 1.6e23, 2000, dtype=np.float32)  # the range of the Hi-GAL sample
NOISE = np.random.default_rng(0).normal(0.1, 1, 2000).astype(np.float32)
COUNTS = np.random.default_rng(0).poisson(3, 2000).astype(np.float32)


def odd(*parts: npt.ArrayLike) -> list[OddValue]:
    """Return the values that stand apart in some pixels, counted part by part."""
    census = ValueCensus()
    for part in parts:
        census.add(np.asarray(part, np.float32))
    return census.odd_values()[0]


@pytest.mark.parametrize("ordinary", [COLUMN_DENSITY, NOISE, COUNTS, -COLUMN_DENSITY, np.full(2000, 2.0)])
def test_an_ordinary_map_holds_no_odd_value(ordinary: npt.NDArray[np.float32]) -> None:
    assert odd(ordinary) == odd(np.append(ordinary, [np.nan, np.inf])) == []


@pytest.mark.parametrize("value", [1e18, 1e26, 1e28, -1e28, -999, 0])
def test_one_odd_pixel_of_a_positive_map_is_found(value: float) -> None:
    value = float(np.float32(value))
    assert odd(COLUMN_DENSITY, [value]) == odd([value], COLUMN_DENSITY) == [OddValue(value, value, 1)]


@pytest.mark.parametrize("value", [1e18, -1e28])
def test_one_odd_pixel_of_noise_is_found(value: float) -> None:
    assert odd(NOISE, [value])[0].pixels == 1


@pytest.mark.parametrize(
    ("ordinary", "value"),
    [
        (COLUMN_DENSITY, 0.0),
        (COLUMN_DENSITY, -999.0),
        (COLUMN_DENSITY, 1e20),
        (COLUMN_DENSITY, -1.6375e30),
        (COLUMN_DENSITY, 1e-20),
        (NOISE, 0.0),
        (NOISE, -999.0),
        (1000 * abs(NOISE), -999.0),
        (NOISE, 1e20),
        (COUNTS, 65535.0),
        (COUNTS + 100, 0.0),
    ],
)
@pytest.mark.parametrize("pixels", [40, 10_000])
def test_a_value_that_many_pixels_share_is_found(ordinary: npt.NDArray[np.float32], value: float, pixels: int) -> None:
    value = float(np.float32(value))
    assert odd(np.full(pixels, value), ordinary) == [OddValue(value, value, pixels)]


@given(st.integers(0, 2000), st.sampled_from([-999.0, 1e20, 0.0]))
def test_the_result_does_not_depend_on_the_bands(at: int, value: float) -> None:
    whole = np.append(COLUMN_DENSITY, np.full(50, value, np.float32))
    assert odd(whole[:at], whole[at:]) == odd(whole)


def test_zero_has_one_sign() -> None:
    assert odd(COLUMN_DENSITY, [0.0, -0.0]) == [OddValue(0, 0, 2)]


def test_several_odd_values_of_one_octave_are_a_range() -> None:
    first, second, other = (float(np.float32(value)) for value in (1e28, 1.1e28, -999))
    assert odd(COLUMN_DENSITY, [1e28, 1.1e28], [-999] * 3) == [OddValue(other, other, 3), OddValue(first, second, 2)]


def saved(path: Path, data: npt.ArrayLike) -> Path:
    fits.PrimaryHDU(np.asarray(data)).writeto(path)
    return path


def test_the_warning_names_value_count_and_option(tmp_path: Path) -> None:
    data = COLUMN_DENSITY.reshape(40, 50).copy()
    data[:2], data[39, 49] = -999, 1e28
    path = saved(tmp_path / "map.fits", data)
    with FitsImage(path) as image, pytest.warns(BigsfWarning) as said:
        assert check_map(FitsMap([image]), chunk_pixels=100) == [
            OddValue(-999, -999, 100),
            *odd(COLUMN_DENSITY, [1e28]),
        ]
    first, second = (str(warning.message) for warning in said)
    assert first.startswith("map.fits holds -999 in 100 of 2,000 pixels, and 5.947e+21 to 1.597e+23 in all others")
    assert "pass blank=-999: " in first
    assert "map.fits holds 1e+28 in 1 of 2,000 pixels" in second
    assert "mask them with 'valid'" in second  # one value can be given as blank
    with (
        FitsImage(path, blank=-999) as image,
        pytest.warns(BigsfWarning, match=r"in 1 of 1,900 .* with 'valid'"),
    ):
        check_map(FitsMap([image]))
    with (
        FitsImage(saved(tmp_path / "valid.fits", (data > 0).astype("u1"))) as valid,
        FitsImage(path, blank=1e28) as image,
    ):
        check_map(FitsMap([image], valid))


def test_a_blank_that_no_pixel_has_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "map.fits", np.arange(1.0, 55).reshape(6, 9))
    with FitsImage(path, blank=54) as image:
        check_map(FitsMap([image]))
        warn_of_absent_blank([image])
    with FitsImage(path, blank=-999) as image:
        check_map(FitsMap([image]))
        with pytest.warns(BigsfWarning, match=r"blank=-999.* does nothing: no pixel of map.fits has it"):
            warn_of_absent_blank([image])


def test_an_inverted_mask_is_refused(tmp_path: Path) -> None:
    image, mask = np.arange(1.0, 55).reshape(6, 9), np.zeros((6, 9), np.uint8)
    mask[0] = 1
    with (
        FitsImage(saved(tmp_path / "map.fits", image)) as plane,
        FitsImage(saved(tmp_path / "valid.fits", mask)) as valid,
        pytest.raises(DataError, match=r"valid.fits declares 45 of 54 finite pixels missing. .* is it inverted\?"),
    ):
        check_map(FitsMap([plane], valid), chunk_pixels=20)


def test_values_beyond_float32_are_named(tmp_path: Path) -> None:
    data = np.full((4, 5), 1e45)
    with (
        FitsImage(saved(tmp_path / "all.fits", data)) as image,
        pytest.raises(DataError, match=r"all.fits holds 20 values beyond 3.4e38, .* no other finite pixel. Write"),
    ):
        check_map(FitsMap([image]))
    data[1:] = 2
    data[0, 0], data[0, 1] = np.inf, np.nan
    with (
        FitsImage(saved(tmp_path / "some.fits", data)) as image,
        pytest.warns(BigsfWarning, match=r"some.fits holds 3 values beyond 3.4e38, .*; they are taken as missing"),
    ):
        check_map(FitsMap([image]), chunk_pixels=5)
    with FitsImage(tmp_path / "some.fits", blank=1e45) as image:
        check_map(FitsMap([image]))


ZEROS_FOR_MISSING = {"m16_13co.fits": 71_643, "perseus_empty_primary_ext.fits": 93_448}
"""Of the real maps only these hold an odd value: 0 where they have no data."""


@pytest.mark.parametrize("folder", ["train", "maps", "odd", "mosaic"])
def test_of_real_maps_only_zeros_for_missing_data_are_named(folder: str) -> None:
    shared_data(folder)
    for path in sorted((SHARED_DATA / folder).iterdir()):
        if path.name in ("truncated.fits", "not_actually_fits.fits"):
            continue
        census = ValueCensus()
        with FitsImage(path, image_hdus(path)[0]) as image:
            census.add(image.read())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BigsfWarning)
                found = warn_of_odd_values(image, census)
        expected = [OddValue(0, 0, ZEROS_FOR_MISSING[path.name])] if path.name in ZEROS_FOR_MISSING else []
        assert found == expected, path.name


def test_to_count_values_takes_little_memory() -> None:
    image = np.full((4, 1_000_000), 1e22, np.float32)
    census = ValueCensus()
    tracemalloc.start()
    try:
        census.add(image)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < image.nbytes / 2
    assert (census.pixels, census.minimum, census.maximum) == (4_000_000, image[0, 0], image[0, 0])
