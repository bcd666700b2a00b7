"""Models + map -> probabilities, band by band, for validation, out-of-fold maps and segmentation.

Windows overlap, are predicted in batches, and are blended with a smooth weight. One band of rows is held in memory.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from astropy.wcs import WCS
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter

from bigsf.arrays import BoolArray, Float64Array, FloatArray, IntArray
from bigsf.errors import ConfigError
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import Tile, blend_weight, count_in_windows, extended, padded, row_chunks, window_starts
from bigsf.models.device import autocast, fetched, on_device
from bigsf.models.orientations import VIEWS, mean_and_views
from bigsf.models.positions import position_lookup
from bigsf.models.predicted_band import PixelMask, PredictedBand
from bigsf.models.pyramid import BinnedMap, LargestScale, enlarged, squares, squares_beside
from bigsf.models.segmentation_model import SegmentationModel, with_folded_norms


class SlidingWindowPredictor:
    """Predicts the pixels of a map with one model or several.

    Parameters
    ----------
    models
        Models on `device`. They must not be trained while bands are read. They are used in evaluation mode.
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
    views
        Keep the eight views of the test-time augmentation of one model apart too, so that `PredictedBand` has them. It
        does not change the probability, and takes eight more planes of a band, and of each binned map, in memory.

    Raises
    ------
    ConfigError
        Where windows at such a stride would leave gaps.
    ValueError
        Where views are to be kept apart of several models, or without test-time augmentation.

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
        views: bool = False,
    ) -> None:
        if views and not (tta and len(models) == 1):
            raise ValueError("Views are kept apart of one model with test-time augmentation alone.")
        stride = max(1, window // 2) if stride is None else stride
        if not 1 <= stride <= window:
            raise ConfigError(f"A stride of {stride} pixels does not cover a map: use one from 1 to {window}.")
        self.models = list(models)
        self.window, self.stride, self.batch_size = window, stride, batch_size
        self.device, self.dtype, self.scales = device or torch.device("cpu"), dtype, sorted(set(scales))
        self._locate = [position_lookup(model.coordinates, wcs) for model in models]
        self._folded = self.models
        self.tta, self.views = tta, VIEWS if views else 0
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
        for band in self.predict_tile(Tile.whole(planes.shape), planes, pixel_mask, advance):
            yield band.y0, band.y1, band.probability

    def predict_tile(
        self,
        tile: Tile,
        planes: MapRows,
        pixel_mask: PixelMask | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Iterator[PredictedBand]:
        """Yield the bands of rows of a part of a map, whose pixels are those of the whole map's prediction.

        A band has the views too, and the factor by which the map was binned: that at which the mean over the models is
        largest; of equal ones the smallest. The probability of each model, and of each view, is its own largest.

        Parameters
        ----------
        tile
            The part; the bands have its columns.
        planes, pixel_mask, advance
            As for `predict_bands`.
        """
        number = len(self.models)
        self._folded = [with_folded_norms(model) for model in self.models]  # training may have changed them
        levels = [_Level(self, planes, n, tile, pixel_mask) for n in self.scales if n > 1]
        bands = self._predict_level if 1 in self.scales else self._zeros
        for y0, y1, probability in bands(planes, pixel_mask, advance, tile):
            wanted = ~np.isnan(probability)
            largest = LargestScale(np.asarray(wanted.any(axis=0)))
            if 1 in self.scales:
                largest.add(1, probability[:number])
            for level in levels:
                coarse = level.enlarged(tile._replace(y0=y0, y1=y1))
                np.fmax(probability, coarse, out=probability, where=wanted)
                largest.add(level.n, coarse[:number])
            probability[np.isinf(probability)] = np.nan
            yield PredictedBand(y0, y1, probability[:number], largest.scale, probability[number:])

    def _zeros(
        self, planes: MapRows, pixel_mask: PixelMask | None, advance: Callable[[int], None], tile: Tile
    ) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield bands `(models + views, rows, nx)` that are 0 where a pixel is to be predicted and NaN elsewhere."""
        for top, bottom in row_chunks(tile.shape):
            band = tile._replace(y0=tile.y0 + top, y1=tile.y0 + bottom)
            wanted = self._wanted(planes.read_tile(band), pixel_mask, band)
            zeros = np.where(wanted, np.float32(0), np.float32(np.nan))
            yield band.y0, band.y1, np.repeat(zeros, 1 + self.views, axis=0)
            advance(bottom - top)

    def _predict_level(
        self,
        planes: MapRows,
        pixel_mask: PixelMask | None,
        advance: Callable[[int], None],
        tile: Tile,
        n: int = 1,
    ) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield the bands `(models + views, rows, columns)` of a part of a map that is binned by n.

        They are NaN where nothing was to be predicted, and infinite where a model gave no number.
        """
        (ny, nx), window = planes.shape, self.window
        starts_y, starts_x = (
            starts[(starts < end) & (starts + window > first)]
            for starts, first, end in (
                (window_starts(ny, window, self.stride), tile.y0, tile.y1),
                (window_starts(nx, window, self.stride), tile.x0, tile.x1),
            )
        )
        left = int(starts_x[0])
        width, columns = int(starts_x[-1]) + window - left, slice(tile.x0 - left, tile.x1 - left)
        group = max(1, self.batch_size // len(starts_x))  # rows of windows that fill a batch
        weights = np.zeros((len(self.models), 0, width), np.float32)
        sums = np.repeat(weights, 1 + self.views, axis=0)
        top = int(starts_y[0])
        for first in range(0, len(starts_y), group):
            y = starts_y[first : first + group]
            done = int(y[0]) - top
            top, height = int(y[0]), int(y[-1] - y[0]) + window
            sums, weights = (extended(plane[:, done:], height) for plane in (sums, weights))
            seen = Tile(top, min(top + height, ny), left, min(left + width, nx))
            band = padded(planes.read_tile(seen), (height, width))
            wanted = self._wanted(band, pixel_mask, seen)
            wanted[:, : max(0, tile.y0 - top)] = wanted[:, max(0, tile.y1 - top) :] = False
            wanted[:, :, : columns.start] = wanted[:, :, columns.stop :] = False
            for number in range(len(self.models)):
                own = sums[number : number + 1 + self.views]
                self._predict(number, band, wanted[number], seen, n, y, starts_x, own, weights[number])
            last = first + group >= len(starts_y)
            start, end = max(top, tile.y0), tile.y1 if last else min(int(starts_y[first + group]), tile.y1)
            if start >= end:
                continue
            rows = slice(start - top, end - top)
            with np.errstate(invalid="ignore"):
                mean = sums[:, rows, columns] / weights[:, rows, columns]
            mean[np.isnan(mean)] = np.inf
            yield start, end, np.where(wanted[:, rows, columns], mean, np.float32(np.nan))
            advance(end - start)

    def _wanted(self, band: FloatArray, pixel_mask: PixelMask | None, seen: Tile) -> BoolArray:
        """Return which model predicts which pixel of a band, whose pixels beyond those of `seen` are missing."""
        valid = np.isfinite(band).all(axis=0, keepdims=True)
        wanted: BoolArray = np.repeat(valid, len(self.models), axis=0)
        if pixel_mask is not None:
            ny, nx = seen.shape
            wanted[:, :ny, :nx] &= pixel_mask(seen)
        return wanted

    def _predict(
        self,
        model: int,
        band: FloatArray,
        wanted: BoolArray,
        seen: Tile,
        n: int,
        starts_y: IntArray,
        starts_x: IntArray,
        sums: FloatArray,
        weights: FloatArray,
    ) -> None:
        starts_y, starts_x = starts_y - seen.y0, starts_x - seen.x0
        row, column = np.nonzero(count_in_windows(wanted, self.window, starts_y, starts_x))
        y, x = starts_y[row], starts_x[column]
        windows = sliding_window_view(band, (self.window, self.window), axis=(1, 2))
        begun: list[tuple[IntArray, IntArray, Callable[[], FloatArray]]] = []
        for start in range(0, len(y), self.batch_size):
            ys, xs = y[start : start + self.batch_size], x[start : start + self.batch_size]
            corner = np.stack([ys + seen.y0, xs + seen.x0], axis=1)
            centre = np.asarray(n * (corner + self.window / 2) - 0.5, np.float64)
            probability = self._probability(model, windows[:, ys, xs].swapaxes(0, 1), centre)
            begun.append((ys, xs, probability))
            if len(begun) > 1:  # a GPU works on this batch while the CPU blends the one before
                self._blend(*begun.pop(0), sums, weights)
        for batch in begun:
            self._blend(*batch, sums, weights)

    def _blend(
        self, ys: IntArray, xs: IntArray, probability: Callable[[], FloatArray], sums: FloatArray, weights: FloatArray
    ) -> None:
        """Add a batch of windows, whose first pixels are given, to the weighted sums."""
        weighted = self._weight * probability()
        for i, (y0, x0) in enumerate(zip(ys, xs, strict=True)):
            place = np.s_[..., y0 : y0 + self.window, x0 : x0 + self.window]
            sums[place] += weighted[i]
            weights[place] += self._weight

    @torch.inference_mode()
    def _probability(self, model: int, image: FloatArray, centre: Float64Array) -> Callable[[], FloatArray]:
        """Begin to predict a batch of windows, and return a function that returns the probabilities."""
        locate = self._locate[model]
        position = on_device(locate(centre), self.device) if locate else None
        batch = on_device(np.ascontiguousarray(image), self.device)
        folded = self._folded[model]
        with autocast(self.device, self.dtype):
            if self.tta:
                probability = mean_and_views(lambda view: folded.probabilities(view, position), batch)
            else:
                probability = folded.probabilities(batch, position)
        return fetched(probability[:, : 1 + self.views])


class _Level:
    """The probability of a part of a map that is predicted on the map binned by n; held in float16."""

    def __init__(
        self, predictor: SlidingWindowPredictor, planes: MapRows, n: int, tile: Tile, pixel_mask: PixelMask | None
    ) -> None:
        binned, (ny, nx) = BinnedMap(planes, n), planes.shape
        self.n, self._shape = n, binned.shape
        self._held = squares_beside(tile, n, binned.shape)

        def wanted(part: Tile) -> BoolArray:
            assert pixel_mask is not None
            top, left = max(0, part.y0 - 1), max(0, part.x0 - 1)
            around = Tile(n * top, min(n * (part.y1 + 1), ny), n * left, min(n * (part.x1 + 1), nx))
            mask = squares(pixel_mask(around), n, False).any(axis=-1)
            rows, columns = part.shape
            return np.asarray(maximum_filter(mask, (1, 3, 3))[:, part.y0 - top :, part.x0 - left :][:, :rows, :columns])

        bands = predictor._predict_level(binned, wanted if pixel_mask else None, lambda _: None, self._held, n)
        self._probability = np.concatenate([band.astype(np.float16) for _, _, band in bands], axis=1)

    def enlarged(self, tile: Tile) -> FloatArray:
        """Return the probability `(models + views, y, x)` of a part of the map, on its grid."""
        return enlarged(self._probability, self._held, self.n, tile, self._shape)
