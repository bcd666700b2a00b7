"""A PyTorch file of any origin -> plain data that take no more memory than the file, or one error.

torch believes what an archive says of its own size and shapes. These checks come before and after it reads one.
"""

import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from bigsf.errors import SnapshotError

_MOST_VALUES = 1_000_000
_DEEPEST = 40
_LONGEST_PICKLE = 10_000_000  # bytes; tensors lie outside of it
_MOST_OPERATIONS = 2_500_000

_SIMPLE = {str, float, bool, dict, list, tuple, type(None)}
_PLAIN_TYPES = {*_SIMPLE, int, OrderedDict, torch.dtype, torch.device}

_PLAIN = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (device|[A-Za-z0-9]+Storage)"
    r"|torch (bool|bfloat16|float\w+|u?int\d+)"
)
"""What plain data and tensors name in a pickle. torch allows more, which can make gigabytes of a few bytes."""


def check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than its own size, or that was altered since it was written.

    Raises
    ------
    SnapshotError
        Where the file does not begin as an archive, a member is compressed, they claim more bytes than the file has, a
        checksum is wrong, or a pickle names more than plain data.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(path) as archive:
            if file.read(4) != b"PK\x03\x04":  # torch would read it as a file of its old format
                raise SnapshotError(f"{path} is no snapshot: something lies before its archive.")
            members = archive.infolist()
            claimed, size = sum(member.file_size for member in members), path.stat().st_size
            if claimed > size or any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise SnapshotError(f"{path} is no snapshot: it unpacks to {claimed:,} bytes, and has {size:,}.")
            pickles = [member for member in members if member.filename.endswith(".pkl")]
            if any(member.file_size > _LONGEST_PICKLE for member in pickles):
                raise SnapshotError(f"{path} is no snapshot: what it holds besides weights is too large.")
            broken = archive.testzip()
            for member in pickles if broken is None else ():
                _check_pickle(path, archive.read(member))
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError) as error:
        raise SnapshotError(f"{path} is damaged: {error}. Copy it again.") from None
    if broken is not None:
        raise SnapshotError(f"{path} is damaged: the checksum of {broken} is wrong. Copy it again.")


def _check_pickle(path: Path, content: bytes) -> None:
    """Refuse a pickle that names more than plain data; it is only read here, not loaded."""
    for number, (operation, name, _) in enumerate(pickletools.genops(content)):
        if number > _MOST_OPERATIONS:
            raise SnapshotError(f"{path} is no snapshot: what it holds besides weights is too large.")
        if operation.name in ("GLOBAL", "INST", "STACK_GLOBAL") and not _PLAIN.fullmatch(str(name)):
            raise SnapshotError(
                f"{path} holds more than plain data (a pickle that could run code): it names {name or 'something'}. It "
                "was not loaded."
            )


def check_values(path: Path, data: Any) -> None:
    """Refuse values that are no plain data, or that grow when they are used.

    Raises
    ------
    SnapshotError
        Where there are too many values, counted as often as they are referred to; where one is neither plain nor a
        plain tensor; and where tensors claim more memory than the file holds.
    """
    storages: dict[int, int] = {}
    for number, value in enumerate(_values(path, data)):
        if number > _MOST_VALUES:
            raise SnapshotError(f"{path} is no snapshot: it holds more than {_MOST_VALUES:,} values.")
        if type(value) in _SIMPLE:
            continue
        if isinstance(value, torch.Tensor):
            _check_tensor(path, value)
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, int) and value.bit_length() > 64:
            raise SnapshotError(f"{path} is damaged: it holds an integer of {value.bit_length()} bits.")
        elif type(value) not in _PLAIN_TYPES:
            raise SnapshotError(f"{path} is damaged: it holds a {type(value).__name__}.")
    if sum(storages.values()) > path.stat().st_size:
        raise SnapshotError(f"{path} is damaged: its tensors claim {sum(storages.values()):,} bytes.")


def odd_kind(value: Any) -> str:
    """Return a type within a value that a snapshot does not give back, in words; empty where all are plain."""
    allowed = {*_PLAIN_TYPES, torch.Tensor, torch.nn.Parameter}
    found = (type(each) for each in _values(Path("the snapshot"), value))
    return next((f"found a {kind.__module__}.{kind.__name__}" for kind in found if kind not in allowed), "")


def _check_tensor(path: Path, tensor: torch.Tensor) -> None:
    plain = type(tensor) is torch.Tensor and tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.is_quantized or tensor.requires_grad:
        raise SnapshotError(f"{path} is damaged: it holds a tensor that is not a plain one.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise SnapshotError(f"{path} is damaged: it has no room for a tensor of shape {tuple(tensor.shape)}.")


def _values(path: Path, value: Any) -> Iterator[Any]:
    """Yield a value and all in it, as often as it is referred to."""
    levels = [iter([value])]
    while levels:
        for value in levels[-1]:
            yield value
            if isinstance(value, dict):
                levels.append(chain(value.keys(), value.values()))
            elif isinstance(value, list | tuple):
                levels.append(iter(value))
            else:
                continue
            break
        else:
            levels.pop()
        if len(levels) > _DEEPEST:
            raise SnapshotError(f"{path} is no snapshot: its values lie too deep in each other.")
