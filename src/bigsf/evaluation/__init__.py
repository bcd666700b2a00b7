"""Probabilities and labels -> scores: out-of-fold map, baselines, injection, completeness, report."""
