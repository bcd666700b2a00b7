"""A run that is not started yet -> the time that its steps take here, measured by taking a few of them."""

import time
from typing import TYPE_CHECKING

from bigsf.evaluation.baselines import BASELINES, BaselineMaps, first_scale
from bigsf.maps.tiling import Tile
from bigsf.models.measured_time import seconds_per_window, shortest_time
from bigsf.patches.patch_file import PatchFile

if TYPE_CHECKING:
    from bigsf.training.trainer import Trainer

_SAMPLE_PX = 512  # side of the part of a map whose baselines are computed


def seconds_per_step(trainer: "Trainer") -> float:
    """Return the time that a training step takes, measured by taking a few."""
    return shortest_time(lambda number: trainer.step(0, number % trainer.run.dataset.steps))


def seconds_per_predicted_window(trainer: "Trainer") -> float:
    """Return the time in which a window is predicted, measured by predicting a batch a few times."""
    batch, run = trainer.run.dataset.batch(0, 0), trainer.run
    return seconds_per_window(run.model, batch.image, batch.position, run.dtype)


def seconds_of_baselines(file: PatchFile) -> float:
    """Return the time in which the baselines of a map are computed, measured in a part in its middle."""
    ny, nx = file.shape
    tile = Tile(ny // 2, ny // 2, nx // 2, nx // 2).grown(_SAMPLE_PX // 2, Tile.whole(file.shape))
    maps = BaselineMaps(file)
    started = time.monotonic()
    for name in BASELINES:
        maps.rows(name, first_scale(name), tile.y0, tile.y1, [(tile.x0, tile.x1)])
    return (time.monotonic() - started) * ny * nx / (tile.shape[0] * tile.shape[1])
