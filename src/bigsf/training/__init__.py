"""Patch file and folds -> snapshots: trainer, k-fold, run folder, resume."""
