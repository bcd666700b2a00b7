"""A configuration and the shape of a map -> the memory that MASK and its products take."""

from rich.filesize import decimal

from bigsf.errors import ConfigError
from bigsf.maps.tiling import CHUNK_PIXELS
from bigsf.option_names import option
from bigsf.segmentation.config import OF_CATALOGUE, OF_FILAMENTS, SegmentConfig

_CLEANING_BYTES = 7
"""The cleaning of MASK takes so many bytes per pixel of the map, besides the planes of `hysteresis` and `reconstruct`:
the mask before and after it, the valid pixels, and the numbers of the components."""

_FILAMENT_BYTES, _BRANCHES_BYTES, _SPINES_BYTES = 10.0, 3.5, 4.0
"""Bytes per pixel of the map, measured where an eighth of it is marked: of the mask, its labels, and a plane of
skeletons or outlines; of the branches, which the catalogue counts; and of the tables of the product `spines`."""

_CHUNK_BYTES = 24
"""The catalogue takes so many bytes per pixel of the rows that it reads at a time."""


def mask_bytes(config: SegmentConfig, shape: tuple[int, int]) -> int:
    """Return about what MASK and its products take at most, beside Python; 0 where MASK is written by bands.

    Parameters
    ----------
    config
        How the map is segmented; its products are those that are written.
    shape
        (ny, nx) of the map.
    """
    (ny, nx), products = shape, config.products or []
    if not config.needs_whole_mask:
        return 0
    each = _CLEANING_BYTES + (config.hysteresis is not None) + config.reconstruct if config.cleaning else 1.0
    cleaning = each * ny * nx
    if OF_FILAMENTS.isdisjoint(products):
        return int(cleaning)
    has_spines, has_catalogue = "spines" in products, not OF_CATALOGUE.isdisjoint(products)
    each = _FILAMENT_BYTES + _BRANCHES_BYTES * (has_spines or has_catalogue) + _SPINES_BYTES * has_spines
    chunk = _CHUNK_BYTES * min(ny * nx, CHUNK_PIXELS) if has_catalogue else 0
    return int(max(cleaning, each * ny * nx + chunk))


def _cleaning_by_default(config: SegmentConfig) -> list[str]:
    """Return the options that leave out what of the cleaning is on by default."""
    off = {"border": 0, "min_skeleton": 1}
    return [option(name, value) for name, value in off.items() if getattr(config.cleaning, name) > value]


def check_memory(config: SegmentConfig, shape: tuple[int, int]) -> None:
    """Raise `ConfigError` where MASK and its products need more memory than `memory` was set to."""
    (ny, nx), needed = shape, mask_bytes(config, shape)
    if "memory" not in config.model_fields_set or needed <= config.memory:
        return
    whole = [product for product in config.products or () if product in OF_FILAMENTS]
    needs, way = (
        (f"the products {', '.join(whole)}", "leave them out")
        if whole
        else (
            f"the cleaning of MASK ({config.cleaning})",
            "leave it out" + (f" ({' and '.join(defaults)})" if (defaults := _cleaning_by_default(config)) else ""),
        )
    )
    raise ConfigError(
        f"{option('memory')} ({decimal(config.memory)}) is too little: {needs} must have the whole of MASK in memory, "
        f"which takes about {decimal(needed)} on a map of {nx} x {ny} pixels. Allow that much; or {way}; or segment "
        f"the map in parts ({option('region')})."
    )
