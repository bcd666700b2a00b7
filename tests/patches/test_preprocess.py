import errno
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.errors import BigsfWarning, DataError, UsageError
from bigsf.maps.tiling import CHUNK_PIXELS, window_starts
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, PreprocessReport, preprocess
from conftest import Sky, galactic_header, preprocess_config, shared_data

NY, NX = 6, 9
IMAGE = np.arange(1.0, NY * NX + 1).reshape(NY, NX)


class Maps:
    """Writes planes into a folder and preprocesses them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, data: npt.ArrayLike, header: fits.Header | None = None) -> Path:
        path = self.folder / f"{name}.fits"
        fits.PrimaryHDU(np.asarray(data), header).writeto(path, overwrite=True)
        return path

    def config(
        self, image: npt.ArrayLike = IMAGE, patch_size: int = 3, stride: int = 1, **more: Any
    ) -> PreprocessConfig:
        planes: dict[str, Any] = {
            name: self.write(name, value) if isinstance(value, np.ndarray) else value for name, value in more.items()
        }
        return PreprocessConfig(image=self.write("image", image), patch_size=patch_size, stride=stride, **planes)

    def run(self, image: npt.ArrayLike = IMAGE, **more: Any) -> tuple[PreprocessReport, PatchFile]:
        output, chunk_pixels = self.folder / "out.h5", more.pop("chunk_pixels", CHUNK_PIXELS)
        report = preprocess(self.config(image, **more), output, overwrite=True, chunk_pixels=chunk_pixels)
        return report, PatchFile(output, in_memory=True)


@pytest.fixture
def maps(tmp_path: Path) -> Maps:
    return Maps(tmp_path)


def mask(*pixels: tuple[int, int]) -> npt.NDArray[np.uint8]:
    plane = np.zeros((NY, NX), np.uint8)
    for pixel in pixels:
        plane[pixel] = 1
    return plane


def test_planes_are_combined_by_hand(maps: Maps) -> None:
    image = IMAGE.copy()
    image[0, 0] = np.nan
    valid = np.ones((NY, NX), np.uint8)
    valid[0, :2] = 0
    target, background = mask((0, 1), (2, 2), (3, 3)), mask((0, 0), (3, 3), (5, 8))
    with pytest.warns(BigsfWarning, match=r"1 pixels are both target and background; they are taken as target"):
        report, file = maps.run(image, valid=valid, target=target, background=background)
    assert np.argwhere(np.isnan(file.image[0])).tolist() == [[0, 0], [0, 1]]
    assert np.argwhere(file.labels()[0]).tolist() == [[2, 2], [3, 3]]
    assert np.argwhere(file.labels()[1]).tolist() == [[2, 2], [3, 3], [5, 8]]
    assert report.counts == {
        "pixels": 54,
        "finite": 53,
        "valid": 52,
        "labelled": 3,
        "target": 2,
        "background": 1,
        "declared missing": 1,
        "declared valid but not finite": 0,
        "target and background": 1,
    }
    assert (report.minimum, report.maximum) == (3, 54)
    assert (report.shape, report.channels, report.has_wcs) == ((NY, NX), 1, False)
    assert report.identity == file.identity


def test_truth_is_kept_for_scores_and_is_no_part_of_what_is_learnt(maps: Maps) -> None:
    target, valid = mask((1, 1)), np.ones((NY, NX), np.uint8)
    valid[5] = 0
    without, _ = maps.run(IMAGE, target=target, valid=valid)
    report, file = maps.run(IMAGE, target=target, valid=valid, truth=mask((1, 1), (4, 4), (5, 5)))
    assert file.truth is not None
    assert np.argwhere(file.truth).tolist() == [[1, 1], [4, 4]]
    assert report.identity == without.identity


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
    maps = Maps(tmp_path_factory.getbasetemp())
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


@pytest.mark.parametrize("chunk_pixels", [1, 625, 2500])
def test_small_chunks_make_the_same_file(sky: Sky, tmp_path: Path, chunk_pixels: int) -> None:
    config = preprocess_config(sky, channels=[sky.path("background")])
    whole = preprocess(config, tmp_path / "whole.h5")
    in_chunks = preprocess(config, tmp_path / "chunks.h5", chunk_pixels=chunk_pixels)
    assert in_chunks.identity == whole.identity
    assert in_chunks.counts == whole.counts
    one, other = PatchFile(tmp_path / "whole.h5"), PatchFile(tmp_path / "chunks.h5")
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.labels(), other.labels())


def test_without_background_every_valid_pixel_is_labelled(maps: Maps) -> None:
    image = IMAGE.copy()
    image[2, 2] = np.nan
    _, file = maps.run(image, target=mask((3, 3)))
    np.testing.assert_array_equal(file.labels()[1], np.isfinite(image))
    assert file.labels()[0].sum() == 1


def test_without_labels_every_patch_with_a_valid_pixel_is_kept(maps: Maps) -> None:
    image = np.full((NY, NX), np.nan)
    image[5, 8] = 1
    report, file = maps.run(image)
    assert file.positions.tolist() == [[3, 6]]
    assert file.target is None
    assert (report.without_valid, report.without_labels) == (27, 0)


def test_channels_are_planes_of_the_image_and_missing_in_one_is_missing_in_all(maps: Maps) -> None:
    temperature = 10 * IMAGE
    temperature[4, 4] = np.inf
    _, file = maps.run(channels=[maps.write("temperature", temperature)])
    assert file.channels == 2
    np.testing.assert_array_equal(np.argwhere(np.isnan(file.image)), [[0, 4, 4], [1, 4, 4]])
    assert file.image[:, 5, 8].tolist() == [54, 540]


@pytest.mark.parametrize(("least", "kept"), [(0.5, 1), (0.55, 1), (0.56, 0)])
def test_least_fraction_of_valid_pixels_is_enough(maps: Maps, least: float, kept: int) -> None:
    image = np.where(np.arange(100) < 55, 1.0, np.nan).reshape(10, 10)  # 0.55 * 100 is 55.00000000000001
    config = maps.config(image, patch_size=10, min_valid=least)
    if kept:
        assert preprocess(config, maps.folder / "out.h5").kept == kept
    else:
        with pytest.raises(DataError, match="None of 1 patches of 10 pixels would be kept: 1 hold too few valid"):
            preprocess(config, maps.folder / "out.h5")


def test_blank_value_is_missing(maps: Maps) -> None:
    _, file = maps.run(blank=54)
    assert np.argwhere(np.isnan(file.image[0])).tolist() == [[5, 8]]


@pytest.mark.parametrize("name", ["missing", "valid"])
def test_inverted_missing_plane_is_refused_with_figures(maps: Maps, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}.fits declares 53 of 54 finite pixels missing. .* is it inverted\?"):
        maps.run(**{name: mask((0, 0))})


def test_missing_and_valid_have_one_sense(maps: Maps) -> None:
    valid = 1 - mask((0, 0))
    assert maps.run(missing=valid)[0].identity == maps.run(valid=valid)[0].identity


def test_valid_without_a_value_is_missing_and_said(maps: Maps) -> None:
    image = IMAGE.copy()
    image[2, :2] = np.nan
    with pytest.warns(BigsfWarning, match=r"2 pixels are marked valid but hold no finite value"):
        report, file = maps.run(image, valid=np.ones((NY, NX), np.uint8))
    assert report.counts["valid"] == 52
    assert np.isnan(file.image).sum() == 2


def test_mask_with_other_values_is_refused_or_binarised(maps: Maps) -> None:
    target = np.where(mask((1, 1), (2, 2)), 0.7, 0.2)
    target[0, 0] = 1
    with pytest.raises(DataError, match=r"target.fits is the target mask but .*: 0.2, 0.7. Pass --target-threshold"):
        maps.run(target=target)
    _, file = maps.run(target=target, target_threshold=0.5)
    assert np.argwhere(file.labels()[0]).tolist() == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(DataError, match=r"valid.fits is the valid mask but .* other than 0 and 1: 2.$"):
        maps.run(valid=1 + mask((1, 1)))


def test_not_a_number_in_a_mask_is_no(maps: Maps) -> None:
    target = np.where(mask((1, 1)), np.nan, 0)
    target[3, 3] = 1
    assert np.argwhere(maps.run(target=target)[1].labels()[0]).tolist() == [[3, 3]]


def test_background_without_target_is_refused(maps: Maps) -> None:
    with pytest.raises(DataError, match=r"A background plane without a target plane teaches nothing"):
        maps.run(background=mask((1, 1)))


def test_planes_of_another_shape_are_refused(maps: Maps) -> None:
    with pytest.raises(
        DataError, match=r"target.fits has 6 x 9 pixels .x, y. but image.fits has 9 x 6. All planes must sha"
    ):
        maps.run(target=mask().T)


def test_planes_of_another_wcs_are_refused(sky: Sky, tmp_path: Path) -> None:
    shifted = galactic_header(160, 96, longitude=0.31)
    fits.PrimaryHDU(sky.target, shifted).writeto(tmp_path / "target.fits")
    with pytest.raises(
        DataError, match=r"target.fits has another WCS than image.fits: pixel \(x=0, y=0\) lies at 0.31"
    ):
        preprocess(preprocess_config(sky, target=tmp_path / "target.fits"), tmp_path / "out.h5")
    fits.PrimaryHDU(sky.target).writeto(tmp_path / "bare.fits")
    assert preprocess(preprocess_config(sky, target=tmp_path / "bare.fits"), tmp_path / "out.h5").has_wcs


def test_all_sky_maps_of_one_wcs_fit_together(maps: Maps) -> None:
    header = galactic_header(NX, NY, step_deg=45.0, longitude=180.0)
    header.update(CTYPE1="GLON-AIT", CTYPE2="GLAT-AIT")
    other = header.copy()
    other["CRVAL1"] = 90.0
    image = maps.write("image", IMAGE, header)
    target = maps.write("target", mask((3, 3)), header)
    assert preprocess(PreprocessConfig(image=image, target=target, patch_size=3), maps.folder / "out.h5").kept > 0
    maps.write("target", mask((3, 3)), other)
    with pytest.raises(DataError, match=r"target.fits has another WCS"):
        preprocess(PreprocessConfig(image=image, target=target, patch_size=3), maps.folder / "other.h5")


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
    maps: Maps, image: npt.NDArray[np.float64], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        maps.run(image, **options)
    assert list(maps.folder.glob("*.h5")) == list(maps.folder.glob(".*")) == []


def test_multi_extension_file_brings_its_own_planes(sky: Sky, patch_path: Path, tmp_path: Path) -> None:
    planes = [("SPINES", sky.target), ("BACKGROUND", sky.background), ("MISSING", sky.valid)]
    hdus = [fits.ImageHDU(plane, sky.header, name=name) for name, plane in planes]
    image = fits.ImageHDU(sky.image, sky.header, name="NH2")
    fits.HDUList([fits.PrimaryHDU(), image, *hdus]).writeto(tmp_path / "all.fits")
    config = PreprocessConfig(image=tmp_path / "all.fits", patch_size=16, stride=4)
    assert preprocess(config, tmp_path / "all.h5").identity == PatchFile(patch_path).identity
    own = config.model_copy(update={"target": sky.path("background")})
    with pytest.warns(BigsfWarning, match=r"pixels are both target and background"):
        preprocess(own, tmp_path / "own.h5")
    np.testing.assert_array_equal(PatchFile(tmp_path / "own.h5").labels()[0], sky.background * sky.valid)


def test_sources_and_sky_are_written_into_the_file(patch_path: Path, sky: Sky) -> None:
    with h5py.File(patch_path) as file:
        sources = json.loads(file.attrs["sources"])
        assert b"GLON-CAR" in file.attrs["wcs"]
    assert set(sources) == {"image", "target", "background", "valid"}
    assert sources["image"]["path"] == str(sky.path("image"))
    assert len(sources["image"]["sha256"]) == 64
    header = PatchFile(patch_path).header
    assert list(header["HISTORY"]) == ["made for the tests"]
    assert header["BUNIT"] == "cm-2"


def test_dry_run_counts_the_same_and_writes_nothing(sky: Sky, patch_path: Path, tmp_path: Path) -> None:
    report = preprocess(preprocess_config(sky), tmp_path / "out.h5", dry_run=True)
    assert report.kept == len(PatchFile(patch_path))
    assert report.bytes == pytest.approx(patch_path.stat().st_size, abs=16_000)  # the header and attributes
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match=r"too few for a patch of 128"):
        preprocess(preprocess_config(sky, patch_size=128), tmp_path / "out.h5", dry_run=True)


def test_output_goes_to_the_current_folder_and_is_not_overwritten(
    sky: Sky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert preprocess(preprocess_config(sky)).output == Path("image.h5")
    before = (tmp_path / "image.h5").read_bytes()
    with pytest.raises(UsageError, match=r"image.h5 exists already. Pass --overwrite"):
        preprocess(preprocess_config(sky, stride=8))
    assert (tmp_path / "image.h5").read_bytes() == before
    preprocess(preprocess_config(sky, stride=8), overwrite=True)
    assert PatchFile("image.h5").stride == 8


def test_name_of_the_output_loses_both_endings(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(maps.folder)
    path = maps.folder / "galaxy.fits.gz"
    fits.PrimaryHDU(IMAGE).writeto(path)
    assert preprocess(PreprocessConfig(image=path, patch_size=3), dry_run=True).output == Path("galaxy.h5")


def test_failure_leaves_the_previous_file(
    sky: Sky, patch_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    output = tmp_path / "out.h5"
    shutil.copy(patch_path, output)
    with pytest.raises(DataError, match=r"is it inverted"):
        preprocess(preprocess_config(sky, valid=sky.path("target")), output, overwrite=True)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(UsageError, match=r"out.h5 could not be written: No space left on device"):
        preprocess(preprocess_config(sky), output, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
    assert output.read_bytes() == patch_path.read_bytes()


def test_default_stride_is_a_quarter_of_the_patch() -> None:
    assert [PreprocessConfig(image=Path("a"), patch_size=size).stride_px for size in (64, 7, 3)] == [16, 1, 1]
    assert PreprocessConfig(image=Path("a"), stride=5).stride_px == 5


def test_real_sample_keeps_as_many_patches_as_the_reference(higal: PreprocessReport) -> None:
    assert higal.kept == len(PatchFile(higal.output)) == 200_844
    assert higal.output.stat().st_size < 4e6
    assert higal.counts["declared valid but not finite"] == 93
    assert higal.counts["target"] / higal.counts["pixels"] == pytest.approx(0.090, abs=0.001)
    assert higal.counts["labelled"] / higal.counts["pixels"] == pytest.approx(0.17, abs=0.005)


@pytest.mark.parametrize(
    "name", ["g035_4d_degenerate.fits", "stereo_int32_blank0.fts", "gc_bolocam_1mm.fits", "gc_msx_e.fits.gz"]
)
def test_real_odd_maps_are_preprocessed_without_labels(tmp_path: Path, name: str) -> None:
    report = preprocess(PreprocessConfig(image=shared_data("odd", name)), tmp_path / "out.h5")
    file = PatchFile(report.output)
    assert 0 < len(file) <= report.windows
    assert np.isfinite(file.image).sum() == report.counts["valid"]
