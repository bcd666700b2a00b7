"""Options and configurations that are wrong: which are refused, with which message and exit code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from astropy.table import Table

from bigsf.segmentation.config import SegmentConfig
from conftest import Ended, Run, Settings, Sky


def test_wrong_use_of_options_is_a_usage_error_that_names_them(
    sky: Sky, patch_path: Path, trained: Path, ended: Ended, bigsf_command: Run
) -> None:
    image = sky.path("image")
    for options, message in (
        (
            ["--missing", image, "--valid", image],
            "Error: --missing: is another name of 'valid', which is given too. Keep one of them.",
        ),
        (["--patch-size", 0], "Error: --patch-size: found 0, expected greater than 0."),
        (["--patch-size", 8, "--stride", 9], "Error: stride is 9 but patches have 8 pixels"),
        (["-o", "out.fits"], "Error: The output out.fits is a patch file (HDF5): name it *.h5."),
        (["-o", image / "out.h5"], "is a file, not a folder"),
        (["--patch-size", 8, "--target-threshold", 1], "Error: --target-threshold would do nothing: there is no image"),
        (["--patch-size", 8, "--keep", "labelled"], "Error: --keep labelled would do nothing: there is no target."),
        (["--blank", "nan"], "Error: --blank: found nan, expected a finite number."),
        (["--target-threshold", "inf"], "Error: --target-threshold: found inf, expected a finite number."),
        (["--match-background"], "Error: --match-background is for several tiles"),
    ):
        assert message in ended(2, "preprocess", image, *options).err
    for options, message in (
        (["-k", 2], "Error: k is 2; training, validation and test need a fold each"),
        (["--strategy", "rnd"], "Error: --strategy: unknown type 'rnd'"),
        (["--overlap", 4, "--gap", 4], "Error: overlap 4 and gap 4 contradict each other"),
        (["--strategy", "naive", "--area-size", 32], "Error: --area-size would do nothing: the areas of --strategy na"),
        (["--strategy", "naive", "--seed", 1], "Error: --seed would do nothing: --strategy naive draws nothing"),
        (["--strategy", "regions"], "Error: The regions of --strategy regions stand in YAML"),
        (["-k", 0], "Error: -k: found 0, expected greater than or equal to 1."),
        (["-k", 1, "--step", 2], "Error: step is 2 but k is 1, which makes one split alone"),
    ):
        assert message in ended(2, "split", patch_path, "-o", "folds.json", *options).err
    for options, message in (
        (
            ["--missing", image, "--valid", image],
            "Error: --missing: is another name of 'valid', which is given too. Keep one of them.",
        ),
        (["--threshold", "half"], "Error: --threshold: found 'half', expected whole, labelled, or a probability"),
        (["--memory", "lots"], "Error: --memory: found 'lots', expected a size such as 800MB or 4GB."),
        (["--products", "mask,catalogue"], "Error: --products: unknown 'catalogue'; did you mean 'catalog'?"),
        (["--min-area", 0], "Error: --min-area: found 0, expected greater than 0."),
        (["--min-area", 9, "--products", "prob"], "Error: --min-area would do nothing: the products leave out MASK"),
        (["--border", "near"], "Error: --border: found 'near', expected auto or a number of pixels from 0 to 100."),
        (["--border", -1], "Error: --border: found '-1', expected auto or a number of pixels from 0 to 100."),
    ):
        assert message in ended(2, "segment", trained, image, *options).err
    for options, message in (
        (
            ["--blank", 0, "--hdu", 1],
            "sky.h5 is a patch file, which holds its planes as bigsf preprocess read th",
        ),
        (["--channel", image], "--channel would do nothing. Give that to bigsf preprocess instead."),
    ):
        assert message in ended(2, "segment", trained, patch_path, *options).err
    assert bigsf_command("segment", trained, image, "--precision", "fp8").code == 2


@pytest.mark.parametrize("command", ["train", "kfold", "segment"])
def test_an_unknown_format_of_figures_is_a_usage_error(command: str, bigsf_command: Run) -> None:
    result = bigsf_command(command, "one", *(["other"] if command == "segment" else []), "--figures", "gif")
    assert result.code == 2
    assert "'gif' is not one of 'png'," in result.err


def test_a_format_of_a_figure_that_is_not_drawn_is_refused(run_dict: Settings, ended: Ended, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict(trackers=[{"type": "csv"}])))
    assert "--figures pdf would do nothing" in ended(2, "train", "run.yaml", "--figures", "pdf").err


def test_the_figure_of_a_run_is_written_in_another_format_too(run_dict: Settings, ended: Ended, tmp_path: Path) -> None:
    run = run_dict(epochs=1, trackers=[{"type": "csv"}, {"type": "curves"}])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    assert "curves.png, curves.svg" in ended(0, "train", "run.yaml", "--figures", "svg").out
    (drawn,) = tmp_path.rglob("curves.svg")
    assert drawn.read_text().rstrip().endswith("</svg>")


def test_segment_reads_its_options_from_a_yaml_and_the_command_line_overrides_it(
    trained: Path, other_map: Path, ended: Ended, tmp_path: Path
) -> None:
    (tmp_path / "segment.yaml").write_text("threshold: 0.4\nproducts: [prob]\nblank: 1\nmin_area: 3\n")
    given = ["--config", "segment.yaml", "--products", "mask", "--blank", 0]
    result = ended(0, "segment", trained, other_map, *given)
    assert "threshold 0.4, min-area 3, min-skeleton 5, border 3" in result.out
    provenance = dict(Table.read(tmp_path / "other_segmented.fits", "PROVENANCE").iterrows())
    config = SegmentConfig.model_validate_json(provenance["segment config"])
    assert (config.threshold, config.products, config.blank) == (0.4, ["prob", "mask"], 0.0)
    (tmp_path / "segment.yaml").write_text("treshold: 0.4\n")
    result = ended(3, "segment", trained, other_map, *given)
    assert "line 1, treshold: unknown key; did you mean 'threshold'?" in result.err


@pytest.mark.parametrize(
    "option", [["--stride", 17], ["--products", "std"], ["--device", "quantum"], ["--device", ""], ["--time-limit", 0]]
)
def test_an_impossible_option_of_segment_is_a_mistake_of_usage(
    option: list[object], trained: Path, other_map: Path, ended: Ended
) -> None:
    assert str(option[0]).strip("-") in ended(2, "segment", trained, other_map, *option).err


def test_an_option_overrides_every_name_of_its_key_and_keys_of_the_strategy(
    patch_path: Path, ended: Ended, tmp_path: Path
) -> None:
    (tmp_path / "split.yaml").write_text("nb_folds: 3\narea_size: 32\nstrategy: {type: balanced, seed: 1}\n")
    ended(0, "split", patch_path, "--config", "split.yaml", "-k", 4, "--seed", 5, "-o", "folds.json")
    parameters = json.loads((tmp_path / "folds.json").read_text())["parameters"]
    assert (parameters["k"], parameters["strategy"]) == (4, {"type": "balanced", "seed": 5})


@pytest.mark.parametrize("content", ["- a\n", "&a [*a]", "k: [" * 2000, "text", "k: many\n", None])
def test_a_file_that_is_not_a_configuration_is_a_config_error(
    content: str | None, patch_path: Path, ended: Ended, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content) if content is not None else path.mkdir()
    assert "wrong.yaml" in ended(3, "split", patch_path, "--config", "wrong.yaml", "-o", "folds.json").err
    assert "wrong.yaml" in ended(3, "train", "wrong.yaml").err


def test_options_that_only_count_with_a_model_are_refused_without_one(sky: Sky, ended: Ended) -> None:
    maps = [sky.path("target"), sky.path("image"), "--against", sky.path("target")]
    for options, names in (
        (["--time-limit", "4h"], "--time-limit"),
        (["--device", "cpu", "--trust"], "--device, --trust"),
        (["--threshold", "whole"], "--threshold"),
        (["--tta"], "--tta"),
    ):
        assert f"Error: {names} would do nothing: there is no model" in ended(2, "segment", *maps, *options).err
    assert "Wrote image_scores.json" in ended(0, "segment", *maps, "--threshold", 0.5).out


@pytest.mark.parametrize("model", ["higal-small", None])
def test_a_map_before_the_model_is_told_of(model: str | None, sky: Sky, trained: Path, ended: Ended) -> None:
    image = sky.path("image")
    result = ended(2, "segment", image, model or trained)
    assert f"Error: The map comes last: bigsf segment {model or trained} {image.name}" in result.err


def test_a_model_of_the_package_is_not_resumed(ended: Ended) -> None:
    assert "To train it further, set trainer.start_from: higal-small" in ended(5, "resume", "higal-small").err


def test_a_key_that_is_given_as_an_option_is_named(bigsf_command: Run) -> None:
    for command in ("train", "kfold"):
        printed = " ".join(bigsf_command(command, "run.yaml", "--batch-size", 5).err.replace("│", " ").split())
        assert "There is no option --batch-size. Set the key: --set trainer.batch_size=VALUE" in printed
        printed = bigsf_command(command, "run.yaml", "--threshold", 0.5).err
        assert "No such option: --threshold" in printed
        assert "Set the key" not in printed, "one of an entry of a list cannot be set so"


def test_a_patch_file_is_no_map_to_make_patches_of(patch_path: Path, ended: Ended) -> None:
    assert "it is an HDF5 file. Expected a FITS image" in ended(4, "preprocess", patch_path).err


def test_the_file_of_a_split_says_where_the_folds_are_written(patch_path: Path, ended: Ended, tmp_path: Path) -> None:
    (tmp_path / "split.yaml").write_text("{k: 4, k_train: 2, path: mine.folds.json}")
    assert "Wrote" in ended(0, "split", patch_path, "--config", "split.yaml").out
    assert (tmp_path / "mine.folds.json").exists()
    (tmp_path / "split.yaml").write_text("{k: 4, use: 3}")
    message = "Error: use: 3 in split.yaml would do nothing: folds hold all splits."
    assert message in ended(2, "split", patch_path, "--config", "split.yaml", "-o", "other.json").err


def test_windows_with_gaps_are_refused_before_any_model_is_trained(
    run_dict: Callable[..., dict[str, Any]], ended: Ended, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**run_dict(), "out_of_fold": {"stride": 17}}))
    for options in ([], ["--dry-run"]):
        assert "out_of_fold.stride is 17, and windows have 16 pixels" in ended(3, "kfold", "run.yaml", *options).err
        assert not (tmp_path / "results").exists()


def test_aliases_that_multiply_are_refused(ended: Ended, tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    assert "its anchors make 100,000 keys or more" in ended(3, "train", "bomb.yaml").err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainer": {"run_name": "../x"}}, "expected the name of a folder, without slashes"),
        ({"trainer": {"run_name": "/tmp/x"}}, "expected the name of a folder, without slashes"),
        ({"trainer": {"run_name": ".."}}, "expected the name of a folder, without slashes"),
        ({"trainer": {"model": {"type": "unet", "depth": 5}}}, "use a multiple of 32, for example 32"),
        ({"trainer": {"model": {"type": "unet", "depth": 4, "norm": "instance"}}}, "Use patches of 32, norm: group"),
        ({"trainer": {"model": {"type": "unet", "depth": 4, "in_channels": 2}}}, "in_channels is 2 but sky.h5 has 1"),
        ({"trainer": {"best_by": "val_beauty"}}, "which is not logged"),
    ],
)
def test_impossible_combinations_are_config_errors(
    change: dict[str, Any],
    message: str,
    run_dict: Callable[..., dict[str, Any]],
    ended: Ended,
    tmp_path: Path,
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict(**change["trainer"])))
    for command in ("train", "kfold"):
        assert message in ended(3, command, "run.yaml").err
        assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("k: 4\nfolds: 3\n", "line 2, folds: unknown key"),
        ("strategy: !Randm {}\n", "Randm"),
        ("k: 4\n  step: 1\n", "line 2"),
        ("gap: -1\n", "line 1, gap: found -1, expected greater than or equal to 0."),
        ("k: 4\nk: 5\n", "wrong.yaml"),
    ],
)
def test_each_mistake_in_a_configuration_is_named(
    content: str, message: str, patch_path: Path, ended: Ended, tmp_path: Path
) -> None:
    (tmp_path / "wrong.yaml").write_text(content)
    assert message in ended(3, "split", patch_path, "--config", "wrong.yaml", "-o", "folds.json").err
