"""Mask and probability -> the products of a segmentation: planes of its FITS file, and files beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import Table
from astropy.wcs import WCS
from typing_extensions import override

from bigsf.described import Described
from bigsf.errors import ConfigError
from bigsf.evaluation.catalogue_rows import Components
from bigsf.figures import FigureFormat, figure_paths
from bigsf.filaments.branches import Branches
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.columns import Field, column, write_ecsv
from bigsf.filaments.ds9_regions import write_regions, write_spines
from bigsf.filaments.photometry import where_predicted
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.fits_writer import FitsWriter
from bigsf.maps.hips import PROPERTIES
from bigsf.maps.planes import MapSource
from bigsf.maps.shapes.moc_file import write_moc
from bigsf.maps.tiling import row_chunks
from bigsf.models.orientations import VIEWS
from bigsf.option_names import option
from bigsf.outputs import Outputs
from bigsf.segmentation.catalogue_files import WRITERS, catalogue_hdu
from bigsf.segmentation.config import OF_CATALOGUE, OF_FILAMENTS, PRODUCTS, Product, SegmentConfig
from bigsf.segmentation.further_maps import FurtherMaps
from bigsf.segmentation.memory import mask_bytes

PLANES: dict[Product, tuple[str, str]] = {
    "prob": ("PRIMARY", "f4"),
    "mask": ("MASK", "u1"),
    "std": ("STD", "f4"),
    "scale": ("SCALE", "u1"),
    "skeleton": ("SKELETON", "i4"),
    "labels": ("LABELS", "i4"),
}
"""From a product to the name and dtype of its plane in the FITS file."""

FILES: dict[Product, str] = {
    "catalog": ".ecsv",
    "votable": ".vot",
    "mrt": ".mrt",
    "regions": ".reg",
    "moc": ".moc.fits",
}
"""From a product to the ending of its file."""

HIPS_FOLDER = "_hips"
"""The ending of the folder of the product `hips`."""

SPINE_FILES = ("_spines.ecsv", "_branches.ecsv", "_hubs.ecsv", "_spines.reg")
"""The endings of the files of the product `spines`."""


def resolve_products(products: Sequence[Product] | None, models: int, tta: bool, several_scales: bool) -> list[Product]:
    """Return the products that are written, in the order of `PRODUCTS`; the probability is always one of them.

    Parameters
    ----------
    products
        Those that were asked for; None means the mask and, with several models, their standard deviation.
    models
        The number of models in the ensemble.
    tta
        Whether there is test-time augmentation.
    several_scales
        Whether the map is binned by several factors.

    Raises
    ------
    ConfigError
        Where `std` is asked of one model without test-time augmentation, or `scale` of one factor.
    """
    if products is None:
        products = ["mask", "std"] if models > 1 else ["mask"]
    if "std" in products and models == 1 and not tta:
        raise ConfigError(
            f"{option('products')}: std is the standard deviation over several models, or over the views of test-time "
            "augmentation of one, and one model was given without test-time augmentation. Give several, the folder of "
            f"a k-fold, or {option('tta', True)}; or leave std out."
        )
    if "scale" in products and not several_scales:
        raise ConfigError(
            f"{option('products')}: scale tells which of several factors the map was binned by, and one factor was "
            f"given. Give several, e.g. {option('scales', [1, 2, 4])}; or leave scale out."
        )
    return [name for name in PRODUCTS if name in ("prob", *products)]


def output_files(output: Path, products: Sequence[Product], figures: FigureFormat = "png") -> list[Path]:
    """Return all that a segmentation writes: the FITS file, the files and folders beside it, the quicklook last."""
    sidecars = [output.with_suffix(FILES[product]) for product in products if product in FILES]
    sidecars += [output.with_name(output.stem + ending) for ending in SPINE_FILES if "spines" in products]
    sidecars += list(output_folders(output, products))
    return [output, *sidecars, *figure_paths(output.with_suffix(".png"), figures)]


def output_folders(output: Path, products: Sequence[Product]) -> dict[Path, str]:
    """Return those of the outputs that are folders, and the name of a file by which each is known."""
    return {output.with_name(output.stem + HIPS_FOLDER): PROPERTIES} if "hips" in products else {}


def segmentation_outputs(output: Path, products: Sequence[Product], figures: FigureFormat = "png") -> Outputs:
    """Return the outputs of a segmentation, see `output_files`."""
    return Outputs(*output_files(output, products, figures), folders=output_folders(output, products))


@dataclass(repr=False)
class SegmentReport(Described):
    """What `segment` found and wrote; counts are numbers of pixels."""

    output: Path
    """The FITS file."""
    shape: tuple[int, int]
    """(ny, nx) of the map."""
    models: list[Path]
    """The snapshots of the ensemble."""
    threshold: float
    """The probability from which a pixel is marked."""
    config: SegmentConfig
    """The configuration, with its defaults filled in."""
    valid: int = 0
    """Pixels with a probability."""
    reached: int = 0
    """Pixels whose probability reaches the threshold."""
    marked: int = 0
    """Pixels that are 1 in MASK; where it is not made, those that reach the threshold."""
    not_positive: int = 0
    """Pixels of the map that are 0 or below."""
    seconds: float | None = None
    """In a dry run, about the time that the prediction takes here, as if no data were missing."""
    filaments: int | None = None
    """8-connected components of MASK; None where no product needs them."""

    @override
    def facts(self) -> Mapping[str, object]:
        found = {} if self.filaments is None else {"filaments": self.filaments}
        marked = f"{self.marked:,} of {self.valid:,} valid pixels"
        outputs = ", ".join(path.name for path in self.outputs)
        return {"threshold": f"{self.threshold:.3f}", "marked": marked, **found, "outputs": outputs}

    @property
    def products(self) -> list[Product]:
        """The products that are written."""
        return self.config.products or []

    @property
    def outputs(self) -> list[Path]:
        """All files that are written, the quicklook last."""
        return output_files(self.output, self.products, self.config.figures)

    @property
    def figures(self) -> list[Path]:
        """The files of the quicklook, the figure of the map and its probability: the PNG, and a format asked for."""
        return figure_paths(self.output.with_suffix(".png"), self.config.figures)

    @property
    def planes(self) -> dict[str, str]:
        """From the name of each plane in the FITS file to its dtype."""
        return dict(PLANES[product] for product in self.products if product in PLANES)

    @property
    def spread_over(self) -> str:
        """What the standard deviation STD is taken over."""
        return f"{len(self.models)} models" if len(self.models) > 1 else f"{VIEWS} views of test-time augmentation"

    @property
    def kinds(self) -> dict[str, str]:
        """From the name of a plane to what it shows, for its BTYPE."""
        return {"STD": f"standard deviation over {self.spread_over}"} if "std" in self.products else {}

    @property
    def has_filaments(self) -> bool:
        """Whether a product is made of filaments."""
        return not OF_FILAMENTS.isdisjoint(self.products)

    @property
    def memory_bytes(self) -> int:
        """About what MASK and its products take of memory at most, beside Python; 0 where MASK is written by bands."""
        return mask_bytes(self.config, self.shape)

    @property
    def bytes(self) -> int:
        """Size of the planes in the FITS file."""
        return self.shape[0] * self.shape[1] * sum(np.dtype(dtype).itemsize for dtype in self.planes.values())


def write_filaments(
    filaments: Filaments,
    moc: Sequence[npt.NDArray[np.uint64]],
    report: SegmentReport,
    source: MapSource,
    further: FurtherMaps,
    writer: FitsWriter,
    files: Mapping[Path, Path],
) -> None:
    """Write the products that are made of filaments, and count the filaments in the report.

    Parameters
    ----------
    filaments
        The filaments of the mask, with their lines.
    moc
        What `moc_ranges` has returned in each process.
    report
        Names the products and files.
    source
        The map.
    further
        What the catalogue measures besides the map and its probability.
    writer
        Of the FITS file, for its planes SKELETON and LABELS and its table CATALOG.
    files
        From each output to the file to write: the catalogue, the regions, the spines, the MOC, and the FITS file as far
        as it is written, whose primary HDU is the probability.
    """

    def file(product: Product) -> Path:
        return files[report.output.with_suffix(FILES[product])]

    report.filaments = len(filaments)
    if "skeleton" in report.products:
        write_plane(writer, "SKELETON", filaments.skeleton())
    if "labels" in report.products:
        write_plane(writer, "LABELS", filaments.labels)
    if not OF_CATALOGUE.isdisjoint(report.products):
        table = _catalogue(filaments, report, source, further, files[report.output])
        writer.append(catalogue_hdu(table))
        for product, write in WRITERS.items():
            if product in report.products:
                write(file(product), table)
    if "regions" in report.products:
        write_regions(file("regions"), filaments.outlines(), source.wcs)
    if "spines" in report.products:
        paths = [files[report.output.with_name(report.output.stem + ending)] for ending in SPINE_FILES]
        _write_spines(paths, filaments.branches, source.wcs)
    if "moc" in report.products and source.wcs is not None:
        write_moc(file("moc"), moc, source.wcs)


def write_plane(writer: FitsWriter, name: str, plane: npt.NDArray[Any]) -> None:
    """Write a plane by bands of rows, which are copied one at a time."""
    for y0, y1 in row_chunks(plane.shape):
        writer.write(name, y0, plane[y0:y1])


def _write_spines(paths: Sequence[Path], branches: Branches, wcs: WCS | None) -> None:
    """Write the files of `SPINE_FILES`."""
    *tables, regions = paths
    for path, table in zip(tables, (branches.points(wcs), branches.table(wcs), branches.hubs(wcs)), strict=True):
        write_ecsv(path, table)
    write_spines(regions, branches.paths, (branches.owners + 1).tolist(), wcs)


def _catalogue(
    filaments: Filaments, report: SegmentReport, source: MapSource, further: FurtherMaps, probability: Path
) -> Table:
    """Return the catalogue of a map, whose probability is the primary HDU of a FITS file."""
    with FitsImage(probability) as written:
        image = where_predicted(lambda y0, y1: source.read_rows(y0, y1)[0], written.read)
        prefix = report.config.prefix or ""
        table = filaments.catalog(image, written.read, source.wcs, source.unit, prefix=prefix, **further._asdict())
    if "std" in report.products:
        with FitsImage(probability, "STD") as std:
            spread = Components(filaments.labels, len(filaments)).mean(std.read).round(6)
        meaning = f"standard deviation over {report.spread_over}, mean over the filament"
        spreads = column("probability_std", Field(None, meaning, "stat.stdev;stat.probability"), spread)
        table.add_column(spreads, table.index_column("probability") + 1)
    table.meta |= {"segmented": str(report.output), "threshold": report.threshold}
    return table
