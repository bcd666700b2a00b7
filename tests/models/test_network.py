import pytest

from bigsf.errors import ConfigError
from bigsf.models.network import check_patch_size


@pytest.mark.parametrize(
    ("size", "multiple", "listing"), [(100, 32, "96 or 128"), (10, 16, "16"), (33, 16, "32 or 48")]
)
def test_nearest_patch_sizes_are_named(size: int, multiple: int, listing: str) -> None:
    with pytest.raises(ConfigError, match=f"for example {listing}, in bigsf preprocess"):
        check_patch_size(size, multiple, "unet")
    check_patch_size(multiple, multiple, "unet")
