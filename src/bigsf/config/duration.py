"""A duration in words, or as a clock shows it -> seconds."""

import re
from typing import Annotated

from pydantic import BeforeValidator, PositiveFloat

_UNITS_S = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86400}
_WORDS = re.compile(r"(\d+\.?\d*)\s*(s|sec|min|h|d)(?![a-z])\s*")
_CLOCK = re.compile(r"(?:(?P<d>\d+)-)?(?:(?:(?P<h>\d+):)?(?P<min>\d+):)?(?P<s>\d+)")
_DAYS_AND_HOURS = re.compile(r"(?P<d>\d+)-(?P<h>\d+)(?::(?P<min>\d+))?")


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text and not _WORDS.sub("", text):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _WORDS.findall(text))
    clock = _DAYS_AND_HOURS.fullmatch(text) or (_CLOCK.fullmatch(text) if ":" in text else None)
    if clock is None:
        raise ValueError(f"found {value!r}, expected a duration such as 30s, 10min, 3h50min or 3:50:00.")
    return sum(float(number) * _UNITS_S[unit] for unit, number in clock.groupdict().items() if number)


Seconds = Annotated[PositiveFloat, BeforeValidator(_seconds)]
"""A duration: a number of seconds, words such as "30s", "10min" or "3h50min", or as SLURM writes it: "50:00" (minutes
and seconds), "3:50:00", "1-12" (days and hours), "1-12:30" and "1-12:30:00"."""
