"""A map and the windows of the training -> a warning where they differ, and the scales that suit the map."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, cast

import numpy as np

from bigsf.console import logger
from bigsf.errors import BigsfWarning, ConfigError
from bigsf.maps.planes import MapSource
from bigsf.models.window_statistics import Quantity, Range, map_statistics, ranges
from bigsf.segmentation.config import AUTO
from bigsf.segmentation.ensemble import Ensemble

_FACTORS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Factors by which `--scales auto` may bin a map; it is also binned by the double."""

_LEAST_WINDOWS = 9
"""In fewer windows a map may differ from the training by chance."""

_LEVEL_MATTERS = ("asinh", "global", "none")
"""Normalizations that give other numbers where a constant is added to the map, or its logarithm is taken. `log` does
so too, but a logarithm of a logarithm makes little difference, and of values below 0 there is a warning already."""


class _Choice(NamedTuple):
    """A factor by which a map is binned, and why."""

    factor: int
    why: str

    @property
    def scales(self) -> str:
        """The scales, as an option names them."""
        return f"{self.factor},{2 * self.factor}"


def resolve_scales(
    wanted: Literal["auto"] | list[int] | None, name: str, source: MapSource, ensemble: Ensemble
) -> list[int]:
    """Return the factors by which a map is binned: those asked for, those of the models, or those that suit the map.

    `auto` is [n, 2 n]. Where the headers of the map and of the maps of the training say their beams, n is the ratio of
    the beams in pixels. Otherwise it is the smallest factor that leaves the map no smoother than 95 % of the training
    patches. What was chosen is printed.

    Parameters
    ----------
    wanted
        Factors, "auto", or None for those that the models were validated with.
    name
        The map, for messages.
    source
        The map.
    ensemble
        The models.

    Raises
    ------
    ConfigError
        Where "auto" cannot choose: the models do not know how smooth their maps were, or no factor is large enough.
    """
    if wanted != AUTO:
        return wanted or ensemble.scales
    learnt = _learnt(ensemble)
    if "smoothness" not in learnt:
        raise ConfigError(
            f"--scales auto: {ensemble.paths[0].name} does not know how smooth the map of its training was: a former "
            "version of bigsf trained it. Give numbers, e.g. --scales 1,2, or train it again."
        )
    choice = _by_beam(source, ensemble) or _by_smoothness(source, ensemble.window, learnt["smoothness"])
    if choice is None:
        raise ConfigError(
            f"--scales auto: {name} is smoother than the map of the training at each factor up to {_FACTORS[-1]} at "
            f"which it is still {ensemble.window} pixels wide. Give numbers, e.g. --scales 1,2."
        )
    logger.info("--scales auto: %s is predicted at the scales %s: %s.", name, choice.scales, choice.why)
    return [choice.factor, 2 * choice.factor]


def _learnt(ensemble: Ensemble) -> dict[Quantity, Range]:
    """Return the ranges of all training patches of the models that know theirs."""
    found: dict[Quantity, list[Range]] = {}
    for snapshot in ensemble.snapshots:
        for name, values in snapshot.window_ranges.items():
            found.setdefault(cast(Quantity, name), []).append(Range(*values))
    return {
        name: Range(min(r.low for r in each), float(np.mean([r.median for r in each])), max(r.high for r in each))
        for name, each in found.items()
    }


def _by_beam(source: MapSource, ensemble: Ensemble) -> _Choice | None:
    """Return the factor that makes the beam of a map as wide in pixels as that of the training, where both are known.

    Of the factors that a map is binned by, it is the nearest in ratio.
    """
    here, there = source.beam_px, [snapshot.beam_px for snapshot in ensemble.snapshots if snapshot.beam_px]
    if here is None or len(there) < len(ensemble):
        return None
    wanted = here / float(np.mean(there))
    factor = min(_FACTORS, key=lambda n: abs(np.log(n / wanted)))
    return _Choice(factor, f"its beam spans {here:.3g} pixels (BMAJ), and that of the training {np.mean(there):.3g}")


