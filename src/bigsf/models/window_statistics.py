"""Windows of a map -> noise, smoothness, skewness and contrast of each: what a model knows of the maps it learnt from.

All four are ratios, so that the unit of a map makes no difference. The zero level matters to the contrast alone.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from bigsf.arrays import Float64Array, FloatArray, IntArray
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import CHUNK_PIXELS, bands, window_starts
from bigsf.models.pyramid import BinnedMap

MOST_WINDOWS = 400
"""Windows from which the statistics of a map are computed."""

_SIDE = 64  # pixels, the side of windows whose scatter is taken as it is

_LEAST_SIDE = 5  # pixels, for differences of pixels 4 apart

_MOST_BANDS = 20  # bands of rows in which the windows of a map lie

Quantity = Literal["noise", "smoothness", "skewness", "contrast"]

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

Statistics = dict[Quantity, Float64Array]
"""Each quantity of n windows, `(n,)`; NaN where it is not defined, as in a window of one value."""


class Range(NamedTuple):
    """The values of a quantity over windows."""

    low: float
    """The 5 % quantile."""
    median: float
    """The median."""
    high: float
    """The 95 % quantile."""


def window_statistics(windows: Tensor) -> Statistics:
    """Return the quantities of windows.

    ========== ======================================================================================================
    noise      white noise (`noise_level`) in units of the spread of the values (`patch_spread`)
    smoothness median difference of pixels 4 apart along an axis, in units of that of pixels 2 apart: 1 in white
               noise, 2 on a slope
    skewness   distance from the median to the 95 % quantile of the values, in units of that to the 5 % quantile
    contrast   spread of the values in units of their absolute median
    ========== ======================================================================================================

    Parameters
    ----------
    windows
        Raw values `(n, 1, y, x)`, NaN = missing. A window with fewer valid pixels than missing ones does not count,
        nor does one with a side of fewer than 5 pixels.

    Returns
    -------
    dict
        From the name of each quantity to its values `(m,)`, of the m windows that count.
    """
    if min(windows.shape[2:]) < _LEAST_SIDE:
        return concatenated([])
    windows = windows[2 * windows.isfinite().sum(dim=(1, 2, 3)) >= windows[0].numel()]
    spread = patch_spread(windows).flatten()
    faint, median, bright = _quantiles(windows, (0.05, 0.5, 0.95))
    return {
        "noise": _ratio(noise_level(windows).flatten(), spread),
        "smoothness": _ratio(_difference(windows, 4), _difference(windows, 2)),
        "skewness": _ratio(bright - median, median - faint),
        "contrast": _ratio(spread, median.abs()),
    }


def _ratio(value: Tensor, unit: Tensor) -> Float64Array:
    return (value / torch.where(unit > 0, unit, torch.nan)).double().numpy()


def _quantiles(windows: Tensor, fractions: Iterable[float]) -> list[Tensor]:
    """Return quantiles of the valid values of each window, `(n,)`."""
    ordered = windows.flatten(1).sort(dim=1).values  # NaN comes last
    last = ordered.isfinite().sum(dim=1, keepdim=True).clamp(min=1) - 1
    return [ordered.gather(1, (last * fraction).round().long())[:, 0] for fraction in fractions]


def _difference(windows: Tensor, lag: int) -> Tensor:
    """Return the median absolute difference of pixels at a distance along either axis, `(n,)`."""
    along_y = windows[:, :, lag:] - windows[:, :, :-lag]
    along_x = windows[..., lag:] - windows[..., :-lag]
    both = torch.cat([along_y.flatten(1), along_x.flatten(1)], dim=1)
    return both.abs().nanmedian(dim=1).values


def patch_spread(plane: Tensor) -> Tensor:
    """Return 1.48 times the median distance from the median of each patch, `(b, 1, 1, 1)`: sigma, were it Gaussian."""
    values = plane.flatten(1)
    distance = (values - values.nanmedian(dim=1, keepdim=True).values).abs()
    return 1.4826 * distance.nanmedian(dim=1).values.nan_to_num().view(-1, 1, 1, 1)


def noise_level(plane: Tensor) -> Tensor:
    """Return the white noise of each patch, `(b, 1, 1, 1)`, from the median of the mixed second differences."""
    mixed = plane.diff(dim=2).diff(dim=3).flatten(1)  # of standard deviation 2, were the noise white and of 1
    return 1.4826 / 2 * mixed.abs().nanmedian(dim=1).values.nan_to_num().view(-1, 1, 1, 1)


def concatenated(parts: Iterable[Statistics]) -> Statistics:
    """Return the statistics of all windows of several parts."""
    held = list(parts)
    return {name: np.concatenate([part[name] for part in held] or [np.empty(0)]) for name in QUANTITIES}


def ranges(statistics: Statistics, window: int = _SIDE) -> dict[Quantity, Range]:
    """Return the range of each quantity over windows; a quantity that no window has is left out.

    Parameters
    ----------
    statistics
        The quantities of windows in random order.
    window
        Side of the windows. Those smaller than 64 pixels scatter more: the range is that of the medians of so many of
        them as have the area of one of 64 pixels.
    """
    together = max(1, round((_SIDE / window) ** 2))
    found: dict[Quantity, Range] = {}
    for name, values in statistics.items():
        if len(finite := values[np.isfinite(values)]):
            groups = [np.median(group) for group in np.array_split(finite, max(1, len(finite) // together))]
            (low, high), median = np.quantile(groups, (0.05, 0.95)), np.median(finite)
            found[name] = Range(float(low), float(median), float(high))
    return found


def map_statistics(planes: MapRows, window: int, n: int = 1) -> Statistics:
    """Return the statistics of windows that are spread evenly over a map. Memory does not grow with its height.

    Parameters
    ----------
    planes
        The map; of several image planes, the first counts.
    window
        Side of the windows, in pixels of the binned map.
    n
        The factor by which the map is binned.
    """
    level = planes if n == 1 else BinnedMap(planes, n)
    return concatenated(window_statistics(torch.from_numpy(windows)[:, None]) for windows in _bands(level, window, n))


def _bands(level: MapRows, window: int, n: int) -> Iterator[FloatArray]:
    """Yield windows `(m, y, x)` from bands of rows, from top to bottom; half of their pixels or more are valid."""
    ny, nx = level.shape
    height, width = min(window, ny), min(window, nx)
    tops, lefts = (window_starts(length, window, max(1, window // 2)) for length in (ny, nx))
    tops = _evenly(tops, _MOST_BANDS)
    for top in tops.tolist():
        pieces = bands(height, max(1, CHUNK_PIXELS // (n * n * nx)))
        rows = np.concatenate([level.read_rows(top + y0, top + y1)[0] for y0, y1 in pieces])
        valid = np.cumsum(np.append(0, np.isfinite(rows).sum(axis=0)))
        full = lefts[2 * (valid[lefts + width] - valid[lefts]) >= height * width]
        if len(full):
            yield np.stack([rows[:, left : left + width] for left in _evenly(full, MOST_WINDOWS // len(tops)).tolist()])


def _evenly(values: IntArray, most: int) -> IntArray:
    """Return at most so many of some values, evenly spread."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(np.int64)]
