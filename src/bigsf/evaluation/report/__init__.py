"""Scores, figures and words -> report.html of a k-fold and of a run: one file each, which needs no network."""
