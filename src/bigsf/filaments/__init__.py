"""Mask -> spines, catalogue, outlines; cleaning of the mask."""
