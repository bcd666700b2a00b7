"""A mask of filaments -> their skeletons, a catalogue, outlines."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.table import Column, Table
from astropy.wcs import WCS
from scipy.ndimage import binary_dilation, find_objects, label
from skimage.measure import approximate_polygon, find_contours

from bigsf.arrays import BoolArray, FloatArray
from bigsf.filaments.cleaning import CONNECTED
from bigsf.filaments.spine import Pixels, Points, Spine, measure_spine, skeleton_of
from bigsf.maps.tiling import bands
from bigsf.maps.wcs import galactic_lb
from bigsf.version import __version__

Rows = Callable[[int, int], FloatArray]
"""From rows (y0, y1) to a plane there, `(y1 - y0, nx)`, NaN where missing."""


RING_PX = (2, 7)
"""The local background of a filament lies farther than the first and up to the second number of pixels from it."""


_ROUNDED = {
    "x",
    "y",
    "l",
    "b",
    "length_px",
    "length_arcmin",
    "orientation",
    "area_arcmin2",
}  # 1e-6 is far below a pixel


_BAND_PIXELS = 16_000_000


COLUMNS = {
    "id": (None, "number of the filament, from 1, in the order of rows of the map"),
    "x": ("pix", "middle of the spine, from 0"),
    "y": ("pix", "middle of the spine, from 0"),
    "l": ("deg", "Galactic longitude of the middle of the spine"),
    "b": ("deg", "Galactic latitude of the middle of the spine"),
    "length_px": ("pix", "length of the longest path along the spine, the rounded ends of the mask taken off"),
    "length_arcmin": ("arcmin", "the same on the sky"),
    "orientation": ("deg", "of the long axis, from Galactic north towards increasing longitude; no WCS: from +y to -x"),
    "mean": ("map", "mean of the map over the filament"),
    "peak": ("map", "largest value of the map in the filament"),
    "background": ("map", f"median of the valid unmarked pixels {RING_PX[0] + 1} to {RING_PX[1]} pixels away"),
    "contrast": (None, "mean / background - 1"),
    "probability": (None, "mean probability over the filament"),
    "area_px": ("pix2", "pixels of the filament"),
    "area_arcmin2": ("arcmin2", "the same on the sky"),
}
"""Unit and meaning of each column of the catalogue; "map" is the unit of the map. NaN is undefined."""


class Filaments:
    """The filaments of a mask: its 8-connected components, however small.

    They hold the mask as labels (4 bytes a pixel), the skeletons, and no copy of any other plane.

    Parameters
    ----------
    mask
        True or 1 on filaments, `(ny, nx)`, e.g. MASK of a segmented map or of out_of_fold.fits.

    Examples
    --------
    >>> table = Filaments(np.eye(20)).catalog()
    >>> float(table["orientation"][0])
    135.0
    """

    def __init__(self, mask: npt.NDArray[Any]) -> None:
        self._labels, number = label(np.asarray(mask, np.bool_), CONNECTED)
        self._boxes: list[tuple[slice, slice]] = find_objects(self._labels, number)

    def __len__(self) -> int:
        return len(self._boxes)

    def skeleton(self) -> npt.NDArray[np.uint8]:
        """Return the skeletons `(ny, nx)`: 1 on lines one pixel wide, connected as the mask is."""
        plane = np.zeros(self._labels.shape, np.uint8)
        for pixels in self._skeletons:
            plane[tuple(pixels.T)] = 1
        return plane

    def outlines(self) -> list[Points]:
        """Return the outer border of each filament, points (y, x) `(n, 2)`, to half a pixel; the last is the first."""
        return [self._outline(number) for number in range(len(self))]

    def catalog(
        self,
        image: FloatArray | Rows | None = None,
        probability: FloatArray | Rows | None = None,
        wcs: WCS | None = None,
        unit: str = "",
    ) -> Table:
        """Return a table, one row a filament, with the columns of `COLUMNS`.

        Parameters
        ----------
        image
            The map `(ny, nx)`, or a function that returns rows of it (e.g. `FitsImage.read`); NaN = missing.
        probability
            The probabilities, likewise.
        wcs
            A celestial WCS of the map; without one the columns on the sky are NaN.
        unit
            BUNIT of the map. Where astropy cannot read it, it is kept in the table's meta alone.

        Returns
        -------
        Table
            NaN where undefined: on the sky without a WCS, of the map without a map, the orientation of a round spot,
            the contrast where the background has no valid pixel or is not positive.
        """
        spines = [measure_spine(self._pixels(n), skeleton) for n, skeleton in enumerate(self._skeletons)]
        middle = np.array([spine.middle for spine in spines]).reshape(-1, 2)
        area = np.array([len(self._pixels(n)) for n in range(len(self))], np.int64)
        moments = np.array([_moments(self._pixels(n)) for n in range(len(self))]).reshape(-1, 2, 2)
        length = np.array([spine.length_px for spine in spines])
        values: dict[str, npt.NDArray[Any]] = {
            "id": np.arange(1, len(self) + 1),
            "x": middle[:, 1],
            "y": middle[:, 0],
            "length_px": length,
            "area_px": area,
            **self._levels(image, probability),
        }
        axes = np.broadcast_to(np.array([[0.0, -1.0], [1.0, 0.0]]), moments.shape)  # no sky: -x is left, y is up
        if wcs is not None:
            values["l"], values["b"] = galactic_lb(wcs, middle).T
            axes = _sky_axes(wcs, middle)
            values["length_arcmin"] = length * _arcmin_per_pixel(wcs, spines)
            values["area_arcmin2"] = area * np.abs(np.linalg.det(axes))
        values["orientation"] = _orientation(axes @ moments @ axes.swapaxes(1, 2))
        return _table(values, unit)

    @cached_property
    def _skeletons(self) -> list[Pixels]:
        """The pixels (y, x) of each skeleton, on the map."""
        return [self._on_map(number, skeleton_of(self._cut(number))) for number in range(len(self))]

    def _cut(self, number: int) -> BoolArray:
        """Return a filament alone, in its box."""
        cut: BoolArray = self._labels[self._boxes[number]] == number + 1
        return cut

    def _pixels(self, number: int) -> Pixels:
        return self._on_map(number, self._cut(number))

    def _on_map(self, number: int, cut: BoolArray) -> Pixels:
        y, x = self._boxes[number]
        pixels: Pixels = np.argwhere(cut) + np.array([y.start, x.start])
        return pixels

    def _outline(self, number: int) -> Points:
        """Return the longest contour, which is the outer one: holes are inside it."""
        y, x = self._boxes[number]
        contours = find_contours(np.pad(self._cut(number), 1).astype(np.uint8), 0.5, fully_connected="high")
        corner = np.array([y.start - 1, x.start - 1])
        outline: Points = corner + approximate_polygon(max(contours, key=_extent), 0.4)
        return outline

    def _levels(self, image: FloatArray | Rows | None, probability: FloatArray | Rows | None) -> dict[str, FloatArray]:
        """Return what the map and the probability are on and around each filament, reading them once, by bands."""
        gathered = [_Gathered([], [], []) for _ in self._boxes]
        ny, nx = self._labels.shape
        start, stop = (np.array([getattr(y, edge) for y, _ in self._boxes]) for edge in ("start", "stop"))
        for y0, y1 in bands(ny, max(1, _BAND_PIXELS // nx)):
            likely, level = (_rows(plane, y0, y1, nx) for plane in (probability, image))
            here = np.flatnonzero((start - RING_PX[1] < y1) & (stop + RING_PX[1] > y0))
            for number in here:
                self._gather(int(number), y0, y1, level, likely, gathered[number])
        names = ("mean", "peak", "background", "probability")
        columns = np.array([one.levels() for one in gathered], np.float32).reshape(-1, len(names)).T
        values: dict[str, FloatArray] = dict(zip(names, columns, strict=True))
        positive = np.where(values["background"] > 0, values["background"], np.nan)
        values["contrast"] = np.asarray(values["mean"] / positive - 1, np.float32)
        return values

    def _gather(
        self, number: int, y0: int, y1: int, level: FloatArray, likely: FloatArray, gathered: "_Gathered"
    ) -> None:
        """Take the pixels in rows y0 to y1 on a filament and in the ring around it."""
        (y, x), reach = self._boxes[number], RING_PX[1]
        (ny, nx), (low, high) = self._labels.shape, (max(y.start - reach, y0), min(y.stop + reach, y1))
        top = max(low - reach, 0)  # what is marked there has a ring here
        columns = slice(max(x.start - reach, 0), min(x.stop + reach, nx))
        labels = self._labels[top : min(high + reach, ny), columns]
        on = labels == number + 1
        near = binary_dilation(on, CONNECTED, iterations=RING_PX[0])
        ring = binary_dilation(near, CONNECTED, iterations=reach - RING_PX[0]) & ~near & (labels == 0)
        on, ring = on[low - top : high - top], ring[low - top : high - top]
        place = np.s_[low - y0 : high - y0, columns]
        gathered.on.append(level[place][on])
        gathered.ring.append(level[place][ring])
        gathered.probability.append(likely[place][on])


class _Gathered(NamedTuple):
    """Values of the map on a filament and in its ring, and probabilities on it, piece by piece."""

    on: list[FloatArray]
    ring: list[FloatArray]
    probability: list[FloatArray]

    def levels(self) -> tuple[float, float, float, float]:
        """Return the mean and peak of the map, the background, and the mean probability; NaN of nothing."""
        on, ring, likely = (_finite(pieces) for pieces in self)
        return (_of(np.mean, on), _of(np.max, on), _of(np.median, ring), _of(np.mean, likely))


def _rows(plane: FloatArray | Rows | None, y0: int, y1: int, nx: int) -> FloatArray:
    if plane is None:
        return np.broadcast_to(np.float32(np.nan), (y1 - y0, nx))
    return plane(y0, y1) if callable(plane) else plane[y0:y1]


def _extent(points: Points) -> float:
    return float(np.ptp(points, axis=0).prod())


def _finite(pieces: list[FloatArray]) -> npt.NDArray[np.float64]:
    values = np.concatenate(pieces).astype(np.float64)
    return values[np.isfinite(values)]


def _of(statistic: Callable[[npt.NDArray[np.float64]], Any], values: npt.NDArray[np.float64]) -> float:
    return float(statistic(values)) if values.size else np.nan


def _moments(pixels: Pixels) -> npt.NDArray[np.float64]:
    """Return the second moments of the pixels (y, x) about their centre, `(2, 2)`."""
    return np.cov(pixels.T, bias=True)


def _orientation(moments: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the angles of the long axes from up to left in degrees, 0 to below 180; NaN where no axis is longer.

    The moments `(n, 2, 2)` are those along (left, up).
    """
    across, along, mixed = moments[:, 0, 0], moments[:, 1, 1], moments[:, 0, 1]
    elongation = np.hypot(along - across, 2 * mixed)
    angle = np.rad2deg(np.arctan2(2 * mixed, along - across)) / 2 % 180 % 180  # the second: -1e-17 % 180 is 180
    return np.where(elongation > 1e-9 * (along + across), angle, np.nan)


