"""Snapshot and map -> probability, mask and products."""
