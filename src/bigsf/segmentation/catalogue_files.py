"""A catalogue of filaments -> ECSV, VOTable, machine-readable table, and an extension of a FITS file."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.io.votable.tree import CooSys, Info, VOTableFile
from astropy.table import Column, Table

from bigsf.filaments.columns import write_ecsv
from bigsf.provenance import printable
from bigsf.segmentation.config import Product

_FRAMES = {"galactic": ("l", "b"), "ICRS": ("ra", "dec")}
_MRT_LINE = "-" * 80
_MRT_DIGITS = ".8"  # after the first one, for values that nine decimals do not hold


def catalogue_hdu(table: Table) -> fits.BinTableHDU:
    """Return a catalogue as the FITS extension CATALOG.

    TCOMMn holds the meaning and TUCDn the UCD of a column, as TOPCAT and the CDS read them. How the catalogue was made
    is not repeated: the table PROVENANCE of the file says it.
    """
    written = _with_units_of("fits", table)
    written.meta.clear()
    hdu = fits.table_to_hdu(written)
    hdu.name = "CATALOG"
    for number, column in enumerate(written.itercols(), 1):
        for key, text in (("TUCD", column.meta.get("ucd")), ("TCOMM", column.description)):
            if text:
                hdu.header[f"{key}{number}"] = text.encode("ascii", "replace").decode()
    return hdu


def write_votable(path: Path, table: Table) -> None:
    """Write a catalogue as a VOTable, with UCDs, and with the frames of its positions."""
    document = VOTableFile.from_table(_with_units_of("vounit", table))
    (resource,) = document.resources
    resource.coordinate_systems.extend(CooSys(ID=system, system=system) for system in _FRAMES)
    resource.infos.extend(Info(name=name, value=printable(str(value))) for name, value in table.meta.items())
    for field in resource.tables[0].fields:
        field.ref = next((system for system, names in _FRAMES.items() if field.name in names), None)
    document.to_xml(str(path))


def write_mrt(path: Path, table: Table) -> None:
    """Write a catalogue as a machine-readable table of the AAS and the CDS, which journals ask for.

    Undefined values are blank, and booleans are 0 and 1. Values have up to nine decimals where that is exact, as for
    all columns that the catalogue rounds, else nine significant digits. Lines for the title and the authors are left to
    fill in.
    """
    written = _with_units_of("cds", table)
    columns = [_mrt_column(column) for column in written.itercols()]
    with path.open("w", encoding="utf-8") as file:
        file.write(f"Title:\nAuthors:\nTable:\n{'=' * 80}\nByte-by-byte Description of file: table.dat\n")
        file.writelines(f"{line}\n" for line in _mrt_description(written, columns))
        file.writelines(" ".join(row) + "\n" for row in zip(*(column.texts for column in columns), strict=True))


WRITERS: dict[Product, Callable[[Path, Table], None]] = {
    "catalog": write_ecsv,
    "votable": write_votable,
    "mrt": write_mrt,
}
"""From a product that is a file of the catalogue to the function that writes it."""


def _with_units_of(standard: str, table: Table) -> Table:
    """Return a catalogue in which a unit that a standard of astropy cannot hold is named in the meaning alone."""
    written = table.copy(copy_data=False)
    for column in written.itercols():
        try:
            if column.unit is not None:
                column.unit.to_string(standard)
        except ValueError:
            column.description = f"{column.description}, in {column.unit}"
            column.unit = None
    return written


class _MrtColumn(NamedTuple):
    fortran: str
    """Format of the values, e.g. F10.6."""
    width: int
    """Characters of a value."""
    texts: list[str]
    """The values, of that width each."""


def _mrt_column(column: Column) -> _MrtColumn:
    """Return a column as it is written."""
    values, decimals = np.asarray(column), ""
    if values.dtype.kind in "biu":
        kind, texts = "I", [str(int(value)) for value in values]
    elif values.dtype.kind == "f":
        kind, decimals = _float_format(values)
        texts = [f"{value:{decimals}{kind}}" if np.isfinite(value) else "" for value in values]
    else:
        kind, texts = "A", [str(value) for value in values]
    width = max([len(f"{0:{decimals}{kind}}") if decimals else 1, *map(len, texts)])
    return _MrtColumn(f"{kind}{width}{decimals}", width, [f"{text:>{width}}" for text in texts])


def _float_format(values: npt.NDArray[np.floating[Any]]) -> tuple[str, str]:
    """Return the kind of format, F or E, that holds floating-point values, and its decimals, e.g. `.6`."""
    values = np.asarray(values[np.isfinite(values)], np.float64)
    if np.abs(values).max(initial=0) < 1e9:
        for decimals in range(1, 10):
            if (np.round(values, decimals) == values).all():
                return "F", f".{decimals}"
    return "E", _MRT_DIGITS


def _mrt_description(table: Table, columns: Sequence[_MrtColumn]) -> Iterator[str]:
    """Yield the lines that describe the columns: the bytes that each takes, its format, unit, name and meaning."""
    units = [column.unit.to_string("cds") if column.unit is not None else "---" for column in table.itercols()]
    unit_width, name_width = (max(len(text) for text in texts) for texts in (["Units", *units], table.colnames))
    yield from (
        _MRT_LINE,
        f"    Bytes Format {'Units':<{unit_width}} {'Label':<{name_width}} Explanations",
        _MRT_LINE,
    )
    start = 1
    for column, unit, (fortran, width, _) in zip(table.itercols(), units, columns, strict=True):
        place = f"{start:>4}-{start + width - 1:>4}" if width > 1 else f"{start:>9}"
        head = f"{place} {fortran:<6} {unit:<{unit_width}} {column.name:<{name_width}} "
        blank = "? " if column.dtype.kind == "f" and not np.isfinite(column).all() else ""
        # A number at the beginning of a line would be taken for the place of the next column.
        text = re.sub(r" (?=\d)", "\0", f"{blank}{column.description or column.name}")
        for number, line in enumerate(wrap(text, max(20, len(_MRT_LINE) - len(head)))):
            yield (" " * len(head) if number else head) + line.replace("\0", " ")
        start += width + 1
    yield _MRT_LINE