def _sky_axes(wcs: WCS, points: Points) -> npt.NDArray[np.float64]:
    """Return the arcmin towards (increasing longitude, north) of a pixel along (y, x), at each point, `(n, 2, 2)`."""
    half = 0.5 * np.eye(2)
    steps = [galactic_lb(wcs, points + step) - galactic_lb(wcs, points - step) for step in half]
    axes = 60 * np.stack(steps, axis=2)
    axes[:, 0] = (axes[:, 0] + 60 * 180) % (60 * 360) - 60 * 180  # across l = 0
    axes[:, 0] *= np.cos(np.deg2rad(galactic_lb(wcs, points)[:, 1:]))
    return axes


def _arcmin_per_pixel(wcs: WCS, spines: list[Spine]) -> npt.NDArray[np.float64]:
    """Return the length of each path on the sky over that in pixels, `(n,)`; 0 of a point."""
    owner = np.repeat(np.arange(len(spines)), [len(spine.path) for spine in spines])
    points = np.concatenate([spine.path for spine in spines] or [np.empty((0, 2))])
    sky = wcs.pixel_to_world(points[:, 1], points[:, 0])
    steps = {"sky": sky[1:].separation(sky[:-1]).arcmin, "pixels": np.hypot(*np.diff(points, axis=0).T)}
    one = owner[1:] == owner[:-1]  # steps from one spine to the next are none
    sums = {name: np.bincount(owner[1:][one], step[one], len(spines)) for name, step in steps.items()}
    return np.divide(sums["sky"], sums["pixels"], out=np.zeros(len(spines)), where=sums["pixels"] > 0)


def _table(values: dict[str, npt.NDArray[Any]], unit: str) -> Table:
    """Return the columns in their order with units and meanings."""
    nothing = np.full(len(values["id"]), np.nan)
    try:
        of_map = units.Unit(unit) if unit else None
    except ValueError:
        of_map = None
    rounded = {name: np.round(column, 6) if name in _ROUNDED else column for name, column in values.items()}
    columns = [
        Column(rounded.get(name, nothing), name, unit=of_map if of_column == "map" else of_column, description=meaning)
        for name, (of_column, meaning) in COLUMNS.items()
    ]
    return Table(columns, meta={"BUNIT": unit, "bigsf": __version__})
