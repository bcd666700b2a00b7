"""An open FITS file -> which of its HDUs holds the map, and which its masks."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from astropy.io import fits

from bigsf.errors import DataError, warn
from bigsf.maps.file_kinds import TABLE_REMEDY
from bigsf.maps.fits_guard import is_image, is_map, open_fits
from bigsf.option_names import option

_PLANES = {
    "TARGET": "target",
    "SPINES": "target",
    "BACKGROUND": "background",
    "MISSING": "valid",
    "VALID": "valid",
    "TRUTH": "truth",
}
"""Names of extensions that hold the masks of a map, and the role of each."""


def split_hdu(path: Path) -> tuple[Path, str | None]:
    """Return the file of a plane that is given as `dust.fits[2]`, `dust.fits[T]` or `dust.fits[SCI,2]`, and its HDU.

    The HDU is None where the path names none. A file of that very name, with its brackets, is taken as it is.
    """
    named = None if path.exists() else re.fullmatch(r"(.*[^/])\[([^\[\]]+)\]", str(path))
    return (Path(named[1]), named[2]) if named else (path, None)


def mask_hdu(path: Path) -> str | None:
    """Return the name of the extension that `bigsf segment` writes on filaments: MASK, or else LABELS, or None."""
    with open_fits(path) as hdus:
        return next((name for name in ("MASK", "LABELS") if name in hdus and is_map(hdus[name])), None)


def files_of(paths: Iterable[Path | None]) -> list[Path]:
    """Return the files of planes, whose paths may name an HDU; paths that are None are left out."""
    return [split_hdu(path)[0] for path in paths if path is not None]


def find_hdu(hdus: Any, path: Path, wanted: str | int | None) -> int:
    """Return the index of an HDU.

    Parameters
    ----------
    hdus
        The open file.
    path
        The file, for messages.
    wanted
        Index or EXTNAME, or EXTNAME and EXTVER as in `SCI,2`; by default the first plane that is no mask by its name.

    Raises
    ------
    DataError
        Where there is no such HDU, or it is no image.
    """
    listing = ", ".join(f"{i} {_label(hdu)}" for i, hdu in enumerate(hdus))
    if wanted is None:
        return _first_plane(hdus, path, listing)
    try:
        index = int(hdus.index_of(_key(str(wanted), len(hdus))))
        hdu = hdus[index]
    except (KeyError, IndexError):
        raise DataError(f"{path} has no HDU {wanted!r}; it has {listing}.") from None
    if not is_map(hdu):
        raise DataError(f"HDU {wanted!r} of {path} is no image of ny x nx pixels; the HDUs are {listing}.")
    return index


def _key(wanted: str, number: int) -> int | str | tuple[str, int]:
    """Return how astropy names an HDU: its index, EXTNAME, or both EXTNAME and EXTVER, e.g. of `SCI,2`.

    A number that is no index of so many HDUs is an EXTNAME, e.g. a wavelength.
    """
    if wanted.removeprefix("-").isdecimal() and -number <= int(wanted) < number:
        return int(wanted)
    name, comma, version = wanted.rpartition(",")
    return (name, int(version)) if comma and version.strip().isdecimal() else wanted


def _label(hdu: Any) -> str:
    """Return the name and shape of an HDU, for messages."""
    version = getattr(hdu, "ver", 1)  # a broken HDU has none
    name = (hdu.name or "unnamed") + (f",{version}" if version != 1 else "")
    return f"{name} {hdu.shape if is_image(hdu) else 'table'}"


def _first_plane(hdus: Any, path: Path, listing: str) -> int:
    """Return the index of the first plane that is no mask; warn where a cube stands before it."""
    images = [index for index, hdu in enumerate(hdus) if is_map(hdu)]
    if not images:
        tables = f" {TABLE_REMEDY}" if "table" in listing else ""
        raise DataError(f"{path} holds no image: its HDUs are {listing}. Expected one of ny x nx pixels.{tables}")
    filled = [index for index in images if 0 not in hdus[index].shape]
    candidates = [i for i in filled if not is_mask(hdus[i].header)] or filled or images
    found = next((i for i in candidates if axes_of_plane(hdus[i].shape)), candidates[0])
    if found != candidates[0]:
        warn(
            f"{path.name}: HDU {found} is read, the first that holds one plane (ny x nx). Its HDUs are {listing}; "
            f"{option('hdu')} chooses another one for the map."
        )
    return found


def axes_of_plane(shape: Sequence[int]) -> tuple[int, int] | None:
    """Return which two axes of an array are (y, x), None where it is not one plane."""
    n = len(shape)
    long = tuple(axis for axis, length in enumerate(shape) if length != 1)
    kept = (n - 2, n - 1) if n == 2 or set(long) <= {n - 2, n - 1} else long
    return (kept[0], kept[1]) if len(kept) == 2 and 0 not in shape else None


def is_mask(header: fits.Header) -> bool:
    """Return whether an HDU holds a mask of the map, by its EXTNAME."""
    return str(header.get("EXTNAME", "")).strip().upper() in _PLANES


def find_planes(path: str | Path, roles: Collection[str] = frozenset(_PLANES.values())) -> dict[str, int]:
    """Return the masks among the extensions of a file, as role: index of the HDU.

    Parameters
    ----------
    path
        The FITS file, whose name may end with an HDU in brackets.
    roles
        The masks to look for: any of target (TARGET or SPINES), background, valid (VALID or MISSING) and truth.

    Raises
    ------
    DataError
        Where two extensions hold one mask.
    """
    found: dict[str, int] = {}
    with open_fits(split_hdu(Path(path))[0]) as hdus:
        names = [str(hdu.name).upper() if is_image(hdu) else "" for hdu in hdus]
    for index, name in enumerate(names):
        role = _PLANES.get(name, "")
        if role not in roles:
            continue
        if role in found:
            raise DataError(
                f"{path} holds the {role} twice: its HDUs {found[role]} {names[found[role]]} and {index} {name}. "
                f"Rename one of them, or pass {option(role)} with the file of the one to use."
            )
        found[role] = index
    return found


def image_hdus(path: str | Path) -> list[int]:
    """Return the indices of the HDUs of a file that are images of two axes or more."""
    with open_fits(Path(path)) as hdus:
        return [index for index, hdu in enumerate(hdus) if is_map(hdu)]
