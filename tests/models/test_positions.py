import numpy as np
import pytest
import torch
from astropy.wcs import WCS

from bigsf.errors import BigsfWarning, DataError
from bigsf.models.normalizations import MinMaxConfig
from bigsf.models.positions import (
    AnyPositionConfig,
    GalacticCoordinates,
    IdentityPositionConfig,
    LinearPositionConfig,
    PositionEncoder,
    border,
    pixel_coordinates,
    position_lookup,
    warn_if_beyond_training,
)
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.models.unet import UNetConfig
from conftest import ArrayMap, galactic_header, own_members

ENCODERS = own_members(AnyPositionConfig)
each_encoder = pytest.mark.parametrize("config", ENCODERS, ids=lambda config: config.type)


def model_with(config: AnyPositionConfig | None) -> SegmentationModel:
    torch.manual_seed(0)
    network = UNetConfig(features=4, depth=2, position=config).build()
    return SegmentationModel(network, MinMaxConfig().build(1), config.coordinates if config else None).eval()


@each_encoder
@pytest.mark.parametrize("join", ["before", "middle", "after"])
def test_another_position_gives_another_output(config: AnyPositionConfig, join: str) -> None:
    model, image = model_with(config.model_copy(update={"join": join})), torch.rand(1, 1, 8, 8)
    here, there = (model(image, torch.tensor([position])) for position in ([0.1, 0.2], [0.7, -0.4]))
    assert not torch.allclose(here, there)


def test_without_an_encoder_position_does_nothing() -> None:
    model, image = model_with(None), torch.rand(1, 1, 8, 8)
    assert torch.equal(model(image, torch.tensor([[0.1, 0.2]])), model(image, torch.tensor([[0.7, -0.4]])))


@each_encoder
def test_encoding_is_of_its_width_and_of_order_one_over_the_map(config: AnyPositionConfig) -> None:
    encoder = config.model_copy(update={"coordinates": "pixel"}).build()
    positions = pixel_coordinates(border((1800, 114000)))
    encoder.fit(positions)
    encoded = encoder(positions)
    assert encoded.shape == (9, encoder.width)
    assert encoded.dtype == torch.float32
    assert encoded.abs().max() < 3
    assert len({tuple(row) for row in encoded.tolist()}) == 9


def test_scaled_position_runs_from_minus_one_to_one() -> None:
    encoder = IdentityPositionConfig(type="identity", coordinates="pixel").build()
    encoder.fit(pixel_coordinates(border((11, 101))))
    corners = torch.tensor([[0.0, 0.0], [10.0, 100.0], [5.0, 50.0]])
    assert encoder(corners).tolist() == [[-1, -1], [1, 1], [0, 0]]


@each_encoder
@pytest.mark.parametrize("longitude", [200.0, 215.0, 40.0])
def test_a_position_beyond_the_training_map_is_taken_as_the_nearest_one_in_it(
    config: AnyPositionConfig, longitude: float
) -> None:
    torch.manual_seed(0)
    encoder = config.model_copy(update={"coordinates": "galactic"}).build()
    encoder.fit(torch.tensor([[30.0, 0.0], [29.5, -0.25], [30.5, 0.25]]))
    nearest = 29.5 if longitude == 215 else 30.5  # 175 degrees down, or 170 or 10 degrees up
    elsewhere, edge = torch.tensor([[longitude, 7.0]]), torch.tensor([[nearest, 0.25]])
    torch.testing.assert_close(encoder(elsewhere), encoder(edge), rtol=0, atol=0)
    assert encoder.reaches(edge)
    assert not encoder.reaches(elsewhere)


