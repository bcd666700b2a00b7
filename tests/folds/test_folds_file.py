import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.errors import BigsfWarning, DataError, UsageError
from bigsf.folds import folds_file
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import folds_json, load_folds, load_or_make_folds, write_folds
from bigsf.folds.resolve import resolve_split
from bigsf.folds.splits import SplitConfig
from bigsf.patches.patch_file import PatchFile
from conftest import Ended, Sky, write_patch_file
from programs import PATIENCE_S


def split_config(**settings: Any) -> SplitConfig:
    return SplitConfig.from_dict(settings)


@pytest.fixture
def small(tmp_path: Path) -> PatchFile:
    """8 x 12 pixels, six areas of 4 x 4; target in the first, background in the last."""
    target, labelled = np.zeros((2, 8, 12), np.uint8)
    target[:4, :4] = labelled[:4, :4] = labelled[4:, 8:] = 1
    return write_patch_file(tmp_path / "small.h5", np.ones((1, 8, 12), np.float32), 4, 2, (target, labelled))


CONFIG = split_config(k=4, area_size=32)


def test_of_commands_that_begin_together_one_makes_the_folds(
    patch_file: PatchFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"path": tmp_path / "new.folds.json"})
    makes, others_wait = threading.Event(), threading.Event()
    made = []

    def slow(folds: Folds, path: Path) -> None:
        made.append(folds)
        makes.set()
        assert others_wait.wait(PATIENCE_S)
        write_folds(folds, path)

    monkeypatch.setattr(folds_file, "write_folds", slow)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(load_or_make_folds, patch_file, config)
        assert makes.wait(PATIENCE_S)
        second = threads.submit(load_or_make_folds, PatchFile(patch_file.path), config)
        others_wait.set()
        np.testing.assert_array_equal(first.result(PATIENCE_S).grid, second.result(PATIENCE_S).grid)
    assert len(made) == 1
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def saved(patch_file: PatchFile, tmp_path: Path) -> Path:
    path = tmp_path / "sky.folds.json"
    path.write_text(folds_json(Folds.make(patch_file, CONFIG)))
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("strategy", ["random", "naive", "balanced"])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_file_gives_the_same_folds(patch_file: PatchFile, tmp_path: Path, strategy: str, k: int) -> None:
    config = split_config(k=k, area_size=24, strategy={"type": strategy}, gap=2)
    if (strategy, k) == ("naive", 1):
        config = config.model_copy(update={"gap": 0})  # ten strips of 16 pixels
    made = Folds.make(patch_file, config)
    (tmp_path / "folds.json").write_text(folds_json(made))
    for loaded in (
        load_folds(tmp_path / "folds.json", patch_file, config),
        load_folds(tmp_path / "folds.json", patch_file),
    ):
        np.testing.assert_array_equal(loaded.grid, made.grid)
        np.testing.assert_array_equal(loaded.patch_fold, made.patch_fold)
        assert (loaded.splits, loaded.areas, loaded.counts, loaded.edited) == (
            made.splits,
            made.areas,
            made.counts,
            False,
        )
    (tmp_path / "again.json").write_text(folds_json(loaded))
    assert (tmp_path / "again.json").read_text() == (tmp_path / "folds.json").read_text()


def test_file_can_be_read_by_a_person(saved: Path, patch_file: PatchFile) -> None:
    lines = saved.read_text().splitlines()
    data = json.loads(saved.read_text())
    assert len(data["grid"]) == 3
    assert all(f"    {json.dumps(row)}" in [line.rstrip(",") for line in lines] for row in data["grid"])
    assert data["splits"][1] == [[2, 3], [4], [1]]
    assert data["parameters"] == {
        "strategy": {"type": "random", "seed": 0},
        "k": 4,
        "k_train": 2,
        "step": 1,
        "area_size": 32,
        "overlap": 0,
        "gap": 0,
    }
    assert data["patch_file"] == "sky.h5"
    assert data["patch_file_identity"] == patch_file.identity
    assert set(data["counts"]) == {"1", "2", "3", "4"}


