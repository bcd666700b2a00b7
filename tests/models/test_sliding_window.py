import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigsf.arrays import FloatArray, MaskArray
from bigsf.errors import ConfigError
from bigsf.maps.tiling import Tile
from bigsf.models.normalizations import MinMaxConfig
from bigsf.models.predicted_band import PixelMask, PredictedBand
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.models.unet import UNet
from conftest import ArrayMap, StubModel

IDENTITY = StubModel(lambda image, _: image[:, :1].nan_to_num())
WINDOW_MEAN = StubModel(lambda image, _: image.nanmean(dim=(1, 2, 3), keepdim=True).expand_as(image))

sizes = st.integers(1, 40)
geometries = st.tuples(sizes, sizes, st.integers(1, 12), st.integers(1, 12), st.integers(1, 50)).filter(
    lambda geometry: geometry[3] <= geometry[2]
)
"""Map (ny, nx), window, stride of at most the window, batch size."""


def predicted(predictor: SlidingWindowPredictor, image: FloatArray, pixel_mask: PixelMask | None = None) -> FloatArray:
    """Return the probabilities `(models, ny, nx)` of a map `(ny, nx)`."""
    bands = list(predictor.predict_bands(ArrayMap(image[None]), pixel_mask))
    edges = [0, *(y1 for _, y1, _ in bands)]
    assert [y0 for y0, _, _ in bands] == edges[:-1]
    assert edges[-1] == len(image)
    return np.concatenate([values for _, _, values in bands], axis=1)


def whole(predictor: SlidingWindowPredictor, image: FloatArray) -> list[PredictedBand]:
    """Return the bands of a map `(c, ny, nx)`."""
    return list(predictor.predict_tile(Tile.whole(image.shape[1:]), ArrayMap(image)))


def random_map(ny: int, nx: int, missing: float = 0.0, seed: int = 0) -> FloatArray:
    generator = np.random.default_rng(seed)
    image = generator.random((ny, nx), np.float32)
    image[generator.random((ny, nx)) < missing] = np.nan
    return image


@pytest.fixture(scope="module")
def unet() -> SegmentationModel:
    torch.manual_seed(0)
    return SegmentationModel(UNet(features=4, depth=2), MinMaxConfig().build(1))


@settings(max_examples=150)
@given(geometry=geometries, missing=st.sampled_from([0.0, 0.0, 0.1, 0.9]), seed=st.integers(0, 99))
def test_identity_network_gives_the_image_and_nan_where_it_is_missing(
    geometry: tuple[int, int, int, int, int], missing: float, seed: int
) -> None:
    ny, nx, window, stride, batch_size = geometry
    image = random_map(ny, nx, missing, seed)
    (probability,) = predicted(SlidingWindowPredictor([IDENTITY], window, stride, batch_size), image)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(probability, image, rtol=1e-5)


@settings(max_examples=50)
@given(geometry=geometries, value=st.sampled_from([0.0, 1e-7, 0.3, 1.0]))
def test_constant_predictor_gives_a_constant_map(geometry: tuple[int, int, int, int, int], value: float) -> None:
    ny, nx, window, stride, batch_size = geometry
    constant = StubModel(lambda image, _: torch.full_like(image[:, :1], value))
    (probability,) = predicted(SlidingWindowPredictor([constant], window, stride, batch_size), random_map(ny, nx))
    np.testing.assert_allclose(probability, value, rtol=1e-5)


@settings(max_examples=30)
@given(geometry=geometries, other=st.integers(1, 50))
def test_batch_size_does_not_change_the_result(geometry: tuple[int, int, int, int, int], other: int) -> None:
    ny, nx, window, stride, batch_size = geometry
    image = random_map(ny, nx, 0.1)
    first, second = (
        predicted(SlidingWindowPredictor([WINDOW_MEAN], window, stride, n), image) for n in (batch_size, other)
    )
    np.testing.assert_allclose(first, second, rtol=1e-6)


@settings(max_examples=50)
@given(geometry=geometries)
def test_map_shifted_by_one_stride_agrees_where_both_see_the_same_windows(
    geometry: tuple[int, int, int, int, int],
) -> None:
    ny, nx, window, stride, batch_size = geometry
    assume(ny > window + stride)
    assume(nx > window + stride)
    predictor, image = SlidingWindowPredictor([WINDOW_MEAN], window, stride, batch_size), random_map(ny, nx)
    (whole,), (crop,) = predicted(predictor, image), predicted(predictor, image[stride:, stride:])
    np.testing.assert_allclose(crop[window - stride :, window - stride :], whole[window:, window:], rtol=1e-5)


