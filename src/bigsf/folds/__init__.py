"""Patch file -> folds: areas, strategies, splits, the folds file, the leakage and the figure."""
