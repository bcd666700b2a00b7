"""The processes of a run -> the probability of a map, of which each predicts its share."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from bigsf import console
from bigsf.errors import DataError, SnapshotError
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.training.distributed import World


@contextmanager
def predicted_by(world: World, predictions: Mapping[str, StoredPrediction]) -> Iterator[None]:
    """Predict maps by all processes; in the `with` block all parts are there, until `StoredPrediction.remove`.

    Where the work is stopped, killed or cannot be written, the parts stay, and the same prediction goes on with them.

    Parameters
    ----------
    world
        The processes. All see the same folders.
    predictions
        The predictions, by the names that the progress shows.

    Raises
    ------
    BigsfError
        Where a process has failed, in all processes.
    """
    with ExitStack() as stack:
        world.first(lambda: [stack.enter_context(each.opened()) for each in predictions.values()])
        for name, prediction in predictions.items():
            pixels = prediction.pixels(world.rank, world.size)
            with console.progress(name, pixels, "pixels") as advance:
                world.each(partial(prediction.predict, world.rank, world.size, advance))
        try:
            yield
        except (DataError, SnapshotError):  # what is predicted is of no use
            if world.is_first:
                for prediction in predictions.values():
                    prediction.remove()
            raise
