import pytest

from bigsf.errors import ConfigError
from bigsf.models.network import check_patch_size
from bigsf.models.unet import UNetConfig


@pytest.mark.parametrize(
    ("size", "multiple", "listing"), [(100, 32, "96 or 128"), (10, 16, "16"), (33, 16, "32 or 48")]
)
def test_nearest_patch_sizes_are_named(size: int, multiple: int, listing: str) -> None:
    with pytest.raises(ConfigError, match=f"for example {listing}, as 'patch_size' of preprocess"):
        check_patch_size(size, multiple, "unet")
    check_patch_size(multiple, multiple, "unet")


def test_scales_of_a_model_are_numbers() -> None:
    with pytest.raises(
        ConfigError, match=r"scales: found 'auto', expected numbers such as 1,2: all folds .* scales='auto'"
    ):
        UNetConfig.from_dict({"scales": "auto"})


def test_more_than_one_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"out_channels: found 2, expected 1"):
        UNetConfig.from_dict({"type": "unet", "out_channels": 2})
