import sys

import pytest
from kills import kill_commands


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stops a process before a system call in this way")
def test_what_was_killed_works_again_and_ends_as_if_undisturbed() -> None:
    names = ["preprocess", "split --overwrite", "mosaic", "segment --overwrite", "train", "resume, 2 processes"]
    assert sum(kill_commands(12, 1, names).values()) >= 12
