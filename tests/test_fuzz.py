import pytest
from fuzz import FORMATS, fuzz


@pytest.mark.parametrize("kind", FORMATS)
def test_broken_files_are_read_or_refused_and_nothing_else(kind: str) -> None:
    tally = fuzz(kind, executions=30, seed=7)
    assert dict(tally.findings) == {}
    assert tally.executions == 30
    assert tally.refused
