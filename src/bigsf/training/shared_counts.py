"""What each process has counted -> the sums over all processes, in each of them."""

from collections.abc import Mapping

from pydantic import TypeAdapter

from bigsf.metrics.metric import Counts
from bigsf.training.distributed import World
from bigsf.training.sent_array import SentArray

_STATE = TypeAdapter(dict[str, SentArray])


def merge_counts(world: World, counts: Mapping[str, Counts]) -> None:
    """Add to the counts of each process those of the others.

    Parameters
    ----------
    world
        The processes.
    counts
        What this process has counted, by name; in all processes the same kinds in the same order.
    """
    if world.size == 1:
        return
    for each in counts.values():  # one at a time: those of a process can be large
        for rank, state in enumerate(world.gather(dict(each.state()), _STATE)):
            if rank != world.rank:
                each.merge(state)