def test_network_gives_the_same_in_batches_of_any_size(unet: SegmentationModel) -> None:
    image = random_map(37, 61, 0.05)
    one, many = (predicted(SlidingWindowPredictor([unet], 16, batch_size=n), image) for n in (1, 100))
    np.testing.assert_allclose(one, many, atol=1e-6)
    assert np.nanstd(one) > 0


def test_map_is_predicted_in_evaluation_mode_also_between_steps_of_training(unet: SegmentationModel) -> None:
    predictor, image = SlidingWindowPredictor([unet], 16), random_map(32, 48)
    before = predicted(predictor, image)
    state = {name: value.clone() for name, value in unet.state_dict().items()}
    unet.train()
    np.testing.assert_array_equal(predicted(predictor, image), before)
    assert all(torch.equal(value, state[name]) for name, value in unet.state_dict().items())


def test_window_borders_do_not_show(unet: SegmentationModel) -> None:
    y, x = np.mgrid[:64, :96].astype(np.float32)
    image = np.sin(y / 9) + np.cos(x / 11) + y / 40
    probability = predicted(SlidingWindowPredictor([unet], 16), image)[0]
    jumps = np.abs(np.diff(probability, axis=1)).max(axis=0)
    at_borders = jumps[7:-8:8]  # windows begin at each 8th pixel
    assert at_borders.mean() < 1.5 * jumps[8:-8].mean()


def test_several_channels_are_all_needed() -> None:
    image = np.stack([random_map(9, 13), random_map(9, 13, 0.3, seed=1)])
    mean = StubModel(lambda patches, _: patches.nan_to_num().mean(dim=1, keepdim=True))
    probability = np.concatenate(
        [p for _, _, p in SlidingWindowPredictor([mean], 4).predict_bands(ArrayMap(image))], axis=1
    )
    np.testing.assert_allclose(probability[0], image.mean(axis=0), rtol=1e-5)


def test_map_without_a_valid_pixel_is_nan_and_never_predicted() -> None:
    def forbidden(image: Tensor, position: Tensor | None) -> Tensor:
        raise AssertionError("there was nothing to predict")

    assert np.isnan(
        predicted(SlidingWindowPredictor([StubModel(forbidden)], 8), np.full((20, 30), np.nan, np.float32))
    ).all()


@settings(max_examples=50)
@given(geometry=geometries, seed=st.integers(0, 99))
def test_allowed_restricts_the_windows_and_changes_no_value(
    geometry: tuple[int, int, int, int, int], seed: int
) -> None:
    ny, nx, window, stride, batch_size = geometry
    image = random_map(ny, nx, 0.05, seed)
    may: npt.NDArray[np.bool_] = np.random.default_rng(seed).random((2, ny, nx)) < 0.1
    predictor = SlidingWindowPredictor([WINDOW_MEAN, IDENTITY], window, stride, batch_size)
    restricted = predicted(predictor, image, lambda tile: may[:, tile.rows, tile.columns])
    np.testing.assert_allclose(restricted, np.where(may, predicted(predictor, image), np.nan), rtol=1e-5)


def test_windows_without_a_pixel_to_predict_are_skipped() -> None:
    seen: list[int] = []

    def counting(image: Tensor, position: Tensor | None) -> Tensor:
        seen.append(len(image))
        return image

    may = np.zeros((1, 40, 60), bool)
    may[0, 20, 30] = True
    predicted(
        SlidingWindowPredictor([StubModel(counting)], 8, 8),
        random_map(40, 60),
        lambda tile: may[:, tile.rows, tile.columns],
    )
    assert sum(seen) == 1