def test_file_of_another_patch_file_is_refused(saved: Path, small: PatchFile) -> None:
    with pytest.raises(DataError, match=rf"made for another patch file \([0-9a-f]{{8}}\.* there, {small.identity[:8]}"):
        load_folds(saved, small, CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"k": 5},
            r"\(k: 4 there, 5 here, k_train: 2 there, 3 here\). To use it as it is, leave all of split",
        ),
        ({"area_size": 24}, r"\(area_size: 32 there, 24 here\)"),
        ({"gap": 1}, r"\(gap: 0 there, 1 here\)"),
        ({"strategy": {"type": "balanced"}}, r"\(strategy: .*random.* there, .*balanced.* here\)"),
        ({"step": 2}, r"\(step: 1 there, 2 here\)"),
    ],
)
def test_file_of_other_parameters_is_refused(
    saved: Path, patch_file: PatchFile, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=r"sky.folds.json was made with other parameters " + message):
        load_folds(saved, patch_file, split_config(**{"k": 4, "area_size": 32, **changes}))


def test_what_a_config_leaves_out_is_as_in_the_file(patch_file: PatchFile, tmp_path: Path) -> None:
    made = split_config(k=5, k_train=2, step=2, area_size=20, gap=3, strategy={"type": "balanced", "seed": 7})
    path = tmp_path / "sky.folds.json"
    path.write_text(folds_json(Folds.make(patch_file, made)))
    for says in ({}, {"k": None}, {"gap": 3}, {"area_size": 20, "k": 5, "k_train": 0.4, "step": 2}):
        folds = load_or_make_folds(patch_file, split_config(path=str(path), **says))
        assert folds.config.model_dump(exclude={"path"}) == resolve_split(made, patch_file).model_dump(exclude={"path"})
    with pytest.raises(DataError, match=r"\(k_train: 2 there, 3 here, step: 2 there, 1 here\)"):
        load_folds(path, patch_file, split_config(k=5))


def test_choice_of_a_split_is_no_other_parameter(saved: Path, patch_file: PatchFile) -> None:
    config = split_config(k=4, k_train=0.5, area_size=32, use=3, path="elsewhere.json")
    assert load_folds(saved, patch_file, config).config.use == 3


