import errno
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits

from bigsf.errors import DataError, UsageError
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, PreprocessReport, preprocess
from conftest import Sky, preprocess_config, shared_data
from label_maps import IMAGE, LabelMaps


@pytest.fixture
def maps(tmp_path: Path) -> LabelMaps:
    return LabelMaps(tmp_path)


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


def test_sources_and_sky_are_written_into_the_file(patch_path: Path, sky: Sky) -> None:
    with h5py.File(patch_path) as file:
        sources = json.loads(file["sources"][()])
        assert b"GLON-CAR" in file["wcs"][()]
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
    with pytest.raises(UsageError, match=r"image.h5 exists already. Pass overwrite=True"):
        preprocess(preprocess_config(sky, stride=8))
    assert (tmp_path / "image.h5").read_bytes() == before
    preprocess(preprocess_config(sky, stride=8), overwrite=True)
    assert PatchFile("image.h5").stride == 8


def test_name_of_the_output_loses_both_endings(maps: LabelMaps, monkeypatch: pytest.MonkeyPatch) -> None:
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
@pytest.mark.filterwarnings("ignore:.*HPLN-AZP")  # said of the solar one
def test_real_odd_maps_are_preprocessed_without_labels(tmp_path: Path, name: str) -> None:
    report = preprocess(PreprocessConfig(image=shared_data("odd", name)), tmp_path / "out.h5")
    file = PatchFile(report.output)
    assert 0 < len(file) <= report.windows
    assert np.isfinite(file.image).sum() == report.counts["valid"]
