"""The command `bigsf`: options -> one call of the library -> lines and tables of results."""

import sys

from bigsf.errors import InterruptedRunError
from bigsf.interrupts import stopping


def main() -> None:
    """Run the command line; a signal at any moment, also while modules load, ends it with one line and its own code."""
    try:
        with stopping():
            from bigsf.cli.app import run

            run()
    except InterruptedRunError as stop:
        from bigsf.console import print_message

        print_message(str(stop))
        sys.exit(stop.exit_code)
