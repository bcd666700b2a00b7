"""Names of FITS files; a file that is not FITS, or is absent -> what it is, and how to give its content as one."""

from pathlib import Path

FITS_ENDINGS = (".fits", ".fit", ".fts")
"""Endings of the names of FITS files."""

PATCH_FILE_ENDINGS = (".h5", ".hdf5")
"""Endings of the names of patch files."""

ARCHIVE_ENDINGS = (".gz", ".bz2", ".xz", ".fz")
"""Endings that may stand behind those of FITS files."""

_IN_PYTHON = "In Python: fits.writeto({name!r}, {array}, fits.getheader('MAP.fits'))."

_IN_PYTHON_FLIPPED = f"{_IN_PYTHON} The first row of a picture is its top."

_ARRAY = "np.load({path!r}).astype('float32')"

_PICTURE = "np.atleast_3d(plt.imread({path!r}))[::-1, :, 0].astype('float32')"

_DRAW = "Draw the structures on the grid of the map, 1 on them and 0 elsewhere, and save that under its header"

_SIGNATURES = (
    (b"\x93NUMPY", "an array of numpy", _IN_PYTHON, _ARRAY),
    (b"\x89PNG", "a PNG picture", _IN_PYTHON_FLIPPED, _PICTURE),
    (b"\xff\xd8\xff", "a JPEG picture", _IN_PYTHON_FLIPPED, _PICTURE),
    (b"\x89HDF\r\n", "an HDF5 file", "Give the FITS file it was made of; segment takes a patch file named *.h5.", ""),
    (b"# Region file", "a DS9 file of regions", f"{_DRAW}.", ""),
)
"""First bytes of a file, what it is, what to do, and the Python expression of its array."""

_TABLES = (".csv", ".ecsv", ".tsv", ".txt", ".dat", ".tbl", ".vot", ".xml", ".json", ".yaml")

TABLE_REMEDY = (
    f"A table holds no pixels. {_DRAW}; or save the points along spines as *.csv, *.ecsv or *.vot, from which "
    "bigsf preprocess draws the target, the background or the truth."
)
"""What to do with a table of positions."""


def has_fits_name(path: Path) -> bool:
    """Tell whether a file is FITS, perhaps compressed, by its name."""
    name = path.with_suffix("") if path.suffix.lower() in ARCHIVE_ENDINGS else path
    return name.suffix.lower() in FITS_ENDINGS


def has_patch_file_name(path: Path) -> bool:
    """Tell whether a file is a patch file by its name."""
    return path.suffix.lower() in PATCH_FILE_ENDINGS


def describe_kind(path: Path, start: bytes) -> str:
    """Return the end of a message about a file that does not begin as FITS does: what it is, and what to do with it.

    Parameters
    ----------
    path
        The file.
    start
        Its first bytes, decompressed.
    """
    for signature, kind, remedy, array in _SIGNATURES:
        if start.startswith(signature):
            array = array.format(path=str(path))
            return f"it is {kind}. Expected a FITS image. {remedy.format(name=f'{path.stem}.fits', array=array)}"
    if path.suffix.lower() == ".reg":
        return f"it is a file of regions. Expected a FITS image. {_DRAW}."
    if path.suffix.lower() in _TABLES:
        return f"it is a text file. Expected a FITS image. {TABLE_REMEDY}"
    return "it does not begin with SIMPLE."
