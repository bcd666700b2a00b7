"""`bigsf train`: configuration -> one trained model and its scores."""

from typing import Annotated

import typer

from bigsf.cli.display import print_scores
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
    typed,
    with_figures,
)
from bigsf.console import print_line
from bigsf.errors import UsageError


def _print_schema(wanted: bool) -> None:
    if wanted:
        import json

        from bigsf.training.run_config import RunConfig

        typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))
        raise typer.Exit


Schema = Annotated[
    bool, typer.Option("--schema", callback=_print_schema, is_eager=True, help="Print the JSON schema of CONFIG.yaml.")
]


def train(
    config: RunFile,
    settings: Settings = None,
    figures: Figures = None,
    device: Device = None,
    overwrite: Overwrite = False,
    time_limit: TimeLimit = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    schema: Schema = False,
) -> None:
    """Train one model on one split of the folds, and score it on the test folds."""
    from bigsf.training.components.trackers import CurvesConfig
    from bigsf.training.launcher import join_world
    from bigsf.training.run_config import RunConfig
    from bigsf.training.trainer import Trainer

    time_limit_s = seconds(time_limit)
    run = RunConfig.from_yaml(config, with_figures(settings, figures))
    if figures and not any(isinstance(tracker, CurvesConfig) for tracker in run.trainer.trackers):
        raise UsageError(
            f"--figures {figures} would do nothing: trainer.trackers leave out curves, the figure of a run."
        )
    if dry_run:
        from bigsf.cli.dry_run import describe_run

        describe_run(Trainer.from_config(run, device=device, overwrite=overwrite, dry_run=True))
        return
    with join_world(device) as world:
        trainer = Trainer.from_config(run, device=device, overwrite=overwrite, world=world)
        print_scores(trainer.train(time_limit_s))
    folder = trainer.folder
    outputs = (folder.best, folder.last, folder.metrics, *folder.curves, folder.scores, folder.report)
    print_line(f"Wrote {folder.path}: {', '.join(path.name for path in outputs if path.exists())}.")
    print_line(f"Next: bigsf segment {typed(folder.best)} MAP.fits")
