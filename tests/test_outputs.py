import json
import os
from pathlib import Path

import pytest

from bigsf.errors import UsageError
from bigsf.files import hidden_name, remove
from bigsf.outputs import Outputs
from bigsf.processes import this_process

CONTENT = {"map.fits": "planes", "map.png": "figure", "map.ecsv": "table"}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(*(tmp_path / name for name in CONTENT))


def write(outputs: Outputs, mark: str = "") -> None:
    with outputs.writing() as files:
        for path, temporary in files.items():
            temporary.write_text(CONTENT.get(path.name, "a step") + mark)


def written(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def kill_after(renames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the process at a renaming; what runs at the end of a `with` block does not run either."""
    rename, unlink, done = Path.replace, Path.unlink, 0

    def replace(path: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
            raise Killed
        done += 1
        return rename(path, target)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(Path, "replace", replace)


def test_all_appear_together(outputs: Outputs, tmp_path: Path) -> None:
    with outputs.writing() as files:
        for path, temporary in files.items():
            temporary.write_text(CONTENT[path.name])
        assert not any(path.exists() for path in outputs.named)
    assert written(tmp_path) == CONTENT


def test_an_error_keeps_the_previous_files(outputs: Outputs, tmp_path: Path) -> None:
    write(outputs)

    def write_half() -> None:
        with outputs.writing() as files:
            files[tmp_path / "map.fits"].write_text("half")
            raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        write_half()
    assert written(tmp_path) == CONTENT


def test_an_output_that_could_not_be_made_is_left_out(outputs: Outputs, tmp_path: Path) -> None:
    write(outputs, " of old")
    with outputs.writing() as files:
        for path, temporary in files.items():
            temporary.write_text(CONTENT[path.name])
        files[tmp_path / "map.png"].unlink()
    assert written(tmp_path) == {"map.fits": "planes", "map.ecsv": "table"}


@pytest.mark.parametrize("renames", range(5))
def test_after_a_kill_the_same_command_works_again(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    with monkeypatch.context() as patch:
        kill_after(renames, patch)
        if renames < 4:  # the journal, and three files
            with pytest.raises(Killed):
                write(outputs)
        else:
            write(outputs)
    if renames < 4:
        assert not (tmp_path / "map.fits").exists()
        outputs.check()
        write(outputs)
    assert {name: text for name, text in written(tmp_path).items() if not name.endswith(".tmp")} == CONTENT


@pytest.mark.parametrize("renames", range(7))
def test_a_kill_while_files_are_replaced_keeps_them(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    write(outputs, " of old")
    with monkeypatch.context() as patch:
        kill_after(renames, patch)
        with pytest.raises(Killed):
            write(outputs)
    with pytest.raises(UsageError, match=r"exists already"):
        outputs.check()
    with pytest.raises(KeyError), outputs.writing():
        raise KeyError  # before a file is written: only what the killed command left is put right
    found = {name: text for name, text in written(tmp_path).items() if not name.endswith(".tmp")}
    assert found == {name: f"{text} of old" for name, text in CONTENT.items()}


def test_the_file_of_somebody_else_is_not_taken_for_an_unfinished_one(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_after(2, patch)
        with pytest.raises(Killed):
            write(outputs)
    (tmp_path / "map.ecsv").unlink()
    (tmp_path / "map.ecsv").write_text("a thesis")
    with pytest.raises(UsageError, match=r"map.ecsv exists already"):
        outputs.check()
    assert (tmp_path / "map.ecsv").read_text() == "a thesis"


def test_the_journal_of_a_process_that_still_runs_is_left_to_it(outputs: Outputs, tmp_path: Path) -> None:
    machine, _ = this_process().split(".")
    journal = hidden_name(outputs.named[0], ".unfinished")
    journal.write_text(json.dumps({"process": f"{machine}.{os.getppid()}", "files": {str(outputs.named[0]): None}}))
    with pytest.raises(KeyError), outputs.writing():
        raise KeyError
    assert journal.exists()


def test_an_existing_output_is_refused_unless_told(outputs: Outputs, tmp_path: Path) -> None:
    outputs.check()
    (tmp_path / "map.png").write_text("a photograph")
    with pytest.raises(UsageError, match=r"map.png exists already. Pass overwrite=True"):
        outputs.check()
    outputs.check(overwrite=True)
    assert written(tmp_path) == {"map.png": "a photograph"}


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_an_input_is_never_replaced(tmp_path: Path, link: object) -> None:
    galaxy = tmp_path / "galaxy.fits"
    galaxy.write_text("the map")
    assert callable(link)
    link(galaxy, tmp_path / "other.fits")
    for name in ("galaxy.fits", "other.fits"):
        with pytest.raises(UsageError, match=rf"{name} is read by this command \(.*galaxy.fits\)"):
            Outputs(tmp_path / "folds.json", tmp_path / name).check([galaxy], overwrite=True)


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"folds.fits would be written to one file"):
        Outputs(tmp_path / "folds.fits", tmp_path / "folds.fits").check()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    link, target = tmp_path / "map.fits", tmp_path / "scratch" / "a.fits"
    link.symlink_to(target)
    write(Outputs(link))
    assert link.is_symlink()
    assert target.read_text() == "planes"
    with pytest.raises(UsageError, match=r"map.fits exists already"):
        Outputs(link).check()


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file is a file, not a folder"):
        Outputs(tmp_path / "file" / "map.fits").check(overwrite=True)
    with pytest.raises(UsageError, match=r"is a folder. Name a file to write"):
        Outputs(tmp_path).check(overwrite=True)
    monkeypatch.setattr(os, "access", lambda folder, _: folder != tmp_path)  # root may write anywhere
    with pytest.raises(UsageError, match=f"cannot be written: the folder {tmp_path} is read-only"):
        Outputs(tmp_path / "new" / "map.fits").check()


def test_an_error_of_the_system_names_the_output(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"map.fits could not be written: No space left on device. [\d.]+ \wB are free"),
        Outputs(tmp_path / "map.fits", tmp_path / "map.png").writing(),
    ):
        raise OSError(28, "full")
    assert written(tmp_path) == {}


def test_outputs_may_appear_by_steps(tmp_path: Path) -> None:
    patches, mosaic = tmp_path / "both.h5", tmp_path / "both_mosaic.fits"
    both = Outputs(patches, mosaic)
    with both.writing_step(mosaic) as temporary:
        temporary.write_text("a mosaic")
    both.check()  # after a kill here
    assert both.is_unfinished(mosaic)
    write(Outputs(patches), "")
    assert set(written(tmp_path)) == {"both.h5", "both_mosaic.fits"}
    with pytest.raises(UsageError, match=r"both.h5 exists already"):
        both.check()


def test_a_file_that_was_changed_after_its_step_is_kept(tmp_path: Path) -> None:
    both = Outputs(tmp_path / "both.h5", tmp_path / "both_mosaic.fits")
    with both.writing_step(tmp_path / "both_mosaic.fits") as temporary:
        temporary.write_text("a mosaic")
    (tmp_path / "both_mosaic.fits").write_text("a thesis")
    with pytest.raises(UsageError, match=r"both_mosaic.fits exists already"):
        both.check()


def test_the_folder_of_an_output_is_made_but_none_above_it(tmp_path: Path) -> None:
    with Outputs(tmp_path / "new" / "map.fits").writing() as files:
        files[tmp_path / "new" / "map.fits"].write_text("planes")
    assert (tmp_path / "new" / "map.fits").read_text() == "planes"
    outputs = Outputs(tmp_path / "absent" / "new" / "map.fits")
    with pytest.raises(
        UsageError, match=r"map.fits cannot be written: the folder .*absent does not exist. Make it first"
    ):
        outputs.check()


def write_tiles(outputs: Outputs, tile: str) -> None:
    with outputs.writing() as files:
        main, folder = (files[path] for path in outputs.named)
        main.write_text(tile)
        folder.unlink()
        (folder / "Norder3").mkdir(parents=True)
        (folder / "properties").write_text("hips")
        (folder / "Norder3" / tile).write_text(tile)


def tiles(folder: Path) -> list[str]:
    return [path.name for path in (folder / "Norder3").iterdir()]


def test_a_folder_is_written_whole_and_replaces_only_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, folder = tmp_path / "map.fits", tmp_path / "map_hips"
    outputs = Outputs(main, folder, folders={folder: "properties"})
    outputs.check()
    write_tiles(outputs, "first")
    with pytest.raises(UsageError, match="map_hips exists already"):
        Outputs(tmp_path / "other.fits", folder, folders={folder: "properties"}).check()
    with pytest.raises(UsageError, match=r"map_hips is read by this command \(.*first\)"):
        outputs.check([folder / "Norder3" / "first"], overwrite=True)
    outputs.check(overwrite=True)
    write_tiles(outputs, "second")
    assert tiles(folder) == ["second"]

    for renames in (1, 2, 3, 4):  # of the five: the journal, the two former outputs set aside, the two new ones
        with monkeypatch.context() as patch:
            kill_after(renames, patch)
            patch.setattr("bigsf.files.shutil.rmtree", lambda *_: None)
            with pytest.raises(Killed):
                write_tiles(outputs, "third")
        write_tiles(outputs, "fourth")
        assert (tiles(folder), main.read_text()) == (["fourth"], "fourth")
        for left in tmp_path.glob(".*.tmp"):  # this process is still alive, so its temporary files are
            remove(left)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["map.fits", "map_hips"]

    remove(folder)
    folder.write_text("precious")
    with pytest.raises(UsageError, match="map_hips is to be a folder that holds a file 'properties'"):
        outputs.check(overwrite=True)
