"""A map and the windows of the training -> a warning where they differ, and the scales that suit the map."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from bigsf.console import logger
from bigsf.errors import ConfigError, warn
from bigsf.maps.planes import MapSource
from bigsf.models.window_statistics import QUANTITIES, Quantity, Range, map_statistics, ranges
from bigsf.option_names import option
from bigsf.segmentation.config import AUTO
from bigsf.segmentation.ensemble import Ensemble
from bigsf.training.snapshot import Snapshot

_FACTORS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Factors by which the scales `auto` may bin a map; it is also binned by the double."""

_LEAST_WINDOWS = 9
"""In fewer windows a map may differ from the training by chance."""

_MANY = 0.01
"""Where this fraction of a map has values that stand apart, nothing else is said: the user was warned of them, and they
explain the rest."""

_LEVEL_MATTERS = ("asinh", "global", "none")
"""Normalizations that give other numbers where a constant is added to the map, or its logarithm is taken. `log` does
so too, but a logarithm of a logarithm makes little difference, and of values below 0 there is a warning already."""

_MARGINS: dict[Quantity, float] = {"noise": 1.5, "skewness": 2.0, "contrast": 3.0}
"""Factors by which the median of a map may differ from that of the training, however narrow the range of the latter."""

_AS_SMOOTH = 0.65
"""Interpolation to smaller pixels smooths. Simulated maps and a map of the Milky Way that were enlarged by 2, 3 and 4
and binned by the same factor keep 0.7 to 0.9 of the distance of their smoothness from 2, and 0.6 or less where they are
binned by one less."""

_AS_ROUGH = 1.2
"""The same distance of simulated maps of one recipe differs by less than this factor."""


class _Factor(NamedTuple):
    """A factor by which a map is binned."""

    n: int
    """The factor."""
    why: str
    """Why it suits the map, as a clause."""

    @property
    def scales(self) -> list[int]:
        """The factor and its double."""
        return [self.n, 2 * self.n]


def resolve_scales(
    wanted: Literal["auto"] | list[int] | None, name: str, source: MapSource, ensemble: Ensemble
) -> list[int]:
    """Return the factors by which a map is binned: those asked for, those of the models, or those that suit the map.

    `auto` is [n, 2 n]. Where the headers of the map and of the maps of the training say their beams, n is the ratio of
    the beams in pixels. Otherwise it is the smallest factor that leaves the map about as smooth as that of the
    training. What was chosen is printed.

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
        Where "auto" cannot choose: a model does not know how smooth its map was, or no factor is large enough.
    """
    if wanted != AUTO:
        return wanted or ensemble.scales
    for path, snapshot in zip(ensemble.paths, ensemble.snapshots, strict=True):
        if "smoothness" not in snapshot.window_ranges:
            raise ConfigError(
                f"{option('scales', AUTO)}: {path.name} does not know how smooth the map of its training was; models "
                f"of former versions of bigsf never do. Give numbers, e.g. {option('scales', [1, 2])}, or train "
                "it again."
            )
    learnt = _learnt(ensemble.snapshots)["smoothness"]
    found = _factor_by_beam(source, ensemble) or _factor_by_smoothness(source, ensemble.window, learnt)
    if found is None:
        last = _factors(source.shape, ensemble.window)[-1]
        binned = f" Binned by {last}, it still is." if last > 1 else ""
        limit = (
            "" if last == _FACTORS[-1] else f" By more it would be smaller than a window of {ensemble.window} pixels."
        )
        raise ConfigError(
            f"{option('scales', AUTO)}: {name} is smoother than the map of the training.{binned}{limit} Give numbers, "
            f"e.g. {option('scales', [1, 2])}."
        )
    logger.info("%s is %s for %s: %s.", option("scales", AUTO), _commas(found.scales), name, found.why)
    return found.scales


def _commas(scales: list[int]) -> str:
    return ",".join(map(str, scales))


