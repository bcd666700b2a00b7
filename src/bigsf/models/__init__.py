"""Batch -> probabilities: networks, normalizations, position encoders, sliding-window prediction."""
