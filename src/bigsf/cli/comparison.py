"""Runs and k-folds -> a table of their scores, and of the keys in which their configurations differ."""

import os
from pathlib import Path
from typing import Any

from bigsf.cli.display import show_table
from bigsf.config.paths import flat
from bigsf.config.yaml_source import read_yaml
from bigsf.errors import DataError

_COMPARED = {
    "whole-map AP": "whole_average_precision",
    "whole-map best Dice": "whole_dice",
    "labelled best Dice": "labelled_best_dice",
}
"""Test scores of runs that are compared, by their heading."""


def compare_runs(paths: list[Path]) -> None:
    """Print the scores of runs and k-folds, and the keys in which their configurations differ."""
    configs = {path: flat(_config_of(path)) for path in paths}
    keys = sorted({key for config in configs.values() for key in config})
    differing = [key for key in keys if len({str(config.get(key)) for config in configs.values()}) > 1]
    hidden = {"trainer.run_name", "trainer.output_dir"}
    rows = [["scored on", *("the whole map" if (path / "summary.json").exists() else "test folds" for path in paths)]]
    rows += [[heading, *(_shown(_scores_of(path).get(key)) for path in paths)] for heading, key in _COMPARED.items()]
    rows += [[key, *(_short(configs[path].get(key, "-")) for path in paths)] for key in differing if key not in hidden]
    above = os.path.commonpath([path.absolute() for path in paths])
    show_table(["", *(os.path.relpath(path.absolute(), above) for path in paths)], rows)


def _short(value: object) -> str:
    """Return a value as a text of at most 24 characters."""
    text = str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"


def _shown(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"


def _scores_of(path: Path) -> dict[str, float]:
    """Return the scores of a run or of a k-fold on what its models did not see; nothing while it has not ended."""
    from bigsf.evaluation.records import KFoldSummary, RunScores

    try:
        if (path / "summary.json").exists():
            model = KFoldSummary.load(path / "summary.json").out_of_fold["BigSF"]
            whole, labelled = model["whole"], model["labelled"]
            return {
                "whole_average_precision": whole["average_precision"],
                "whole_dice": whole["best_dice"],
                "labelled_best_dice": labelled["best_dice"],
            }
        return RunScores.load(path / "scores.json").test
    except DataError:
        return {}


def _config_of(path: Path) -> Any:
    """Return the configuration of a run or a k-fold. A run records what best_by: null means, and a k-fold does not."""
    file = path / ("kfold.yaml" if (path / "kfold.yaml").exists() else "config.yaml")
    config = read_yaml(file)[0]
    trainer = config.get("trainer") or {}
    if trainer.get("best_by", "") is None and not trainer.get("early_stopping"):
        trainer["best_by"] = "epoch"
    return config
