"""A memory budget and the shape of a map -> how many windows the networks predict at a time."""

from collections.abc import Sequence

import torch
from rich.filesize import decimal

from bigsf.errors import ConfigError
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.option_names import option


def batch_size_within(
    memory_bytes: float,
    models: Sequence[SegmentationModel],
    window: int,
    channels: int,
    shape: tuple[int, int],
    scales: Sequence[int] = (1,),
    mask_bytes: int = 0,
    most: int = 64,
    views: int = 0,
) -> int:
    """Return how many windows at a time fit into a memory budget, beside the band of the map that is predicted.

    Parameters
    ----------
    memory_bytes
        The budget. Python and its libraries take memory besides.
    models
        The models, on the CPU.
    window
        Side of the windows in pixels.
    channels
        Number of image planes.
    shape
        Shape (ny, nx) of the part of the map that is predicted at a time: a tile, or the whole map.
    scales
        Factors by which the map is binned. The binned parts are held as a whole.
    mask_bytes
        What is held besides: masks of the whole map.
    most
        The largest number to return; more windows at a time do not make prediction faster.
    views
        Views of test-time augmentation that are kept apart.

    Raises
    ------
    ConfigError
        Where not even one window fits.
    """
    ny, nx = shape
    band = 4 * max(nx, window) * 2 * window * max(scales) * (channels + 2 * len(models) + views)
    band += sum(2 * (len(models) + views) * (ny // n) * (nx // n) for n in scales if n > 1)
    image, position = torch.zeros(1, channels, window, window), torch.zeros(1, 2)
    each = max(model.output_bytes(image, position if model.coordinates else None) for model in models)
    if band + mask_bytes + each > memory_bytes:
        mask = f"its mask {decimal(mask_bytes)}, " if mask_bytes else ""
        raise ConfigError(
            f"{option('memory')} ({decimal(int(memory_bytes))}) is too little: a band of the map takes "
            f"{decimal(band)}, {mask}a window {decimal(each)}."
        )
    return min(most, int((memory_bytes - band - mask_bytes) // each))
