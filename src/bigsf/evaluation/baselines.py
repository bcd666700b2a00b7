"""Maps that need no learning, to stand beside every score: what a network must beat."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import sato

from bigsf.arrays import FloatArray
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import bands

_MARGIN_PX = 64  # more than any filter here reaches, so that bands give what the whole map gives


_CHUNK_PX = 2048  # columns that are filtered at a time, to bound memory


_SAMPLE = 2_000_000  # pixels from which the median of a map is taken


def column_density(log_n: FloatArray) -> FloatArray:
    """log10 of the map itself."""
    return log_n


def local_contrast(log_n: FloatArray) -> FloatArray:
    """log10 of the map minus its Gaussian mean of sigma 12 pixels."""
    return np.asarray(log_n - gaussian_filter(log_n, 12))


def ridge_filter(log_n: FloatArray) -> FloatArray:
    """Ridge filter of Sato et al. (1998) of log10 of the map, sigma 1.5, 2 and 3 pixels."""
    return np.asarray(sato(log_n, sigmas=[1.5, 2, 3], black_ridges=False), np.float32)


BASELINES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "column density": column_density,
    "local contrast": local_contrast,
    "ridge filter": ridge_filter,
}


class BaselineMaps:
    """The baselines of a map, by bands of rows.

    Parameters
    ----------
    planes
        The map; its first channel is filtered, as log10 where all of it is positive. Holes take the median.
    """

    def __init__(self, planes: MapRows) -> None:
        self.planes = planes
        ny, nx = planes.shape
        step = max(1, ny * nx // _SAMPLE)
        sample = np.concatenate(
            [planes.read_rows(y, y + 1)[0, 0, :: min(step, nx)] for y in range(0, ny, 1 + step // nx)]
        )
        sample = sample[np.isfinite(sample)]
        self.log = bool(sample.size and sample.min() > 0)
        self.fill = float(np.median(sample)) if sample.size else 0.0

    def rows(self, name: str, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 of a baseline, `(rows, nx)`."""
        ny, nx = self.planes.shape
        top, bottom = max(0, y0 - _MARGIN_PX), min(ny, y1 + _MARGIN_PX)
        image = self.planes.read_rows(top, bottom)[0]
        made = np.empty((y1 - y0, nx), np.float32)
        for x0, x1 in bands(nx, _CHUNK_PX):
            left = max(0, x0 - _MARGIN_PX)
            piece = np.nan_to_num(image[:, left : x1 + _MARGIN_PX].astype(np.float64), nan=self.fill)
            if self.log:
                piece = np.log10(np.where(piece > 0, piece, self.fill))
            made[:, x0:x1] = BASELINES[name](piece)[y0 - top : y1 - top, x0 - left : x1 - left]
        return made
