"""The command `bigsf`: options -> one call of the library -> lines and tables of results."""

from bigsf.cli.app import main

__all__ = ["main"]
