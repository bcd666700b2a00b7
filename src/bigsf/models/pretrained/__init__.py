"""Models that come with the package: NAME.pt, and its card NAME.md."""

from pathlib import Path
from typing import Literal, get_args

FOLDER = Path(__file__).parent

PretrainedName = Literal["higal-small", "filaments-small"]

NAMES: tuple[PretrainedName, ...] = get_args(PretrainedName)


def snapshot_path(model: str | Path) -> Path:
    """Return the snapshot of a model that comes with the package, for its name; any other path as it is.

    A file or folder of that name in the current folder comes first.
    """
    path = Path(model)
    return FOLDER / f"{model}.pt" if str(model) in NAMES and not path.exists() else path
