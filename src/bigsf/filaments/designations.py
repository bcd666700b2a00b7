"""Positions of filaments -> their designations, as the IAU recommends."""

import string
from collections import Counter
from collections.abc import Iterator
from itertools import count, product

from bigsf.arrays import Float64Array


def designations(lb_deg: Float64Array, prefix: str = "") -> list[str]:
    """Return a designation such as "BSF G332.196-00.105" for each position.

    Coordinates are truncated, not rounded. Positions that are equal when truncated are told apart by letters in their
    order: a, b, ..., z, aa. See https://cds.unistra.fr/Dic/iau-spec.html.

    Parameters
    ----------
    lb_deg
        Galactic (l, b) in degrees, `(n, 2)`, of which six decimals count; where a position is NaN, its designation is
        empty.
    prefix
        The acronym of the catalogue. Without one, a designation begins with G.
    """
    names = [_name(longitude, latitude, prefix) if longitude == longitude else "" for longitude, latitude in lb_deg]
    shared = {name for name, number in Counter(names).items() if name and number > 1}
    letters = {name: _letters() for name in shared}
    return [name + next(letters[name]) if name in shared else name for name in names]


def _name(longitude: float, latitude: float, prefix: str) -> str:
    """Return a designation without a letter. It truncates integers of 1e-6 deg: 0.105 deg is no 0.10499999 deg here."""
    l_deg, l_rest = divmod(round(longitude * 1e6) % 360_000_000, 1_000_000)
    b_micro = round(latitude * 1e6)
    b_deg, b_rest = divmod(abs(b_micro), 1_000_000)
    sign = "-" if b_micro < 0 else "+"
    name = f"G{l_deg:03d}.{l_rest // 1000:03d}{sign}{b_deg:02d}.{b_rest // 1000:03d}"
    return f"{prefix} {name}" if prefix else name


def _letters() -> Iterator[str]:
    """Yield a, b, ..., z, aa, ab, ..."""
    for length in count(1):
        yield from map("".join, product(string.ascii_lowercase, repeat=length))
