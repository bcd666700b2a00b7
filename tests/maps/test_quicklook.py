import io
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from bigsf.arrays import FloatArray
from bigsf.figures import png_of
from bigsf.maps.quicklook import SubsampledPlanes, contours_figure, quicklook_figure
from conftest import galactic_header


def subsampled_planes(image: FloatArray) -> SubsampledPlanes:
    subsampled = SubsampledPlanes((image.shape[0], image.shape[1]))
    subsampled.add(0, image=image, probability=np.clip(image / 1e23, 0, 1))
    return subsampled


def column_density(ny: int, nx: int) -> FloatArray:
    return np.random.default_rng(0).lognormal(np.log(2e22), 1, (ny, nx)).astype(np.float32)


def pixels_of(draw: Callable[[], Any]) -> Any:
    content = png_of(draw, "map.png")
    assert content is not None
    return imread(io.BytesIO(content))


def images_of(figure: Any) -> list[Any]:
    return [axes.images[0] for axes in figure.axes if axes.images]


@given(ny=st.integers(1, 30), nx=st.integers(1, 30), edges_in=st.sets(st.integers(1, 29)), most=st.integers(1, 1000))
def test_subsampled_planes_are_every_nth_pixel_however_the_rows_come(
    ny: int, nx: int, edges_in: set[int], most: int
) -> None:
    plane = np.arange(ny * nx, dtype=np.float32).reshape(ny, nx)
    subsampled = SubsampledPlanes((ny, nx), most)
    edges = [0, *sorted(edge for edge in edges_in if edge < ny), ny]
    for y0, y1 in zip(edges, edges[1:], strict=False):  # noqa: RUF007
        subsampled.add(y0, image=plane[y0:y1])
    small = subsampled.plane("image")
    np.testing.assert_array_equal(small, plane[:: subsampled.step, :: subsampled.step])
    assert small.size <= most
    assert subsampled.step == 1 or plane[:: subsampled.step - 1, :: subsampled.step - 1].size > most


@pytest.mark.parametrize("header", [fits.Header(), galactic_header(120, 60)], ids=["no WCS", "WCS"])
def test_quicklook_is_an_image(header: fits.Header) -> None:
    subsampled = subsampled_planes(column_density(60, 120))
    pixels = pixels_of(lambda: quicklook_figure(subsampled, header, "map", 0.5))
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100


@pytest.mark.parametrize("shape", [(60, 60), (60, 150), (120, 40), (20, 1000)])
def test_quicklook_shows_every_pixel_of_map_and_probability_once(shape: tuple[int, int]) -> None:
    image = column_density(*shape)
    figure = quicklook_figure(subsampled_planes(image), galactic_header(*shape[::-1]), "map", 0.5)
    shown = [np.asarray(one.get_array()) for one in images_of(figure)]
    np.testing.assert_allclose(np.concatenate(shown[::2], axis=1), np.log10(image), rtol=1e-6)
    np.testing.assert_allclose(np.concatenate(shown[1::2], axis=1), np.clip(image / 1e23, 0, 1), rtol=1e-6)
    assert (len(shown) > 2) == (shape[1] > 10 * shape[0])


@pytest.mark.parametrize("value", [np.nan, -1.0, 0.0, 1e22])
def test_quicklook_of_flat_empty_and_negative_maps(value: float) -> None:
    subsampled = subsampled_planes(np.full((20, 30), value, np.float32))
    assert pixels_of(lambda: quicklook_figure(subsampled, fits.Header(), "map", 0.5)).size


def test_probability_is_shown_on_the_scale_from_zero_to_one() -> None:
    figure = quicklook_figure(subsampled_planes(column_density(30, 40)), fits.Header(), "map", 0.37)
    assert images_of(figure)[1].get_clim() == (0, 1)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert any("threshold 0.37" in label for label in labels)


def test_longitudes_beyond_half_a_turn_are_labelled() -> None:
    header = galactic_header(720, 20)
    header.update(CRPIX1=1.0, CRVAL1=180.0, CDELT1=-0.5, CDELT2=0.5, CRVAL2=0.0)
    figure = quicklook_figure(subsampled_planes(column_density(20, 720)), header, "map", 0.5)
    shown = np.concatenate([longitudes_of(axes) for axes in figure.axes if axes.images])
    assert {30.0, 330.0, 270.0} <= set(np.round(shown, 3))


def longitudes_of(axes: Any) -> Any:
    """Return the longitudes on the lower row of a map at each tenth column."""
    nx = axes.images[0].get_array().shape[1]
    return axes.wcs.pixel_to_world(np.arange(0, nx, 10), np.zeros(len(range(0, nx, 10)))).l.deg


def test_a_figure_takes_little_more_memory_than_its_thumbnails() -> None:
    image = column_density(1000, 1000)
    tracemalloc.start()
    try:
        pixels_of(lambda: quicklook_figure(subsampled_planes(image), fits.Header(), "map", 0.5))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15 * image.nbytes, "colours are interpolated instead of values"


def test_contours_show_target_and_mask_on_the_map_and_the_probability_below() -> None:
    image, target = column_density(20, 30), np.zeros((20, 30), np.uint8)
    target[5:9, 5:25] = 1
    subsampled = subsampled_planes(image)
    subsampled.add(0, target=target, marked=np.zeros_like(target))
    figure = contours_figure(subsampled, galactic_header(30, 20), "out-of-fold probability")
    above, below = [axes for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(above.images[0].get_array(), np.log10(image))
    np.testing.assert_array_equal(below.images[0].get_array(), subsampled.plane("probability"))
    assert [axes.get_ylabel() for axes in figure.axes if not axes.images] == [
        "log10 of the map",
        "out-of-fold probability",
    ]
    assert len(above.collections) == 1  # nothing is marked, so that there is no outline of it
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["target", "marked"]
