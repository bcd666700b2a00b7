"""FITS in and out: images, planes of one grid, WCS, tiling, quicklook."""
