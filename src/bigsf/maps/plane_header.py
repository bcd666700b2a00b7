"""FITS header of an array of any axes -> header of one plane of it, which any reader of WCS takes."""

import re
from typing import NamedTuple

from astropy.io import fits
from astropy.wcs import WCS

from bigsf.errors import out_of_memory
from bigsf.maps.fits_guard import quiet_astropy

_ONE_AXIS = re.compile(
    r"(NAXIS|CTYPE|CRVAL|CRPIX|CDELT|CROTA|CUNIT|CNAME|CRDER|CSYER|CZPHS|CPERI|PV|PS)(\d+)((?:_\d+)?[A-Z]?)"
)
"""Cards of one axis; the last group is the number of a parameter and the letter of an alternate WCS."""

_TWO_AXES = re.compile(r"(PC|CD)(\d+)_(\d+)([A-Z]?)")

_TWO_AXES_OLD = re.compile(r"(PC)(\d{3})(\d{3})()")
"""The form of PC cards before FITS had a standard for WCS."""

_LOOK_UP = re.compile(r"(CPDIS|CQDIS|CPERR|CQERR|DP|DQ|D2IMDIS|D2IMERR|D2IM)\d.*|AXISCORR")
"""Cards of distortions that are tables in other HDUs of the file."""

_SIP = re.compile(r"(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)")

_CELESTIAL = re.compile(r"(RA--|DEC-|[A-Z]L(ON|AT)|[A-Z]{2}L[NT])-")
"""CTYPE of a longitude or a latitude in a projection."""


class PlaneHeader(NamedTuple):
    """The header of a plane, whose cards of WCS are those of its two axes."""

    header: fits.Header
    """A copy; `WCS` reads it."""
    faults: tuple[str, ...]
    """What of the WCS is left out and why, one sentence each."""


def plane_header(header: fits.Header, axes: tuple[int, int] = (1, 2)) -> PlaneHeader:
    """Return the header of a plane of an array.

    - Cards of axes that the plane does not have are left out, in all alternate WCSs and all spellings. The axes of the
      plane become 1 and 2.
    - A longitude without its latitude, or the reverse, is left out: it is no WCS.
    - Look-up distortions (CPDIS, D2IM) are left out, because their tables do not lie in the header.
    - A WCS that turns the plane into an axis that it does not have is left out.
    - A WCS whose coordinates are tables (CTYPE -TAB) is left out, for the same reason.
    - A WCS that cannot be read is left out.

    Parameters
    ----------
    header
        The header of the array.
    axes
        The FITS numbers, from 1, of the axes of the plane along x and y.
    """
    plane, faults = header.copy(), []
    for letter, dropped in _coupled_axes(plane, axes).items():
        _drop_axes(plane, set(axes), letter or None)  # astropy reads no alternate WCS without the primary one
        if not letter:
            faults.append(f"The WCS is left out: it turns the plane into the dropped axis {dropped}.")
    _keep_axes(plane, axes)
    if tabulated := _drop_tables(plane):
        faults.append(f"The WCS is left out: its coordinates ({tabulated}) are tables in other HDUs of the file.")
    if orphan := _drop_orphans(plane):
        faults.append(f"The axes {orphan} of the plane are no pair on the sky: pixel coordinates are used.")
    if tables := [key for key in plane if key == "AXISCORR" or _is_look_up(key, plane)]:
        faults.append(
            f"The look-up distortions of the WCS ({', '.join(tables)}) are left out: positions are off by their size."
        )
        _remove(plane, [key for key in plane if _LOOK_UP.fullmatch(key)])
    if reason := _unreadable(plane):
        faults.append(f"The WCS cannot be read and is left out: {reason}")
        _drop_axes(plane, {1, 2})
        _remove(plane, [key for key in plane if _SIP.fullmatch(key)])
    return PlaneHeader(plane, tuple(faults))


def _axes_of(keyword: str) -> tuple[int, ...]:
    """Return the axes of a card of a WCS; none for other cards."""
    if two := _TWO_AXES.fullmatch(keyword) or _TWO_AXES_OLD.fullmatch(keyword):
        return int(two[2]), int(two[3])
    one = _ONE_AXIS.fullmatch(keyword)
    return (int(one[2]),) if one else ()


def _letter_of(keyword: str) -> str:
    """Return the letter of the alternate WCS of a card; none for the primary WCS."""
    return keyword[-1] if keyword[-1:].isalpha() else ""


