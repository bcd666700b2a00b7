"""Make a strip of a synthetic Galactic plane whose filaments are all known.

    python examples/make_galaxy.py -o galaxy.fits
    python examples/make_galaxy.py --size 114000 1800 --seed 3 -o plane.fits
    bigsf preprocess galaxy.fits --patch-size 64

One FITS file of several extensions, on a Galactic CAR grid of 11.5" pixels that crosses l = 0:

=========== ======= =======================================================================================
primary     float32 H2 column density in cm^-2, NaN where missing
TARGET      uint8   1 on the catalogued filaments: 80 % of those of contrast above 0.4, none of the fainter ones
BACKGROUND  uint8   1 on sure background: in each tile, the tenth of the pixels off the truth with the lowest column
                    density for their latitude
MISSING     uint8   1 where data are VALID and 0 where they are missing (the sense of the Hi-GAL masks)
TRUTH       uint8   1 within half a width of the spine of any filament, behind the holes of the data too
TRUTH_ID    int32   the filament of each pixel (where two overlap, that of higher contrast), 0 for none
FILAMENTS   table   one row a filament: ID, CONTRAST, WIDTH_PX, LENGTH_PX, IN_TARGET
=========== ======= =======================================================================================

How the sky is made, in this order:

1. Clouds: the exponential of octaves of Gaussian lattice noise, that is random numbers on grids of 2, 4, ... 512
   pixels, each interpolated by cubic B-splines, with a variance that grows as spacing**(index - 2). The sum has a power
   spectrum k**-index down to the beam. Lattice noise rather than one periodic tile of Fourier noise, because it has no
   period, costs no memory, and any piece of it can be computed alone. The exponential makes column density log-normal,
   as in molecular clouds, at a small cost in slope.
2. A latitude profile: a thin sech^2 disc on a diffuse layer.
3. The beam, a Gaussian of 23" (2 pixels).
4. Filaments: spines that wander, with branches, and a Plummer-like cross profile. They multiply the clouds by
   1 + contrast * profile, so that contrast is the peak excess over the local background. Hubs, compact and bright, sit
   on some crossings of spine and branch. Widths and contrasts are those seen in the map, after the beam.
5. Noise of 1 %, white. Then elliptical holes, and a border as ragged as that of a survey.

The sky is a function of seed and position alone: it is computed in tiles of a grid fixed on the sky, each from random
numbers that are hashed from the seed and its place. So it has no seams, a larger map contains the smaller one (but for
the border, which moves outwards), and memory is bounded by one row of tiles. The sky does not repeat after 360 degrees.

Positions are `(y, x)` pixels of the sky: b = 0 is row 128, the middle of a row of tiles, and l = 0 is column 0; y grows
with latitude and x against longitude.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.special import ndtri

from bigsf.errors import BigsfError
from bigsf.files import atomic_path, refuse_overwrite
from bigsf.maps.fits_writer import FitsWriter

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TILE_PX = 256
"""Side of a tile of the sky; a filament with its branches reaches no further than into the next tile."""

EQUATOR_PX = TILE_PX // 2
"""Row of the sky at b = 0: a map of 256 rows is one row of whole tiles."""

PLANES = {"PRIMARY": "f4", "TARGET": "u1", "BACKGROUND": "u1", "MISSING": "u1", "TRUTH": "u1", "TRUTH_ID": "i4"}

_MEANING = {
    "TARGET": "1 on catalogued filaments",
    "BACKGROUND": "1 on sure background",
    "MISSING": "1 where data are VALID, 0 where missing",
    "TRUTH": "1 on every filament",
    "TRUTH_ID": "ID of the filament in FILAMENTS",
}
_CUT = 2.5  # widths from the spine at which a profile ends
_STEP_PX = 2.0  # length of the straight pieces of a spine
_FAINTEST = 0.4  # part of its contrast that a filament keeps everywhere along its spine
_NOISE, _BORDER, _BIRTHS, _CLOUDS = range(4)  # what a random number is for; the octaves count on from _CLOUDS


@dataclass(frozen=True)
class Recipe:
    """What the sky is made of. The defaults define the science benchmark and are not to be tuned."""

    pixel_arcsec: float = 11.5
    """Side of a pixel, as in the Hi-GAL column density maps."""

    beam_arcsec: float = 23.0
    """Full width at half maximum (FWHM) of the beam."""

    disc_cm2: float = 1.8e22
    """Column density of the thin disc at b = 0, in cm^-2."""

    disc_scale_deg: float = 0.6
    """Scale height of the thin disc: sech^2(b / scale)."""

    diffuse_cm2: float = 2e21
    """Column density of the diffuse layer, the same at all latitudes, in cm^-2."""

    cloud_index: float = 3.0
    """The power spectrum of the logarithm of the clouds falls as wavenumber**-index."""

    cloud_rms_64px: float = 0.15
    """Standard deviation of ln(N) of the octave of 64 pixels; it sets all others."""

    cloud_octaves: int = 9
    """Octaves of the clouds: lattices of 2, 4, ... 2**octaves pixels."""

    filaments_per_tile: float = 14.5
    """Mean number of filaments born in a tile of 256 x 256 pixels; 14.5 cover a tenth of the sky."""

    contrast: tuple[float, float] = (0.05, 3.0)
    """Range of the peak excess over the local background, in units of that background; log-uniform."""

    width_px: tuple[float, float] = (2.0, 6.0)
    """Range of the FWHM across a filament, as seen through the beam; uniform."""

    length_px: tuple[float, float] = (20.0, 200.0)
    """Range of the length along the main spine, without branches; log-uniform. At most 200 (see `TILE_PX`)."""

    branch_every_px: float = 40.0
    """Mean length of spine for one branch."""

    hub_chance: float = 0.3
    """Chance of a hub where a branch leaves a filament that is bright enough for a catalogue."""

    hub_excess: tuple[float, float] = (1.0, 8.0)
    """Range of the peak excess of a hub over the local background; log-uniform."""

    target_contrast: float = 0.4
    """Contrast below which no filament is in the catalogue."""

    target_fraction: float = 0.8
    """Chance of a filament above that contrast to be in the catalogue."""

    background_fraction: float = 0.1
    """Fraction of the pixels off the truth that are sure background: in each tile, those of the lowest column density
    over the latitude profile. Not of the whole map, where they would all lie at the highest latitudes."""

    noise: float = 0.01
    """Standard deviation of the noise, as a fraction of the column density."""

    holes_per_tile: float = 0.4
    """Mean number of elliptical holes in a tile."""

    hole_px: tuple[float, float] = (4.0, 20.0)
    """Range of the semi-axes of a hole."""

    border_px: float = 12.0
    """Greatest depth of the ragged border."""


BENCHMARK = Recipe()


class Pieces(NamedTuple):
    """Straight pieces of a spine; `start` and `end` are `(n, 2)` positions, `strength` `(n, 2)` at both, 1 at most."""

    start: FloatArray
    end: FloatArray
    strength: FloatArray


class Filament(NamedTuple):
    """A filament with its branches and hubs; a hub is (pieces of no length, its excess, its FWHM in pixels)."""

    id: int
    contrast: float
    width_px: float
    length_px: float
    in_target: bool
    pieces: Pieces
    hubs: list[tuple[Pieces, float, float]]


class Galaxy:
    """The whole sky of a seed; nothing is computed before a window is asked for.

    Parameters
    ----------
    seed
        Any integer from 0 on.
    recipe
        What the sky is made of.
    """

    def __init__(self, seed: int = 0, recipe: Recipe = BENCHMARK) -> None:
        self.seed = seed
        self.recipe = recipe
        # Three rows of tiles of a whole plane: what is drawn in one row is born in it and in its neighbours.
        self.births = lru_cache(maxsize=1500)(self._births)

    def window(self, y: range, x: range) -> dict[str, npt.NDArray[Any]]:
        """Return all planes of a window `(ny, nx)` of the sky, as named in `PLANES`.

        Parameters
        ----------
        y, x
            Rows and columns of the sky.
        """
        planes = {name: np.empty((len(y), len(x)), dtype) for name, dtype in PLANES.items()}
        for row in range(y.start // TILE_PX, -(-y.stop // TILE_PX)):
            for column in range(x.start // TILE_PX, -(-x.stop // TILE_PX)):
                ours, theirs = zip(_overlap(y, row), _overlap(x, column), strict=True)
                for name, tile in self.tile(row, column).items():
                    planes[name][ours] = tile[theirs]
        return planes

    def tile(self, row: int, column: int) -> dict[str, npt.NDArray[Any]]:
        """Return all planes of a tile, `(TILE_PX, TILE_PX)`; tile (0, 0) begins at position (0, 0)."""
        y, x = (np.arange(TILE_PX) + TILE_PX * number for number in (row, column))
        excess, truth_id, target = self._filaments(row, column)
        density = self.clouds(y, x) * (1 + excess)
        truth = truth_id > 0
        background = ~truth
        if background.any():  # predicted without the noise, which would only fray its outline
            relative = density / self.latitude_profile(y)[:, None]
            background &= relative <= np.quantile(relative[background], self.recipe.background_fraction)
        valid = self._outside_holes(row, column)
        image = density * (1 + self.recipe.noise * self._normal(_NOISE, y, x))
        image[~valid] = np.nan
        return {
            "PRIMARY": image,
            "TARGET": target & valid,
            "BACKGROUND": background & valid,
            "MISSING": valid,
            "TRUTH": truth,
            "TRUTH_ID": truth_id,
        }

    def clouds(self, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> FloatArray:
        """Return the column density in cm^-2 without filaments and noise, seen through the beam.

        Parameters
        ----------
        y, x
            Consecutive rows `(ny,)` and columns `(nx,)`.
        """
        recipe = self.recipe
        sigma = recipe.beam_arcsec / recipe.pixel_arcsec / math.sqrt(8 * math.log(2))
        margin = math.ceil(4 * sigma) + 1
        y, x = (np.arange(axis[0] - margin, axis[-1] + margin + 1) for axis in (y, x))
        logarithm = np.zeros((len(y), len(x)))  # of column density over the latitude profile
        for octave in range(1, recipe.cloud_octaves + 1):
            rms = recipe.cloud_rms_64px * (2**octave / 64) ** (recipe.cloud_index / 2 - 1)
            logarithm += rms * self._lattice_noise(octave, y, x)
        density = gaussian_filter(self.latitude_profile(y)[:, None] * np.exp(logarithm), sigma)
        return np.asarray(density[margin:-margin, margin:-margin])

    def latitude_profile(self, y: npt.NDArray[np.int64]) -> FloatArray:
        """Return the median column density `(ny,)` in cm^-2 of rows of the sky."""
        height = (y - EQUATOR_PX) * self.recipe.pixel_arcsec / 3600 / self.recipe.disc_scale_deg
        return np.asarray(self.recipe.diffuse_cm2 + self.recipe.disc_cm2 / np.cosh(height) ** 2)

    def inside_border(self, y: range, x: range, footprint: tuple[range, range]) -> BoolArray:
        """Return where `(ny, nx)` the ragged border of a survey leaves data in a window.

        Parameters
        ----------
        y, x
            Rows and columns of the window.
        footprint
            Rows and columns of the survey.
        """
        inside = np.ones((len(y), len(x)), np.bool_)
        for axis, (along, across, edges) in enumerate(((x, y, footprint[0]), (y, x, footprint[1]))):
            for side, edge in enumerate((edges.start, edges.stop - 1)):
                # Steps of 48 pixels as where scans of a survey end, with a fringe of 5 pixels.
                position = np.arange(along.start, along.stop)
                key = np.array([2 * axis + side])
                steps, fringe = (self._uniform(_BORDER, key + 4 * (n == 5), position // n)[0] for n in (48, 5))
                depth = self.recipe.border_px * (0.75 * steps + 0.25 * fringe)
                distance = np.abs(np.arange(across.start, across.stop) - edge)
                clear = distance[:, None] >= np.floor(depth)
                inside &= clear if axis == 0 else clear.T
        return inside

    def filaments(self, y: range, x: range) -> Iterator[Filament]:
        """Yield the filaments that have at least one pixel of truth in a window, in the order of their tiles."""
        lowest, highest = np.array([y.start, x.start]), np.array([y.stop - 1, x.stop - 1])
        for row in range(y.start // TILE_PX - 1, -(-y.stop // TILE_PX) + 1):
            for column in range(x.start // TILE_PX - 1, -(-x.stop // TILE_PX) + 1):
                for filament in self.births(row, column)[0]:
                    points = np.concatenate([filament.pieces.start, filament.pieces.end])
                    nearest = np.clip(np.rint(points), lowest, highest)
                    if (np.hypot(*(points - nearest).T) <= filament.width_px / 2).any():
                        yield filament

    def _births(self, row: int, column: int) -> tuple[list[Filament], list[FloatArray]]:
        """Return the filaments and the holes, (y, x, semi-axes, angle), whose middle lies in a tile."""
        if not (-64 <= row < 64 and -1024 <= column < 1024):
            raise ValueError(
                f"Tile ({row}, {column}) is outside the sky: at most 16384 rows and 262144 columns from 0."
            )
        place = (column + 1024) * 128 + row + 64
        generator = np.random.default_rng([self.seed, _BIRTHS, place])
        corner = TILE_PX * np.array([row, column])
        # An ID is unique in the whole sky and the same in every map that shows the filament.
        filaments = [
            _grow(generator, corner + generator.uniform(0, TILE_PX, 2), place * 512 + number, self.recipe)
            for number in range(1, 1 + min(511, generator.poisson(self.recipe.filaments_per_tile)))
        ]
        holes = [
            np.array(
                [
                    *(corner + generator.uniform(0, TILE_PX, 2)),
                    *generator.uniform(*self.recipe.hole_px, 2),
                    generator.uniform(0, np.pi),
                ]
            )
            for _ in range(generator.poisson(self.recipe.holes_per_tile))
        ]
        return filaments, holes

    def _neighbours(self, row: int, column: int) -> Iterator[tuple[list[Filament], list[FloatArray]]]:
        for near_row in range(row - 1, row + 2):
            for near_column in range(column - 1, column + 2):
                yield self.births(near_row, near_column)

    def _filaments(self, row: int, column: int) -> tuple[FloatArray, npt.NDArray[np.int32], BoolArray]:
        """Return excess (a factor of the background), ID and target of a tile."""
        excess = np.zeros((TILE_PX, TILE_PX))
        truth_id = np.zeros(excess.shape, np.int32)
        target = np.zeros(excess.shape, np.bool_)
        corner = TILE_PX * np.array([row, column])
        born = [filament for filaments, _ in self._neighbours(row, column) for filament in filaments]
        for filament in sorted(born, key=lambda f: f.contrast):  # the brightest is drawn last: its ID stays on top
            for pieces, peak, width_px in ((filament.pieces, filament.contrast, filament.width_px), *filament.hubs):
                drawn = _draw(pieces, width_px, corner)
                if drawn is None:
                    continue
                where, profile, spine = drawn
                excess[where] += peak * profile
                if pieces is filament.pieces:
                    truth_id[where][spine] = filament.id
                    target[where] |= spine & filament.in_target
        return excess, truth_id, target

    def _outside_holes(self, row: int, column: int) -> BoolArray:
        y, x = np.ogrid[:TILE_PX, :TILE_PX]
        valid = np.ones((TILE_PX, TILE_PX), np.bool_)
        for _, holes in self._neighbours(row, column):
            for y0, x0, a, b, angle in holes:
                dy, dx = y + TILE_PX * row - y0, x + TILE_PX * column - x0
                along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
                valid &= (along / a) ** 2 + (across / b) ** 2 > 1
        return valid

    def _lattice_noise(self, octave: int, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> FloatArray:
        """Return `(ny, nx)` smooth Gaussian noise of variance 1 on a lattice of 2**octave pixels."""
        # A shift of each lattice keeps the nodes of all octaves from falling on the same pixels.
        shift = 0.5 + 0.618 * octave
        (nodes_y, weights_y), (nodes_x, weights_x) = (_spline_weights(axis / 2**octave + shift) for axis in (y, x))
        noise = weights_y @ self._normal(_CLOUDS + octave, nodes_y, nodes_x) @ weights_x.T
        return np.asarray(noise / _SPLINE_RMS**2)

    def _normal(self, key: int, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> FloatArray:
        return np.asarray(ndtri(self._uniform(key, y, x)))

    def _uniform(self, key: int, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> FloatArray:
        """Return numbers in (0, 1), `(ny, nx)`, that depend on seed, key and position only."""
        start = np.random.SeedSequence([self.seed, key]).generate_state(1, np.uint64)
        rows = _scramble(_scramble(y.astype(np.uint64) + start)[:, None] ^ x.astype(np.uint64)[None, :])
        return ((rows >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def write_galaxy(
    path: Path, nx: int = 1024, ny: int = 256, seed: int = 0, recipe: Recipe = BENCHMARK, overwrite: bool = False
) -> Path:
    """Write a map of the sky, centred on l = b = 0, by rows of tiles.

    Parameters
    ----------
    path
        The FITS file, written whole or not at all.
    nx, ny
        Size of the map in pixels.
    seed
        Which sky.
    recipe
        What the sky is made of.
    overwrite
        Replace an existing file.

    Raises
    ------
    UsageError
        Where the file exists or cannot be written.
    """
    refuse_overwrite(path, overwrite=overwrite)
    galaxy = Galaxy(seed, recipe)
    y, x = (range(zero - size // 2, zero - size // 2 + size) for size, zero in ((ny, EQUATOR_PX), (nx, 0)))
    tables = [filament_table(galaxy.filaments(y, x))]
    with atomic_path(path) as temporary:
        with FitsWriter(temporary, (ny, nx), make_header(nx, ny, seed, recipe), PLANES, tables) as writer:
            for row in range(y.start // TILE_PX, -(-y.stop // TILE_PX)):
                band = range(max(y.start, TILE_PX * row), min(y.stop, TILE_PX * (row + 1)))
                planes = galaxy.window(band, x)
                inside = galaxy.inside_border(band, x, (y, x))
                planes["PRIMARY"][~inside] = np.nan
                for name in ("TARGET", "BACKGROUND", "MISSING"):
                    planes[name] &= inside
                for name, plane in planes.items():
                    writer.write(name, band.start - y.start, plane)
        with fits.open(temporary, "update") as hdus:
            for name, meaning in _MEANING.items():
                hdus[name].header["BTYPE"] = (name.lower(), meaning)
    return path


def make_header(nx: int, ny: int, seed: int = 0, recipe: Recipe = BENCHMARK) -> fits.Header:
    """Return the header of a map centred on l = b = 0, in Galactic plate carree (CAR) coordinates."""
    header = fits.Header()
    step_deg = recipe.pixel_arcsec / 3600
    header["OBJECT"] = ("synthetic Galactic plane", "made by make_galaxy.py, not observed")
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


def filament_table(filaments: Iterator[Filament]) -> fits.BinTableHDU:
    """Return the table FILAMENTS, one row a filament; lengths are those of the main spine."""
    rows = [(f.id, f.contrast, f.width_px, f.length_px, f.in_target) for f in filaments]
    ids, contrasts, widths, lengths, in_target = zip(*rows, strict=True) if rows else ((),) * 5
    columns = [
        fits.Column("ID", "J", array=np.array(ids, np.int32)),
        fits.Column("CONTRAST", "E", array=np.array(contrasts, np.float32)),
        fits.Column("WIDTH_PX", "E", unit="pixel", array=np.array(widths, np.float32)),
        fits.Column("LENGTH_PX", "E", unit="pixel", array=np.array(lengths, np.float32)),
        fits.Column("IN_TARGET", "L", array=np.array(in_target, np.bool_)),
    ]
    return fits.BinTableHDU.from_columns(columns, name="FILAMENTS")


def plummer(distance2_px: npt.NDArray[Any], width_px: float) -> npt.NDArray[Any]:
    """Return a Plummer-like cross profile, (1 + r^2 / R^2)^(-3/2), brought to 0 at `_CUT` widths.

    Parameters
    ----------
    distance2_px
        Squared distance from the spine.
    width_px
        FWHM, 1.53 R: Plummer's index 4, an isothermal cylinder in equilibrium (Ostriker 1964, ApJ 140, 1056).
    """
    shape = 4 * (2 ** (2 / 3) - 1) / width_px**2
    end = (1 + shape * (_CUT * width_px) ** 2) ** -1.5
    base = 1 + shape * distance2_px
    return np.asarray(np.maximum(1 / (base * np.sqrt(base)) - end, 0) / (1 - end))


def _grow(generator: np.random.Generator, middle: FloatArray, number: int, recipe: Recipe) -> Filament:
    """Return a random filament around a position."""
    contrast, length_px = (_log_uniform(generator, limits) for limits in (recipe.contrast, recipe.length_px))
    width_px = generator.uniform(*recipe.width_px)
    catalogued = generator.uniform() < recipe.target_fraction and contrast > recipe.target_contrast
    spine, heading = _wander(generator, generator.uniform(0, 2 * np.pi), length_px)
    spine += middle - spine[len(spine) // 2]
    strength = _beads(generator, len(spine))
    strands, hubs = [_pieces(spine, strength)], []
    for _ in range(generator.poisson(length_px / recipe.branch_every_px)):
        root = generator.integers(len(spine))
        turn = generator.choice([-1, 1]) * generator.uniform(0.6, 1.6)
        branch, _ = _wander(generator, heading[root] + turn, max(8.0, generator.uniform(0.1, 0.4) * length_px))
        fading = np.linspace(strength[root], _FAINTEST, len(branch))
        strands.append(_pieces(branch + spine[root], np.minimum(fading, _beads(generator, len(branch)))))
        if contrast > recipe.target_contrast and generator.uniform() < recipe.hub_chance:
            points, _ = _wander(generator, generator.uniform(0, 2 * np.pi), generator.uniform(2, 8))
            core = _pieces(points - points[len(points) // 2] + spine[root], _beads(generator, len(points)))
            hubs.append((core, _log_uniform(generator, recipe.hub_excess), generator.uniform(3, 6)))
    joined = Pieces(*(np.concatenate(parts) for parts in zip(*strands, strict=True)))
    return Filament(number, contrast, width_px, length_px, bool(catalogued), joined, hubs)


def _wander(generator: np.random.Generator, direction: float, length_px: float) -> tuple[FloatArray, FloatArray]:
    """Return the points `(n, 2)` of a random walk from (0, 0) and its headings `(n,)` in radians."""
    n = max(2, math.ceil(length_px / _STEP_PX))
    # Long bends and short kinks; without a trend, so that a filament is not a coil.
    heading = direction + 0.5 * _smooth(generator, n + 1, 25.0) + 0.6 * _smooth(generator, n + 1, 4.0)
    steps = length_px / n * np.stack([np.sin(heading[:-1]), np.cos(heading[:-1])], axis=1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]), heading


def _beads(generator: np.random.Generator, n: int) -> FloatArray:
    """Return the strength `(n,)` along a spine, 1 at its brightest: clumps, and ends that fade."""
    from_end_px = _STEP_PX * np.minimum(np.arange(n), np.arange(n)[::-1])
    clumps = np.exp(0.4 * _smooth(generator, n, 3.0) + 0.3 * _smooth(generator, n, 15.0) - np.exp(-from_end_px / 6))
    return np.asarray(np.maximum(clumps / clumps.max(), _FAINTEST))


def _smooth(generator: np.random.Generator, n: int, scale_px: float) -> FloatArray:
    """Return `(n,)` Gaussian noise of standard deviation 1, correlated over a length along a spine."""
    sigma = scale_px / _STEP_PX
    pad = math.ceil(4 * sigma)
    noise = gaussian_filter1d(generator.standard_normal(n + 2 * pad), sigma)[pad : pad + n]
    return np.asarray(noise * math.sqrt(2 * sigma * math.sqrt(np.pi)))


def _pieces(points: FloatArray, strength: FloatArray) -> Pieces:
    return Pieces(points[:-1], points[1:], np.stack([strength[:-1], strength[1:]], axis=1))


def _draw(
    pieces: Pieces, width_px: float, corner: npt.NDArray[np.int64]
) -> tuple[tuple[slice, slice], npt.NDArray[np.float32], BoolArray] | None:
    """Return where a spine lies in a tile, its profile (peak 1) there, and the pixels within half a width.

    Each straight piece is drawn into a small square around it; the brightest of the pieces counts in each pixel.
    """
    reach = math.ceil(_CUT * width_px + _STEP_PX / 2) + 1
    middle = np.rint((pieces.start + pieces.end) / 2).astype(np.int64) - corner
    inside = ((middle >= -reach) & (middle < TILE_PX + reach)).all(axis=1)
    if not inside.any():
        return None
    middle = middle[inside]
    start = (pieces.start[inside] - corner - middle).astype(np.float32)[:, :, None, None]
    along = (pieces.end - pieces.start)[inside].astype(np.float32)[:, :, None, None]
    strength = pieces.strength[inside].astype(np.float32)[:, :, None, None]
    offset = np.arange(-reach, reach + 1, dtype=np.float32)
    dy, dx = offset[:, None] - start[:, 0], offset[None, :] - start[:, 1]
    length2 = np.maximum((along**2).sum(axis=1), 1e-12)
    part = np.clip((dy * along[:, 0] + dx * along[:, 1]) / length2, 0, 1)  # nearest point of the piece
    distance2 = (dy - part * along[:, 0]) ** 2 + (dx - part * along[:, 1]) ** 2
    squares = plummer(distance2, width_px) * (strength[:, 0] + part * (strength[:, 1] - strength[:, 0]))
    near = distance2 <= (width_px / 2) ** 2

    first, last = middle.min(axis=0) - reach, middle.max(axis=0) + reach + 1
    profile = np.zeros(last - first, np.float32)
    spine = np.zeros(profile.shape, np.bool_)
    for (y, x), square, disc in zip(middle - reach - first, squares, near, strict=True):
        where = np.s_[y : y + len(offset), x : x + len(offset)]
        np.maximum(profile[where], square, out=profile[where])
        np.logical_or(spine[where], disc, out=spine[where])
    low, high = np.maximum(first, 0), np.minimum(last, TILE_PX)
    crop = np.s_[low[0] - first[0] : high[0] - first[0], low[1] - first[1] : high[1] - first[1]]
    return np.s_[low[0] : high[0], low[1] : high[1]], profile[crop], spine[crop]


def _log_uniform(generator: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(generator.uniform(*np.log(limits))))


def _overlap(pixels: range, tile: int) -> tuple[slice, slice]:
    """Return the part of a window that a tile covers, in pixels of the window and of the tile."""
    start, stop = max(pixels.start, TILE_PX * tile), min(pixels.stop, TILE_PX * (tile + 1))
    return slice(start - pixels.start, stop - pixels.start), slice(start - TILE_PX * tile, stop - TILE_PX * tile)


_SPLINE = BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)  # cubic, on [-2, 2]
_SPLINE_RMS = math.sqrt(151 / 315)  # of lattice noise interpolated by it: the integral of its square


def _spline_weights(position: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the lattice nodes `(k,)` around positions `(n,)` in lattice units, and the weights `(n, k)` of each."""
    nodes = np.arange(math.floor(position[0]) - 1, math.floor(position[-1]) + 3)
    return nodes, np.nan_to_num(_SPLINE(position[:, None] - nodes))


def _scramble(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return well mixed bits: the last steps of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Write a synthetic strip of the Galactic plane with known filaments: column density in cm^-2, NaN "
        "where missing, and the planes TARGET, BACKGROUND, MISSING (1 = VALID), TRUTH, TRUTH_ID and FILAMENTS.",
        epilog="example: make_galaxy.py --size 4000 1800 --seed 3 -o galaxy.fits; bigsf preprocess galaxy.fits",
    )
    parser.add_argument(
        "--size", nargs=2, type=_positive, default=(1024, 256), metavar=("NX", "NY"), help='pixels of 11.5" (1024 256)'
    )
    parser.add_argument("--seed", type=int, default=0, help="which sky: an integer from 0 on (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=Path("galaxy.fits"), help="FITS file (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error("--seed must not be negative")
    try:
        nx, ny = options.size
        print(write_galaxy(options.output, nx, ny, options.seed, overwrite=options.overwrite))
    except BigsfError as error:
        parser.error(str(error))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    main()
