"""FITS planes -> patch file."""

import json
import resource
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt, model_validator

from bigsf import console
from bigsf.arrays import BoolArray, FloatArray, MaskArray
from bigsf.config import Config, ConfigPath
from bigsf.errors import BigsfWarning, DataError, UsageError
from bigsf.files import atomic_path, refuse_overwrite, sha256
from bigsf.maps.fits_image import FitsImage, find_planes, stem_of
from bigsf.maps.planes import check_same_grid, check_sense, read_mask
from bigsf.maps.tiling import bands
from bigsf.patches.patch_writer import PatchFileWriter
from bigsf.patches.selection import PatchSelection

_BAND_BYTES = 64e6


class PreprocessConfig(Config):
    """What `bigsf preprocess` is asked for."""

    image: ConfigPath
    """FITS file of the map, e.g. H2 column density in cm^-2."""

    target: ConfigPath | None = None
    """FITS mask: 1 on known structures (spines)."""

    background: ConfigPath | None = None
    """FITS mask: 1 on sure background. Without it the target is taken as complete: every valid pixel is labelled."""

    missing: ConfigPath | None = None
    """FITS mask: 1 where data are VALID and 0 where they are missing (the sense of the Hi-GAL masks)."""

    valid: ConfigPath | None = None
    """The same as `missing` under a clearer name: 1 where data are valid."""

    truth: ConfigPath | None = None
    """FITS mask: 1 on every structure, where that is known (made or injected skies). For scores only, never learnt."""

    channels: list[ConfigPath] = []
    """Further image planes of the same grid, e.g. a dust temperature."""

    patch_size: PositiveInt = 64
    """Side of a patch in pixels."""

    stride: PositiveInt | None = None
    """Pixels from one patch to the next; by default a quarter of the patch size."""

    hdu: str | int | None = None
    """Name or index of the image's HDU; by default the first that holds an image."""

    blank: float | None = None
    """A value of the image that marks missing data, besides NaN and the header's BLANK."""

    target_threshold: float | None = None
    """Binarise target, background and truth: 1 above this value."""

    min_valid: float = Field(default=0.0, ge=0, le=1)
    """Keep patches with at least this fraction of valid pixels (and always at least one)."""

    keep: Literal["labelled", "valid"] = "labelled"
    """`labelled`: keep patches with at least one labelled pixel; `valid`: all with a valid pixel."""

    @model_validator(mode="after")
    def _one_sense(self) -> Self:
        if self.missing and self.valid:
            raise ValueError("missing and valid are two names of one plane (1 where data are valid); give one.")
        return self

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.stride_px > self.patch_size:
            raise ValueError(
                f"stride is {self.stride} but patches have {self.patch_size} pixels: the map between them would be "
                "lost. Use at most the patch size."
            )
        return self

    @property
    def stride_px(self) -> int:
        """The stride, resolved."""
        return self.stride or max(1, self.patch_size // 4)


@dataclass
class PreprocessReport:
    """What was found in the planes and what was made of it; counts are pixels unless they say otherwise."""

    output: Path
    shape: tuple[int, int]
    channels: int
    unit: str
    sources: dict[str, str]
    has_wcs: bool
    windows: int = 0
    kept: int = 0
    without_valid: int = 0
    without_labels: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    minimum: float = np.inf
    maximum: float = -np.inf
    seconds: float = 0.0
    """Time that reading and predicting the planes took."""
    memory_bytes: int = 0
    """The most memory that the process has held so far."""
    identity: str = ""

    @property
    def bytes(self) -> int:
        """Size of the patch file."""
        pixels = self.shape[0] * self.shape[1]
        masks = 2 * ("target" in self.sources) + ("truth" in self.sources)
        return pixels * (4 * self.channels + masks) + 8 * self.kept


def preprocess(
    config: PreprocessConfig, output: str | Path | None = None, overwrite: bool = False, dry_run: bool = False
) -> PreprocessReport:
    """Write the planes of a map and the positions of its patches into one HDF5 file, by bands of rows.

    Parameters
    ----------
    config
        The planes and the patches.
    output
        The patch file; by default the image's name with `.h5` in the current folder.
    overwrite
        Replace an existing output.
    dry_run
        Read and check everything, write nothing.

    Raises
    ------
    DataError
        Where the planes do not fit together, or no patch would be kept.
    UsageError
        Where the output exists.
    """
    output = Path(output) if output else Path(f"{stem_of(config.image)}.h5")
    if output.suffix not in (".h5", ".hdf5"):
        raise UsageError(f"The output {output} is a patch file (HDF5): name it *.h5.")
    refuse_overwrite(output, overwrite=overwrite or dry_run)
    with ExitStack() as stack:
        planes = _Planes(config, stack)
        report = PreprocessReport(
            output=output,
            shape=planes.shape,
            channels=len(planes.images),
            unit=planes.images[0].unit,
            sources={role: str(source) for role, source in planes.sources.items()},
            has_wcs=planes.images[0].wcs is not None,
        )
        if min(planes.shape) < config.patch_size:
            raise DataError(
                f"{planes.images[0].name} has {planes.shape[1]} x {planes.shape[0]} pixels (x, y), too few for a patch "
                f"of {config.patch_size}. Use a smaller --patch-size."
            )
        if dry_run:
            _convert(planes, config, report, writer=None)
            return report
        sources = json.dumps({role: _source(path) for role, path in planes.sources.items()})  # while they are there
        with (
            atomic_path(output) as temporary,
            PatchFileWriter(temporary, planes.shape, len(planes.images), planes.masks) as writer,
        ):
            positions = _convert(planes, config, report, writer)
            report.identity = writer.finish(
                positions,
                output_header_with_unit(planes.images[0]),
                {
                    "patch_size_px": config.patch_size,
                    "stride_px": config.stride_px,
                    "unit": report.unit,
                    "wcs": _wcs_cards(planes.images[0]),
                    "keep": config.keep,
                    "min_valid": config.min_valid,
                    "sources": sources,
                },
            )
    return report


def output_header_with_unit(image: FitsImage) -> Any:
    """Return the header to keep with the planes: the input's, with its BUNIT."""
    header = image.output_header()
    if image.unit:
        header["BUNIT"] = image.unit
    return header


def _wcs_cards(image: FitsImage) -> str:
    return image.wcs.to_header_string() if image.wcs is not None else ""


def _source(path: Path) -> dict[str, str]:
    return {"path": str(path.absolute()), "sha256": sha256(path)}


def _convert(
    planes: "_Planes", config: PreprocessConfig, report: PreprocessReport, writer: PatchFileWriter | None
) -> npt.NDArray[np.int32]:
    ny, nx = planes.shape
    needs_labels = planes.has_labels and config.keep == "labelled"
    windows = PatchSelection(planes.shape, config.patch_size, config.stride_px, config.min_valid, needs_labels)
    rows = max(config.patch_size, int(_BAND_BYTES / (4 * nx * len(planes.images))))
    started = time.monotonic()
    with console.progress("preprocess", ny, "rows") as advance:
        for y0, y1 in bands(ny, rows):
            image, masks = planes.read(y0, y1)
            if writer:
                writer.write(y0, image, masks)
            windows.add(np.isfinite(image[0]), masks.get("labelled"))
            advance(y1 - y0)
    positions = windows.positions()
    counts = planes.counts
    report.windows, report.kept = windows.total, len(positions)
    report.without_valid, report.without_labels = windows.without_valid, windows.without_labels
    report.counts, report.minimum, report.maximum = counts, planes.minimum, planes.maximum
    report.seconds = time.monotonic() - started
    report.memory_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _check_found(planes, config, report)
    if writer is None and planes.has_labels:
        _warn_if_mixed_up(planes)
    return positions


def _check_found(planes: "_Planes", config: PreprocessConfig, report: PreprocessReport) -> None:
    counts, name = report.counts, planes.images[0].name
    if counts["finite"] == 0:
        raise DataError(f"{name} holds no finite pixel (of {counts['pixels']:,}). Check --hdu and --blank.")
    if planes.valid:
        check_sense(planes.valid, counts["finite"], counts["declared missing"])
    if planes.has_labels and counts["labelled"] == 0:
        raise DataError(f"No valid pixel of {name} is labelled: the target and background planes are 0 there.")
    if planes.has_labels and counts["target"] == 0:
        raise DataError("The target plane is 0 on every valid pixel: there is nothing to learn.")
    if report.kept == 0:
        raise DataError(
            f"None of {report.windows:,} patches of {config.patch_size} pixels would be kept: {report.without_valid:,} "
            f"hold too few valid pixels, {report.without_labels:,} no labelled one. Lower --min-valid or --patch-size."
        )
    if counts["declared valid but not finite"]:
        warnings.warn(
            f"{counts['declared valid but not finite']:,} pixels are marked valid but hold no finite value; they are "
            "taken as missing.",
            BigsfWarning,
            stacklevel=2,
        )
    if counts["target and background"]:
        warnings.warn(
            f"{counts['target and background']:,} pixels are both target and background; they are taken as target.",
            BigsfWarning,
            stacklevel=2,
        )


def _warn_if_mixed_up(planes: "_Planes") -> None:
    """Say what looks like planes that are inverted or swapped."""
    counts = planes.counts
    if counts["target"] > counts["valid"] / 2:
        warnings.warn(
            f"The target is 1 on {counts['target'] / counts['valid']:.0%} of the valid pixels. Structures are rare: is "
            "it inverted?",
            BigsfWarning,
            stacklevel=2,
        )
    target, background = (planes.sums[role] / max(counts[role], 1) for role in ("target", "background"))
    if counts["background"] and target < background:
        warnings.warn(
            f"The map is {target:.4g} on the target and {background:.4g} on the background in the mean. Are the two "
            "planes swapped?",
            BigsfWarning,
            stacklevel=2,
        )


class _Planes:
    """The input planes of one map, checked against each other and read together by bands."""

    def __init__(self, config: PreprocessConfig, stack: ExitStack) -> None:
        def opened(path: Path, hdu: str | int | None = None, blank: float | None = None) -> FitsImage:
            return stack.enter_context(FitsImage(path, hdu, blank))

        inside = find_planes(config.image)
        self.images = [opened(config.image, config.hdu, config.blank)]
        self.images += [opened(channel, blank=config.blank) for channel in config.channels]
        masks = {
            "target": config.target,
            "background": config.background,
            "valid": config.valid or config.missing,
            "truth": config.truth,
        }
        self._masks: dict[str, FitsImage] = {}
        for role, path in masks.items():
            if path is not None:
                self._masks[role] = opened(path)
            elif role in inside:
                self._masks[role] = opened(config.image, inside[role])
        self.valid = self._masks.get("valid")
        self.has_labels = "target" in self._masks
        self.masks = ["target", "labelled"] * self.has_labels + ["truth"] * ("truth" in self._masks)
        if "background" in self._masks and not self.has_labels:
            raise DataError("A background plane without a target plane teaches nothing. Pass --target too.")
        self.threshold = config.target_threshold
        self.shape = self.images[0].shape
        for other in [*self.images[1:], *self._masks.values()]:
            check_same_grid(self.images[0], other)
        self.sources = {"image": self.images[0].path}
        self.sources |= {f"channel {i}": image.path for i, image in enumerate(self.images[1:], 1)}
        self.sources |= {role: plane.path for role, plane in self._masks.items()}
        names = "pixels finite valid labelled target background"
        self.counts = dict.fromkeys(names.split(), 0) | dict.fromkeys(
            ["declared missing", "declared valid but not finite", "target and background"], 0
        )
        self.minimum, self.maximum = np.inf, -np.inf
        self.sums = {"target": 0.0, "background": 0.0}

    def read(self, y0: int, y1: int) -> tuple[FloatArray, dict[str, MaskArray]]:
        """Return rows of the image, NaN where missing, and of its masks by name."""
        image = np.stack([plane.read(y0, y1) for plane in self.images])
        finite = np.asarray(np.isfinite(image).all(axis=0))
        valid = finite
        if self.valid:
            declared = self._mask("valid", y0, y1)
            valid = finite & declared
            self._count({"declared missing": finite & ~declared, "declared valid but not finite": declared & ~finite})
        image[:, ~valid] = np.nan
        self._count({"pixels": np.ones_like(finite), "finite": finite, "valid": valid})
        if valid.any():
            self.minimum = min(self.minimum, float(np.nanmin(image[0])))
            self.maximum = max(self.maximum, float(np.nanmax(image[0])))
        masks = {"truth": (self._mask("truth", y0, y1) & valid).view(np.uint8)} if "truth" in self._masks else {}
        if not self.has_labels:
            return image, masks
        target = self._mask("target", y0, y1)
        if "background" in self._masks:
            background = self._mask("background", y0, y1)
            self._count({"target and background": target & background})
        else:
            background = ~target
        target, background = target & valid, background & valid & ~target
        labelled = target | background
        self._count({"target": target, "background": background, "labelled": labelled})
        for role, mask in (("target", target), ("background", background)):
            self.sums[role] += float(image[0].sum(where=mask, dtype=np.float64))
        return image, {**masks, "target": target.view(np.uint8), "labelled": labelled.view(np.uint8)}

    def _count(self, masks: dict[str, BoolArray]) -> None:
        for name, mask in masks.items():
            self.counts[name] += int(np.count_nonzero(mask))

    def _mask(self, role: str, y0: int, y1: int) -> BoolArray:
        return read_mask(self._masks[role], role, y0, y1, self.threshold if role != "valid" else None)
