"""Models on a device -> the time in which they predict windows, or a whole map, measured by predicting a few."""

import time
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from bigsf.maps.tiling import window_starts
from bigsf.models.device import autocast
from bigsf.models.orientations import VIEWS
from bigsf.models.segmentation_model import SegmentationModel, with_folded_norms
from bigsf.models.sliding_window import SlidingWindowPredictor

_SAMPLE = 16  # windows that are timed at a time on a CPU, at most


def shortest_time(action: Callable[[int], object]) -> float:
    """Run an action once to warm up; return the shortest of three timed runs, in seconds."""
    action(0)
    seconds = []
    for number in range(1, 4):
        started = time.monotonic()
        action(number)
        seconds.append(time.monotonic() - started)
    return min(seconds)


def seconds_per_window(model: SegmentationModel, image: Tensor, position: Tensor | None, dtype: torch.dtype) -> float:
    """Return the time in which a model predicts a window, one of a batch.

    Parameters
    ----------
    model
        The model.
    image, position
        A batch on the device of the model.
    dtype
        The number format in which the network runs.
    """
    folded = with_folded_norms(model)

    def predict(number: int) -> None:
        with torch.inference_mode(), autocast(image.device, dtype):
            folded.probabilities(image, position).cpu()

    return shortest_time(predict) / len(image)


def seconds_of_prediction(predictor: SlidingWindowPredictor, shape: tuple[int, int], channels: int) -> float:
    """Return about the time in which a map of shape (ny, nx) is predicted, as if no data were missing."""
    window, device = predictor.window, predictor.device
    number = predictor.batch_size if device.type == "cuda" else min(_SAMPLE, predictor.batch_size)
    image, position = (
        torch.ones(number, channels, window, window, device=device),
        torch.ones(number, 2, device=device),
    )
    each = [
        seconds_per_window(model, image, position if model.coordinates else None, predictor.dtype)
        for model in predictor.models
    ]
    windows = sum(
        prod(len(window_starts(-(-n // scale), window, predictor.stride)) for n in shape) for scale in predictor.scales
    )
    return sum(each) * windows * (VIEWS if predictor.tta else 1)
