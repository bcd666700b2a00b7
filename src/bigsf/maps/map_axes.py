"""Planes of a map -> an image on the axes of a figure, with sky coordinates, colour bar, scale bar and beam."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import FloatArray
from bigsf.maps.map_units import value_label
from bigsf.maps.wcs import beam_px, celestial_wcs, pixel_scale_deg, sky_coordinates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_BARS_ARCSEC = [factor * unit for unit in (1, 60, 3600) for factor in (1, 2, 5, 10, 20, 30)] + [216000, 324000]
"""Lengths of scale bars."""

_LONGEST_BAR = 0.25
"""Part of the width of the axes that a scale bar takes at most; it is no longer than a map is high."""

_GRID_DEG = 30
"""Steps of the grid on a map whose corners lie off the sky."""

_SHORT = {"Galactic longitude": "$l$", "Galactic latitude": "$b$"}
"""The names of coordinates beside a wide, flat map."""

_COORDINATES = {"GLON": "Galactic longitude", "GLAT": "Galactic latitude", "RA--": "RA", "DEC-": "Dec"}


def show_plane(axes: "Axes", plane: npt.NDArray[Any], step: int = 1, x0: int = 0, **style: Any) -> "AxesImage":
    """Draw a plane as an image whose coordinates are pixels of the full map.

    Parameters
    ----------
    axes
        Where to draw.
    plane
        `(ny, nx)`, or `(ny, nx, 3)` for colours.
    step
        Pixels of the full map per pixel of the plane.
    x0
        The column of the full map that the first column of the plane shows.
    **style
        Of `imshow`, e.g. `cmap`.
    """
    ny, nx = plane.shape[:2]
    extent = (x0 - step / 2, x0 + (nx - 0.5) * step, -step / 2, (ny - 0.5) * step)
    axes.set_facecolor("0.8")
    shown = axes.imshow(plane, origin="lower", aspect="equal", extent=extent, **style)
    axes.patch.set_in_layout(False)  # astropy moves it to the limits of the axes only after the layout
    axes.autoscale(False)  # what is drawn on the map changes no limit
    return shown


def show_image(
    axes: "Axes", image: FloatArray, header: fits.Header, unit: str, step: int = 1, x0: int = 0, cmap: str = "magma"
) -> "AxesImage":
    """Draw the first plane of a map, as log10 where it spans more than a factor of 10, with its colour bar.

    Parameters
    ----------
    axes, step, x0
        As for `show_plane`.
    image
        The plane `(ny, nx)`, NaN where missing.
    header, unit
        The header and the unit (BUNIT) of the map.
    cmap
        The colour map.
    """
    scaled, logarithm, low, high = stretched(image)
    shown = show_plane(axes, scaled, step, x0, cmap=cmap, vmin=low, vmax=high)
    add_colour_bar(axes, shown, value_label(unit, header, logarithm))
    return shown


def show_outline(axes: "Axes", mask: npt.NDArray[Any], label: str, colour: str, step: int = 1, x0: int = 0) -> None:
    """Draw the outline of what is above 0 in a plane `(ny, nx)`, with its name for the legend; see `show_plane`."""
    from matplotlib.lines import Line2D

    axes.add_line(Line2D([], [], color=colour, label=label))  # for the legend, which does not know contours
    above = np.pad(mask > 0, 1)  # so that outlines are closed at the edge of the map
    if above.any():
        ny, nx = above.shape
        x, y = x0 + step * np.arange(-1, nx - 1), step * np.arange(-1, ny - 1)
        axes.contour(x, y, above, levels=[0.5], colors=colour, linewidths=0.8)


def add_colour_bar(axes: "Axes", shown: "AxesImage", label: str, marks: Sequence[float] = ()) -> None:
    """Add the colour bar of an image, with lines at some of its values."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    left, right, bottom, top = shown.get_extent()
    width = max(0.01, 0.04 * min(1.0, (top - bottom) / (right - left)))
    beside = axes.inset_axes((1.0 + width / 2, 0.0, width, 1.0))  # as high as the map, whose aspect is fixed
    bar = figure.colorbar(shown, cax=beside)
    if _is_strip(axes):  # the label would be longer than the bar
        axes.set_title(label, loc="right", fontsize="medium")
    else:
        bar.set_label(label)
    for value in marks:
        bar.ax.axhline(value, color="white", linewidth=1.5)


def stretched(image: FloatArray) -> tuple[FloatArray, bool, float, float]:
    """Return a map as it is drawn, whether that is its log10, and the lower and upper limit of its colours.

    A map of positive values over more than a factor of 10 is drawn as its log10.
    """
    finite = image[np.isfinite(image)]
    logarithm = bool(finite.size and finite.min() > 0 and finite.max() > 10 * finite.min())
    if logarithm:
        image, finite = np.log10(image), np.log10(finite)
    low, high = np.percentile(finite, [0.5, 99.7]) if finite.size else (0.0, 1.0)
    return image, logarithm, float(low), float(high)


