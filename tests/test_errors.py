import errno

import pytest

from bigsf.errors import out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("can't start new thread"), True),
        (OSError("Can't synchronously read data (memory allocation failed for chunk)"), True),
        (ImportError("libx.so: failed to map segment from shared object"), True),
        (ImportError("libx.so: failed to map segment from shared object: Operation not permitted"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_lack_of_memory_is_recognised_by_type_or_message(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) == expected
