from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse, validate
from astropy.table import Column, Table
from astropy.wcs import WCS

from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.columns import write_ecsv
from bigsf.segmentation.catalogue_files import catalogue_hdu, write_mrt, write_votable
from conftest import galactic_header
from drawn_lines import bar

FORMATS = {"ecsv": "ascii.ecsv", "vot": "votable", "mrt": "ascii.mrt", "fits": "fits"}


def catalogue(unit: str = "cm-2", with_wcs: bool = True, filaments: int = 2) -> Table:
    """Return the catalogue of a bar and of a square whose orientation is undefined, or of none of them."""
    mask, image = bar()
    mask[30:34, 5:9] = 1
    found = Filaments(mask if filaments else np.zeros_like(mask))
    table = found.catalog(
        np.float32(1.5e22) * image, image / np.float32(4), WCS(galactic_header(60, 40)) if with_wcs else None, unit
    )
    table["l"].meta["ucd"] = "pos.galactic.lon"
    table["designation"] = Column(["BSF G000.005-00.075", "BSF G000.235+00.120"][:filaments], dtype="U19")
    table.meta["segmented"] = 'a & "b".fits'
    return table


def written_and_read(folder: Path, ending: str, table: Table) -> Table:
    """Return a catalogue as astropy reads what was written."""
    path = folder / f"catalogue.{ending}"
    if ending == "fits":
        catalogue_hdu(table).writeto(path)
    else:
        {"ecsv": write_ecsv, "vot": write_votable, "mrt": write_mrt}[ending](path, table)
    return Table.read(path, format=FORMATS[ending])


def values_of(column: Any) -> Any:
    return np.ma.filled(column, np.nan) if column.dtype.kind == "f" else np.asarray(column)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("filaments", [0, 2])
@pytest.mark.parametrize("with_wcs", [False, True])
def test_values_units_and_meanings_are_read_back(ending: str, filaments: int, with_wcs: bool, tmp_path: Path) -> None:
    table = catalogue(with_wcs=with_wcs, filaments=filaments)
    before = table.copy()
    read = written_and_read(tmp_path, ending, table)
    assert read.colnames == table.colnames
    assert len(read) == filaments
    for name in table.colnames:
        assert read[name].unit == table[name].unit, name
        if table[name].dtype.kind == "f":
            np.testing.assert_allclose(values_of(read[name]), table[name], rtol=1e-8, err_msg=name)
        else:
            assert list(read[name]) == list(table[name]), name
        if ending != "fits":
            meaning = " ".join((read[name].description or "").split())
            assert meaning == (table[name].description or (name if ending == "mrt" else "")), name
    assert table.meta == before.meta
    assert all(table[name].unit == before[name].unit for name in table.colnames)


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_undefined_is_no_number(ending: str, tmp_path: Path) -> None:
    table = catalogue(with_wcs=False)
    read = written_and_read(tmp_path, ending, table)
    assert np.isnan(values_of(read["l"])).all()
    assert np.isnan(values_of(read["orientation"])).tolist() == [False, True]


@pytest.mark.parametrize(("ending", "unit"), [("mrt", "Jy/beam"), ("fits", "3e20 cm-2")])
def test_a_unit_that_a_format_does_not_hold_is_named_in_the_meaning(ending: str, unit: str, tmp_path: Path) -> None:
    table = catalogue(unit)
    read = written_and_read(tmp_path, ending, table)
    assert read["mean"].unit is None
    number = 1 + table.colnames.index("mean")
    in_fits = ending == "fits"
    meaning = fits.getheader(tmp_path / "catalogue.fits", 1)[f"TCOMM{number}"] if in_fits else read["mean"].description
    assert " ".join(meaning.split()) == f"mean of the map over the filament, in {table['mean'].unit}"
    assert table["mean"].unit is not None, "the catalogue itself is as it was"


def test_the_extension_has_ucds_and_meanings(tmp_path: Path) -> None:
    catalogue_hdu(catalogue()).writeto(tmp_path / "catalogue.fits")
    with fits.open(tmp_path / "catalogue.fits") as hdus:
        hdus.verify("exception")
        header = hdus["CATALOG"].header
        number = 1 + hdus["CATALOG"].columns.names.index("l")
    assert header[f"TUNIT{number}"] == "deg"
    assert header[f"TUCD{number}"] == "pos.galactic.lon"
    assert header[f"TCOMM{number}"] == "Galactic longitude of the middle of the spine"
    assert "TNULL1" not in header


def test_the_votable_is_valid_and_says_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.vot"
    write_votable(path, catalogue())
    with (tmp_path / "report.txt").open("w") as report:
        assert validate(str(path), report, xmllint=False), (tmp_path / "report.txt").read_text()
    document = parse(path, verify="exception")
    frames = {frame.ID: frame.system for frame in document.resources[0].coordinate_systems}
    fields = {field.name: field for field in document.get_first_table().fields}
    systems = {name: frames[field.ref] for name, field in fields.items() if field.ref}
    assert systems == {"l": "galactic", "b": "galactic", "ra": "ICRS", "dec": "ICRS"}
    assert fields["l"].ucd == "pos.galactic.lon"
    infos = {info.name: info.value for info in document.resources[0].infos}
    assert infos["segmented"] == 'a & "b".fits'


def test_lines_of_the_machine_readable_table_keep_to_their_bytes(tmp_path: Path) -> None:
    table = Table(
        [
            Column([7, 12], "id", description="a meaning of which each line would end right before 2 pixels"),
            Column([-0.25, np.nan], "b", unit="deg", description="latitude"),
            Column([1.5e22, 2e22], "mean", unit="cm-2", description="of the map"),
            Column([True, False], "edge", description="whether it is cut"),
        ]
    )
    write_mrt(tmp_path / "table.mrt", table)
    lines = (tmp_path / "table.mrt").read_text().splitlines()
    assert lines[8:14] == [
        "   1-   2 I2     ---   id   a meaning of which each line would end right",
        "                            before 2 pixels",
        "   4-   8 F5.2   deg   b    ? latitude",
        "  10-  23 E14.8  cm-2  mean of the map",
        "       25 I1     ---   edge whether it is cut",
        "-" * 80,
    ]
    assert lines[14:] == [" 7 -0.25 1.50000000E+22 1", "12       2.00000000E+22 0"]


def test_positions_and_sizes_of_a_machine_readable_table_have_no_exponents(tmp_path: Path) -> None:
    mask, image = bar()
    found = Filaments(mask).catalog(image, wcs=WCS(galactic_header(60, 40, step_deg=11.5 / 3600)), unit="cm-2")
    write_mrt(tmp_path / "table.mrt", found)
    described = [line.split() for line in (tmp_path / "table.mrt").read_text().splitlines()]
    formats = {words[4]: words[2] for words in described if len(words) > 4 and words[1].isdecimal()}
    for name in ("l", "b", "ra", "dec", "length_arcmin", "width_arcmin", "area_arcmin2"):
        assert formats[name].startswith("F"), name
    assert written_and_read(tmp_path, "mrt", found)["l"][0] == found["l"][0]


def test_a_long_table_is_written_in_parts_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigsf.filaments.columns._ECSV_ROWS", 3)
    table = Table(
        {"id": np.arange(8), "l": np.append(np.nan, np.arange(7) / 3), "designation": [*"abc d", "", "f", "g"]}
    )
    write_ecsv(tmp_path / "parts.ecsv", table)
    table.write(tmp_path / "whole.ecsv", format="ascii.ecsv")
    assert (tmp_path / "parts.ecsv").read_text() == (tmp_path / "whole.ecsv").read_text()
