"""The probability thresholds at and above which pixels are marked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """The thresholds with the best Dice on the validation folds."""

    whole: float
    """From all valid pixels, where those without a label count as background. This is what a user of the map sees."""
    labelled: float
    """From labelled pixels alone, as in the papers. This threshold marks several times more pixels."""