def test_newer_format_is_refused(saved: Path, patch_file: PatchFile) -> None:
    edit(saved, lambda data: data.update(format_version=2, news="unheard of"))
    with pytest.raises(DataError, match=r"sky.folds.json has format 2, newer than 1. Update bigsf"):
        load_folds(saved, patch_file, CONFIG)


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"[]", b"3", b"{}", b'{"format": "bigsf folds"}', b"\xff\xfe", b'{"format_version": []}'],
)
def test_what_is_no_folds_file_is_refused(saved: Path, patch_file: PatchFile, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(DataError, match=r"sky.folds.json is not a folds file of BigSF: "):
        load_folds(saved, patch_file, CONFIG)


def test_absent_file_is_named(patch_file: PatchFile, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json cannot be read: .*No such file"):
        load_folds(tmp_path / "none.json", patch_file)


def test_edit_by_hand_is_counted_anew_and_marked(saved: Path, patch_file: PatchFile) -> None:
    before = load_folds(saved, patch_file, CONFIG)
    old = int(before.grid[0, 0])
    new = old % 4 + 1
    edit(saved, lambda data: data["grid"][0].__setitem__(0, new))
    with pytest.warns(BigsfWarning, match=r"sky.folds.json was edited by hand; its folds are counted anew"):
        edited = load_folds(saved, patch_file, CONFIG)
    assert edited.edited
    assert edited.grid[0, 0] == new
    moved = np.count_nonzero((before.area == 0) & (before.patch_fold > 0))
    assert edited.counts[old].patches == before.counts[old].patches - moved
    assert edited.counts[new].patches == before.counts[new].patches + moved
    again = load_folds(saved, patch_file, CONFIG)  # without a warning
    assert again.edited
    assert json.loads(saved.read_text())["counts"][str(new)] == edited.counts[new]._asdict()
    with fits.open(saved.with_suffix(".fits")) as hdus:
        np.testing.assert_array_equal(hdus[0].data, edited.grid)


def test_splits_may_be_edited(saved: Path, patch_file: PatchFile) -> None:
    edit(saved, lambda data: data.update(splits=[[[1], [2], [3, 4]]]))
    with pytest.warns(BigsfWarning, match=r"edited by hand"):
        assert load_folds(saved, patch_file, CONFIG).splits == [([1], [2], [3, 4])]


def test_edit_is_left_as_it_is_where_nothing_may_be_written(saved: Path, patch_file: PatchFile) -> None:
    edit(saved, lambda data: data.update(splits=[[[1], [2], [3, 4]]]))
    before = saved.read_bytes()
    with pytest.warns(BigsfWarning, match=r"edited by hand"):
        assert load_folds(saved, patch_file, CONFIG, write=False).edited
    assert saved.read_bytes() == before


def set_corner(data: dict[str, Any], value: int) -> None:
    data["grid"][0][0] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["grid"].pop(), "the grid must have 3 rows of 5 areas"),
        (lambda data: data["grid"][1].pop(), "the grid must have 3 rows of 5 areas"),
        (lambda data: set_corner(data, 0), "fold numbers run from 0 to 4; expected 1 to 255"),
        (lambda data: set_corner(data, 256), "fold numbers run from 1 to 256"),
        (
            lambda data: data.update(splits=[[[1, 2], [2], [4]]]),
            r"split 1 is \[\[1, 2\], \[2\], \[4\]\]; expected three",
        ),
        (lambda data: data["splits"][1][0].append(9), "split 2 is .*9.*; expected three lists of folds of the grid"),
        (lambda data: data.update(splits=[[[1, 2], [], [4]]]), "split 1 is .* none empty"),
        (lambda data: data["y_edges"].pop(), "holds other edges of areas than its parameters give"),
        (lambda data: data.update(x_edges=[0, 40, 64, 96, 128, 160]), "holds other edges of areas"),
        (lambda data: data.update(nonsense=1), "is not a folds file of BigSF: nonsense: Extra inputs"),
    ],
)
def test_impossible_edit_is_refused(
    saved: Path, patch_file: PatchFile, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(saved, change)
    with pytest.raises(DataError, match=message):
        load_folds(saved, patch_file, CONFIG)


def test_folds_are_made_when_absent_and_reused_when_present(patch_file: PatchFile, tmp_path: Path) -> None:
    path = tmp_path / "new" / "sky.folds.json"
    config = split_config(area_size=32, path=str(path))
    made = load_or_make_folds(patch_file, config, write=False)
    assert not path.parent.exists()
    load_or_make_folds(patch_file, config)
    assert sorted(file.name for file in path.parent.iterdir()) == [f"sky.folds.{e}" for e in ("fits", "json", "png")]
    before = path.stat().st_ino, path.stat().st_mtime_ns
    np.testing.assert_array_equal(load_or_make_folds(patch_file, config).grid, made.grid)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    with pytest.raises(DataError, match=r"other parameters \(gap: 0 there, 2 here\)"):
        load_or_make_folds(patch_file, config.model_copy(update={"gap": 2}))


def test_area_image_lies_on_the_sky_of_the_map(patch_file: PatchFile, tmp_path: Path) -> None:
    folds = Folds.make(patch_file, CONFIG)
    write_folds(folds, tmp_path / "sky.folds.json")
    with fits.open(tmp_path / "sky.folds.fits") as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus[0].data, folds.grid)
        sky = WCS(hdus[0].header).pixel_to_world([0, 4], [0, 2])
    assert patch_file.wcs is not None
    expected = patch_file.wcs.pixel_to_world([15.5, 4 * 32 + 15.5], [15.5, 2 * 32 + 15.5])
    assert sky.separation(expected).arcsec.max() < 1e-3


