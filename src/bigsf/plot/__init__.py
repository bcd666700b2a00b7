"""Figures for papers, talks and notebooks: `bigsf.plot.quicklook`, `filaments`, `folds`, `curves`, ...

Each function takes a file or what was read from it, draws on one matplotlib Axes, and returns it. The figures that the
commands write are drawn by the same code.
"""

from bigsf.plot.maps import filaments, folds, quicklook
from bigsf.plot.scores import completeness, curves, reliability

__all__ = ["completeness", "curves", "filaments", "folds", "quicklook", "reliability"]
