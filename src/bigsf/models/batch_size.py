"""A device, a memory budget and the shape of a map -> how many windows the networks predict at a time."""

from collections.abc import Sequence

import torch
from rich.filesize import decimal

from bigsf.errors import ConfigError
from bigsf.models.segmentation_model import SegmentationModel, with_folded_norms
from bigsf.option_names import option

MOST_ON_CPU = 64
"""Windows at a time; more do not make the prediction on a CPU faster."""

MOST_ON_GPU = 1024
"""The same on a GPU."""


def batch_size_on(
    device: torch.device, models: Sequence[SegmentationModel], window: int, channels: int, fixed: bool = False
) -> int:
    """Return how many windows fill a device: 64 on a CPU, and up to 1024 on a GPU, in half of its free memory.

    Parameters
    ----------
    device
        The device of the models.
    models, window, channels
        As for `batch_size_within`.
    fixed
        Take 64 on a GPU too, however much memory is free, so that the results have the same bits.
    """
    if device.type != "cuda" or fixed:
        return MOST_ON_CPU
    each = _window_bytes([with_folded_norms(model) for model in models], window, channels)
    return max(1, min(MOST_ON_GPU, int(_half_of_free(device) // each)))


def batch_size_within(
    memory_bytes: float,
    models: Sequence[SegmentationModel],
    window: int,
    channels: int,
    shape: tuple[int, int],
    scales: Sequence[int] = (1,),
    views: int = 0,
    gpu: torch.device | None = None,
    gpu_bytes: float | None = None,
) -> int:
    """Return how many windows at a time fit into a memory budget, beside the band of the map that is predicted.

    Parameters
    ----------
    memory_bytes
        The budget. Python and its libraries take memory besides.
    models
        The models.
    window
        Side of the windows in pixels.
    channels
        Number of image planes.
    shape
        Shape (ny, nx) of the part of the map that is predicted at a time: a tile, or the whole map.
    scales
        Factors by which the map is binned. The binned parts are held as a whole.
    views
        Views of test-time augmentation that are kept apart.
    gpu
        The GPU that the networks work on, in its own memory; by default they work on the CPU.
    gpu_bytes
        The budget of its memory; by default half of what is free.

    Raises
    ------
    ConfigError
        Where not even one window fits.
    """
    ny, nx = shape
    band = 4 * max(nx, window) * 2 * window * max(scales) * (channels + 2 * len(models) + views)
    band += sum(2 * (len(models) + views) * (ny // n) * (nx // n) for n in scales if n > 1)
    network = _window_bytes(models, window, channels)
    planes = 4 * window**2 * (2 * channels + 3 * (len(models) + views))  # of windows on their way to a GPU and back
    each = planes if gpu else network
    if band + each > memory_bytes:
        raise ConfigError(
            f"{option('memory')} ({decimal(int(memory_bytes))}) is too little: a band of the map takes "
            f"{decimal(band)}, a window {decimal(each)}."
        )
    fitting = int((memory_bytes - band) // each)
    if gpu is None:
        return min(MOST_ON_CPU, fitting)
    free = _half_of_free(gpu) if gpu_bytes is None else gpu_bytes
    if network > free:
        remedy = f"raise {option('memory')}" if gpu_bytes is not None else "close other programs that use it"
        raise ConfigError(
            f"{decimal(int(free))} of {gpu} are too little: a window takes {decimal(network)}. Use the CPU "
            f"({option('device', 'cpu')}), or {remedy}."
        )
    return min(MOST_ON_GPU, fitting, int(free // network))


def _window_bytes(models: Sequence[SegmentationModel], window: int, channels: int) -> int:
    """Return what the outputs of all layers take for a window, for the model that takes most."""

    def output_bytes(model: SegmentationModel) -> int:
        device = next(model.parameters(), torch.empty(0)).device
        image, position = torch.zeros(1, channels, window, window, device=device), torch.zeros(1, 2, device=device)
        return model.output_bytes(image, position if model.coordinates else None)

    return max(map(output_bytes, models))


def _half_of_free(gpu: torch.device) -> float:
    """Return half of the free memory of a GPU in bytes."""
    free, _ = torch.cuda.mem_get_info(gpu)
    cached = torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)  # torch gives it to the next batch
    return (free + cached) / 2
