"""The scores and records of a run -> its report.html."""

from pathlib import Path
from typing import Any, NamedTuple

from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.records import RunScores
from bigsf.evaluation.report.elements import definitions, figure, folded, listing, number, table
from bigsf.evaluation.report.learning_curves import learning_curves
from bigsf.evaluation.report.page import write_page
from bigsf.evaluation.report.scores import headlines, pixel_scores, scales_table
from bigsf.evaluation.report.words import GLOSSARY, KINDS
from bigsf.folds.figure import folds_figure
from bigsf.folds.folds import Folds


class RunRecord(NamedTuple):
    """What a run records beside its scores."""

    history: list[dict[str, Any]]
    """Logged quantities, one row per epoch: metrics.csv."""
    environment: dict[str, Any]
    """Time, command, machine and versions: environment.json."""


def write_run_report(path: Path, scores: RunScores, folds: Folds, record: RunRecord, config_yaml: str) -> None:
    """Write the report of a run.

    Parameters
    ----------
    path
        The HTML file.
    scores
        The scores of the run, with those of the baselines.
    folds
        The folds of its data.
    record
        What the run recorded.
    config_yaml
        The configuration.
    """
    compared = {MODEL: scores.table, **scores.baselines}
    environment = record.environment
    facts = {
        "Trained": f"{environment.get('time', '-')}, by bigsf {environment.get('packages', {}).get('bigsf', '-')}",
        "Command": environment.get("command", "-"),
        "Data": facts_of_data(folds),
        "Model": f"{scores.model}, best.pt of epoch {scores.best_epoch} of {scores.epochs_run}",
        "Folds": f"train {scores.split.train}, validation {scores.split.validation}, test {scores.split.test}",
        "Machine": facts_of_machine(record),
    }
    against, known = ("truth", "ground truth") if "truth" in scores.table else ("whole", "target")
    where = f"all valid pixels of the test folds, against the {known}"
    in_words = headlines(
        ("Average precision", where, compared, against, "average_precision"),
        ("Best Dice", where, compared, against, "best_dice"),
        ("Best Dice", "the labelled pixels of the test folds", compared, "labelled", "best_dice"),
    )
    write_page(
        path,
        f"{path.parent.name}: report of a run",
        definitions(facts, "facts") + in_words,
        {
            "Learning curves": curves_of_run("the run", record, scores),
            **{f"Test folds: {KINDS[kind].lower()}": pixel_scores(compared, kind) for kind in scores.table},
            "All scores on the test folds": _test_table(scores),
            "Scales of the baselines": scales_table({name: [scale] for name, scale in scores.baseline_scales.items()}),
            "Folds": figure_of_folds(folds),
            "Configuration": folded("YAML", config_yaml),
            "Glossary": definitions(GLOSSARY, "glossary"),
        },
    )


def _test_table(scores: RunScores) -> str:
    """Return what was measured on the test folds, as the configuration asks, at the thresholds of validation."""
    thresholds = scores.thresholds
    said = listing(
        [
            f"The thresholds of validation are {number(thresholds.whole)} on all valid pixels and "
            f"{number(thresholds.labelled)} on labelled ones."
        ]
    )
    rows = [[name.replace("_", " "), number(value)] for name, value in scores.test.items()]
    return said + table(["score", MODEL], rows)


def facts_of_data(folds: Folds) -> str:
    """Say how large a patch file is and how much of it is labelled."""
    file = folds.patch_file
    (ny, nx), (target, labelled) = file.shape, file.labels()
    counts = f"{(labelled > 0).sum():,} labelled, {(target > 0).sum():,} of the target"
    return f"{file.path.name}, {nx:,} x {ny:,} pixels (x, y), {counts}; identity {file.identity[:12]}"


def facts_of_machine(record: RunRecord) -> str:
    """Say on what machine a run was trained, and with which versions."""
    device, precision, processes, threads, platform, python, torch = (
        record.environment.get(key, "-")
        for key in ("device", "precision", "processes", "threads", "platform", "python", "torch")
    )
    return (
        f"{device}, {precision}, processes: {processes}, threads: {threads}; {platform}, Python {python}, torch {torch}"
    )


def curves_of_run(name: str, record: RunRecord, scores: RunScores) -> str:
    """Return the figure of the learning curves of a run, by its name."""
    return figure(
        lambda: learning_curves(record.history, scores.best_epoch),
        f"the learning curves of {name}",
        f"Learning curves of {name}: losses, and scores on the validation folds, against the epoch. The grey line is "
        "the epoch of best.pt.",
    )


def figure_of_folds(folds: Folds) -> str:
    """Return the figure of the folds."""
    return figure(lambda: folds_figure(folds), "the folds", "The map, with each area in the colour of its fold.")
