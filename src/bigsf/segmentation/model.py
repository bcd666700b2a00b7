"""The name of a trained model -> a function from an image in memory to its probability of filaments."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.nddata import NDData
from astropy.units import Quantity
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from torch import nn
from typing_extensions import override

from bigsf import console
from bigsf.arrays import FloatArray
from bigsf.described import Described
from bigsf.errors import ConfigError, DataError
from bigsf.maps.planes import MapOnSky
from bigsf.maps.tiling import Tile
from bigsf.maps.wcs import celestial_wcs
from bigsf.models.device import pick_device
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.segmentation.config import AUTO, SegmentConfig
from bigsf.segmentation.ensemble import Ensemble

_OPTIONS = ("stride", "scales", "tta", "batch_size", "memory", "precision")


class ImageInMemory(MapOnSky):
    """An image in memory as a map.

    Parameters
    ----------
    image
        An array `(ny, nx)`, or `(channels, ny, nx)`; a `Quantity`; an `NDData` such as `CCDData`; or an HDU with an
        image. What a mask of it marks is missing, as are NaN and infinity.

    Raises
    ------
    DataError
        Where it is no image.
    """

    def __init__(self, image: Any) -> None:
        self._wcs: WCS | None = None
        missing: npt.NDArray[np.bool_] | None = None
        if isinstance(image, NDData):
            if isinstance(image.wcs, WCS):
                self._wcs = celestial_wcs(image.wcs.to_header(relax=True))
                if self._wcs is not None and image.wcs.naxis == 2:
                    self._wcs = image.wcs  # with the distortions that no header holds
            missing = None if image.mask is None else np.asarray(image.mask, np.bool_)
            image = image.data
        elif hasattr(image, "header") and "data" in dir(image):  # nothing of it is read yet
            self._wcs = celestial_wcs(fits.Header(image.header))
            image, missing = _values_of(image)
        elif isinstance(image, Masked):
            missing, image = np.asarray(image.mask, np.bool_), np.asarray(image.unmasked)
        elif isinstance(image, Quantity):
            image = image.value
        elif isinstance(image, np.ma.MaskedArray):
            missing, image = np.ma.getmaskarray(image), image.data
        try:
            planes = np.array(image, np.float32)
        except (TypeError, ValueError):
            raise DataError(f"{type(image).__name__} is no image: expected an array of numbers (ny, nx).") from None
        if planes.ndim == 2:
            planes, missing = planes[None], missing if missing is None else missing[None]
        if planes.ndim != 3 or 0 in planes.shape:
            raise DataError(f"The image has the shape {np.shape(image)}; expected (ny, nx) or (channels, ny, nx).")
        planes[~np.isfinite(planes) if missing is None else ~np.isfinite(planes) | missing] = np.nan
        planes[:, ~np.isfinite(planes).all(axis=0)] = np.nan
        self._planes = planes

    @property
    @override
    def channels(self) -> int:
        return len(self._planes)

    @property
    @override
    def wcs(self) -> WCS | None:
        return self._wcs

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self._planes.shape[1], self._planes.shape[2]

    @override
    def read_rows(self, y0: int, y1: int) -> FloatArray:
        rows: FloatArray = self._planes[:, y0:y1]
        return rows


def _values_of(hdu: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Return the values of an HDU, and which are BLANK: astropy overlooks 0, and BLANK of unsigned integers."""
    header = hdu.header
    bits, blank = header.get("BITPIX", -32), header.get("BLANK", header.get("ZBLANK"))
    scale, zero = header.get("BSCALE", 1.0), header.get("BZERO")  # astropy drops them when it reads the values
    values = hdu.data
    if bits < 0 or blank is None or values is None:
        return values, None
    if values.dtype.kind == "i":  # as they stand in the file
        return values, np.asarray(values == blank)
    if zero is None:  # the values were read before; those of unsigned integers of 16 bits and more have their own zero
        zero = 2.0 ** (bits - 1) if values.dtype.kind == "u" and bits > 8 else 0.0
    return values, np.asarray(values == blank * scale + zero)


