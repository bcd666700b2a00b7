"""YAML or options -> how a map is segmented."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from typing_extensions import override

from bigsf.config import ConfigPath, matching
from bigsf.config.messages import nearest
from bigsf.figures import FigureFormat
from bigsf.filaments.cleaning import BORDER_PX, MIN_SKELETON_PX, Cleaning
from bigsf.maps.config import MapConfig
from bigsf.maps.hdus import files_of
from bigsf.models.device import Precision
from bigsf.models.network import Scales
from bigsf.option_names import option

Product = Literal[
    "prob",
    "mask",
    "std",
    "scale",
    "hips",
    "skeleton",
    "labels",
    "catalog",
    "votable",
    "mrt",
    "regions",
    "spines",
    "moc",
]
"""What a segmentation can write."""

PRODUCTS: tuple[Product, ...] = get_args(Product)

OF_CATALOGUE: frozenset[Product] = frozenset({"catalog", "votable", "mrt"})
"""Products that are the catalogue of filaments."""

OF_FILAMENTS: frozenset[Product] = OF_CATALOGUE | {"skeleton", "labels", "regions", "spines", "moc"}
"""Products that are made of MASK as a whole."""

OF_BRANCHES: frozenset[Product] = OF_CATALOGUE | {"spines"}
"""Products that are made of the branches of its skeletons."""


_CLEANING = tuple(field.name for field in fields(Cleaning))
"""The keys of the configuration that clean MASK."""


AUTO: Literal["auto"] = "auto"
"""The scales that suit the map are chosen."""


def _check_threshold(value: object) -> object:
    if value in ("whole", "labelled"):
        return value
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError(f"found {value!r}, expected whole, labelled, or a probability from 0 to 1.")
    return number


def _reader(kind: Any, expected: str, *, auto: bool = False) -> BeforeValidator:
    """Read a value of a type, or the word auto, and say what was expected instead of another."""
    adapter = TypeAdapter(kind)

    def read(value: object) -> object:
        if auto and isinstance(value, str) and value.strip().lower() == AUTO:
            return AUTO
        try:
            return adapter.validate_python(value)
        except ValidationError:
            raise ValueError(f"found {value!r}, expected {expected}.") from None

    return BeforeValidator(read)


_read_border = _reader(Annotated[int, Field(ge=0, le=100)], "auto or a number of pixels from 0 to 100", auto=True)
_read_scales = _reader(Scales, "auto, or whole numbers from 1 to 32 such as 1,2,4", auto=True)
_read_size = _reader(ByteSize, "a size such as 800MB or 4GB")


def _to_products(value: object) -> object:
    if not isinstance(value, str | list | tuple | set):
        return value
    names = [str(name).strip().lower() for name in (value.split(",") if isinstance(value, str) else value)]
    for name in names:
        if name not in PRODUCTS:
            raise ValueError(f"unknown {name!r}{nearest(name, PRODUCTS)} Allowed: {', '.join(PRODUCTS)}.")
    return names


def _check_distance(value: object) -> object:
    try:
        number = float(str(value))
    except ValueError:
        return value
    if not 0 < number < math.inf:
        raise ValueError(f"found {value!r}, expected a distance in kpc above 0, or a FITS map of distances.")
    return number


def _check_names(value: dict[str, Path]) -> dict[str, Path]:
    for name in value:
        if not (name.isascii() and name.isidentifier()):
            raise ValueError(f"found {name!r}, expected a name of letters, digits and _, such as T in T=dust.fits.")
        if name.lower() == "probability":
            raise ValueError(
                f"found {name!r}: the catalogue has a column probability_std of its own. Take another name."
            )
    names = [name.lower() for name in value]
    if twice := next((name for name in value if names.count(name.lower()) > 1), None):
        raise ValueError(f"the name {twice!r} is given twice, and column names differ by more than their case.")
    return value


class SegmentConfig(MapConfig):
    """How `bigsf segment` reads a map, runs the models on it, and what it writes.

    Examples
    --------
    >>> bigsf.SegmentConfig(threshold=0.4, tta=True).threshold
    0.4
    """

    threshold: Annotated[Literal["whole", "labelled"] | float, BeforeValidator(_check_threshold)] = "whole"
    """Threshold of MASK: a probability, or a threshold of best Dice that validation found, on all valid pixels
    (`whole`) or on labelled pixels (`labelled`), which marks several times more."""

    hysteresis: float | None = Field(default=None, ge=0, le=1)
    """A lower threshold: MASK grows from the pixels that reach the threshold over all connected ones that reach this
    one."""

    reconstruct: bool = False
    """Leave out of MASK the components that hold no square of 4 x 4 pixels; it erases thin filaments."""

    min_area: PositiveInt = 1
    """Leave out of MASK the components of fewer pixels."""

    min_skeleton: PositiveInt = MIN_SKELETON_PX
    """Leave out of MASK the components whose skeleton has fewer pixels: single pixels and round spots, which are no
    filaments. 1 keeps all of them."""

    border: Annotated[Literal["auto"] | int, _read_border] = "auto"
    """Leave out of MASK the components of which more than three quarters lie within so many pixels of the edge of the
    map or of missing data, where noisy, raised or ragged rows look like filaments; `auto`: 3. Bad pixels, and gaps
    narrower than that, do not count as missing. 0 keeps all components."""

    stride: PositiveInt | None = None
    """Pixels from one window to the next; by default half a window. Smaller is smoother, and slower."""

    scales: Annotated[Literal["auto"] | Scales, _read_scales] | None = None
    """Factors by which the map is binned, e.g. 1,2,4: the largest probability counts. By default those that the models
    were validated with; 2 or more alone for a map whose beam spans many pixels. `auto`: n and 2 n, where binning by n
    makes the map about as smooth as that of the training."""

    tta: bool = False
    """Test-time augmentation: the mean over the eight orientations of each window, for eight times the work."""

    batch_size: PositiveInt | None = None
    """Windows at a time; by default as many as `memory` allows, up to 64, or 1024 on a GPU. It changes the speed, not
    the result."""

    memory: Annotated[ByteSize, _read_size] = ByteSize(2_000_000_000)
    """Memory for the map, its mask and the network, e.g. 4GB; Python, its libraries and the figure take up to 600 MB
    besides. On a GPU the network takes the memory of the GPU: as much at most, and by default half of what is free. It
    changes the speed, not the result. Once the map is predicted, the cleaning of MASK takes about 7 bytes per pixel of
    the map; without one (`border: 0`, `min_skeleton: 1`), MASK is written by bands of rows.
    Where it is given, a map whose cleaning or products need more is refused before the work begins."""

    precision: Precision = "auto"
    """fp32, bf16, fp16 or auto (bf16 where the device multiplies it in hardware)."""

    products: Annotated[list[Product], BeforeValidator(_to_products)] | None = None
    """Any of prob (always written), mask, std (the standard deviation over several models, or over the views of `tta`
    of one), scale (the factor by which the map was binned where its probability was taken from), hips (a folder of
    tiles of the probability for Aladin, which needs reproject), skeleton and labels (the ids of filaments on their
    skeletons and on all their pixels), catalog (ECSV table), votable and mrt (the catalogue as a VOTable and as a
    machine-readable table of the AAS), regions (outlines for DS9), spines (tables of the points along the skeletons, of
    branches and of hubs, and lines for DS9) and moc (the sky that MASK covers, which needs mocpy), as a list or as one
    text with commas; by default prob, mask and, with several models, std. Those from skeleton on need memory for the
    mask and its filaments: about 10 bytes per pixel of the map, 14 with a catalogue and 18 with spines, where an eighth
    of the pixels is marked; a dry run says it."""

    prefix: Annotated[str, matching("[A-Za-z][A-Za-z0-9_-]*", "an acronym of letters, digits, - and _")] | None = None
    """Acronym of the catalogue, with which its designations begin: BSF makes `BSF G332.196-00.105`."""

    distance: Annotated[float | ConfigPath, BeforeValidator(_check_distance)] | None = None
    """Distance of the filaments in kpc, or a FITS map of distances on the same grid, of which the median over each
    filament counts. The catalogue then has lengths in pc and masses. The map must be a column density."""

    figures: FigureFormat = "png"
    """Write the quicklook as pdf or svg too, beside the PNG: for papers."""

    measure: Annotated[dict[str, ConfigPath], AfterValidator(_check_names)] = {}
    """Further FITS maps on the same grid by name: the catalogue has the mean, median and standard deviation of each
    over each filament. `T: dust.fits` makes the columns T_mean, T_median and T_std; `T: dust.fits[2]`, `dust.fits[T]`
    or `dust.fits[SCI,2]` names the HDU, which is else the first that holds a plane."""

    @model_validator(mode="after")
    def _cleans_a_product(self) -> Self:
        defaults = {key: type(self).model_fields[key].default for key in _CLEANING}
        asked = [option(key) for key, default in defaults.items() if getattr(self, key) != default]
        if asked and not self.makes_mask:
            raise ValueError(
                f"{' and '.join(asked)} would do nothing: the products leave out MASK and all that is made of it: "
                f"{', '.join(self.products or ())}. Add mask to the products."
            )
        return self

    @model_validator(mode="after")
    def _makes_a_catalogue(self) -> Self:
        asked = [option(key) for key in ("prefix", "distance", "measure") if getattr(self, key) not in (None, {})]
        if asked and OF_CATALOGUE.isdisjoint(self.products or ()):
            raise ValueError(
                f"{' and '.join(asked)} would do nothing: the products leave out the catalogue. Add catalog to the "
                "products."
            )
        return self

    @property
    @override
    def inputs(self) -> list[Path]:
        """The files that are read, besides that of the map."""
        return [*super().inputs, *files_of(self.further_maps.values())]

    @property
    def further_maps(self) -> dict[str, Path]:
        """Maps that the catalogue measures, by what they are."""
        maps = {f"measure {name}": path for name, path in self.measure.items()}
        return maps | {"distance": self.distance} if isinstance(self.distance, Path) else maps

    @property
    def makes_mask(self) -> bool:
        """Whether MASK, or a product that is made of it, is written."""
        return self.products is None or not OF_FILAMENTS.union({"mask"}).isdisjoint(self.products)

    @property
    def cleaning(self) -> Cleaning:
        """Which components of the mask stay; all of them where none is made."""
        if not self.makes_mask:
            return Cleaning()
        border = BORDER_PX if self.border == "auto" else self.border
        return Cleaning(self.hysteresis, self.reconstruct, self.min_area, self.min_skeleton, border)

    def of_prediction(self) -> str:
        """Return the keys that may change the probability or its spread, as JSON."""
        others = {
            *_CLEANING,
            "threshold",
            "memory",
            "batch_size",
            "prefix",
            "distance",
            "measure",
            "products",
            "figures",
        }
        return self.model_dump_json(exclude=others)

    @property
    def needs_whole_mask(self) -> bool:
        """Whether MASK is held as a whole, for its cleaning or for products that are made of filaments."""
        return bool(self.cleaning) or not OF_FILAMENTS.isdisjoint(self.products or ())
