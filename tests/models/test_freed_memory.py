"""The process keeps the memory of arrays that are freed."""

import platform
import subprocess
import sys

import pytest

ALLOCATE = """
import sys
from pathlib import Path
import numpy as np
from bigsf.models.freed_memory import keep_freed_memory

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

if sys.argv[1] == "keep":
    keep_freed_memory()
before = pages()
for _ in range(2):
    outputs = [np.ones(24 << 20, np.uint8) for _ in range(4)]
    full = pages()
    del outputs
print((pages() - before) / (full - before))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep freed memory")
def test_the_memory_of_a_batch_is_there_for_the_next_batch() -> None:
    """Four outputs of 24 MB are freed twice."""

    def kept(way: str) -> float:
        command = [sys.executable, "-c", ALLOCATE, way]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert kept("keep") > 0.9
    assert kept("default") < 0.5
