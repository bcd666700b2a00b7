"""The probability thresholds of a model: pixels at or above them are marked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of best Dice that validation found."""

    whole: float
    """On all valid pixels, those without a label taken as background: what a user of the map sees."""
    labelled: float
    """On labelled pixels alone, as in the papers; it marks several times more."""
