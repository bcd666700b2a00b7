"""The processes of a run -> the filaments of a mask, of which each measures its share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray
from bigsf.errors import DataError
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.lines import Arrays
from bigsf.files import atomic_path
from bigsf.training.distributed import World

Measure = Callable[[Filaments, int, int], dict[str, npt.NDArray[Any]]]
"""From filaments, the number of this process, and that of all, to the arrays that this process measures."""


def shared_filaments(
    world: World, folder: Path, shape: tuple[int, int], mask: Callable[[], BoolArray], measure: Measure
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
        Makes the mask, in the first process.
    measure
        Measures the share of one process, e.g. `Filaments.measure_lines`, whose lines the filaments take. No two
        processes give arrays of one name.

    Returns
    -------
    tuple or None
        In the first process, the filaments and the arrays of all processes; None in the others.

    Raises
    ------
    BigsfError
        Where a process has failed, in all processes.
    """
    labels, parts = folder / "labels.i4", [folder / f"lines_{rank}.h5" for rank in range(world.size)]

    def number() -> Filaments:
        filaments = Filaments(mask())
        if world.size > 1:
            with atomic_path(labels) as temporary, temporary.open("wb") as file:
                file.write(filaments.labels.data)
        return filaments

    own = world.first(number)

    def measure_share() -> Arrays:
        filaments = Filaments.from_labels(np.memmap(labels, np.int32, "r", shape=shape)) if own is None else own
        arrays = measure(filaments, world.rank, world.size)
        if world.size > 1:
            with atomic_path(parts[world.rank]) as temporary, h5py.File(temporary, "w") as file:
                for name, values in arrays.items():
                    file[name] = values
        return arrays

    mine = world.each(measure_share)

    def take() -> tuple[Filaments, Arrays]:
        assert own is not None
        arrays = mine if world.size == 1 else _read(parts)
        own.take_lines(arrays)
        return own, arrays

    return world.first(take)


def _read(parts: Sequence[Path]) -> Arrays:
    """Return the arrays of all processes.

    Raises
    ------
    DataError
        Where the system cannot read them.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    for path in parts:
        try:
            with h5py.File(path) as file:
                file.visititems(add)
        except OSError as error:
            raise DataError(f"{path}, which another process has written, cannot be read: {error}.") from None
    return arrays
