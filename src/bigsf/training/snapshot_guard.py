"""A PyTorch file of any origin -> plain data that take no more memory than the file, or one error.

torch believes what an archive says of its own size and shapes. These checks come before and after it reads one.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bigsf.errors import SnapshotError

_MOST_VALUES = 1_000_000
_DEEPEST = 40
_LONGEST_PICKLE = 100_000_000  # bytes; tensors lie outside of it


def check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than its own size, or that was altered since it was written.

    Raises
    ------
    SnapshotError
        Where a member is compressed, they claim more bytes than the file has, or a checksum is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            claimed, size = sum(member.file_size for member in members), path.stat().st_size
            if claimed > size or any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise SnapshotError(f"{path} is no snapshot: it unpacks to {claimed:,} bytes, and has {size:,}.")
            if any(member.filename.endswith(".pkl") and member.file_size > _LONGEST_PICKLE for member in members):
                raise SnapshotError(f"{path} is no snapshot: what it holds besides weights is too large.")
            broken = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError) as error:
        raise SnapshotError(f"{path} is damaged: {error}. Copy it again.") from None
    if broken is not None:
        raise SnapshotError(f"{path} is damaged: the checksum of {broken} is wrong. Copy it again.")


def check_values(path: Path, data: Any) -> None:
    """Refuse values that are no plain data, or that grow when they are used.

    Raises
    ------
    SnapshotError
        Where there are too many values, counted as often as they are referred to; where one is neither plain nor a
        plain tensor; and where tensors claim more memory than the file holds.
    """
    storages: dict[int, int] = {}
    for number, value in enumerate(_values(path, data, 0)):
        if number > _MOST_VALUES:
            raise SnapshotError(f"{path} is no snapshot: it holds more than {_MOST_VALUES:,} values.")
        if isinstance(value, torch.Tensor):
            _check_tensor(path, value)
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, int) and value.bit_length() > 64:
            raise SnapshotError(f"{path} is damaged: it holds an integer of {value.bit_length()} bits.")
        elif not isinstance(value, str | int | float | dict | list | tuple | torch.dtype | torch.device | None):
            raise SnapshotError(f"{path} is damaged: it holds a {type(value).__name__}.")
    if sum(storages.values()) > path.stat().st_size:
        raise SnapshotError(f"{path} is damaged: its tensors claim {sum(storages.values()):,} bytes.")


def _check_tensor(path: Path, tensor: torch.Tensor) -> None:
    plain = type(tensor) is torch.Tensor and tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.is_quantized or tensor.requires_grad:
        raise SnapshotError(f"{path} is damaged: it holds a tensor that is not a plain one.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise SnapshotError(f"{path} is damaged: it has no room for a tensor of shape {tuple(tensor.shape)}.")


def _values(path: Path, value: Any, depth: int) -> Iterator[Any]:
    """Yield a value and all in it, as often as it is referred to."""
    yield value
    if depth > _DEEPEST:
        raise SnapshotError(f"{path} is no snapshot: its values lie too deep in each other.")
    if isinstance(value, dict):
        for key in value:
            yield from _values(path, key, depth + 1)
        value = list(value.values())
    if isinstance(value, list | tuple):
        for child in value:
            yield from _values(path, child, depth + 1)
