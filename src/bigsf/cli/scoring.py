"""`bigsf segment --against`: maps of any tools -> a table of their scores."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bigsf.cli.display import show_table
from bigsf.console import print_line
from bigsf.errors import UsageError, warn
from bigsf.option_names import option
from bigsf.outputs import Outputs

if TYPE_CHECKING:
    from bigsf.maps.config import MapConfig
    from bigsf.segmentation.config import SegmentConfig

_COLUMNS = {
    "AP": "average_precision",
    "best Dice": "best_dice",
    "Dice": "dice",
    "clDice": "cldice",
    "complete": "completeness",
    "pure": "purity",
    "objects found": "object_completeness",
    "objects true": "object_purity",
    "marked": "marked",
}
"""From the heading of a column to the score in it."""

_OF_IMAGE = {"hdu", "valid", "blank", "region"}
"""Options that count where no model is given: how the image is read."""


class ScoredLabels(NamedTuple):
    """The labels that maps are scored against."""

    against: Path | None
    background: Path | None
    truth: Path | None


class Scoring:
    """The scores that a segmentation is asked for.

    Parameters
    ----------
    paths
        Models and FITS maps of other tools.
    image
        The map.
    labels
        What the maps are scored against; nothing is scored without any.
    config
        How the map is segmented.
    output
        The output of the segmentation, where it is named.

    Attributes
    ----------
    models
        Those of the paths that are models.
    """

    def __init__(
        self, paths: Sequence[Path], image: Path, labels: ScoredLabels, config: "SegmentConfig", output: Path | None
    ) -> None:
        from bigsf.evaluation.label_scores import by_name
        from bigsf.maps.fits_image import stem_of

        self.models = [path for path in paths if not _is_map(path)]
        self._maps = by_name([path for path in paths if _is_map(path)])
        self._image, self._labels, self._config = image, labels, config
        ending = "_segmented.fits" if self.models else ".fits"
        self._segmented = output or Path(f"{stem_of(image)}{ending}")
        self._json = self._segmented.with_name(f"{self._segmented.stem}_scores.json")

    @property
    def _of_image(self) -> "MapConfig":
        """How the image is read."""
        from bigsf.maps.config import MapConfig

        return MapConfig.from_dict(self._config.model_dump(exclude_unset=True, include=_OF_IMAGE))

    def check(self, overwrite: bool, for_models: Mapping[str, object]) -> None:
        """Check options, paths and labels before the segmentation.

        Parameters
        ----------
        overwrite
            Whether the output may be replaced.
        for_models
            Options that only count with a model, by name.

        Raises
        ------
        UsageError
            Where an option or a path would do nothing, or the output exists.
        DataError
            Where maps and labels cannot be read, or lie on other grids.
        """
        from bigsf.evaluation.label_scores import open_compared
        from bigsf.maps.file_kinds import has_patch_file_name
        from bigsf.maps.hdus import files_of
        from bigsf.models.pretrained import NAMES
        from bigsf.segmentation.products import segmentation_outputs

        if not any(self._labels):
            if self._maps:
                name = next(iter(self._maps))
                if self._image.is_dir() or self._image.suffix == ".pt" or str(self._image) in NAMES:
                    raise UsageError(f"The map comes last: bigsf segment {self._image} {name}")
                raise UsageError(f"{name} is a FITS map and no model. To score it, pass --against or --truth.")
            if self._json.exists():
                warn(f"{self._json} stays as an earlier command wrote it, and does not score the new map. Remove it.")
            return
        given = self._config.model_dump(exclude_unset=True).keys() - _OF_IMAGE
        given -= {"threshold"} if isinstance(self._config.threshold, float) else set()
        given |= {name for name, value in for_models.items() if value not in (None, False)}
        if not self.models and given:
            options = ", ".join(map(option, sorted(given)))
            raise UsageError(f"{options} would do nothing: there is no model, and the maps are scored as they are.")
        if has_patch_file_name(self._image):
            raise UsageError(f"{self._image.name} is a patch file: to score, give the FITS map that it was made of.")
        inputs = files_of([*self._maps.values(), self._image, *self._labels])
        Outputs(self._json).check(inputs, overwrite)
        if self.models:
            outputs = segmentation_outputs(self._segmented, self._config.products or [], self._config.figures)
            outputs.check(inputs, True)  # whether it exists is checked with the other options
        with ExitStack() as stack:  # before the long work begins
            open_compared(self._maps, self._image, *self._labels, self._of_image, stack)

    def run(self, dry_run: bool) -> None:
        """Score the maps, the segmented one first, print the tables and write them as JSON."""
        if not any(self._labels):
            return
        if dry_run:
            print_line(f"Would write {self._json}.")
            return
        from bigsf.evaluation.label_scores import as_records, score

        maps = ({"BigSF": self._segmented} if self.models else {}) | self._maps
        threshold = self._config.threshold if isinstance(self._config.threshold, float) else None
        scores = score(maps, self._image, *self._labels, threshold=threshold, config=self._of_image)
        with Outputs(self._json).writing() as files:
            files[self._json].write_text(json.dumps(as_records(scores), indent=2) + "\n", encoding="utf-8")
        for kind in dict.fromkeys(row.against for row in scores):
            rows = [row for row in scores if row.against == kind]
            values = [[getattr(row, key) for key in _COLUMNS.values()] for row in rows]
            cells = [["" if value != value else f"{value:.3f}" for value in line] for line in values]
            show_table(
                [f"against {kind}", *_COLUMNS], [[row.name, *line] for row, line in zip(rows, cells, strict=True)]
            )
        print_line(f"Wrote {self._json}.")


def _is_map(path: Path) -> bool:
    """Tell whether a path in the place of a model is a FITS map."""
    from bigsf.maps.file_kinds import has_fits_name
    from bigsf.maps.hdus import split_hdu

    file = split_hdu(path)[0]
    return file.is_file() and has_fits_name(file)
