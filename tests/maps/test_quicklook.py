import io
import math
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from matplotlib.colors import to_hex
from matplotlib.image import imread

from bigsf.arrays import FloatArray
from bigsf.figures import drawn
from bigsf.maps.quicklook import MASK_COLOUR, TARGET_COLOUR, quicklook_figure
from bigsf.maps.subsampled import SubsampledPlanes
from conftest import galactic_header


def subsampled_planes(image: FloatArray) -> SubsampledPlanes:
    subsampled = SubsampledPlanes((image.shape[0], image.shape[1]))
    subsampled.add(0, image=image, probability=np.clip(image / 1e23, 0, 1))
    return subsampled


def column_density(ny: int, nx: int) -> FloatArray:
    return np.random.default_rng(0).lognormal(np.log(2e22), 1, (ny, nx)).astype(np.float32)


def pixels_of(draw: Callable[[], Any]) -> Any:
    content = drawn(draw, "map.png")
    assert content is not None
    return imread(io.BytesIO(content))


def panels_of(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.images]


def images_of(figure: Any) -> list[Any]:
    return [axes.images[0] for axes in figure.axes if axes.images]


@pytest.mark.parametrize("header", [fits.Header(), galactic_header(120, 60)], ids=["no WCS", "WCS"])
def test_quicklook_is_an_image(header: fits.Header) -> None:
    subsampled = subsampled_planes(column_density(60, 120))
    pixels = pixels_of(lambda: quicklook_figure(subsampled, header, "cm-2", "map", 0.5))
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100


@pytest.mark.parametrize("shape", [(60, 60), (60, 150), (120, 40), (20, 1000)])
def test_quicklook_shows_every_pixel_of_map_and_probability_once(shape: tuple[int, int]) -> None:
    image = column_density(*shape)
    figure = quicklook_figure(subsampled_planes(image), galactic_header(*shape[::-1]), "cm-2", "map", 0.5)
    shown = [np.asarray(one.get_array()) for one in images_of(figure)]
    np.testing.assert_allclose(np.concatenate(shown[::2], axis=1), np.log10(image), rtol=1e-6)
    np.testing.assert_allclose(np.concatenate(shown[1::2], axis=1), np.clip(image / 1e23, 0, 1), rtol=1e-6)
    assert (len(shown) > 2) == (shape[1] > 10 * shape[0])


@pytest.mark.parametrize("value", [np.nan, -1.0, 0.0, 1e22])
def test_quicklook_of_flat_empty_and_negative_maps(value: float) -> None:
    subsampled = subsampled_planes(np.full((20, 30), value, np.float32))
    assert pixels_of(lambda: quicklook_figure(subsampled, fits.Header(), "cm-2", "map", 0.5)).size


def test_probability_is_shown_on_the_scale_from_zero_to_one() -> None:
    figure = quicklook_figure(subsampled_planes(column_density(30, 40)), fits.Header(), "cm-2", "map", 0.37)
    assert images_of(figure)[1].get_clim() == (0, 1)
    _, right = panels_of(figure)
    assert right.get_title("left") == "probability, threshold 0.37"
    (bar,) = right.child_axes
    assert any(set(np.asarray(line.get_ydata())) == {0.37} for line in bar.lines)


def test_longitudes_beyond_half_a_turn_are_labelled() -> None:
    header = galactic_header(720, 20)
    header.update(CRPIX1=1.0, CRVAL1=180.0, CDELT1=-0.5, CDELT2=0.5, CRVAL2=0.0)
    figure = quicklook_figure(subsampled_planes(column_density(20, 720)), header, "cm-2", "map", 0.5)
    shown = np.concatenate([longitudes_of(axes) for axes in figure.axes if axes.images])
    assert {30.0, 330.0, 270.0} <= set(np.round(shown, 3))


def longitudes_of(axes: Any) -> Any:
    """Return the longitudes on the lower row of a map at each tenth column."""
    x = np.arange(math.ceil(axes.get_xlim()[0]), axes.get_xlim()[1], 10)
    return axes.wcs.pixel_to_world(x, np.zeros(len(x))).l.deg


def test_a_figure_takes_little_more_memory_than_its_thumbnails() -> None:
    image = column_density(1000, 1000)
    tracemalloc.start()
    try:
        pixels_of(lambda: quicklook_figure(subsampled_planes(image), fits.Header(), "cm-2", "map", 0.5))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15 * image.nbytes, "colours are interpolated instead of values"


def test_outlines_of_target_and_mask_lie_on_the_map_and_are_named_outside() -> None:
    image, target, mask = column_density(20, 30), np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    target[5:9, 5:25] = 1
    mask[12:15, 0:10] = 1
    subsampled = subsampled_planes(image)
    subsampled.add(0, target=target, MASK=mask)
    figure = quicklook_figure(subsampled, galactic_header(30, 20), "cm-2", "map", 0.5)
    left, right = panels_of(figure)
    contours = {to_hex(contour.get_edgecolor()[0]): contour for contour in left.collections}
    assert set(contours) == {TARGET_COLOUR, MASK_COLOUR}
    bounds = contours[TARGET_COLOUR].get_paths()[0].get_extents()
    np.testing.assert_allclose(bounds.extents, [4.5, 4.5, 24.5, 8.5])  # half a pixel around its pixels
    np.testing.assert_allclose(contours[MASK_COLOUR].get_paths()[0].get_extents().x0, -0.5)  # closed at the edge
    assert not right.collections
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["target", "MASK"]


@pytest.mark.parametrize("shape", [(60, 60), (20, 1000)])
def test_coordinates_are_pixels_of_the_full_map(shape: tuple[int, int]) -> None:
    subsampled = SubsampledPlanes(shape, most_pixels=400)
    subsampled.add(0, image=column_density(*shape), probability=np.zeros(shape, np.float32))
    figure = quicklook_figure(subsampled, galactic_header(*shape[::-1]), "cm-2", "map", 0.5)
    panels = panels_of(figure)[::2]
    assert panels[0].get_xlim()[0] == -subsampled.step / 2
    assert panels[-1].get_xlim()[1] >= shape[1] - subsampled.step / 2
    assert all(one.get_xlim()[1] == other.get_xlim()[0] for one, other in pairwise(panels))


def test_every_panel_of_a_strip_has_a_title() -> None:
    figure = quicklook_figure(subsampled_planes(column_density(20, 1000)), fits.Header(), "", "map", 0.5)
    titles = [axes.get_title("left") for axes in panels_of(figure)]
    part = f"part 1 of {len(titles) // 2}"
    assert titles[:2] == [f"map, {part}", f"probability, threshold 0.50, {part}"]
    assert all(titles)
