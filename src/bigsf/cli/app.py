"""The command line: the commands in the order of the data flow; errors -> one message and an exit code."""

import sys
import sysconfig
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from bigsf import console
from bigsf.cli.command import Command, Commands, ConfiguredCommand, PreprocessCommand, SegmentCommand
from bigsf.cli.info import info
from bigsf.cli.init import init
from bigsf.cli.kfold import kfold
from bigsf.cli.options import with_homes
from bigsf.cli.preprocess import preprocess
from bigsf.cli.resume import resume
from bigsf.cli.segment import segment
from bigsf.cli.split import split
from bigsf.cli.train import train
from bigsf.errors import OUT_OF_MEMORY, BigsfError, InterruptedRunError, UsageError, out_of_memory
from bigsf.models.freed_memory import keep_freed_memory
from bigsf.option_names import on_command_line
from bigsf.version import __version__

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find filaments, and other thin structures, in one very large map.\n\n"
    "preprocess -> split -> train or kfold -> segment; resume continues after any interruption.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bigsf {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


P = ParamSpec("P")


def _with_output(command: Callable[P, None]) -> Callable[P, None]:
    """Turn printing on before a command runs, with --quiet for warnings and errors alone; give it paths without `~`.

    An output that is a folder is refused here, before names of other files are made of it.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        console.configure_output(bool(kwargs.get("quiet")))
        with_home = {name: with_homes(value) for name, value in kwargs.items()}
        if isinstance(output := with_home.get("output"), Path) and output.is_dir():
            raise UsageError(f"{output} is a folder. Name a file to write, e.g. one in that folder.")
        with on_command_line():
            command(*args, **with_home)

    return run


def _add(command: Callable[P, None], example: str, panel: str | None = None, kind: type[Command] = Command) -> None:
    app.command(cls=kind, epilog=f"Example: {example}", rich_help_panel=panel)(_with_output(command))


_add(
    preprocess,
    "`bigsf preprocess galaxy.fits --target spines.fits --background sky.fits --patch-size 64`",
    kind=PreprocessCommand,
)
_add(split, "`bigsf split galaxy.h5 -k 4 --k-train 2`")
_add(train, "`bigsf train config.yaml --set trainer.epochs=20`", kind=ConfiguredCommand)
_add(
    kfold,
    "`bigsf kfold config.yaml` or, in job array task 3, `bigsf kfold config.yaml --only 3`",
    kind=ConfiguredCommand,
)
_add(resume, "`bigsf resume results/experiment_1` or, to go back, `bigsf resume results/experiment_1/best.pt`")
_add(segment, "`bigsf segment results/experiment_1/best.pt map.fits -o map_segmented.fits`", kind=SegmentCommand)
_add(init, "`bigsf init` or, for another recipe, `bigsf init --recipe catalogue`", panel="Helpers")
_add(info, "`bigsf info results/experiment_1` or, to compare, `bigsf info results/*`", panel="Helpers")


def run() -> None:
    """Run the command; print an error that the user can mend as one message, and exit with the code of its kind."""
    console.replace_bad_streams()
    keep_freed_memory()
    try:
        app()
    except InterruptedRunError:
        raise
    except BigsfError as error:
        console.print_error(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        if out_of_memory(error):
            _print_out_of_memory(error)
            sys.exit(OUT_OF_MEMORY)
        if isinstance(error, OSError) and error.filename is not None:
            console.print_error(f"{error.filename}: {error.strerror}.")  # a path of the user's, not a bug
            sys.exit(UsageError.exit_code)
        if own := _code_of_the_user(error):
            error.add_note(
                f"{own.filename}, line {own.lineno}, is neither of bigsf nor of an installed package: if it is yours "
                "(a type: custom), look there first."
            )
            raise
        error.add_note(
            f"This is a bug of bigsf {__version__}, not your mistake. Please report it where you have bigsf from, "
            "with the command, these lines and, where you can, the file."
        )
        raise
    finally:
        console.replace_bad_streams()


def _code_of_the_user(error: Exception) -> traceback.FrameSummary | None:
    """Return the last place that an error came through which is neither of bigsf nor of an installed package."""
    known = [Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("stdlib", "scripts"))]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        installed = {"site-packages", "dist-packages"}.intersection(path.parts)
        if path.is_file() and not installed and not any(path.is_relative_to(folder) for folder in known):
            return frame
    return None


def _print_out_of_memory(error: Exception) -> None:
    reason = next(iter(str(error).splitlines()), "") or "nothing more can be allocated"
    error.__traceback__ = error.__context__ = error.__cause__ = None  # they keep the large arrays alive
    console.print_error(
        f"Out of memory: {reason.rstrip('.')}. Lower --batch-size or --memory (segment), trainer.batch_size, "
        "trainer.model.features or the patch size, or set trainer.accumulate."
    )