def _learnt(snapshots: Sequence[Snapshot]) -> dict[Quantity, Range]:
    """Return the ranges of the training patches of all models that know theirs."""
    found: dict[Quantity, Range] = {}
    for name in QUANTITIES:
        if known := [each.window_ranges[name] for each in snapshots if name in each.window_ranges]:
            low, median, high = zip(*known, strict=True)
            found[name] = Range(min(low), float(np.mean(median)), max(high))
    return found


def _factor_by_beam(source: MapSource, ensemble: Ensemble) -> _Factor | None:
    """Return the factor, nearest in ratio, that makes the beam of a map as wide in pixels as that of the training.

    None where the header of the map, or of a map of the training, does not say its beam, or where the map would be
    smaller than a window.
    """
    here, beams = source.beam_px, [snapshot.beam_px for snapshot in ensemble.snapshots]
    known = [beam for beam in beams if beam is not None]
    if here is None or len(known) < len(beams):
        return None
    there = float(np.mean(known))
    n = min(_FACTORS, key=lambda factor: abs(np.log(factor * there / here)))
    if n not in _factors(source.shape, ensemble.window):
        return None
    return _Factor(n, f"its beam spans {here:.3g} pixels (BMAJ), that of the training {there:.3g}")


def _factor_by_smoothness(source: MapSource, window: int, learnt: Range) -> _Factor | None:
    """Return the smallest factor that leaves a map about as smooth as that of the training, or None."""
    for n in _factors(source.shape, window):
        here = ranges(map_statistics(source, window, n)).get("smoothness")
        if here is not None and here.median <= _smoothest(learnt):
            binned = f"binned by {n}, " if n > 1 else ""
            return _Factor(n, f"{binned}{_smoothness(here.median)}, {learnt.median:.3f} times in the training")
    return None


def _factors(shape: tuple[int, int], window: int) -> list[int]:
    """Return the factors that leave at least a window of a map `(ny, nx)`, and 1."""
    return [n for n in _FACTORS if n == 1 or n * window <= min(shape)]


def _smoothest(learnt: Range) -> float:
    """Return the smoothness up to which a map is about as smooth as that of the training."""
    return 2 - _AS_SMOOTH * (2 - learnt.median)


def _tolerated(quantity: Quantity, learnt: Range) -> tuple[float, float]:
    """Return the lowest and the highest median of a map that is like the training."""
    if quantity == "smoothness":
        return min(learnt.low, 2 - _AS_ROUGH * (2 - learnt.median)), max(learnt.high, _smoothest(learnt))
    margin = _MARGINS[quantity]
    return min(learnt.low, learnt.median / margin), max(learnt.high, learnt.median * margin)


def _smoothness(value: float) -> str:
    return f"pixels 4 apart differ {value:.3f} times as much as pixels 2 apart"


def _times(learnt: Range) -> str:
    return f"{learnt.low:.3f} to {learnt.high:.3f} times"


def warn_if_unlike(name: str, source: MapSource, ensemble: Ensemble, n: int, odd_pixels: int = 0) -> None:
    """Warn once where a map, binned by a factor, is unlike the training patches of a model.

    The median of a quantity over the windows of the map is compared with the range from the 5 % to the 95 % quantile
    over the training patches of each model, or with a margin around their median where that is wider. Nothing is said
    of a map of fewer than nine windows, nor where all models are of former versions, which keep no ranges.

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
    odd_pixels
        Pixels with values that stand apart, of which there was a warning.
    """
    if not _learnt(ensemble.snapshots) or odd_pixels >= _MANY * source.shape[0] * source.shape[1]:
        return
    statistics = map_statistics(source, ensemble.window, n)
    if len(statistics["noise"]) < _LEAST_WINDOWS:
        return
    here = ranges(statistics)
    outside = [(snapshot, *_outside(here, snapshot)) for snapshot in ensemble.snapshots]
    unlike = [snapshot for snapshot, lower, higher in outside if lower or higher]
    low: dict[Quantity, float] = {}
    high: dict[Quantity, float] = {}
    learnt: dict[Quantity, Range] = {}
    for quantity in QUANTITIES:
        below = [snapshot for snapshot, lower, _ in outside if quantity in lower]
        above = [snapshot for snapshot, _, higher in outside if quantity in higher]
        if most := max(below, above, key=len):  # models may differ to either side: what most of them say
            (low if most is below else high)[quantity] = here[quantity].median
            learnt[quantity] = _learnt(most)[quantity]
    normalizations = {snapshot.config.trainer.model.normalization.type for snapshot in unlike}
    remedy = (
        "" if normalizations == {"robust"} else "; or take a model with the normalization robust, e.g. filaments-small"
    )
    differences = [
        *_of_resolution(source, ensemble.window, low, high, learnt, n),
        *_of_values(low | high, learnt, remedy),
    ]
    if differences:
        what = "the model was" if len(unlike) == len(ensemble) else f"{len(unlike)} of {len(ensemble)} models were"
        binned = f", binned by {n}," if n > 1 else ""
        warn(
            f"{name}{binned} is unlike what {what} trained on (median of windows of {ensemble.window} pixels, "
            f"and range of 90 % of the training patches). {' '.join(differences)}"
        )


