from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bigsf.errors import BigsfWarning, DataError
from label_maps import IMAGE, NX, NY, LabelMaps, mask


@pytest.fixture
def maps(tmp_path: Path) -> LabelMaps:
    return LabelMaps(tmp_path)


@pytest.mark.parametrize("name", ["missing", "valid"])
def test_inverted_missing_plane_is_refused_with_figures(maps: LabelMaps, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}.fits declares 53 of 54 finite pixels missing. .* is it inverted\?"):
        maps.run(**{name: mask((0, 0))})


def test_valid_pixel_without_a_value_is_missing_with_a_warning(maps: LabelMaps) -> None:
    image = IMAGE.copy()
    image[2, :2] = np.nan
    with pytest.warns(BigsfWarning, match=r"2 pixels are marked valid but hold no finite value"):
        report, file = maps.run(image, valid=np.ones((NY, NX), np.uint8))
    assert report.counts["valid"] == 52
    assert np.isnan(file.image).sum() == 2


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.full((NY, NX), np.nan), {}, r"image.fits holds no finite pixel \(of 54\). Check --hdu and --blank"),
        (IMAGE, {"target": mask(), "background": mask()}, "No valid pixel of image.fits is labelled"),
        (IMAGE, {"patch_size": 7}, "image.fits has 9 x 6 pixels .x, y., too few for a patch of 7"),
        (np.where(mask((1, 1)), 1, np.nan), {"min_valid": 0.5}, "None of 28 patches of 3 pixels .*: 28 hold too few"),
    ],
)
def test_nothing_to_keep_is_an_error_and_writes_nothing(
    maps: LabelMaps, image: npt.NDArray[np.float64], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        maps.run(image, **options)
    assert list(maps.folder.glob("*.h5")) == list(maps.folder.glob(".*")) == []
