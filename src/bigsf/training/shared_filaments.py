"""The processes of a run -> the filaments of a mask, of which each measures its share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.lines import Arrays
from bigsf.files import atomic_path
from bigsf.training.distributed import World

Measure = Callable[[Filaments, int, int], dict[str, npt.NDArray[Any]]]
"""From filaments, the number of this process, and that of all, to the arrays that this process measures."""


def shared_filaments(
    world: World,
    folder: Path,
    shape: tuple[int, int],
    mask: BoolArray | None,
    measure: Measure = Filaments.measure_lines,
) -> tuple[Filaments, Arrays] | None:
    """Return the filaments of a mask with their lines, which all processes measure.

    Parameters
    ----------
    world
        The processes.
    folder
        A folder that all of them see, for what they exchange: the labels of the filaments, and arrays.
    shape
        (ny, nx) of the mask.
    mask
        The mask, in the first process.
    measure
        Measures the share of one process. Its arrays hold those of `Filaments.measure_lines`. No two processes give
        arrays of one name.

    Returns
    -------
    tuple or None
        In the first process, the filaments and the arrays of all processes; None in the others.

    Raises
    ------
    BigsfError
        Where a process has failed, in all processes.
    """
    if world.size == 1 and mask is not None:
        filaments = Filaments(mask)
        arrays = measure(filaments, 0, 1)
        filaments.take_lines(arrays)
        return filaments, arrays
    labels, parts = folder / "labels.i4", [folder / f"lines_{rank}.h5" for rank in range(world.size)]

    def number() -> Filaments | None:
        filaments = None if mask is None else Filaments(mask)
        if filaments is not None:
            with atomic_path(labels) as temporary:
                filaments.labels.tofile(temporary)
        return filaments

    found = world.first(number)

    def measure_share() -> None:
        known = found or Filaments.from_labels(np.memmap(labels, np.int32, "r", shape=shape))
        with atomic_path(parts[world.rank]) as temporary, h5py.File(temporary, "w") as file:
            for name, values in measure(known, world.rank, world.size).items():
                file[name] = values

    world.each(measure_share)
    return None if found is None else (found, _taken(found, parts))


def _taken(filaments: Filaments, parts: Sequence[Path]) -> Arrays:
    """Give filaments the lines that all processes have measured, and return all arrays."""
    arrays: dict[str, npt.NDArray[Any]] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    for path in parts:
        with h5py.File(path) as file:
            file.visititems(add)
    filaments.take_lines(arrays)
    return arrays
