"""The probability of a map, predicted tile by tile into a folder: by several processes, and resumable.

A tile is a file that is there as a whole or not at all, so that the files tell what is done. The tiles, and the windows
of each, are the same whoever predicts them: so is the result.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bigsf.arrays import FloatArray
from bigsf.console import logger
from bigsf.files import atomic_path, make_folder, refuse_link, write_text
from bigsf.lock import lock_folder
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import Tile, row_chunks, tiles_of
from bigsf.models.predicted_band import PixelMask, PredictedBand, TilePredictor

TILE_ROWS, TILE_COLUMNS = 1024, 2048
"""Largest tile. Windows that reach from one tile into the next are predicted in both: 5 % of them at half overlap."""

_IDENTITY = "identity.json"


def largest_tile(shape: tuple[int, int]) -> tuple[int, int]:
    """Return (ny, nx) of the largest part of a map `(ny, nx)` that a `StoredPrediction` predicts at a time."""
    return min(shape[0], TILE_ROWS), min(shape[1], TILE_COLUMNS)


class StoredPrediction:
    """The probability of a map in a folder.

    Parameters
    ----------
    folder
        The folder. It is removed with all that it holds.
    identity
        A text that changes with all that changes the prediction. Tiles of another identity are not used.
    predictor
        The models, or what stands in their place.
    planes
        The map.
    pixel_mask
        Which model predicts which pixel; by default each model predicts all.

    Examples
    --------
    >>> prediction = StoredPrediction(Path("parts"), "map 1", predictor, planes)  # doctest: +SKIP
    >>> with prediction.opened():  # doctest: +SKIP
    ...     prediction.predict()
    ...     maps = [band.probability for band in prediction.bands()]
    >>> prediction.remove()  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        predictor: TilePredictor,
        planes: MapRows,
        pixel_mask: PixelMask | None = None,
    ) -> None:
        self.folder, self.identity = folder, identity
        self.predictor, self.planes, self._pixel_mask = predictor, planes, pixel_mask
        self.models = predictor.models
        self._rows = tiles_of(planes.shape, TILE_ROWS, TILE_COLUMNS)
        self._tiles = [tile for row in self._rows for tile in row]
        self._values_per_pixel = len(self.models) + predictor.views + 1

    @property
    def what_is_kept(self) -> str:
        """What is kept where the prediction is stopped, and how to go on, as a sentence."""
        if len(self._tiles) == 1:
            return "This map is predicted in one part, of which nothing is kept until it is done: give it more time."
        part = f"{TILE_COLUMNS} x {TILE_ROWS}"
        return f"Parts of the map that are done, of up to {part} pixels, are kept: run the same command again to go on."

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, and keep other commands out of it inside a `with` block; for the first process alone.

        What another prediction has left in it is removed.

        Raises
        ------
        UsageError
            Where the folder cannot be made, or is in use by another command.
        """
        refuse_link(self.folder)
        make_folder(self.folder)
        with lock_folder(self.folder):
            identity = self.folder / _IDENTITY
            same = identity.is_file() and identity.read_text(encoding="utf-8", errors="replace") == self.identity
            done = sum(map(self._is_done, self._tiles))
            if not same:
                for path in self.folder.glob("[!.]*"):
                    path.unlink()
                write_text(identity, self.identity)
            if done:
                found = f"{done} of {len(self._tiles)} parts of the map are predicted already"
                logger.info("%s%s.", found, "" if same else ", from other inputs or options: all are predicted anew")
            try:
                yield
            finally:
                if not any(map(self._is_done, self._tiles)):
                    self.remove()

    def predict(self, rank: int = 0, size: int = 1, advance: Callable[[int], None] = lambda _: None) -> None:
        """Predict the tiles of one of several processes that are not there yet.

        Parameters
        ----------
        rank, size
            Number of this process, and of all.
        advance
            Called with numbers of pixels done; together they are those of the tiles of this process.

        Raises
        ------
        UsageError
            Where a tile cannot be written.
        """
        for tile in self._tiles[rank::size]:
            if self._is_done(tile):
                advance(tile.shape[0] * tile.shape[1])
            elif self._pixel_mask is not None and not self._pixel_mask(tile).any():
                with atomic_path(self._file(tile)) as temporary:
                    temporary.touch()  # an empty file: nothing is to be predicted
                advance(tile.shape[0] * tile.shape[1])
            else:
                self._predict(tile, advance)

    def pixels(self, rank: int = 0, size: int = 1) -> int:
        """Return the pixels of the tiles of one of several processes."""
        return sum(tile.shape[0] * tile.shape[1] for tile in self._tiles[rank::size])

    def bands(self) -> Iterator[PredictedBand]:
        """Yield bands of rows, top to bottom, that together are the whole map. All tiles must have been predicted."""
        for row in self._rows:
            y0, nx = row[0].y0, self.planes.shape[1]
            for top, bottom in row_chunks((row[0].shape[0], nx * self._values_per_pixel)):
                values = np.concatenate([self._read(tile, slice(top, bottom)) for tile in row], axis=2).swapaxes(0, 1)
                probability, views = np.split(values[:-1], [len(self.models)])
                scale = values[-1].astype(np.uint8)
                yield PredictedBand(y0 + top, y0 + bottom, np.ascontiguousarray(probability), scale, views)

    def read(self, model: int, part: Tile) -> FloatArray:
        """Return what one model gives for a part of the map, `(rows, columns)`. All tiles must have been predicted.

        Parameters
        ----------
        model
            The place of the model among `models`.
        part
            Any part of the map.
        """
        values = np.empty(part.shape, np.float32)
        for tile in self._tiles:
            if not tile.overlaps(part):
                continue
            shared = tile.overlap(part)
            rows, columns = shared.within(tile)
            values[shared.within(part)] = self._read(tile, (rows, model, columns))
        return values

    def predict_bands(
        self, planes: MapRows, pixel_mask: PixelMask | None = None, advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield the bands as `SlidingWindowPredictor.predict_bands` does, without predicting anything.

        Parameters
        ----------
        planes
            The map of this prediction.
        pixel_mask
            It is not asked again: the one of this prediction counts.
        advance
            Called with the number of rows done.
        """
        assert planes is self.planes, "the stored prediction is of another map"
        for band in self.bands():
            yield band.y0, band.y1, band.probability
            advance(band.y1 - band.y0)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, tile: Tile) -> Path:
        return self.folder / f"{tile.y0}_{tile.x0}.f4"

    def _is_done(self, tile: Tile) -> bool:
        path = self._file(tile)
        return path.is_file() and path.stat().st_size in (0, 4 * self._values_per_pixel * tile.shape[0] * tile.shape[1])

    def _predict(self, tile: Tile, advance: Callable[[int], None]) -> None:
        """Write the values of a tile as float32 `(rows, models + views + 1, columns)`; the last plane is the scale."""

        def advance_rows(rows: int) -> None:
            advance(rows * tile.shape[1])

        bands = self.predictor.predict_tile(tile, self.planes, self._pixel_mask, advance_rows)
        with atomic_path(self._file(tile)) as temporary, temporary.open("wb") as file:
            for band in bands:
                values = np.concatenate([band.probability, band.views, band.scale[None].astype(np.float32)])
                file.write(np.ascontiguousarray(values.swapaxes(0, 1)).data)

    def _read(self, tile: Tile, place: slice | tuple[slice, int, slice]) -> FloatArray:
        """Return the values at a place in the array that a tile's file holds. An empty file stands for NaN."""
        shape = tile.shape[0], self._values_per_pixel, tile.shape[1]
        if self._file(tile).stat().st_size == 0:
            nothing = np.full(self._values_per_pixel, np.nan, np.float32)
            nothing[-1] = 0
            return np.broadcast_to(nothing[:, None], shape)[place]
        return np.array(np.memmap(self._file(tile), np.float32, "r", shape=shape)[place])  # what is mapped is let go