def test_each_window_is_given_its_centre_y_before_x() -> None:
    for axis in (0, 1):

        def coordinate(image: Tensor, position: Tensor | None, axis: int = axis) -> Tensor:
            assert position is not None
            return position[:, axis].float().view(-1, 1, 1, 1).expand_as(image)

        model = StubModel(coordinate)
        model.coordinates = "pixel"
        (centre,) = predicted(SlidingWindowPredictor([model], 4, 4, batch_size=3), random_map(8, 20))
        expected = np.repeat(np.arange((8, 20)[axis] // 4) * 4 + 1.5, 4)
        np.testing.assert_allclose(centre, np.broadcast_to(expected[:, None] if axis == 0 else expected, (8, 20)))


def test_progress_adds_up_to_the_rows() -> None:
    done: list[int] = []
    for _ in SlidingWindowPredictor([IDENTITY], 8).predict_bands(
        ArrayMap(random_map(37, 20)[None]), advance=done.append
    ):
        pass
    assert sum(done) == 37
    assert len(done) > 1


@pytest.mark.parametrize("stride", [-1, 0, 9])
def test_stride_that_would_leave_gaps_is_refused(stride: int) -> None:
    with pytest.raises(ConfigError, match=rf"stride of {stride} pixels does not cover a map: use one from 1 to 8"):
        SlidingWindowPredictor([IDENTITY], 8, stride)


def test_mean_over_orientations_turns_with_the_map(unet: SegmentationModel) -> None:
    image = random_map(16, 16)
    turned = np.rot90(image)[:, ::-1].copy()
    for tta in (True, False):
        predictor = SlidingWindowPredictor([unet], 16, tta=tta)
        same = np.allclose(
            predicted(predictor, turned), np.rot90(predicted(predictor, image), axes=(1, 2))[:, :, ::-1], atol=1e-6
        )
        assert same == tta


def rows_of_windows(image: Tensor, _: Tensor | None = None) -> Tensor:
    """Return the image times the row in its window / 16: what a pixel gets depends on how the window is turned."""
    rows = torch.arange(image.shape[2], dtype=torch.float32)[:, None].expand(image.shape[2:]) / 16
    return image.nan_to_num() * rows


def test_the_spread_of_one_model_is_that_over_its_eight_views() -> None:
    image = np.ones((9, 9), np.float32)
    image[0, 0] = np.nan
    predictor = SlidingWindowPredictor([StubModel(rows_of_windows)], 9, tta=True, views=True)
    (band,) = whole(predictor, image[None])
    y, x = np.indices((9, 9)).astype(np.float32)
    expected = np.stack([np.where(np.isnan(image), np.nan, row / 16) for row in (y, 8 - y, x, 8 - x)])
    assert band.views.shape == (8, 9, 9)
    np.testing.assert_allclose(np.sort(band.views, axis=0), np.sort(np.repeat(expected, 2, axis=0), axis=0), atol=1e-6)
    np.testing.assert_allclose(band.probability, np.where(np.isnan(image), np.nan, 0.25)[None], atol=1e-6)
    spread = np.sqrt(((y - 4) ** 2 + (x - 4) ** 2) / 2) / 16
    np.testing.assert_allclose(band.spread(), np.where(np.isnan(image), np.nan, spread), atol=1e-6)


@pytest.mark.parametrize("scales", [[1], [1, 2], [2]])
def test_views_that_are_kept_apart_do_not_change_the_probability(scales: list[int]) -> None:
    image, model = random_map(37, 29, 0.1), StubModel(rows_of_windows)
    bands = [
        whole(SlidingWindowPredictor([model], 8, 4, 5, tta=True, scales=scales, views=views), image[None])
        for views in (False, True)
    ]
    for plain, apart in zip(*bands, strict=True):
        np.testing.assert_array_equal(plain.probability, apart.probability)
        np.testing.assert_array_equal(plain.scale, apart.scale)
        assert len(plain.views) == 0
        np.testing.assert_array_equal(np.isnan(apart.views), np.isnan(plain.probability).repeat(8, axis=0))
        assert np.nanmax(apart.spread()) > 0.01
        if scales in ([1], [2]):  # of several scales each view takes its own largest
            np.testing.assert_allclose(apart.views.mean(axis=0), plain.probability[0], atol=1e-3)


def test_the_spread_of_several_models_is_that_over_the_models() -> None:
    models = [StubModel(lambda image, _: 0 * image + 0.25), StubModel(lambda image, _: 0 * image + 0.75)]
    (band,) = whole(SlidingWindowPredictor(models, 8, tta=True), np.ones((1, 8, 8), np.float32))
    np.testing.assert_allclose(band.spread(), 0.25, rtol=1e-6)
    for tta, of in ((True, models), (False, models[:1])):
        with pytest.raises(ValueError, match="Views are kept apart of one model with test-time augmentation alone"):
            SlidingWindowPredictor(of, 8, tta=tta, views=True)


def test_each_scale_is_brought_back_to_the_grid_and_the_largest_counts() -> None:
    image = np.zeros((30, 41), np.float32)
    image[8:12, 16:24] = 0.8
    image[3, 3] = 0.9
    image[25:] = np.nan
    (fine,), (coarse,), (both,) = (
        predicted(SlidingWindowPredictor([IDENTITY], 16, scales=scales), image) for scales in ([1], [4], [1, 4])
    )
    np.testing.assert_array_equal(np.isnan(both), np.isnan(image))
    np.testing.assert_allclose(fine, image, atol=1e-6)
    assert coarse[9:11, 18:22] == pytest.approx(0.8, abs=0.21)
    assert coarse[3, 3] < 0.1
    np.testing.assert_allclose(both, np.fmax(fine, coarse))


def test_a_model_predicts_its_pixels_alone_at_each_scale() -> None:
    wanted = np.zeros((2, 37, 40), np.bool_)
    wanted[0, :, :17], wanted[1, :, 17:] = True, True

    def mask(tile: Tile) -> npt.NDArray[np.bool_]:
        return wanted[:, tile.rows, tile.columns]

    image = np.random.default_rng(0).uniform(0, 1, (1, 37, 40)).astype(np.float32)
    models = [IDENTITY, StubModel(lambda image, _: 0 * image[:, :1].nan_to_num())]
    predictor = SlidingWindowPredictor(models, 8, scales=[1, 3])
    found = np.concatenate([values for _, _, values in predictor.predict_bands(ArrayMap(image), mask)], axis=1)
    np.testing.assert_array_equal(np.isfinite(found), wanted)
    whole = np.concatenate([values for _, _, values in predictor.predict_bands(ArrayMap(image))], axis=1)
    np.testing.assert_array_equal(found[wanted], whole[wanted])


def scales_of(predictor: SlidingWindowPredictor, image: FloatArray) -> tuple[FloatArray, MaskArray]:
    """Return the probabilities `(models, ny, nx)` of a map `(ny, nx)`, and the factors of binning `(ny, nx)`."""
    bands = whole(predictor, image[None])
    return np.concatenate([band.probability for band in bands], axis=1), np.concatenate([band.scale for band in bands])


def test_the_scale_is_the_factor_of_binning_at_which_the_probability_is_largest() -> None:
    image = np.zeros((30, 41), np.float32)
    image[8:12, 16:24] = 0.8
    image[3, 3] = 0.9
    image[25:] = np.nan
    predictor = SlidingWindowPredictor([IDENTITY], 16, batch_size=2, scales=[1, 4])
    (found,), scale = scales_of(predictor, image)
    np.testing.assert_array_equal(found, predicted(predictor, image)[0])
    (fine,), (coarse,) = (predicted(SlidingWindowPredictor([IDENTITY], 16, scales=[n]), image) for n in (1, 4))
    assert scale.dtype == np.uint8
    np.testing.assert_array_equal(scale, np.select([np.isnan(image), coarse > fine], [0, 4], 1))
    assert scale[3, 3] == 1  # a spot is strongest in the map itself
    assert scale[7, 20] == 4  # the binned square reaches beyond the bar
    assert set(scale[8:12, 16:24].flat) == {1}  # equal probabilities count as those of the smaller factor


def test_the_scale_of_several_models_is_that_of_their_largest_mean() -> None:
    def model(fine: float, coarse: float) -> StubModel:
        """Return a model that gives one probability in the map, whose pixels differ, and another where it is binned."""
        return StubModel(lambda image, _: torch.full_like(image, coarse if image.max() == image.min() else fine))

    image = np.tile(np.array([[0, 4], [4, 0]], np.float32), (8, 8))
    models = [model(0.75, 0.5), model(0.125, 0.25), model(0.25, 0.5)]  # means 1.125 / 3 and 1.25 / 3
    for chosen, expected in ((models, 2), (models[:1], 1), (models[1:], 2)):
        probability, scale = scales_of(SlidingWindowPredictor(chosen, 8, scales=[1, 2]), image)
        np.testing.assert_array_equal(scale, expected)
    np.testing.assert_array_equal(probability[:, 0, 0], [0.25, 0.5])


def test_without_a_valid_square_there_is_no_scale() -> None:
    image = np.full((8, 16), np.nan, np.float32)
    image[:, 8:] = image[0, 0] = 0.5
    (probability,), scale = scales_of(SlidingWindowPredictor([IDENTITY], 4, scales=[2, 4]), image)
    assert (probability[0, 0], scale[0, 0]) == (0, 0)
    assert set(scale[:, 8:].flat) == {2}
    assert not scale[1:, :8].any()
