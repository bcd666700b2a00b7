"""Seed and recipe -> a simulated map of the Galactic plane: its planes, the table of its filaments, and the FITS file.

A map is made in this order:

1. Clouds of log-normal column density with a power-law spectrum, on a thin disc and a diffuse layer, seen through the
   beam (`random_fields`).
2. Filaments with branches and hubs, which multiply the clouds (`filaments`).
3. White noise, elliptical holes and a ragged border (`survey`).

Every map of a seed shows the same simulated plane, so a larger map contains the smaller one except for its border. The
plane is computed tile by tile, from random numbers that depend on seed and position alone. So it has no seams, and a
map takes no more memory than one row of tiles. The plane does not repeat after 360 degrees.

The FITS file holds these extensions:

=========== ======= =======================================================================================
primary     float32 H2 column density in cm^-2, NaN where missing
TARGET      uint8   1 on catalogued filaments: 80 % of those of contrast above 0.4, none of the fainter ones
BACKGROUND  uint8   1 on sure background: in each tile, the tenth of the pixels off the ground truth that has
                    the lowest column density for its latitude
MISSING     uint8   1 where data are VALID and 0 where they are missing, as in the masks of Hi-GAL
TRUTH       uint8   1 within half a width of the spine of any filament, even where data are missing
TRUTH_ID    int32   ID of the filament in each pixel, 0 for none; of overlapping ones, that of highest contrast
FILAMENTS   table   one row per filament: ID, CONTRAST, WIDTH_PX, LENGTH_PX, IN_TARGET
=========== ======= =======================================================================================
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from bigsf.maps.fits_writer import FitsWriter, check_fits_name
from bigsf.maps.footprint import SIMULATED_OBJECT
from bigsf.outputs import Outputs
from bigsf.simulation.filaments import MAX_PER_TILE, Filament, filament_planes, grow_filaments
from bigsf.simulation.random_fields import (
    EQUATOR_PX,
    TILE_PX,
    cloud_density,
    latitude_profile,
    tile_generator,
    tile_number,
)
from bigsf.simulation.recipe import BENCHMARK, Recipe
from bigsf.simulation.survey import Hole, add_noise, inside_border, outside_holes, scatter_holes

PlaneArrays = dict[str, npt.NDArray[Any]]

PLANES = {"PRIMARY": "f4", "TARGET": "u1", "BACKGROUND": "u1", "MISSING": "u1", "TRUTH": "u1", "TRUTH_ID": "i4"}
"""The dtype of each plane of a map."""

_MEANING = {
    "TARGET": "1 on catalogued filaments",
    "BACKGROUND": "1 on sure background",
    "MISSING": "1 where data are VALID, 0 where missing",
    "TRUTH": "1 on every filament",
    "TRUTH_ID": "ID of the filament in FILAMENTS",
}


def simulate_galaxy(
    path: str | Path, nx: int = 1024, ny: int = 256, seed: int = 0, recipe: Recipe = BENCHMARK, overwrite: bool = False
) -> Path:
    """Write a simulated map of the Galactic plane and the ground truth of its filaments to a FITS file.

    The map is centred on l = b = 0, on a Galactic plate carree (CAR) grid. The module docstring lists its extensions.

    Parameters
    ----------
    path
        The FITS file. It is written whole or not at all.
    nx, ny
        Size of the map in pixels.
    seed
        Any integer from 0 on. Each seed makes another map.
    recipe
        Parameters of the map.
    overwrite
        Replace an existing file.

    Returns
    -------
    Path
        The FITS file.

    Raises
    ------
    UsageError
        Where the file exists or cannot be written.
    ValueError
        Where the seed is negative, where nx or ny is less than 1, and where the map is larger than the simulated plane
        (about 520000 columns and 32000 rows).

    Examples
    --------
    >>> bigsf.simulate_galaxy("simulated.fits", nx=64, ny=32).name
    'simulated.fits'
    """
    path = Path(path)
    if min(nx, ny) < 1 or seed < 0:
        raise ValueError(f"nx = {nx}, ny = {ny}, seed = {seed}: nx and ny must be at least 1 and seed at least 0.")
    check_fits_name(path, "output")
    outputs = Outputs(path)
    outputs.check(overwrite=overwrite)
    galaxy = Galaxy(seed, recipe)
    y, x = (range(zero - size // 2, zero - size // 2 + size) for size, zero in ((ny, EQUATOR_PX), (nx, 0)))
    tables = [filament_table(galaxy.filaments(y, x))]
    with outputs.writing() as files:
        with FitsWriter(files[path], (ny, nx), make_header(nx, ny, seed, recipe), PLANES, tables) as writer:
            for first_row, planes in _bands(galaxy, y, x):
                for name, plane in planes.items():
                    writer.write(name, first_row, plane)
        _describe_planes(files[path])
    return path


class Galaxy:
    """The simulated plane of a seed; nothing is computed before a part of it is asked for.

    Parameters
    ----------
    seed
        Any integer from 0 on.
    recipe
        Parameters of the map.
    """

    def __init__(self, seed: int = 0, recipe: Recipe = BENCHMARK) -> None:
        self.seed = seed
        self.recipe = recipe
        # Filaments reach into the neighbours of their tile, so a row of tiles needs the contents of three rows. These
        # are fewer than 1500 tiles in a map of all longitudes.
        self._contents = lru_cache(maxsize=1500)(self._make_contents)

    def window(self, y: range, x: range) -> PlaneArrays:
        """Return all planes of a window, `(ny, nx)` each, as named in `PLANES`; column density is NaN in holes.

        Parameters
        ----------
        y, x
            Rows and columns of the simulated plane.

        Raises
        ------
        ValueError
            Where the window reaches beyond the simulated plane.
        """
        planes = {name: np.empty((len(y), len(x)), dtype) for name, dtype in PLANES.items()}
        for row in _tiles(y):
            for column in _tiles(x):
                ours, theirs = zip(_overlap(y, row), _overlap(x, column), strict=True)
                for name, tile in self.tile(row, column).items():
                    planes[name][ours] = tile[theirs]
        return planes

    def tile(self, row: int, column: int) -> PlaneArrays:
        """Return all planes of a tile, `(TILE_PX, TILE_PX)` each, as named in `PLANES`; column density is NaN in holes.

        Parameters
        ----------
        row, column
            Place of the tile, in tiles from position (0, 0).

        Raises
        ------
        ValueError
            Where the tile or a neighbour lies outside the simulated plane.
        """
        corner_px = TILE_PX * np.array([row, column])
        y, x = (np.arange(TILE_PX) + first for first in corner_px)
        filaments, holes = [], []
        for near_row in range(row - 1, row + 2):
            for near_column in range(column - 1, column + 2):
                more_filaments, more_holes = self._contents(near_row, near_column)
                filaments += more_filaments
                holes += more_holes
        drawn = filament_planes(filaments, corner_px)
        density = cloud_density(self.seed, y, x, self.recipe) * (1 + drawn.excess)
        truth = drawn.truth_id > 0
        background = ~truth
        if background.any():  # chosen before noise is added, which would only fray its outline
            relative = density / latitude_profile(y, self.recipe)[:, None]
            background &= relative <= np.quantile(relative[background], self.recipe.background_fraction)
        valid = outside_holes(holes, corner_px)
        image = add_noise(density, self.seed, y, x, self.recipe)
        image[~valid] = np.nan
        return {
            "PRIMARY": image,
            "TARGET": drawn.target & valid,
            "BACKGROUND": background & valid,
            "MISSING": valid,
            "TRUTH": truth,
            "TRUTH_ID": drawn.truth_id,
        }

    def filaments(self, y: range, x: range) -> Iterator[Filament]:
        """Yield the filaments with at least one pixel of ground truth in a window, in the order of their tiles.

        Parameters
        ----------
        y, x
            Rows and columns of the simulated plane.
        """
        lowest, highest = np.array([y.start, x.start]), np.array([y.stop - 1, x.stop - 1])
        for row in range(_tiles(y).start - 1, _tiles(y).stop + 1):
            for column in range(_tiles(x).start - 1, _tiles(x).stop + 1):
                for filament in self._contents(row, column)[0]:
                    start, end = filament.segments.start, filament.segments.end
                    points = np.concatenate([start, (start + end) / 2, end])
                    nearest = np.clip(np.rint(points), lowest, highest)
                    if (np.hypot(*(points - nearest).T) <= filament.width_px / 2).any():
                        yield filament

    def _make_contents(self, row: int, column: int) -> tuple[list[Filament], list[Hole]]:
        """Return the filaments and the holes whose middles lie in a tile."""
        generator = tile_generator(self.seed, row, column)
        corner_px = TILE_PX * np.array([row, column])
        # An ID is unique in the whole plane and the same in every map that shows the filament.
        first_id = tile_number(row, column) * (MAX_PER_TILE + 1) + 1
        # Holes come second: they continue the random numbers of the filaments.
        filaments = grow_filaments(generator, corner_px, first_id, self.recipe)
        return filaments, scatter_holes(generator, corner_px, self.recipe)


def make_header(nx: int, ny: int, seed: int = 0, recipe: Recipe = BENCHMARK) -> fits.Header:
    """Return the header of a map centred on l = b = 0, in Galactic plate carree (CAR) coordinates.

    Parameters
    ----------
    nx, ny
        Size of the map in pixels.
    seed
        Seed of the map.
    recipe
        Parameters of the map, which become the HISTORY.
    """
    header = fits.Header()
    step_deg = recipe.pixel_arcsec / 3600
    # The words of these comments stay as they are, so that all versions write the same file for a seed.
    header["OBJECT"] = (SIMULATED_OBJECT, "made by make_galaxy.py, not observed")
    header["BUNIT"] = ("cm-2", "H2 column density")
    header["CTYPE1"], header["CTYPE2"] = "GLON-CAR", "GLAT-CAR"
    header["CRPIX1"], header["CRPIX2"] = nx // 2 + 1.0, ny // 2 + 1.0
    header["CDELT1"], header["CDELT2"] = -step_deg, step_deg
    header["CRVAL1"], header["CRVAL2"] = 0.0, 0.0
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["SEED"] = (seed, "seed of the sky")
    for name, value in asdict(recipe).items():
        header.add_history(f"{name} = {value}")
    return header


def filament_table(filaments: Iterable[Filament]) -> fits.BinTableHDU:
    """Return the table FILAMENTS, one row per filament; lengths are those of the main spine."""
    rows = [(f.id, f.contrast, f.width_px, f.length_px, f.in_target) for f in filaments]
    ids, contrasts, widths_px, lengths_px, in_target = zip(*rows, strict=True) if rows else ((),) * 5
    columns = [
        fits.Column("ID", "J", array=np.array(ids, np.int32)),
        fits.Column("CONTRAST", "E", array=np.array(contrasts, np.float32)),
        fits.Column("WIDTH_PX", "E", unit="pixel", array=np.array(widths_px, np.float32)),
        fits.Column("LENGTH_PX", "E", unit="pixel", array=np.array(lengths_px, np.float32)),
        fits.Column("IN_TARGET", "L", array=np.array(in_target, np.bool_)),
    ]
    return fits.BinTableHDU.from_columns(columns, name="FILAMENTS")


def _describe_planes(path: Path) -> None:
    """Write into the header of each extension what it shows."""
    with fits.open(path, "update") as hdus:
        for name, meaning in _MEANING.items():
            hdus[name].header["BTYPE"] = (name.lower(), meaning)


def _bands(galaxy: Galaxy, y: range, x: range) -> Iterator[tuple[int, PlaneArrays]]:
    """Yield the map in rows of tiles: the number of the first row of pixels, and all planes with the border cut off."""
    for row in _tiles(y):
        band = range(max(y.start, TILE_PX * row), min(y.stop, TILE_PX * (row + 1)))
        planes = galaxy.window(band, x)
        inside = inside_border(galaxy.seed, band, x, (y, x), galaxy.recipe)
        planes["PRIMARY"][~inside] = np.nan
        for name in ("TARGET", "BACKGROUND", "MISSING"):
            planes[name] &= inside
        yield band.start - y.start, planes


def _tiles(pixels: range) -> range:
    """Return the rows or columns of tiles that a range of pixels touches."""
    return range(pixels.start // TILE_PX, -(-pixels.stop // TILE_PX))


def _overlap(pixels: range, tile: int) -> tuple[slice, slice]:
    """Return the part of a range of pixels that a tile covers, counted from the first pixel of each."""
    start, stop = max(pixels.start, TILE_PX * tile), min(pixels.stop, TILE_PX * (tile + 1))
    return slice(start - pixels.start, stop - pixels.start), slice(start - TILE_PX * tile, stop - TILE_PX * tile)
