"""Which filaments of known contrast does a model find: completeness on a real map, where the truth is not known."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bigsf.arrays import FloatArray
from bigsf.evaluation.baselines import BASELINES, BaselineMaps
from bigsf.evaluation.injection import InjectedPlanes
from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.out_of_fold import ensemble_mean
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.tiling import in_bands
from bigsf.models.sliding_window import PixelMask, SlidingWindowPredictor

_BINS = 8


_SAMPLE = 1_000_000


def measure_recovery(
    injected: InjectedPlanes,
    predictor: SlidingWindowPredictor,
    cuts: FloatArray,
    segmented: Path,
    pixel_mask: PixelMask | None = None,
) -> dict[str, Any]:
    """SlidingWindowPredictor a map with filaments added, and measure how much of them is marked, by contrast.

    The baselines stand beside the model, at thresholds that mark as many pixels of the map as it is.

    Parameters
    ----------
    injected
        The map. Windows without added filaments are not predicted.
    predictor
        With one model or more, whose probabilities are averaged.
    cuts
        The threshold of each model, `(models, 1, 1)`.
    segmented
        What the same models make of the map as it is: a FITS file with probabilities and MASK, as `bigsf kfold` and
        `bigsf segment` write them.
    pixel_mask
        Which model may predictor which pixel; by default all predictor all.

    Returns
    -------
    dict
        `contrast`, the geometric middle of bins of contrast that hold about equally many filaments; `filaments`, their
        number; `completeness`, for each map the part of a filament's pixels (those within half a width of its spine)
        that is marked, averaged over the filaments of the bin; `before`, the same where none is added, which is what is
        marked by chance; `marked`, the part of the pixels that all mark on the map as it is.
    """
    bins = len(injected.filaments) + 1
    pixels = np.zeros(bins, np.int64)
    found = {name: np.zeros((2, bins), np.int64) for name in (MODEL, *BASELINES)}
    plain, added = BaselineMaps(injected.planes), BaselineMaps(injected)

    def near(y0: int, y1: int) -> npt.NDArray[np.bool_]:
        here = np.repeat((injected.ids(y0, y1) > 0)[None], len(predictor.models), axis=0)
        return here if pixel_mask is None else here & pixel_mask(y0, y1)

    with FitsImage(segmented) as probability, FitsImage(segmented, "MASK") as mask:
        thresholds, marked = _thresholds(plain, probability, mask)
        for y0, y1, each in in_bands(predictor.predict_bands(injected, near), injected.y_edges[1:]):
            mean, _, cut = ensemble_mean(each, {"whole": cuts})
            marks = {MODEL: (mean >= cut["whole"], mask.read(y0, y1) > 0)}
            for name, threshold in thresholds.items():
                after, before = (maps.rows(name, y0, y1) >= threshold for maps in (added, plain))
                marks[name] = after, before
            ids, predicted = injected.ids(y0, y1), np.isfinite(mean)
            pixels += np.bincount(ids[predicted], minlength=bins)
            for name, pair in marks.items():
                found[name] += [np.bincount(ids[predicted & where], minlength=bins) for where in pair]
    return {"marked": marked, **_by_contrast(injected, pixels, found)}


def _thresholds(plain: BaselineMaps, probability: FitsImage, mask: FitsImage) -> tuple[dict[str, float], float]:
    """Return at which thresholds the baselines mark as many pixels as a mask, and which part of them that is."""
    ny, nx = probability.shape
    rows = max(1, _SAMPLE // (4 * nx))
    bands = [(int(y), int(y) + rows) for y in np.linspace(0, ny - rows, 4)] if 4 * rows < ny else [(0, ny)]
    marks, values = [], {name: list[FloatArray]() for name in BASELINES}
    for y0, y1 in bands:
        predicted = np.isfinite(probability.read(y0, y1))
        marks.append(mask.read(y0, y1)[predicted] > 0)
        for name, of in values.items():
            of.append(plain.rows(name, y0, y1)[predicted])
    share = float(np.concatenate(marks).mean())
    return {name: float(np.quantile(np.concatenate(of), 1 - share)) for name, of in values.items()}, share


def _by_contrast(
    injected: InjectedPlanes, pixels: npt.NDArray[np.int64], found: dict[str, npt.NDArray[np.int64]]
) -> dict[str, Any]:
    contrast = np.array([filament.contrast for filament in injected.filaments])
    predicted = np.flatnonzero(pixels[1:])
    groups = np.array_split(
        predicted[np.argsort(contrast[predicted], kind="stable")], min(_BINS, max(1, len(predicted)))
    )

    def mean_share(counts: npt.NDArray[np.int64]) -> list[float]:
        return [float((counts[1 + group] / pixels[1 + group]).mean()) for group in groups if len(group)]

    return {
        "contrast": [float(np.exp(np.log(contrast[group]).mean())) for group in groups if len(group)],
        "filaments": [len(group) for group in groups if len(group)],
        "completeness": {name: mean_share(after) for name, (after, _) in found.items()},
        "before": {name: mean_share(before) for name, (_, before) in found.items()},
    }