def label_axes(axes: Any) -> None:
    """Label the axes of a map: sky coordinates, or pixels where there is no WCS."""
    wcs = getattr(axes, "wcs", None)
    if not isinstance(wcs, WCS):
        axes.set(xlabel="x [pixel]", ylabel="y [pixel]")
        return
    along_x, along_y = np.abs(wcs.pixel_scale_matrix[0])
    sides = "bl" if along_x >= along_y else "lb"  # else astropy puts converging meridians above, over the title
    without_corners = _has_no_corners(axes, wcs)
    for axis, (kind, side) in enumerate(zip(wcs.wcs.ctype, sides, strict=True)):
        coordinate = axes.coords[axis]
        coordinate.set_ticklabel_position(side)
        coordinate.set_axislabel_position(side)
        name = _COORDINATES.get(kind[:4], kind[:4].strip("-"))
        coordinate.set_axislabel(_SHORT.get(name, name) if _is_strip(axes) else name, minpad=0.8)
        if kind.startswith("GL"):
            coordinate.set_major_formatter("d.d")
        if without_corners:  # few lines of its grid meet the frame, and these in the same points
            coordinate.set_ticks(spacing=_GRID_DEG * units.deg)
            coordinate.set_ticks_visible(False)
            coordinate.set_ticklabel_visible(False)
            coordinate.grid(color="white", alpha=0.4, linewidth=0.5)
            coordinate.set_axislabel_visibility_rule("always")
            coordinate.set_axislabel(f"{name}, a line every {_GRID_DEG}\N{DEGREE SIGN}", minpad=0.8)


def _has_no_corners(axes: Any, wcs: WCS) -> bool:
    """Tell whether all corners of a map lie off the sky, as in an Aitoff projection or a map of a hemisphere."""
    x, y = np.meshgrid(axes.get_xlim(), axes.get_ylim())
    return bool(np.isnan(wcs.pixel_to_world_values(x, y)[0]).all())


def _is_strip(axes: Any) -> bool:
    """Tell whether a map is so low that words do not fit beside it."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return bool(4 * (top - bottom) < right - left)


def _beam_shape(header: fits.Header) -> dict[str, float] | None:
    """Return the axes and the angle of the beam in degrees; None where a card of it is no number."""
    try:
        major = float(header["BMAJ"])
        return {"major": major, "minor": float(header.get("BMIN", major)), "angle": float(header.get("BPA", 0))}
    except (KeyError, TypeError, ValueError):
        return None


def _angle_on_plane(wcs: WCS, middle: tuple[float, float], angle_deg: float) -> float:
    """Return a position angle, from north to east, as one from +y to -x on the plane of a map at its middle (x, y)."""
    here = wcs.pixel_to_world(*middle)
    if not isinstance(here, SkyCoord):  # astropy knows no supergalactic WCS
        return angle_deg
    x, y = wcs.world_to_pixel(here.directional_offset_by(angle_deg * units.deg, 1 * units.arcmin))
    angle = np.degrees(np.arctan2(middle[0] - x, y - middle[1]))
    return float(angle) if np.isfinite(angle) else angle_deg


def _pixel_along_x_deg(wcs: WCS, middle: tuple[float, float]) -> float:
    """Return the size of a pixel along x on the sky at the middle (x, y) of a map; off the sky, that of the WCS."""
    x, y = middle
    left, right = sky_coordinates(wcs, [(y, x - 0.5), (y, x + 0.5)])
    size = float(left.separation(right).deg)
    return size if np.isfinite(size) else pixel_scale_deg(wcs)


def add_scale(axes: Any, header: fits.Header) -> None:
    """Add a scale bar and, where the header has BMAJ, the beam, in the lower corners of axes on a WCS.

    Parameters
    ----------
    axes
        Where to draw. Axes without a celestial WCS get neither.
    header
        The header of the map.
    """
    wcs = getattr(axes, "wcs", None)
    if not isinstance(wcs, WCS) or celestial_wcs(wcs.to_header()) is None:
        return
    from astropy.visualization.wcsaxes import add_beam, add_scalebar

    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    width_px = min(right - left, 4 * (top - bottom))
    middle = (left + right) / 2, (bottom + top) / 2
    background = {"facecolor": "black", "alpha": 0.5, "edgecolor": "none"}
    fwhm_px, shape = beam_px(header, wcs), _beam_shape(header)
    if fwhm_px is not None and fwhm_px < 0.25 * width_px and shape is not None:  # a larger one would hide the map
        shape["angle"] = _angle_on_plane(wcs, middle, shape["angle"])
        add_beam(axes, corner="bottom left", frame=True, **shape, facecolor="white", edgecolor="black")
        axes.artists[-1].patch.set(**background)
    along_x = _pixel_along_x_deg(wcs, middle)
    longest = _LONGEST_BAR * width_px * along_x * 3600
    lengths = [length for length in _BARS_ARCSEC if length <= longest]
    if lengths:
        length = lengths[-1]
        label = next(
            f"{length // size}{sign}"
            for size, sign in ((3600, "\N{DEGREE SIGN}"), (60, "\N{PRIME}"), (1, "\N{DOUBLE PRIME}"))
            if length >= size
        )
        drawn = length * pixel_scale_deg(wcs) / along_x * units.arcsec  # astropy takes pixels for squares of one size
        add_scalebar(axes, drawn, label=label, corner="bottom right", color="white", frame=True)
        axes.artists[-1].patch.set(**background)
