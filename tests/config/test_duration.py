import pytest
from pydantic import TypeAdapter, ValidationError

from bigsf.config.duration import Seconds

SECONDS = TypeAdapter(Seconds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(90, 90), ("90s", 90), ("1.5min", 90), ("3h50min", 13800), ("3h 50 min", 13800), ("1 d", 86400)],
)
def test_durations_are_read_in_words(text: object, expected: float) -> None:
    assert SECONDS.validate_python(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("50:00", 3000), ("3:50:00", 13800), ("1-12", 129600), ("1-12:30", 131400), ("1-12:30:10", 131410)],
)
def test_durations_are_read_as_slurm_writes_them(text: str, expected: float) -> None:
    assert SECONDS.validate_python(text) == expected


@pytest.mark.parametrize("wrong", ["soon", "5 parsecs", "4h-", "", 0, "1:2:3:4", ":30", "3 secs", "-1:00"])
def test_what_is_no_duration_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match=r"expected a duration such as 30s|greater than 0"):
        SECONDS.validate_python(wrong)