def test_a_map_that_is_named_like_the_image_of_the_folds_is_kept(patch_file: PatchFile, tmp_path: Path) -> None:
    galaxy, path = tmp_path / "galaxy.fits", tmp_path / "galaxy.json"
    fits.PrimaryHDU(np.ones((2, 2))).writeto(galaxy)
    for write in (True, False):
        with pytest.raises(UsageError, match=r"galaxy.fits exists already. Name another folds file with split.path"):
            load_or_make_folds(patch_file, split_config(path=path, area_size=32), write)
    path.write_text(folds_json(Folds.make(patch_file, split_config(k=4, area_size=32))))
    content = json.loads(path.read_text())
    content["grid"][0][0] = content["grid"][0][0] % 4 + 1
    path.write_text(json.dumps(content))
    for before in (galaxy.read_bytes(), b"SIMPLE  =", b"a map"):
        galaxy.write_bytes(before)
        with (
            pytest.warns(BigsfWarning, match="was edited by hand"),
            pytest.raises(UsageError, match=r"galaxy.fits is no image of folds, so it is not replaced"),
        ):
            load_folds(path, patch_file)
        assert galaxy.read_bytes() == before


def test_a_read_only_folder_of_the_data_is_told_of_split_path(
    patch_file: PatchFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda folder, _: folder != tmp_path)  # root may write anywhere
    with pytest.raises(UsageError, match=r"read-only for you. Name another folds file with split.path"):
        load_or_make_folds(patch_file, split_config(path=tmp_path / "folds.json"))


def test_a_deeply_nested_file_is_no_folds_file(patch_file: PatchFile, tmp_path: Path) -> None:
    path = tmp_path / "deep.folds.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(DataError, match=r"deep.folds.json is not a folds file of BigSF: the whole: "):
        load_folds(path, patch_file)


def test_split_does_not_replace_a_map_by_an_image_of_folds(
    patch_path: Path, sky: Sky, ended: Ended, tmp_path: Path
) -> None:
    shutil.copy(sky.path("image"), tmp_path / "galaxy.fits")
    said = ended(2, "split", patch_path, "-o", "galaxy.json", "--overwrite")
    assert "galaxy.fits is no image of folds, so it is not replaced" in said.err


@pytest.mark.parametrize("parameter", ["overlap", "gap"])
def test_an_edited_overlap_or_gap_is_an_edit_and_is_counted_anew(
    patch_file: PatchFile, saved: Path, parameter: str
) -> None:
    before = load_folds(saved, patch_file)
    edit(saved, lambda data: data["parameters"].update({parameter: 8}))
    with pytest.warns(BigsfWarning, match="was edited by hand; its folds are counted anew"):
        folds = load_or_make_folds(patch_file, split_config(path=saved))
    assert folds.edited
    assert folds.identity != before.identity
    written = json.loads(saved.read_text())
    kept = sum(fold["patches"] for fold in written["counts"].values())
    assert kept == np.count_nonzero(folds.patch_fold) != np.count_nonzero(before.patch_fold)


def test_tasks_that_find_an_edited_file_use_its_folds(
    patch_file: PatchFile, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(saved, lambda data: data["grid"].reverse())
    set_aside, other_waits = threading.Event(), threading.Event()

    def slow(folds: Folds, path: Path) -> None:
        content = path.read_text()
        path.unlink()  # as while the files are published
        set_aside.set()
        other_waits.wait(0.3)
        path.write_text(content)
        write_folds(folds, path)

    monkeypatch.setattr(folds_file, "write_folds", slow)
    config = split_config(path=saved)
    monkeypatch.setattr(folds_file, "warn", lambda _: None)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(load_or_make_folds, patch_file, config)
        assert set_aside.wait(PATIENCE_S)
        second = threads.submit(load_or_make_folds, PatchFile(patch_file.path), config)
        assert first.result(PATIENCE_S).identity == second.result(PATIENCE_S).identity


def test_a_folds_file_of_an_earlier_build_with_a_gap_is_not_edited(
    patch_file: PatchFile, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "gap.folds.json"
    folds = Folds.make(patch_file, split_config(k=4, area_size=32, gap=4))
    path.write_text(folds_json(folds))
    edit(path, lambda data: data.update(checksum=folds.checksum(overlap_and_gap=False)))
    assert not load_folds(path, patch_file).edited
    assert not recwarn.list