def test_a_map_elsewhere_is_said_with_both_ranges() -> None:
    model = model_with(LinearPositionConfig())
    encoder = next(module for module in model.modules() if isinstance(module, PositionEncoder))

    def centred_on(longitude: float, nx: int) -> WCS:
        header = galactic_header(nx, 41, longitude=(nx - 1) / 2 * 0.01)
        header["CRVAL1"] = longitude
        return WCS(header)

    there = centred_on(30, 101)
    encoder.fit(GalacticCoordinates(there)(border((41, 101))))
    warn_if_beyond_training([model], (41, 51), centred_on(30, 51), "part.fits")
    with pytest.warns(
        BigsfWarning,
        match=r"^away\.fits has positions l = 199\.50 to 200\.50 deg, b = -0\.20 to 0\.20 deg; "
        r".* trained on l = 29\.50 to 30\.50 deg, b = -0\.20 to 0\.20 deg\. Positions beyond",
    ):
        warn_if_beyond_training([model, model], (41, 101), centred_on(200, 101), "away.fits")


def test_pixels_beyond_those_of_the_training_map_are_said() -> None:
    model = model_with(LinearPositionConfig(coordinates="pixel"))
    encoder = next(module for module in model.modules() if isinstance(module, PositionEncoder))
    encoder.fit(pixel_coordinates(border((11, 101))))
    with pytest.warns(BigsfWarning, match=r"y = 0 to 10, x = 0 to 200; .* y = 0 to 10, x = 0 to 100\."):
        warn_if_beyond_training([model], (11, 201), None, "larger.fits")
    warn_if_beyond_training([model_with(None)], (11, 201), None, "larger.fits")


def test_longitude_does_not_jump_where_the_map_crosses_zero() -> None:
    encoder = IdentityPositionConfig(type="identity").build()
    wcs = WCS(galactic_header(60, 40))
    coordinates = GalacticCoordinates(wcs)
    encoder.fit(coordinates(border((40, 60))))
    row = coordinates(np.stack([np.full(60, 20.0), np.arange(60.0)], axis=1))
    assert row[:, 0].max() > 359
    steps = encoder(row)[:, 0].diff()
    torch.testing.assert_close(steps, steps[:1].expand(59), rtol=1e-3, atol=1e-6)


def test_cut_out_of_a_map_gets_the_encoding_of_the_map() -> None:
    header = galactic_header(48, 32)
    model = model_with(IdentityPositionConfig(type="identity"))
    image = np.random.default_rng(0).random((1, 32, 48), np.float32)
    whole = np.concatenate(
        [v for _, _, v in SlidingWindowPredictor([model], 8, wcs=WCS(header)).predict_bands(ArrayMap(image))], axis=1
    )
    header["CRPIX1"] -= 16
    part = np.concatenate(
        [
            v
            for _, _, v in SlidingWindowPredictor([model], 8, wcs=WCS(header)).predict_bands(ArrayMap(image[:, :, 16:]))
        ],
        axis=1,
    )
    np.testing.assert_allclose(part[:, :, 8:], whole[:, :, 24:], atol=1e-6)


@pytest.mark.parametrize("projection", ["AIT", "CAR"])
def test_every_pixel_of_an_all_sky_map_has_an_encoding(projection: str) -> None:
    header = galactic_header(366, 185, 1.0)  # wider than a turn, and higher than the sky
    header.update(CTYPE1=f"GLON-{projection}", CTYPE2=f"GLAT-{projection}", CRPIX1=183.5)
    coordinates, pixels = GalacticCoordinates(WCS(header)), np.argwhere(np.ones((185, 366)))[::97].astype(float)
    encoder = IdentityPositionConfig(type="identity").build()
    encoder.fit(coordinates(border((185, 366))))
    encoded = encoder(coordinates(np.concatenate([border((185, 366)), pixels])))
    assert encoded.isfinite().all()
    assert encoded.abs().max() < 1.05


def test_galactic_positions_need_a_wcs() -> None:
    with pytest.raises(DataError, match="encodes Galactic positions but the map has no celestial WCS"):
        position_lookup("galactic", None)
    assert position_lookup(None, None) is None
