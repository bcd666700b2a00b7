"""Commands whose help has panels, and whose configuration holds what users may take for their options."""

from typing import Any

from pydantic import BaseModel
from typer.core import TyperCommand, TyperGroup, TyperOption
from typing_extensions import override

from bigsf.config.messages import allowed_classes, places_of

PANELS = {
    "Map": "missing valid hdu blank channel region match_background",
    "Labels": "target background truth line_width target_threshold",
    "Patches": "patch_size stride min_valid keep",
}
"""From the panels of the help of `preprocess` to their options."""

PANELS_OF_SEGMENT = {
    "Map": "missing valid hdu blank channel region",
    "Prediction": "stride scales tta batch_size memory precision device trust time_limit",
    "Cleaning of MASK": "threshold hysteresis reconstruct min_area min_skeleton border",
    "Products": "output products prefix distance measure",
    "Scores": "against background truth",
}
"""The same of `segment`."""


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    """Let the help show no type for flags, which take no value."""
    for option in params:
        if isinstance(option, TyperOption) and option.is_flag:
            option.metavar = ""
    return params


class Commands(TyperGroup):
    """All commands."""

    @override
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types_of_flags(super().get_params(ctx))


class Command(TyperCommand):
    """A command whose options are sorted into panels by its help."""

    panels: dict[str, str] = {}

    @override
    def get_params(self, ctx: Any) -> list[Any]:
        params = _without_types_of_flags(super().get_params(ctx))
        for option in params:
            if isinstance(option, TyperOption):
                inside = (name for name, names in self.panels.items() if option.name in names.split())
                option.rich_help_panel = next(inside, None)
        return params


class PreprocessCommand(Command):
    """`bigsf preprocess`."""

    panels = PANELS


class SegmentCommand(Command):
    """`bigsf segment`."""

    panels = PANELS_OF_SEGMENT


class ConfiguredCommand(Command):
    """A command with a configuration: its help lists the keys, and errors name the key for an option."""

    @override
    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.epilog = f"{_listing()}\n\n{self.epilog}"
        super().format_help(ctx, formatter)

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            from bigsf.training.run_config import RunConfig

            if type(error).__name__ != "NoSuchOption":  # typer has no public name for its class
                raise
            option = getattr(error, "option_name", "")
            if keys := places_of(option.lstrip("-").replace("-", "_"), RunConfig):
                vars(error)["message"] = f"There is no option {option}. Set the key: --set {' or '.join(keys)}=VALUE"
            raise


def _listing() -> str:
    """Return the keys of the configuration, one paragraph for each part of it."""
    from bigsf.training.run_config import RunConfig

    parts = {
        name: next(part for part in allowed_classes(field.annotation) if issubclass(part, BaseModel))
        for name, field in RunConfig.model_fields.items()
    }
    listing = [f"**{name}**: {', '.join(part.model_fields)}" for name, part in parts.items()]
    return "\n\n".join(["Keys of CONFIG.yaml (`bigsf init` writes them with their meaning):", *listing])
