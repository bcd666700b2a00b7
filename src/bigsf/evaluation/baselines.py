"""A map -> baselines: three maps that need no training, and that a network must beat."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import sato

from bigsf.arrays import Float64Array, FloatArray
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import CHUNK_PIXELS, bands

_MARGIN_PX = 64  # no filter here reaches as far, so that chunks give what the whole map gives
_FILTER_PLANES = 8  # about as many planes of a chunk are in memory while it is filtered


def column_density(log_n: Float64Array) -> Float64Array:
    """Return log10 of the map itself."""
    return log_n


def local_contrast(log_n: Float64Array) -> Float64Array:
    """Return log10 of the map minus its Gaussian mean of sigma 12 pixels."""
    return np.asarray(log_n - gaussian_filter(log_n, 12))


def ridge_filter(log_n: Float64Array) -> FloatArray:
    """Return the ridge filter of Sato et al. (1998) of log10 of the map, with sigma 1.5, 2 and 3 pixels."""
    return np.asarray(sato(log_n, sigmas=[1.5, 2, 3], black_ridges=False), np.float32)


BASELINES: dict[str, Callable[[Float64Array], Float64Array | FloatArray]] = {
    "column density": column_density,
    "local contrast": local_contrast,
    "ridge filter": ridge_filter,
}


class BaselineMaps:
    """The baselines of a map, computed when rows are asked for.

    Parameters
    ----------
    planes
        The map. Its first channel is filtered: log10 of it where all values are positive, otherwise the values
        themselves.
    sample_pixels
        The map is sampled with about this many pixels. The sample decides whether log10 is taken, and its median fills
        missing pixels.
    chunk_pixels
        Bound on the pixels that are held in memory. It does not change the result.
    """

    def __init__(self, planes: MapRows, sample_pixels: int = 2_000_000, chunk_pixels: int = CHUNK_PIXELS) -> None:
        self.planes, self.chunk_pixels = planes, chunk_pixels
        ny, nx = planes.shape
        step = max(1, ny * nx // sample_pixels)
        sample = np.concatenate(
            [planes.read_rows(y, y + 1)[0, 0, :: min(step, nx)] for y in range(0, ny, 1 + step // nx)]
        )
        sample = sample[np.isfinite(sample)]
        self.log = bool(sample.size and sample.min() > 0)
        self.fill = float(np.median(sample)) if sample.size else 0.0

    def rows(self, name: str, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 (exclusive) of the baseline `name`, `(rows, nx)`. No pixel is NaN."""
        ny, nx = self.planes.shape
        top, bottom = max(0, y0 - _MARGIN_PX), min(ny, y1 + _MARGIN_PX)
        image = self.planes.read_rows(top, bottom)[0]
        baseline = np.empty((y1 - y0, nx), np.float32)
        for x0, x1 in bands(nx, max(1, self.chunk_pixels // _FILTER_PLANES // (bottom - top))):
            left = max(0, x0 - _MARGIN_PX)
            chunk = np.nan_to_num(image[:, left : x1 + _MARGIN_PX].astype(np.float64), nan=self.fill)
            if self.log:
                chunk = np.log10(np.where(chunk > 0, chunk, self.fill))
            baseline[:, x0:x1] = BASELINES[name](chunk)[y0 - top : y1 - top, x0 - left : x1 - left]
        return baseline