def _renumbered(keyword: str, number: dict[int, int]) -> str:
    """Return the keyword of a card on other axes."""
    if two := _TWO_AXES.fullmatch(keyword) or _TWO_AXES_OLD.fullmatch(keyword):
        return f"{two[1]}{number[int(two[2])]}_{number[int(two[3])]}{two[4]}"
    one = _ONE_AXIS.fullmatch(keyword)
    return f"{one[1]}{number[int(one[2])]}{one[3]}" if one else keyword


def _is_look_up(keyword: str, header: fits.Header) -> bool:
    """Tell whether a card says that a distortion is a table."""
    names = re.fullmatch(r"(CPDIS|CQDIS|D2IMDIS)\d", keyword)
    return names is not None and str(header[keyword]).strip().upper() == "LOOKUP"


def _coupled_axes(header: fits.Header, axes: tuple[int, int]) -> dict[str, int]:
    """Return, by the letter of a WCS, a dropped axis on whose pixel, which is 1, coordinates of the plane depend."""
    coupled: dict[str, int] = {}
    for key in header:
        pair, letter = _axes_of(key), _letter_of(key)
        if len(pair) == 2 and pair[0] in axes and pair[1] not in axes:
            factor, reference = header[key], header.get(f"CRPIX{pair[1]}{letter}", 0)
            known = isinstance(factor, int | float) and isinstance(reference, int | float)
            if known and abs(factor * (1 - reference)) > 1e-9:
                coupled.setdefault(letter, pair[1])
    return coupled


def _keep_axes(header: fits.Header, axes: tuple[int, int]) -> None:
    """Leave out the cards of all axes but two, which become axes 1 and 2."""
    _remove(header, [key for key in header if not set(_axes_of(key)) <= set(axes)])
    number = dict(zip(axes, (1, 2), strict=True))
    if axes != (1, 2):
        for key in sorted(dict.fromkeys(filter(_axes_of, header)), key=_axes_of):  # a number is free before it is taken
            header.rename_keyword(key, _renumbered(key, number), force=True)
    for key in [key for key in header if re.fullmatch(r"NAXIS|WCSAXES[A-Z]?", key)]:
        header[key] = 2


def _drop_tables(header: fits.Header) -> str:
    """Leave out each WCS whose coordinates are tables: wcslib runs out of memory on some. Return the primary types."""
    tabulated = [key for key in header if re.fullmatch(r"CTYPE[12][A-Z]?", key) and str(header[key])[4:8] == "-TAB"]
    types = " and ".join(str(header[key]) for key in tabulated if not _letter_of(key))
    for letter in set(map(_letter_of, tabulated)):
        _drop_axes(header, {1, 2}, letter or None)
    return types


def _drop_orphans(header: fits.Header) -> str:
    """Leave out a longitude without its latitude, or the reverse; return the types of the axes where one was."""
    dropped = ""
    for letter in {key[6:] for key in header if re.fullmatch(r"CTYPE[12][A-Z]?", key)}:
        types = [str(header.get(f"CTYPE{axis}{letter}", "")).strip() for axis in (1, 2)]
        celestial = {axis for axis, kind in enumerate(types, 1) if _CELESTIAL.match(kind)}
        if len(celestial) == 1:
            _drop_axes(header, celestial, letter)
            (axis,) = celestial
            if f"CD{3 - axis}_{3 - axis}{letter}" in header:  # in a CD matrix, what is not given is 0
                header[f"CD{axis}_{axis}{letter}"] = 1.0
            if not letter:
                dropped = f"{types[0] or 'x'} and {types[1] or 'y'}"
    return dropped


def _drop_axes(header: fits.Header, axes: set[int], letter: str | None = None) -> None:
    """Leave out the WCS of some axes, which count pixels then; of one alternate WCS, or of all."""
    of_axes = [key for key in header if set(_axes_of(key)) & axes and not key.startswith("NAXIS")]
    _remove(header, [key for key in of_axes if letter in (None, _letter_of(key))])


def _remove(header: fits.Header, keywords: list[str]) -> None:
    for keyword in keywords:
        header.remove(keyword, ignore_missing=True, remove_all=True)


def _unreadable(header: fits.Header) -> str:
    """Return why the WCS of a header cannot be read; nothing where it can."""
    try:
        with quiet_astropy():
            WCS(header)
    except Exception as error:  # wcslib raises many kinds of errors
        if out_of_memory(error):
            raise
        return " ".join(str(error).split())
    matrix = {key: _axes_of(key)[0] for key in header if re.fullmatch(r"CD\d_\d", key)}
    for axis in set(matrix.values()):  # astropy puts 1 on the diagonal of such a row
        if all(header[key] == 0 for key, row in matrix.items() if row == axis):
            return f"row {axis} of its CD matrix is zero, so that the matrix is singular."
    return ""
