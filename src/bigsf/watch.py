"""Input files, watched while they are read."""

from pathlib import Path

from bigsf.errors import DataError


class Watch:
    """Notices when an open file is written into or cut short.

    A file that is removed, or replaced by another of the same name, counts as unchanged: who holds it open still reads
    the old one.

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
        """Raise where the file was changed since it was opened.

        Raises
        ------
        DataError
            Where its size or its time of modification is another.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return
        if status.st_ino == self._inode and (status.st_size, status.st_mtime_ns) != self._stand:
            raise DataError(f"{self.path} was changed while it was being read. Run the command again once it is whole.")
