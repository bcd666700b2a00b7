"""Seed and recipe -> a simulated map of the Galactic plane and the ground truth of its filaments."""
