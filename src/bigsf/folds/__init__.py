"""Patch file -> folds: areas, strategies, splits, the folds file, its proof and its figure."""
