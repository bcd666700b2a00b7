"""An unknown option of `train` or `kfold` -> the key of the configuration that is meant."""

from typing import Any

from typer.core import TyperCommand
from typing_extensions import override

from bigsf.config.messages import places_of


class KeyHints(TyperCommand):
    """A command whose configuration holds what users may take for its options, e.g. `--epochs`."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            from bigsf.training.run_config import RunConfig

            option = getattr(error, "option_name", "")  # the class of the error has no public name
            if keys := places_of(option.lstrip("-").replace("-", "_"), RunConfig):
                vars(error)["message"] = f"There is no option {option}. Set the key: --set {' or '.join(keys)}=VALUE"
            raise
