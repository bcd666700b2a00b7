"""An array <-> plain data, as processes send it to each other."""

from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Base64Bytes, PlainSerializer, PlainValidator, StringConstraints, TypeAdapter


class _Packed(NamedTuple):
    """An array of numbers as plain data."""

    dtype: Annotated[str, StringConstraints(pattern="^[<>|][biuf][1248]$")]
    shape: tuple[int, ...]
    content: Base64Bytes


_PACKED = TypeAdapter(_Packed)


def pack(values: npt.ArrayLike) -> Any:
    """Return numbers, or an array of them, as plain data.

    Raises
    ------
    ValueError
        Where they are no numbers.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ValueError(f"{values!r} is no number and no array of numbers")
    return _PACKED.dump_python(_Packed(array.dtype.str, array.shape, array.tobytes()), mode="json")


def unpack(value: Any) -> npt.NDArray[Any]:
    """Return the array in plain data.

    Raises
    ------
    ValueError
        Where they hold none.
    """
    packed = _PACKED.validate_python(value)
    return np.frombuffer(packed.content, packed.dtype).reshape(packed.shape).copy()


SentArray = Annotated[Any, PlainSerializer(pack), PlainValidator(unpack)]
"""The type of a number or an array that other processes get as an array."""
