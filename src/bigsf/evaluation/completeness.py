"""Injected filaments of known contrast -> which of them a model finds, on a real map without known ground truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bigsf.arrays import BoolArray, FloatArray, IntArray
from bigsf.evaluation.baseline_scales import BaselineTiles, ScaledBaselines, first_scales
from bigsf.evaluation.baselines import BASELINES, sampled_tiles
from bigsf.evaluation.injected_planes import InjectedPlanes
from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.out_of_fold import ensemble_mean, mean_threshold
from bigsf.evaluation.records import Completeness
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.tiling import Tile, in_bands
from bigsf.models.predicted_band import BandPredictor, PixelMask

_BINS = 8, 16
"""Bins of contrast, at least and at most."""

_PER_BIN = 60  # filaments, where there are more bins than the least


def measure_completeness(
    injected: InjectedPlanes,
    predictor: BandPredictor,
    thresholds: Sequence[float],
    segmented: Path,
    pixel_mask: PixelMask | None = None,
    baselines: BaselineTiles | None = None,
) -> Completeness:
    """Predict a map with injected filaments, and measure which part of them is marked, by contrast.

    The same is measured for the baselines, at thresholds at which they mark as many pixels of the original map as the
    model does.

    Parameters
    ----------
    injected
        The map with injected filaments. Windows without them are not predicted.
    predictor
        One model or several. Their probabilities are averaged.
    thresholds
        The threshold of each model. A pixel is marked where the mean probability reaches the mean threshold.
    segmented
        The prediction of the same models for the original map: a FITS file with probabilities and MASK, as `bigsf
        kfold` and `bigsf segment` write it.
    pixel_mask
        Which model may predict which pixel. By default every model predicts every pixel.
    baselines
        The baselines of the original map. By default they have the first scales that
        `bigsf.evaluation.baselines.BASELINES` has.

    Returns
    -------
    Completeness
        Completeness against contrast. The lists are empty where no filament was predicted.

    Examples
    --------
    >>> injected = bigsf.InjectedPlanes(bigsf.PatchFile("galaxy.h5"))
    >>> model = bigsf.Snapshot.load("best.pt").build_model()  # doctest: +SKIP
    >>> predictor = bigsf.SlidingWindowPredictor([model], window=64)  # doctest: +SKIP
    >>> bigsf.measure_completeness(injected, predictor, [0.5], Path("found.fits"))  # doctest: +SKIP
    """
    bins = len(injected.filaments) + 1
    pixels = np.zeros(bins, np.int64)
    found = {name: np.zeros((2, bins), np.int64) for name in (MODEL, *BASELINES)}
    without = baselines
    if without is None:
        without = ScaledBaselines(injected.planes, first_scales(len(predictor.models)), pixel_mask)
    with_filaments = without.on_map(injected)
    on_filaments = mask_of_filaments(injected, len(predictor.models), pixel_mask)

    with FitsImage(segmented) as probability, FitsImage(segmented, "MASK") as mask:
        levels, marked = _baseline_thresholds(without, probability, mask)
        bands = in_bands(predictor.predict_bands(injected, on_filaments), injected.y_edges[1:])
        for row, (y0, y1, probabilities) in enumerate(bands):
            for tile in injected.tiles(row):
                of_models = probabilities[:, :, tile.columns]
                mean = ensemble_mean(of_models)
                marks = {MODEL: (mean >= mean_threshold(of_models, thresholds), mask.read(y0, y1, tile.columns) > 0)}
                for name, level in levels.items():
                    after, before = (maps.tile(name, tile) >= level for maps in (with_filaments, without))
                    marks[name] = after, before
                ids, predicted = injected.ids(tile), np.isfinite(mean)
                pixels += np.bincount(ids[predicted], minlength=bins)
                for name, after_and_before in marks.items():
                    found[name] += [np.bincount(ids[predicted & mark], minlength=bins) for mark in after_and_before]
    return _by_contrast(injected, pixels, found, marked)


def mask_of_filaments(injected: InjectedPlanes, models: int, pixel_mask: PixelMask | None = None) -> PixelMask:
    """Return the pixel mask that lets models predict the injected filaments alone, each of them its own pixels."""

    def mask(tile: Tile) -> BoolArray:
        filaments = np.repeat((injected.ids(tile) > 0)[None], models, axis=0)
        return filaments if pixel_mask is None else filaments & pixel_mask(tile)

    return mask


def _baseline_thresholds(
    baselines: BaselineTiles, probability: FitsImage, mask: FitsImage
) -> tuple[dict[str, float], float]:
    """Return the threshold at which each baseline marks the same fraction of the pixels as MASK, and that fraction.

    On large maps both come from a sample.
    """

    def is_predicted(tile: Tile) -> BoolArray:
        return np.isfinite(probability.read(tile.y0, tile.y1, tile.columns))

    marks, values = [], {name: list[FloatArray]() for name in BASELINES}
    for tile, predicted in sampled_tiles(probability.shape, is_predicted):
        marks.append(mask.read(tile.y0, tile.y1, tile.columns)[predicted] > 0)
        for name, samples in values.items():
            samples.append(baselines.tile(name, tile)[predicted])
    marked = float(np.concatenate(marks).mean())
    levels = {name: float(np.quantile(np.concatenate(samples), 1 - marked)) for name, samples in values.items()}
    return levels, marked


def _by_contrast(injected: InjectedPlanes, pixels: IntArray, found: dict[str, IntArray], marked: float) -> Completeness:
    """Average over the filaments of each bin of contrast.

    Parameters
    ----------
    injected
        The filaments.
    pixels
        Predicted pixels of each filament `(filaments + 1,)`; index 0 is no filament.
    found
        Marked pixels of each filament, by map: with the injected filaments, then without, `(2, filaments + 1)`.
    marked
        Fraction of all pixels that each map marks.
    """
    contrast = np.array([filament.contrast for filament in injected.filaments])
    predicted = np.flatnonzero(pixels[1:])
    by_contrast = predicted[np.argsort(contrast[predicted], kind="stable")]
    bins = min(int(np.clip(len(predicted) // _PER_BIN, *_BINS)), max(1, len(predicted)))
    groups = [group for group in np.array_split(by_contrast, bins) if len(group)]

    def mean_fraction(counts: IntArray) -> list[float]:
        return [float((counts[1 + group] / pixels[1 + group]).mean()) for group in groups]

    return Completeness(
        profile=injected.profile,
        width_px=injected.width_px,
        marked=marked,
        contrast=[float(np.exp(np.log(contrast[group]).mean())) for group in groups],
        filaments=[len(group) for group in groups],
        completeness={name: mean_fraction(after) for name, (after, _) in found.items()},
        before={name: mean_fraction(before) for name, (_, before) in found.items()},
    )
