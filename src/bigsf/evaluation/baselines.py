"""A map -> baselines: three maps that need no training, and that a network must beat."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.filters import sato

from bigsf.arrays import Float64Array, FloatArray
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import CHUNK_PIXELS, bands

_MARGIN_PX = 48  # no filter here reaches further along y or x, so that chunks give what the whole map gives
_FILL_PX = 68  # the diagonal of the margin: no filter sees a missing pixel further than this from where it is centred
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

    Missing pixels take the value of the nearest valid pixel, so that filters see no edge around a hole. Those that are
    more than 68 pixels from any valid pixel take the median of the map: no filter sees them from a valid pixel.

    Parameters
    ----------
    planes
        The map. Its first channel is filtered: log10 of it where all values are positive, otherwise the values
        themselves.
    sample_pixels
        The map is sampled with about this many pixels. The sample gives the median, and decides whether log10 is taken.
        If so, a pixel that is not positive counts as missing.
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
        self.median = float(np.median(sample)) if sample.size else 0.0

    def rows(self, name: str, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 (exclusive) of the baseline `name`, `(rows, nx)`. No pixel is NaN."""
        ny, nx = self.planes.shape
        reach = _MARGIN_PX + _FILL_PX
        top, y_filter = max(0, y0 - reach), max(0, y0 - _MARGIN_PX)
        image = self.planes.read_rows(top, min(ny, y1 + reach))[0]
        baseline = np.empty((y1 - y0, nx), np.float32)
        for x0, x1 in bands(nx, max(1, self.chunk_pixels // _FILTER_PLANES // len(image))):
            left, x_filter = max(0, x0 - reach), max(0, x0 - _MARGIN_PX)
            chunk = self._filled(image[:, left : x1 + reach])
            chunk = chunk[y_filter - top : y1 + _MARGIN_PX - top, x_filter - left : x1 + _MARGIN_PX - left]
            filtered = BASELINES[name](np.log10(chunk) if self.log else chunk)
            baseline[:, x0:x1] = filtered[y0 - y_filter : y1 - y_filter, x0 - x_filter : x1 - x_filter]
        return baseline

    def _filled(self, image: FloatArray) -> Float64Array:
        """Return a part of the map in which missing pixels have the value of the nearest valid pixel, or the median."""
        values = image.astype(np.float64)
        valid = values > 0 if self.log else np.isfinite(values)
        if valid.all():
            return values
        if not valid.any():
            return np.full_like(values, self.median)
        distance, (y, x) = distance_transform_edt(~valid, return_indices=True)
        return np.where(distance <= _FILL_PX, values[y, x], self.median)
