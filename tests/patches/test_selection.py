from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.errors import DataError
from bigsf.maps.tiling import window_starts
from bigsf.patches.preprocess import preprocess
from label_maps import IMAGE, NX, NY, LabelMaps


@pytest.fixture
def maps(tmp_path: Path) -> LabelMaps:
    return LabelMaps(tmp_path)


def naive_positions(
    valid: npt.NDArray[np.bool_], labelled: npt.NDArray[np.bool_], size: int, stride: int, least: float
) -> list[list[int]]:
    return [
        [int(y), int(x)]
        for y in window_starts(NY, size, stride)
        for x in window_starts(NX, size, stride)
        if valid[y : y + size, x : x + size].sum() >= max(1, least * size**2)
        and labelled[y : y + size, x : x + size].any()
    ]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 7), st.sampled_from([0, 0.3, 1]), st.integers(1, 150), st.booleans(), st.data()
)
def test_kept_patches_are_those_of_a_naive_loop_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory,
    size: int,
    stride: int,
    least: float,
    chunk_pixels: int,
    labelled_only: bool,
    data: st.DataObject,
) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    image = np.where(generator.random((NY, NX)) < 0.3, np.nan, IMAGE)
    target = (generator.random((NY, NX)) < 0.05).astype(np.uint8)
    target[5, 8], image[5, 8] = 1, 1
    keep = "labelled" if labelled_only else "valid"
    stride = min(stride, size)
    options = {"patch_size": size, "stride": stride, "min_valid": least, "keep": keep}
    valid, labelled = np.isfinite(image), (target == 1) & np.isfinite(image)
    expected = naive_positions(valid, labelled if labelled_only else valid, size, stride, least)
    maps = LabelMaps(tmp_path_factory.getbasetemp())
    run = {"target": target, "background": np.zeros_like(target), **options}
    if not expected:
        with pytest.raises(DataError, match=r"None of \d+ patches of \d pixels would be kept"):
            maps.run(image, chunk_pixels=chunk_pixels, **run)
        return
    report, file = maps.run(image, chunk_pixels=chunk_pixels, **run)
    assert file.positions.tolist() == expected
    assert report.kept == len(expected)
    assert report.kept + report.without_valid + report.without_labels == report.windows
    assert report.without_valid == report.windows - len(naive_positions(valid, valid, size, stride, least))


def test_without_labels_every_patch_with_a_valid_pixel_is_kept(maps: LabelMaps) -> None:
    image = np.full((NY, NX), np.nan)
    image[5, 8] = 1
    report, file = maps.run(image)
    assert file.positions.tolist() == [[3, 6]]
    assert file.target is None
    assert (report.without_valid, report.without_labels) == (27, 0)


@pytest.mark.parametrize(("least", "kept"), [(0.5, 1), (0.55, 1), (0.56, 0)])
def test_least_fraction_of_valid_pixels_is_enough(maps: LabelMaps, least: float, kept: int) -> None:
    image = np.where(np.arange(100) < 55, 1.0, np.nan).reshape(10, 10)  # 0.55 * 100 is 55.00000000000001
    config = maps.config(image, patch_size=10, min_valid=least)
    if kept:
        assert preprocess(config, maps.folder / "out.h5").kept == kept
    else:
        with pytest.raises(DataError, match="None of 1 patches of 10 pixels would be kept: 1 hold too few valid"):
            preprocess(config, maps.folder / "out.h5")
