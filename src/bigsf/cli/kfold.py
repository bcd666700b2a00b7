"""`bigsf kfold`: configuration -> one model per split, the out-of-fold map and its scores."""

from typing import TYPE_CHECKING, Annotated

import typer

from bigsf.cli.display import print_summary
from bigsf.cli.options import (
    Device,
    DryRun,
    Figures,
    Overwrite,
    Quiet,
    RunFile,
    Settings,
    TimeLimit,
    seconds,
    with_figures,
)
from bigsf.console import print_line

if TYPE_CHECKING:
    from bigsf.training.kfold import KFold


def kfold(
    config: RunFile,
    only: Annotated[int | None, typer.Option(help="Train this split alone (from 1): for job arrays.")] = None,
    settings: Settings = None,
    figures: Figures = None,
    device: Device = None,
    time_limit: TimeLimit = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train one model per split; each predicts its test folds, and together they predict the whole map.

    Splits that are done are kept, and splits that were interrupted are resumed.
    """
    from bigsf.training.kfold import KFold
    from bigsf.training.launcher import join_world
    from bigsf.training.run_config import RunConfig

    time_limit_s = seconds(time_limit)
    run = RunConfig.from_yaml(config, with_figures(settings, figures))
    if dry_run:
        from bigsf.cli.dry_run import describe_kfold, trainer_of_split

        runs = KFold.from_config(run, device, write_folds=False)
        runs.check(only, overwrite)
        planned = run.model_copy(update={"out_of_fold": runs.config.out_of_fold})
        describe_kfold(trainer_of_split(planned, only or 1, device), only, overwrite)
        return
    with join_world(device) as world:
        run_kfold(KFold.from_config(run, device, world, time_limit_s), only, overwrite)


def run_kfold(runs: "KFold", only: int | None = None, overwrite: bool = False) -> None:
    """Run a k-fold and print its scores, once all splits are trained."""
    summary = runs.run(only, overwrite)
    if summary is not None:
        print_summary(summary)
        if runs.written:
            print_line(f"Wrote {runs.path}: {', '.join(runs.written)}.")
        else:
            print_line(f"Nothing was left to do. See {runs.path / 'report.html'}.")
