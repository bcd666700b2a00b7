"""Models + map -> probabilities, band by band, for validation, out-of-fold maps and segmentation.

Windows overlap, are predicted in batches, and are blended with a smooth weight. One band of rows is held in memory.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from astropy.wcs import WCS
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter

from bigsf.arrays import BoolArray, Float64Array, FloatArray, IntArray, MaskArray
from bigsf.errors import ConfigError
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import blend_weight, count_in_windows, row_chunks, window_starts
from bigsf.models.device import autocast
from bigsf.models.positions import position_lookup
from bigsf.models.pyramid import BinnedMap, LargestScale, enlarged, squares
from bigsf.models.segmentation_model import SegmentationModel, with_folded_norms

PixelMask = Callable[[int, int], BoolArray]
"""A function from rows (y0, y1) to a mask `(models, rows, nx)`, True where a model predicts a pixel."""


class SlidingWindowPredictor:
    """Predicts the pixels of a map with one model or several.

    Parameters
    ----------
    models
        Models on `device`. Their weights at the start of `predict_bands` are used, in evaluation mode.
    window
        Side of the windows in pixels: the patch size that the models were trained on.
    stride
        Pixels from one window to the next; by default half a window.
    batch_size
        Windows at a time. It changes the speed, not the result.
    device, dtype
        Where and in which number format the networks run.
    wcs
        The WCS of the map, for models that take Galactic positions.
    tta
        Test-time augmentation: predict each window in its eight orientations and take the mean, for eight times the
        work.
    scales
        Factors by which the map is binned before it is predicted. The probability of a pixel is the largest of those of
        the binned maps, brought back to the grid.

    Raises
    ------
    ConfigError
        Where windows at such a stride would leave gaps.

    Examples
    --------
    >>> model = bigsf.Snapshot.load("higal-small").build_model()
    >>> bigsf.SlidingWindowPredictor([model], window=64).stride
    32
    """

    def __init__(
        self,
        models: Sequence[SegmentationModel],
        window: int,
        stride: int | None = None,
        batch_size: int = 32,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        wcs: WCS | None = None,
        tta: bool = False,
        scales: Sequence[int] = (1,),
    ) -> None:
        stride = max(1, window // 2) if stride is None else stride
        if not 1 <= stride <= window:
            raise ConfigError(f"A stride of {stride} pixels does not cover a map: use one from 1 to {window}.")
        self.models = list(models)
        self.window, self.stride, self.batch_size = window, stride, batch_size
        self.device, self.dtype, self.scales = device or torch.device("cpu"), dtype, sorted(set(scales))
        self._locate = [position_lookup(model.coordinates, wcs) for model in models]
        self._folded = self.models
        self._predict_windows = _predict_in_all_orientations if tta else _predict_once
        self._weight = blend_weight(window)

    def predict_bands(
        self, planes: MapRows, pixel_mask: PixelMask | None = None, advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield bands of rows (y0, y1, probability), top to bottom, that together are the whole map.

        Parameters
        ----------
        planes
            The map; one smaller than the window is padded with missing pixels.
        pixel_mask
            Which model predicts which pixel; by default each model predicts all. Windows without such a pixel are
            skipped.
        advance
            Called with the number of rows done.

        Yields
        ------
        y0, y1 : int
            The rows.
        probability : ndarray
            float32 `(models, y1 - y0, nx)`; NaN where the map is missing, or where the pixel mask is False.
        """
        for y0, y1, probability, _ in self._predict_scales(planes, pixel_mask, advance):
            yield y0, y1, probability

    def predict_scales(
        self, planes: MapRows, advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[int, int, FloatArray, MaskArray]]:
        """Yield the bands of `predict_bands`, and the factor by which the map was binned for the probability.

        It is the factor at which the mean over the models is largest; of equal ones the smallest. The probability of
        each model is its own largest.

        Parameters
        ----------
        planes, advance
            As for `predict_bands`; each model predicts all pixels.

        Yields
        ------
        y0, y1 : int
            The rows.
        probability : ndarray
            float32 `(models, y1 - y0, nx)`; NaN where the map is missing.
        scale : ndarray
            uint8 `(y1 - y0, nx)`; 0 where the probability is NaN, or no square of a binned map is valid.
        """
        return self._predict_scales(planes, None, advance)

    def _predict_scales(
        self, planes: MapRows, pixel_mask: PixelMask | None, advance: Callable[[int], None]
    ) -> Iterator[tuple[int, int, FloatArray, MaskArray]]:
        self._folded = [with_folded_norms(model) for model in self.models]  # training may have changed them
        levels = {n: self._binned_level(planes, n, pixel_mask) for n in self.scales if n > 1}
        bands = self._predict_level if 1 in self.scales else self._zeros
        for y0, y1, probability in bands(planes, pixel_mask, advance):
            wanted = ~np.isnan(probability)
            largest = LargestScale(np.asarray(wanted.any(axis=0)))
            if 1 in self.scales:
                largest.add(1, probability)
            for n, level in levels.items():
                coarse = enlarged(level, n, y0, y1, planes.shape[1])
                np.fmax(probability, coarse, out=probability, where=wanted)
                largest.add(n, coarse)
            yield y0, y1, probability, largest.scale

    def _zeros(
        self, planes: MapRows, pixel_mask: PixelMask | None, advance: Callable[[int], None]
    ) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield bands that are 0 where a pixel is to be predicted and NaN elsewhere."""
        for y0, y1 in row_chunks(planes.shape):
            wanted = self._wanted(planes.read_rows(y0, y1), pixel_mask, y0, y1, planes.shape[1])
            yield y0, y1, np.where(wanted, np.float32(0), np.float32(np.nan))
            advance(y1 - y0)

    def _binned_level(self, planes: MapRows, n: int, pixel_mask: PixelMask | None) -> FloatArray:
        """Return the probability of a binned map as a whole, `(models, ny / n, nx / n)` in float16."""
        ny = planes.shape[0]

        def wanted(y0: int, y1: int) -> BoolArray:
            assert pixel_mask is not None
            top = max(0, y0 - 1)
            mask = squares(pixel_mask(n * top, min(n * (y1 + 1), ny)), n, False).any(axis=-1)
            return np.asarray(maximum_filter(mask, (1, 3, 3))[:, y0 - top :][:, : y1 - y0])

        bands = self._predict_level(BinnedMap(planes, n), wanted if pixel_mask else None, lambda _: None, n)
        return np.concatenate([probability.astype(np.float16) for _, _, probability in bands], axis=1)

    def _predict_level(
        self, planes: MapRows, pixel_mask: PixelMask | None, advance: Callable[[int], None], n: int = 1
    ) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield the bands of a map that is binned by n."""
        ny, nx = planes.shape
        starts_y = window_starts(ny, self.window, self.stride)
        starts_x = window_starts(nx, self.window, self.stride)
        group = max(1, self.batch_size // len(starts_x))  # rows of windows that fill a batch
        sums = weights = np.zeros((len(self.models), 0, max(nx, self.window)), np.float32)
        top = 0
        for first in range(0, len(starts_y), group):
            y = starts_y[first : first + group]
            done = int(y[0]) - top
            top, height = int(y[0]), int(y[-1] - y[0]) + self.window
            sums, weights = (_extended(plane[:, done:], height) for plane in (sums, weights))
            band = _padded(planes.read_rows(top, min(top + height, ny)), (height, sums.shape[2]))
            wanted = self._wanted(band, pixel_mask, top, min(top + height, ny), nx)
            for number in range(len(self.models)):
                self._predict(number, band, wanted[number], (top, n), y - top, starts_x, sums[number], weights[number])
            last = first + group >= len(starts_y)
            end = ny if last else int(starts_y[first + group])
            rows = slice(0, end - top)
            with np.errstate(invalid="ignore"):
                mean = sums[:, rows, :nx] / weights[:, rows, :nx]
            yield top, end, np.where(wanted[:, rows, :nx], mean, np.float32(np.nan))
            advance(end - top)

    def _wanted(self, band: FloatArray, pixel_mask: PixelMask | None, y0: int, y1: int, nx: int) -> BoolArray:
        valid = np.isfinite(band).all(axis=0, keepdims=True)
        wanted: BoolArray = np.repeat(valid, len(self.models), axis=0)
        if pixel_mask is not None:
            wanted[:, : y1 - y0, :nx] &= pixel_mask(y0, y1)
        return wanted

    def _predict(
        self,
        model: int,
        band: FloatArray,
        wanted: BoolArray,
        level: tuple[int, int],
        starts_y: IntArray,
        starts_x: IntArray,
        sums: FloatArray,
        weights: FloatArray,
    ) -> None:
        top, n = level
        row, column = np.nonzero(count_in_windows(wanted, self.window, starts_y, starts_x))
        y, x = starts_y[row], starts_x[column]
        windows = sliding_window_view(band, (self.window, self.window), axis=(1, 2))
        for start in range(0, len(y), self.batch_size):
            ys, xs = y[start : start + self.batch_size], x[start : start + self.batch_size]
            centre = n * (np.stack([ys + top, xs], axis=1) + self.window / 2) - 0.5
            probability = self._probability(model, windows[:, ys, xs].swapaxes(0, 1), centre)
            for i, (y0, x0) in enumerate(zip(ys, xs, strict=True)):
                place = np.s_[y0 : y0 + self.window, x0 : x0 + self.window]
                sums[place] += self._weight * probability[i]
                weights[place] += self._weight

    @torch.inference_mode()
    def _probability(self, model: int, image: FloatArray, centre: Float64Array) -> FloatArray:
        locate = self._locate[model]
        position = locate(centre).to(self.device) if locate else None
        batch = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
        with autocast(self.device, self.dtype):
            probability = self._predict_windows(self._folded[model], batch, position)
        return np.asarray(probability[:, 0].cpu().numpy())


def _predict_once(model: SegmentationModel, image: torch.Tensor, position: torch.Tensor | None) -> torch.Tensor:
    return model.probabilities(image, position)


def _predict_in_all_orientations(
    model: SegmentationModel, image: torch.Tensor, position: torch.Tensor | None
) -> torch.Tensor:
    """Return the mean of the probabilities over the eight orientations of square windows."""
    total = torch.zeros_like(image[:, :1])
    for turns in range(4):
        for mirrored in (False, True):
            view = image.rot90(turns, (2, 3))
            probability = model.probabilities(view.flip(3) if mirrored else view, position)
            total += (probability.flip(3) if mirrored else probability).rot90(-turns, (2, 3))
    return total / 8


def _extended(plane: FloatArray, height: int) -> FloatArray:
    """Return the plane `(m, rows, nx)` with rows of zeros added below, up to a height."""
    missing = max(0, height - plane.shape[1])
    return np.pad(plane, ((0, 0), (0, missing), (0, 0)))


def _padded(band: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return the band `(c, rows, nx)` with missing pixels added below and to the right."""
    below, right = shape[0] - band.shape[1], shape[1] - band.shape[2]
    if not below and not right:
        return band
    return np.pad(band, ((0, 0), (0, below), (0, right)), constant_values=np.nan)
