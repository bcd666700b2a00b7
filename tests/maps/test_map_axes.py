from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from matplotlib.patches import Ellipse
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]

from bigsf.figures import new_figure
from bigsf.maps.map_axes import add_scale, label_axes, show_plane
from bigsf.maps.wcs import celestial_wcs
from conftest import galactic_header


def axes_of(header: fits.Header, shape: tuple[int, int] = (100, 200)) -> Any:
    axes = new_figure(6, 4).add_subplot(projection=celestial_wcs(header))
    show_plane(axes, np.zeros(shape))
    label_axes(axes)
    add_scale(axes, header)
    return axes


def bars(axes: Any) -> list[Any]:
    return [artist for artist in axes.artists if isinstance(artist, AnchoredSizeBar)]


def beams(axes: Any) -> list[Any]:
    return [found for artist in axes.artists for found in artist.findobj(Ellipse)]


@pytest.mark.parametrize(
    ("pixel_deg", "label", "pixels"),
    [(1 / 3600, "30\N{DOUBLE PRIME}", 30), (1 / 60, "30\N{PRIME}", 30), (0.1, "5\N{DEGREE SIGN}", 50)],
)
def test_scale_bar_is_the_longest_round_length_below_a_quarter_of_the_width(
    pixel_deg: float, label: str, pixels: int
) -> None:
    header = galactic_header(200, 100)
    header.update(CDELT1=-pixel_deg, CDELT2=pixel_deg)
    (bar,) = bars(axes_of(header))
    assert bar.txt_label.get_text() == label
    assert bar.size_bar.get_children()[0].get_width() == pytest.approx(pixels)


def test_beam_has_the_axes_and_the_angle_of_the_header() -> None:
    header = galactic_header(200, 100)
    side = header["CDELT2"]
    header.update(BMAJ=10 * side, BMIN=5 * side, BPA=30.0)
    (beam,) = beams(axes_of(header))
    assert (beam.width, beam.height, beam.angle) == pytest.approx((5, 10, 30))


@pytest.mark.parametrize(
    ("sign", "turned", "angle"), [(-1, 0.0, 30.0), (1, 0.0, -30.0), (-1, 40.0, -10.0), (1, 40.0, -70.0)]
)
def test_the_beam_is_turned_and_mirrored_as_the_map_is(sign: int, turned: float, angle: float) -> None:
    header = galactic_header(200, 100)
    side = header["CDELT2"]
    cosine, sine = np.cos(np.deg2rad(turned)), np.sin(np.deg2rad(turned))
    header.update(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRPIX1=100.5, CRPIX2=50.5, CRVAL2=0.0)
    header.update(CD1_1=sign * side * cosine, CD1_2=-sign * side * sine, CD2_1=side * sine, CD2_2=side * cosine)
    header.remove("CDELT1")
    header.remove("CDELT2")
    header.update(BMAJ=10 * side, BMIN=5 * side, BPA=30.0)
    wcs = celestial_wcs(header)
    assert wcs is not None
    here = wcs.pixel_to_world(99.5, 49.5)
    (beam,) = beams(axes_of(header))
    along = np.deg2rad(beam.angle)
    end = wcs.pixel_to_world(99.5 - np.sin(along), 49.5 + np.cos(along))
    assert here.position_angle(end).deg == pytest.approx(30, abs=0.1)
    assert beam.angle == pytest.approx(angle, abs=0.1)


def test_the_scale_bar_is_that_of_the_middle_of_the_map() -> None:
    header = galactic_header(200, 100)
    header.update(CRVAL2=0.0, CRPIX2=50.5 - 60 / header["CDELT2"])  # in a plate carree map, around latitude 60
    (bar,) = bars(axes_of(header))
    width = bar.size_bar.get_children()[0].get_width()
    arcmin = float(bar.txt_label.get_text().rstrip("\N{PRIME}"))
    assert width * header["CDELT2"] * 60 * np.cos(np.deg2rad(60)) == pytest.approx(arcmin, rel=0.01)


def test_a_supergalactic_map_has_a_scale_bar_and_a_beam() -> None:
    header = galactic_header(200, 100)
    header.update(CTYPE1="SLON-TAN", CTYPE2="SLAT-TAN", BMAJ=10 * header["CDELT2"])
    axes = axes_of(header)
    assert len(bars(axes)) == len(beams(axes)) == 1


@pytest.mark.parametrize("card", ["BMIN", "BPA"])
def test_a_beam_whose_shape_is_no_number_is_not_drawn(card: str) -> None:
    header = galactic_header(200, 100)
    header.update({"BMAJ": 10 * header["CDELT2"], card: "unknown"})
    assert beams(axes_of(header)) == []


@pytest.mark.parametrize("bmaj", [None, -1.0, 1000.0], ids=["none", "negative", "as large as the map"])
def test_no_beam_is_better_than_a_wrong_one(bmaj: float | None) -> None:
    header = galactic_header(200, 100)
    if bmaj is not None:
        header["BMAJ"] = bmaj
    axes = axes_of(header)
    assert len(bars(axes)) == 1
    assert beams(axes) == []


def test_axes_without_a_wcs_have_pixels_and_no_scale() -> None:
    axes = axes_of(fits.Header())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x [pixel]", "y [pixel]")
    assert not axes.artists


@pytest.mark.parametrize(("angle_deg", "sides"), [(0, ["b", "l"]), (30, ["b", "l"]), (90, ["l", "b"])])
def test_labels_stand_below_and_beside_a_map_and_not_over_its_title(angle_deg: float, sides: list[str]) -> None:
    header = galactic_header(200, 100)
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=180.0, CRVAL2=80.0)
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    header.update(PC1_1=cos, PC1_2=-sin, PC2_1=sin, PC2_2=cos)
    axes = axes_of(header)
    assert [axes.coords[axis].get_ticklabel_position() for axis in (0, 1)] == [[side] for side in sides]
    assert [axes.coords[axis].get_axislabel() for axis in (0, 1)] == ["RA", "Dec"]


def test_a_map_whose_corners_lie_off_the_sky_has_a_grid_in_place_of_labels() -> None:
    header = galactic_header(200, 100)
    header.update(CTYPE1="GLON-AIT", CTYPE2="GLAT-AIT", CDELT1=-1.8, CDELT2=1.8, CRVAL1=0.0, CRVAL2=0.0)
    header.update(CRPIX1=100.5, CRPIX2=50.5)
    axes = axes_of(header)
    names = ["Galactic longitude", "Galactic latitude"]
    assert [axes.coords[axis].get_axislabel() for axis in (0, 1)] == [
        f"{name}, a line every 30\N{DEGREE SIGN}" for name in names
    ]
    assert not any(axes.coords[axis].get_ticklabel_visible() for axis in (0, 1))