class Model(Described):
    """One trained model or several, as a function from an image to its probability of filaments.

    It predicts as `bigsf.segment` does: the same windows, scales, number format and bound of memory.

    Parameters
    ----------
    ensemble
        The snapshots.
    device
        Name of the device; by default the GPU where there is one.
    network
        The network, where it was handed to the trainer as an object.
    trust
        Run the code that the snapshots name.

    Examples
    --------
    >>> model = bigsf.load("higal-small")  # doctest: +SKIP
    >>> probability = model(image)  # doctest: +SKIP
    >>> mask = probability >= model.threshold  # doctest: +SKIP
    """

    def __init__(
        self, ensemble: Ensemble, device: str | None = None, network: nn.Module | None = None, trust: bool = False
    ) -> None:
        self.ensemble = ensemble
        self._device, self._network, self._trust = pick_device(device), network, trust

    @property
    def threshold(self) -> float:
        """The probability of best Dice in validation, on all valid pixels: from there on `segment` marks."""
        return self.ensemble.threshold("whole")

    @property
    def window(self) -> int:
        """Side of the windows in pixels."""
        return self.ensemble.window

    @property
    def scales(self) -> list[int]:
        """Factors by which an image is binned, unless others are asked for."""
        return self.ensemble.scales

    def __call__(self, image: Any, **options: Any) -> FloatArray:
        """Return the probability of a filament.

        Parameters
        ----------
        image
            An image, as `ImageInMemory` takes it, in the unit of the training or, with normalizations that are free of
            units (all but `global` and `none`), in any proportional one.
        **options
            `stride`, `scales`, `tta`, `batch_size`, `memory` or `precision`, as in `SegmentConfig`.

        Returns
        -------
        ndarray
            float32 `(ny, nx)`, NaN where the image is missing; the mean, where there are several models.

        Raises
        ------
        DataError
            Where it is no image, or has other planes than the models take.
        ConfigError
            Where an option does not exist or makes no sense.
        """
        mean: FloatArray = self._predict(image, options).mean(axis=0)
        return mean

    def each(self, image: Any, **options: Any) -> FloatArray:
        """Return the probability of each model, `(models, ny, nx)`; the rest is as for a call."""
        return self._predict(image, options)

    def spread(self, image: Any, **options: Any) -> FloatArray:
        """Return the standard deviation of the probability, as the plane STD of `bigsf.segment` has it.

        It is taken over the models, or over the eight views of the test-time augmentation of one model.

        Parameters
        ----------
        image, **options
            As for a call. One model takes `tta=True`.

        Returns
        -------
        ndarray
            float32 `(ny, nx)`, NaN where the image is missing.

        Raises
        ------
        DataError, ConfigError
            As for a call; also where one model is to predict without test-time augmentation.
        """
        source, predictor = self._predictor(image, options, spread=True)
        spread = np.empty(source.shape, np.float32)
        with console.progress("predict", source.shape[0], "rows") as advance:
            for band in predictor.predict_tile(Tile.whole(source.shape), source, advance=advance):
                spread[band.y0 : band.y1] = band.spread()
        return spread

    def _predict(self, image: Any, options: dict[str, Any]) -> FloatArray:
        source, predictor = self._predictor(image, options)
        probability = np.empty((len(self.ensemble), *source.shape), np.float32)
        with console.progress("predict", source.shape[0], "rows") as advance:
            for y0, y1, band in predictor.predict_bands(source, advance=advance):
                probability[:, y0:y1] = band
        return probability

    def _predictor(
        self, image: Any, options: dict[str, Any], spread: bool = False
    ) -> tuple[ImageInMemory, SlidingWindowPredictor]:
        """Return an image as a map, and what predicts it."""
        if unknown := sorted(options.keys() - set(_OPTIONS)):
            raise ConfigError(f"{', '.join(unknown)}: no option of a prediction. There are {', '.join(_OPTIONS)}.")
        source = ImageInMemory(image)
        self.ensemble.check_channels("the image", source.channels)
        config = SegmentConfig.from_dict({**options, "products": ["std"] if spread else None})
        if spread and len(self.ensemble) == 1 and not config.tta:
            raise ConfigError(
                "The spread of one model is that over the views of test-time augmentation: pass tta=True, or load "
                "several models."
            )
        if config.scales == AUTO:
            raise ConfigError("scales auto is for bigsf.segment; give numbers here, e.g. [1, 2].")
        scales = config.scales or self.ensemble.scales
        return source, self.ensemble.predictor(source, config, self._device, scales, self._network, self._trust)

    @override
    def facts(self) -> Mapping[str, object]:
        kinds = ", ".join(sorted({config.type for config in self.ensemble.model_configs}))
        windows = f"{self.window} px"
        return {
            "models": len(self.ensemble),
            "network": kinds,
            "windows": windows,
            "threshold": f"{self.threshold:.3f}",
        }


def load(
    models: str | Path | Sequence[str | Path],
    device: str | None = None,
    network: nn.Module | None = None,
    trust: bool = False,
) -> Model:
    """Return trained models as a function from an image to its probability of filaments.

    Parameters
    ----------
    models
        A name such as "higal-small", a snapshot, a run folder or the folder of a k-fold, or several of them.
    device, network, trust
        As for `Model`.

    Raises
    ------
    SnapshotError
        Where a model cannot be loaded.

    Examples
    --------
    >>> model = bigsf.load("results/experiment_1")  # doctest: +SKIP
    """
    return Model(Ensemble.load(models), device, network, trust)
