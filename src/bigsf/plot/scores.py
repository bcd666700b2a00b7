"""Records of runs and k-folds -> figures of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from bigsf.errors import DataError, UsageError
from bigsf.evaluation.injection import Profile
from bigsf.evaluation.records import Completeness, KFoldSummary, Reliability, RunScores
from bigsf.evaluation.report.figures import draw_completeness, draw_reliability
from bigsf.evaluation.report.learning_curves import Quantity, draw_learning_curves, read_history
from bigsf.figures import axes_or_new

History = Sequence[Mapping[str, Any]]
"""The logged quantities of each epoch, by name."""


def curves(run: str | Path | History, quantity: Quantity = "loss", ax: Any = None) -> Any:
    """Draw the learning curves of a run.

    Parameters
    ----------
    run
        The folder of a run, its metrics.csv, or the rows of it. The epoch of best.pt is marked once the run has ended.
    quantity
        "loss", or "score" for the scores on the validation folds.
    ax
        The matplotlib Axes; by default those of a new figure.

    Returns
    -------
    Axes
        The axes that were drawn on.

    Raises
    ------
    DataError
        Where metrics.csv is missing, empty or damaged.
    UsageError
        Where there is no such quantity.

    Examples
    --------
    >>> history = [{"epoch": 1, "train_loss": 0.7}, {"epoch": 2, "train_loss": 0.5}]
    >>> bigsf.plot.curves(history).get_ylabel()
    'loss'
    """
    if quantity not in get_args(Quantity):
        raise UsageError(f"There is no quantity {quantity!r}; expected {' or '.join(get_args(Quantity))}.")
    best = None
    if isinstance(run, str | Path):
        path = Path(run)
        scores = (path if path.is_dir() else path.parent) / "scores.json"
        best = RunScores.load(scores).best_epoch if scores.exists() else None
        run = read_history(path / "metrics.csv" if path.is_dir() else path)
    if not run:
        raise DataError("There are no rows of epochs to draw.")
    ax = axes_or_new(ax)
    draw_learning_curves(ax, run, quantity, best)
    return ax


def completeness(
    kfold: str | Path | KFoldSummary | Completeness, profile: Profile | None = None, ax: Any = None
) -> Any:
    """Draw the completeness of injected filaments against their contrast, with error bars and counts.

    Parameters
    ----------
    kfold
        The folder of a k-fold, its summary.json, or what was read from it; or the result of
        `bigsf.measure_completeness`.
    profile
        Which family of filaments of a k-fold: "gaussian", the default, or "plummer".
    ax
        The matplotlib Axes; by default those of a new figure.

    Returns
    -------
    Axes
        The axes that were drawn on.

    Raises
    ------
    DataError
        Where the summary is missing or damaged, or no filament of this profile was injected.
    UsageError
        Where `profile` would do nothing.

    Examples
    --------
    >>> ax = bigsf.plot.completeness("results/four_folds")  # doctest: +SKIP
    """
    found: Completeness | None
    if profile not in (None, *get_args(Profile)):
        raise UsageError(f"There is no profile {profile!r}; expected {' or '.join(get_args(Profile))}.")
    if isinstance(kfold, Completeness):
        if profile is not None:
            raise UsageError("profile would do nothing: what was measured is of one profile.")
        found = kfold
    else:
        summary = _summary(kfold)
        found = summary.injected_plummer if profile == "plummer" else summary.injected
    if found is None or not found.filaments:
        raise DataError("No filaments of this profile were injected: see the report of the k-fold.")
    ax = axes_or_new(ax)
    draw_completeness(ax, found)
    return ax


def reliability(kfold: str | Path | KFoldSummary | Mapping[str, Reliability], ax: Any = None) -> Any:
    """Draw the measured purity of the catalogue's rows against the expected one, with error bars and counts.

    Parameters
    ----------
    kfold
        The folder of a k-fold, its summary.json, or what was read from it.
    ax
        The matplotlib Axes; by default those of a new figure.

    Returns
    -------
    Axes
        The axes that were drawn on.

    Raises
    ------
    DataError
        Where the summary is missing or damaged, or the catalogue has too few rows.

    Examples
    --------
    >>> ax = bigsf.plot.reliability("results/four_folds/summary.json")  # doctest: +SKIP
    """
    found = kfold if isinstance(kfold, Mapping) else _summary(kfold).reliability
    if not found:
        raise DataError("The catalogue has too few rows to learn their purity from.")
    ax = axes_or_new(ax)
    draw_reliability(ax, found)
    return ax


def _summary(kfold: str | Path | KFoldSummary) -> KFoldSummary:
    if isinstance(kfold, KFoldSummary):
        return kfold
    path = Path(kfold)
    return KFoldSummary.load(path / "summary.json" if path.is_dir() else path)