def _by_smoothness(source: MapSource, window: int, learnt: Range) -> _Choice | None:
    """Return the smallest factor that leaves a map no smoother than the training patches."""
    for n in _FACTORS:
        if n > 1 and min(source.shape) < n * window:
            return None
        here = ranges(map_statistics(source, window, n)).get("smoothness")
        if here is not None and here.median <= learnt.high:
            return _Choice(n, f"{_grows('its', n)} {here.median:.2f} times ({_span(learnt)} in the training)")
    return None


def _grows(whose: str, n: int) -> str:
    pixels = "pixels" if n == 1 else f"pixels, binned by {n},"
    return f"{whose} {pixels} 4 apart differ more than those 2 apart"


def _span(learnt: Range) -> str:
    return f"{learnt.low:.2f} to {learnt.high:.2f}"


def warn_if_unlike(name: str, source: MapSource, ensemble: Ensemble, n: int) -> None:
    """Warn once where a map, binned by a factor, is unlike the training patches of the models.

    The median of a quantity over the windows of the map is compared with the range from the 5 % to the 95 % quantile
    over training patches. Nothing is said of maps of fewer than nine windows, nor by models of former versions, which
    keep no ranges.

    Parameters
    ----------
    name
        The map, for the message.
    source
        The map.
    ensemble
        The models.
    n
        The smallest factor by which the map is binned when it is predicted.
    """
    learnt = _learnt(ensemble)
    if not learnt:
        return
    statistics = map_statistics(source, ensemble.window, n)
    if len(statistics["noise"]) < _LEAST_WINDOWS:
        return
    here = {quantity: found.median for quantity, found in ranges(statistics).items()}
    if not any(model.normalization.type in _LEVEL_MATTERS for model in ensemble.model_configs):
        here.pop("contrast", None)
    if found := list(_differences(here, learnt, n, source, ensemble.window)):
        binned = f", binned by {n}," if n > 1 else ""
        warnings.warn(
            f"{name}{binned} is unlike what the model was trained on (the median of windows of {ensemble.window} "
            f"pixels, against 90 % of the training patches). {' '.join(found)}",
            BigsfWarning,
            stacklevel=3,
        )


def _differences(
    here: Mapping[Quantity, float], learnt: Mapping[Quantity, Range], n: int, source: MapSource, window: int
) -> Iterator[str]:
    """Yield a sentence with numbers and advice for each quantity of a map that lies outside the range."""
    outside = {
        quantity: (value, learnt[quantity])
        for quantity, value in here.items()
        if quantity in learnt and not learnt[quantity].low <= value <= learnt[quantity].high
    }
    noisy = False
    if "noise" in outside:
        value, span = outside["noise"]
        noisy = value > span.high
        if noisy:
            yield (
                f"It is noisier: the noise from pixel to pixel is {value:.1%} of the spread of the values, there "
                f"{span.low:.1%} to {span.high:.1%}. Bin it (--scales {2 * n}), or smooth it."
            )
    if "smoothness" in outside:
        value, span = outside["smoothness"]
        yield _of_smoothness(value, span, noisy, n, source, window)
    if "skewness" in outside:
        value, span = outside["skewness"]
        yield (
            f"Its bright pixels stand out {value:.2f} times as far as its faint ones, there {_span(span)} times. "
            "If it is a logarithm, or the model learnt from one, bring it to the form of the training map; otherwise "
            "take a model with the normalization robust, e.g. filaments-small."
        )
    if "contrast" in outside:
        value, span = outside["contrast"]
        yield (
            f"Its values spread by {value:.1%} of their median, there by {span.low:.1%} to {span.high:.1%}. If a "
            "background was subtracted or a logarithm taken, undo that; or take a model with the normalization robust, "
            "e.g. filaments-small."
        )


def _of_smoothness(value: float, span: Range, noisy: bool, n: int, source: MapSource, window: int) -> str:
    kind = "smoother" if value > span.high else "rougher"
    numbers = f"pixels 4 apart differ {value:.2f} times as much as pixels 2 apart, there {_span(span)} times"
    if kind == "rougher":
        advice = "" if noisy else " It has noise as wide as the beam, or narrower structures: smooth or enlarge it."
        return f"It is rougher: {numbers}.{advice}"
    choice = _by_smoothness(source, window, span)
    scales = f"--scales {choice.scales}" if choice else f"--scales {2 * n},{4 * n}"
    return f"It is smoother: {numbers}. Its structures span more pixels: bin it ({scales})."
