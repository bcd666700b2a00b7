import shutil
from pathlib import Path

import pytest

from bigsf.cli.options import config_from, named_paths, number_or_path, seconds
from bigsf.config import Config, ConfigPath
from bigsf.errors import UsageError
from bigsf.training.run_config import RunConfig
from conftest import Ended, Sky


class Example(Config):
    number: float = 1.0
    flag: bool = False
    path: ConfigPath | None = None
    paths: list[ConfigPath] = []


def test_zero_is_given_and_none_and_false_are_not(tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text("number: 2\nflag: true\npaths: [a]\n")
    options: dict[str, object] = {"number": 0.0, "flag": False, "path": None, "paths": []}
    config = config_from(Example, options, tmp_path / "example.yaml")
    assert (config.number, config.flag, config.path, config.paths) == (0.0, True, None, [tmp_path / "a"])


def test_paths_of_options_are_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "example.yaml").write_text("path: b\n")
    config = config_from(Example, {"paths": [Path("a")]}, tmp_path / "example.yaml")
    assert (config.path, config.paths) == (tmp_path / "b", [tmp_path / "here" / "a"])


def test_a_duration_has_a_unit() -> None:
    assert (seconds(None), seconds("30min"), seconds("1h30min")) == (None, 1800, 5400)
    with pytest.raises(UsageError, match="--time-limit soon: expected a duration such as 30min, 4h or 3:50:00"):
        seconds("soon")


def test_the_home_of_the_user_stands_for_a_tilde(
    sky: Sky, ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    shutil.copy(sky.path("image"), home)
    ended(0, "preprocess", "~/image.fits", "--patch-size", 16, "--output=~/made/out.h5")
    (tmp_path / "run.yaml").write_text("data: {path: ~/made/out.h5}\ntrainer: {output_dir: ~/results}\n")
    run = RunConfig.from_yaml(tmp_path / "run.yaml")
    assert (run.data.path, run.trainer.output_dir) == (home / "made" / "out.h5", home / "results")  # type: ignore[union-attr]
    assert {path.name for path in tmp_path.iterdir()} == {"home", "run.yaml"}


def test_a_tilde_of_nobody_is_one_message(sky: Sky, ended: Ended, tmp_path: Path) -> None:
    image, message = sky.path("image"), "begins with ~no-such-user, which is no home of a user"
    for path in (["~no-such-user/map.fits"], [image, "-o", "~no-such-user/o.h5"], [image, "--target=~no-such-user/t"]):
        assert message in ended(2, "preprocess", "--patch-size", 16, *path).err
    (tmp_path / "run.yaml").write_text("data: {path: ~no-such-user/map.h5}\n")
    result = ended(3, "train", "run.yaml")
    assert f"line 1, data.path: ~no-such-user/map.h5 {message}" in result.err


def test_named_paths() -> None:
    assert named_paths("measure", ["T=dust.fits", "v=a=b.fits"]) == {"T": Path("dust.fits"), "v": Path("a=b.fits")}
    for text in ("dust.fits", "T="):
        with pytest.raises(
            UsageError, match=f"--measure: found '{text}', expected a name and a file, e.g. T=dust.fits"
        ):
            named_paths("measure", [text])
    with pytest.raises(UsageError, match=r"--measure: the name 'T' is given twice: a\.fits and b\.fits\. Rename one"):
        named_paths("measure", ["T=a.fits", "T=b.fits"])


def test_a_distance_is_a_number_or_a_path() -> None:
    assert number_or_path("2.5") == 2.5
    assert number_or_path("far.fits") == Path("far.fits")
