from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bigsf.errors import BigsfWarning, DataError
from bigsf.patches.preprocess import preprocess
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
        (np.full((NY, NX), np.nan), {}, r"image.fits holds no finite pixel \(of 54\). Check 'hdu' and 'blank'"),
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


BRIGHT = np.repeat(np.arange(20.0, 0, -1), 30).reshape(20, 30)  # the rows are 20, 19, ... 1


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_inverted_target_is_warned_of_once(maps: LabelMaps, dry_run: bool) -> None:
    config = maps.config(BRIGHT, target=(BRIGHT < 17).astype(np.uint8))
    with pytest.warns(BigsfWarning) as said:
        preprocess(config, maps.folder / "out.h5", dry_run=dry_run)
    assert [str(warning.message) for warning in said] == [
        "The target is 1 on 80% of the valid pixels. Structures are rare: is it inverted?"
    ]


def test_a_target_that_is_darker_than_its_background_is_warned_of(maps: LabelMaps) -> None:
    dark, bright = (BRIGHT < 5).astype(np.uint8), (BRIGHT > 16).astype(np.uint8)
    with pytest.warns(BigsfWarning, match=r"The map is 2.5 on the target and 18.5 on the background.*planes swapped"):
        maps.run(BRIGHT, target=dark, background=bright)
    with pytest.warns(BigsfWarning, match=r"2.5 on the target and 12.5 on the background.* Does the target belong to"):
        maps.run(BRIGHT, target=dark)
    maps.run(BRIGHT, target=bright, background=dark)
    dark[:18] = 0
    maps.run(BRIGHT, target=dark, background=bright)  # 60 pixels are too few to tell


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_value_that_stands_apart_is_named_for_every_channel(maps: LabelMaps, dry_run: bool) -> None:
    image, temperature = 1e22 * BRIGHT, BRIGHT.copy()
    image[0, 0], temperature[1] = 1e28, -999
    config = maps.config(image, channels=[maps.write("temperature", temperature)])
    with pytest.warns(BigsfWarning) as said:
        preprocess(config, maps.folder / "out.h5", dry_run=dry_run)
    first, second = (str(warning.message) for warning in said)
    assert first.startswith("image.fits holds 1e+28 in 1 of 600 pixels")
    assert second.startswith("temperature.fits holds -999 in 30 of 600 pixels, and 1 to 20 in all others")


def test_values_beyond_float32_are_an_error_that_says_so(maps: LabelMaps) -> None:
    with pytest.raises(DataError, match=r"image.fits holds 54 values beyond 3.4e38, .* divided by 1e20"):
        maps.run(1e45 * IMAGE)
