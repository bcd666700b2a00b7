"""Labels that are no FITS masks -> masks on the grid of a map."""
