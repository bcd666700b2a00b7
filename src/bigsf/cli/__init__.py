"""The command `bigsf`: read the options, call one function, say where the result is."""

from bigsf.cli.app import main

__all__ = ["main"]
