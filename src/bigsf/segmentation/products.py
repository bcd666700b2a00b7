"""What a segmentation may write: planes of its FITS file, and files beside it."""

from collections.abc import Sequence
from pathlib import Path

from bigsf.config.messages import nearest
from bigsf.errors import ConfigError

PRODUCTS = ("prob", "mask", "std", "skeleton", "catalog", "regions")


PLANES = {"prob": ("PRIMARY", "f4"), "mask": ("MASK", "u1"), "std": ("STD", "f4"), "skeleton": ("SKELETON", "u1")}
"""From product to name and dtype of its plane in the FITS file."""


FILES = {"catalog": ".ecsv", "regions": ".reg"}
"""From product to the ending of its file."""


def parse_products(products: str | Sequence[str] | None, models: int) -> list[str]:
    """Return the products in the order of `PRODUCTS`; the probability is always one.

    Parameters
    ----------
    products
        Names, or one text with commas between; None: the probability, the mask and, of several models, their spread.
    models
        How many models vote.

    Raises
    ------
    ConfigError
        Where a name is unknown, or `std` is asked of one model.
    """
    if products is None:
        products = ["mask", "std"] if models > 1 else ["mask"]
    names = products.split(",") if isinstance(products, str) else products
    wanted = {"prob", *(name.strip().lower() for name in names)}
    for name in sorted(wanted - set(PRODUCTS)):
        raise ConfigError(f"--products: unknown {name!r}{nearest(name, PRODUCTS)} Allowed: {', '.join(PRODUCTS)}.")
    if "std" in wanted and models == 1:
        raise ConfigError(
            "--products: std is how much several models differ, and one model was given. Give several, or the folder "
            "of a k-fold; or leave std out."
        )
    return [name for name in PRODUCTS if name in wanted]


def sidecar_files(output: Path, products: Sequence[str]) -> list[Path]:
    """Return the files that products have beside the FITS file."""
    return [output.with_suffix(FILES[product]) for product in products if product in FILES]
