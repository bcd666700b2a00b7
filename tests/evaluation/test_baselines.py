import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter
from skimage.filters import sato

from bigsf.arrays import FloatArray
from bigsf.evaluation.baselines import BASELINES, BaselineMaps
from bigsf.maps.tiling import CHUNK_PIXELS
from conftest import ArrayMap


def tall_map(missing: bool = True) -> FloatArray:
    """Return a column density of 300 x 50 pixels with two ridges and a gap of missing pixels."""
    y, x = np.mgrid[:300, :50]
    ridges = sum(np.exp(-0.5 * ((x - c - 6 * np.sin(y / 30)) / 2) ** 2) for c in (15, 35))
    image = 1e22 * (1 + np.asarray(ridges)) * np.random.default_rng(0).lognormal(0, 0.1, y.shape)
    if missing:
        image[140:160, 10:20] = np.nan
    return np.asarray(image, np.float32)


def formulas(image: FloatArray) -> dict[str, npt.NDArray[np.float64]]:
    """Return the baselines of the whole map at once."""
    log_n = np.log10(np.where(np.isfinite(image), image, np.nanmedian(image)).astype(float))
    return {
        "column density": log_n,
        "local contrast": log_n - gaussian_filter(log_n, 12),
        "ridge filter": sato(log_n, sigmas=[1.5, 2, 3], black_ridges=False),
    }


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("rows", [1, 37, 300])
@pytest.mark.parametrize("chunk_pixels", [8000, CHUNK_PIXELS])  # 8000: chunks of a few columns
def test_bands_and_chunks_give_the_formula_of_the_whole_map(name: str, rows: int, chunk_pixels: int) -> None:
    image = tall_map()
    maps = BaselineMaps(ArrayMap(image[None]), chunk_pixels=chunk_pixels)
    some = range(0, 300, rows) if rows > 1 else range(120, 180, 20)
    for y0 in some:
        y1 = min(y0 + rows, 300)
        np.testing.assert_allclose(maps.rows(name, y0, y1), formulas(image)[name][y0:y1], atol=2e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_chunks_change_no_bit(name: str) -> None:
    planes = ArrayMap(tall_map()[None])
    small, large = (BaselineMaps(planes, chunk_pixels=pixels) for pixels in (8000, CHUNK_PIXELS))
    np.testing.assert_array_equal(small.rows(name, 100, 200), large.rows(name, 100, 200))


def test_missing_pixels_take_the_median_of_a_sample() -> None:
    image = tall_map()
    assert BaselineMaps(ArrayMap(image[None]), sample_pixels=500).fill == pytest.approx(
        float(np.nanmedian(image)), rel=0.05
    )


def test_map_with_values_of_zero_or_below_is_taken_as_it_is() -> None:
    image = tall_map(missing=False)
    image[5, 5] = -1e21
    maps = BaselineMaps(ArrayMap(image[None]))
    assert not maps.log
    np.testing.assert_array_equal(maps.rows("column density", 0, 300), image)


def test_map_without_a_valid_pixel_is_flat() -> None:
    maps = BaselineMaps(ArrayMap(np.full((1, 70, 20), np.nan, np.float32)))
    for name in BASELINES:
        assert np.abs(maps.rows(name, 0, 70)).max() < 1e-12
