"""Input files, watched while they are read."""

from pathlib import Path

from bigsf.errors import DataError


class Watch:
    """Notices when an open file is written into or cut short.

    One that is removed, or replaced by another of its name, is not changed: who holds it open reads it as it was.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        status = self.path.stat()
        self._inode, self._stand = status.st_ino, (status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Raise `DataError` when the file was changed."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return
        if status.st_ino == self._inode and (status.st_size, status.st_mtime_ns) != self._stand:
            raise DataError(f"{self.path} was changed while it was being read. Run the command again once it is whole.")
