"""Overlapping tiles -> one map."""
