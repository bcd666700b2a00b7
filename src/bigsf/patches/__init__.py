"""FITS planes -> patch file."""