def _outside(here: Mapping[Quantity, Range], snapshot: Snapshot) -> tuple[dict[Quantity, float], dict[Quantity, float]]:
    """Return the medians of a map that are lower than those of maps like the training, and those that are higher."""
    low: dict[Quantity, float] = {}
    high: dict[Quantity, float] = {}
    learnt = _learnt([snapshot])
    counted = here.keys() & learnt.keys()
    if snapshot.config.trainer.model.normalization.type not in _LEVEL_MATTERS:
        counted -= {"contrast"}
    for quantity in counted:
        (least, most), value = _tolerated(quantity, learnt[quantity]), here[quantity].median
        if value < least:
            low[quantity] = value
        elif value > most:
            high[quantity] = value
    return low, high


def _of_resolution(
    source: MapSource,
    window: int,
    low: Mapping[Quantity, float],
    high: Mapping[Quantity, float],
    learnt: Mapping[Quantity, Range],
    n: int,
) -> Iterator[str]:
    """Yield how noise and smoothness of a map differ from those of the training, and what to do."""
    if "noise" in high:
        yield (
            f"It is noisier: the noise from pixel to pixel is {high['noise']:.1%} of the spread of the values, there "
            f"{learnt['noise'].low:.1%} to {learnt['noise'].high:.1%}."
        )
    for kind, values in (("rougher", low), ("smoother", high)):
        if "smoothness" in values:
            yield f"It is {kind}: {_smoothness(values['smoothness'])}, there {_times(learnt['smoothness'])}."
    if "noise" in high or "smoothness" in low:
        other = (
            "if its beam spans fewer pixels than that of the training, interpolate it to smaller pixels"
            if n == 1
            else "if it comes from the binning, bin it by less"
        )
        yield f"If that is noise, bin the map ({option('scales', [2 * n])}) or smooth it; {other}."
    elif "smoothness" in high:
        found = _factor_by_smoothness(source, window, learnt["smoothness"])
        scales = found.scales if found else [2 * n, 4 * n]
        yield f"Its structures span more pixels than those of the training: bin it ({option('scales', scales)})."


def _of_values(outside: Mapping[Quantity, float], learnt: Mapping[Quantity, Range], remedy: str) -> Iterator[str]:
    """Yield how skewness and contrast of a map differ from those of the training, and what to do."""
    if "skewness" in outside:
        yield (
            f"Its bright pixels stand out {outside['skewness']:.3f} times as far from the median as its faint ones, "
            f"there {_times(learnt['skewness'])}."
        )
    if "contrast" in outside:
        low, _, high = learnt["contrast"]
        yield f"Its values spread by {outside['contrast']:.1%} of their median, there by {low:.1%} to {high:.1%}."
    if not outside.keys().isdisjoint(("skewness", "contrast")):
        yield f"If a logarithm was taken or a background subtracted, undo that{remedy}."
