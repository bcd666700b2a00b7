"""What each process has counted -> the sums over all processes, in each of them."""

from collections.abc import Mapping

from pydantic import TypeAdapter

from bigsf.metrics.metric import Counts
from bigsf.training.distributed import World
from bigsf.training.sent_array import SentArray

_STATES = TypeAdapter(dict[str, dict[str, SentArray]])
"""The states of counts, by their names."""


def merge_counts(world: World, counts: Mapping[str, Counts]) -> None:
    """Add to the counts of each process those of the others.

    Parameters
    ----------
    world
        The processes.
    counts
        What this process has counted, by names that are the same in all processes.
    """
    if world.size == 1:
        return
    states = world.gather({name: dict(each.state()) for name, each in counts.items()}, _STATES)
    for rank, others in enumerate(states):
        for name in counts if rank != world.rank else ():
            counts[name].merge(others[name])
