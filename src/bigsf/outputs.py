"""The files that a command writes: checked before the work begins, and published together when it is done."""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bigsf.errors import UsageError
from bigsf.files import flush, hidden_name, remove, sync_folder, temporary_file, write_text
from bigsf.option_names import option
from bigsf.processes import is_alive, this_process


class Outputs:
    """The files that one command writes. They appear together; the first of them is the last to appear.

    Parameters
    ----------
    main
        The file whose presence tells that all are complete.
    beside
        The files that belong to it, e.g. its figure.
    follow_links
        Write the file that a link in the place of an output points to, as for a path that the user has named. Otherwise
        the link is replaced, as in a folder that may come from somebody else.
    folders
        The outputs beside the main one that are folders, and the name of a file by which a folder of that kind is
        known. No other folder is replaced.

    Examples
    --------
    >>> outputs = Outputs(Path("map_segmented.fits"), Path("map_segmented.png"))
    >>> outputs.check(inputs=[Path("map.fits")], overwrite=False)
    """

    def __init__(
        self, main: Path, *beside: Path, follow_links: bool = True, folders: Mapping[Path, str] | None = None
    ) -> None:
        self.named = (main, *beside)
        self._paths = {path: path.resolve() if follow_links and path.is_symlink() else path for path in self.named}
        self._folders = folders or {}
        self._journal = hidden_name(self._paths[main], ".unfinished")
        self._steps = hidden_name(self._paths[main], ".steps")

    def check(
        self,
        inputs: Collection[Path] = (),
        overwrite: bool = False,
        remedy: str | None = None,
        make_folders: bool = False,
    ) -> None:
        """Refuse outputs that cannot be written, or must not be.

        Parameters
        ----------
        inputs
            Files that the command reads: no output may be one of them, under whatever name.
        overwrite
            Whether outputs that exist may be replaced. Those that a killed command left unfinished always may.
        remedy
            What to do where an output exists, or its folder is read-only; by default the options of the commands.
        make_folders
            Whether folders above that of an output may be made; in a path that a user has typed they are a mistake.

        Raises
        ------
        UsageError
            Where an output is an input, another output, a folder, exists, or lies in a folder that cannot be written.
        """
        if len({path.resolve() for path in self.named}) < len(self.named):
            listing = ", ".join(map(str, self.named))
            raise UsageError(f"The outputs {listing} would be written to one file. Name the first with another ending.")
        for path, target in self._paths.items():
            same = next((each for each in inputs if _is_same_file(each, target) or _is_within(each, target)), None)
            if same is not None:
                raise UsageError(
                    f"{path} is read by this command ({same}), so it is not replaced. Name another output."
                )
        self._check_places(remedy or f"Name another {option('output')}.", make_folders)
        if not overwrite:
            self._check_absent(
                remedy or f"Pass {option('overwrite', True)} to replace it, or name another {option('output')}."
            )

    def _check_places(self, remedy: str, make_folders: bool) -> None:
        for path, target in self._paths.items():
            self._check_kind(path, target)
            folder = next(parent for parent in target.absolute().parents if parent.exists())
            if not folder.is_dir():
                raise UsageError(f"{path} cannot be written: {folder} is a file, not a folder.")
            above = target.absolute().parent.parent
            if not make_folders and folder not in (target.absolute().parent, above):
                raise UsageError(f"{path} cannot be written: the folder {above} does not exist. Make it first.")
            if not os.access(folder, os.W_OK):
                raise UsageError(f"{path} cannot be written: the folder {folder} is read-only for you. {remedy}")

    def _check_kind(self, path: Path, target: Path) -> None:
        """Refuse a folder in the place of a file, and anything but a folder of its kind in the place of a folder."""
        mark = self._folders.get(path)
        if mark is None and target.is_dir():
            raise UsageError(f"{path} is a folder. Name a file to write, e.g. one in that folder.")
        if mark is not None and target.exists() and not (target / mark).is_file():
            raise UsageError(
                f"{path} is to be a folder that holds a file {mark!r}, and there is something else of that name. It is "
                f"not replaced: move it away, or name another {option('output')}."
            )

    def _check_absent(self, remedy: str) -> None:
        left = self._left()
        for path, target in self._paths.items():
            set_aside = target in left and hidden_name(target, ".previous").exists()
            if set_aside or (target.exists() and not self.is_unfinished(path)):
                raise UsageError(f"{path} exists already. {remedy}")

    def is_unfinished(self, path: Path) -> bool:
        """Tell whether an output is one that a killed command left without the main one."""
        target = self._paths[path]
        return target in self._unfinished() or target in self._steps_done()

    @contextmanager
    def writing_step(self, path: Path) -> Iterator[Path]:
        """Yield a temporary file for one output, and publish it before the others.

        If the command is killed before those are there, the next one may replace it.
        """
        target = self._paths[path]
        with temporary_file(target) as temporary:
            yield temporary
            flush(temporary)
            if path != self.named[0]:
                write_text(self._steps, json.dumps({str(target.absolute()): _identity(temporary)}))
            temporary.replace(target)
            sync_folder(target.parent)

    @contextmanager
    def writing(self) -> Iterator[dict[Path, Path]]:
        """Yield a temporary file for each output, by the output's name; publish them on success.

        A folder takes the place of the temporary file of an output that is one. An output whose temporary file is
        removed is left out. On any exception all temporary files are removed, and previous outputs stay as they were.
        The same holds where the process is killed: what it left is put right before the next command writes these
        outputs.

        Raises
        ------
        UsageError
            Where the operating system cannot write; the message gives its reason.
        """
        with ExitStack() as stack:
            self._put_right()
            temporaries = {}
            for path, target in reversed(self._paths.items()):  # so that an error names the main output
                temporaries[path] = stack.enter_context(temporary_file(target))
            yield temporaries
            for temporary in filter(Path.exists, temporaries.values()):
                flush(temporary)
            self._publish({self._paths[path]: temporary for path, temporary in temporaries.items()})

    def _publish(self, temporaries: dict[Path, Path]) -> None:
        """Rename the temporary files to their targets, the main one last; a journal says how far this has come."""
        if len(temporaries) > 1:
            files = {str(path.absolute()): _identity(file) for path, file in temporaries.items()}
            write_text(self._journal, json.dumps({"process": this_process(), "files": files}))
            for path in filter(Path.exists, temporaries):
                path.replace(hidden_name(path, ".previous"))
        for path, temporary in temporaries.items():
            if temporary.exists():
                temporary.replace(path)
        for folder in {path.parent for path in temporaries}:
            sync_folder(folder)
        self._steps.unlink(missing_ok=True)
        if len(temporaries) > 1:
            self._tidy(temporaries)

    def _put_right(self) -> None:
        """Remove what a killed command published in part, and bring back what it replaced."""
        left = self._left()
        if not left:
            return
        for path in self._unfinished():
            remove(path)
        if not self._is_complete(left):
            for path in left:
                previous = hidden_name(path, ".previous")
                if previous.exists():
                    previous.replace(path)
        self._tidy(left)

    def _tidy(self, paths: Iterable[Path]) -> None:
        for path in paths:
            remove(hidden_name(path, ".previous"))
        self._journal.unlink(missing_ok=True)

    def _unfinished(self) -> set[Path]:
        """Return the outputs that a killed command published without the main one."""
        left = self._left()
        if self._is_complete(left):
            return set()
        return {path for path, file in left.items() if file is not None and _identity(path) == file}

    def _steps_done(self) -> set[Path]:
        """Return the outputs of former steps, where the main one is not there yet."""
        files = _read_json(self._steps)
        if self._paths[self.named[0]].exists():
            return set()
        return {
            path
            for path in self._paths.values()
            if path.exists() and files.get(str(path.absolute())) == _identity(path)
        }

    def _is_complete(self, left: dict[Path, Any]) -> bool:
        """Tell whether the main output of a journal, which is the last to appear, is there."""
        main = self._paths[self.named[0]]
        return main in left and _identity(main) == left[main]

    def _left(self) -> dict[Path, Any]:
        """Return the outputs in the journal of a killed command, and what tells each from another file."""
        found = _read_json(self._journal)
        process, files = str(found.get("process")), found.get("files")
        if not isinstance(files, dict) or (is_alive(process) and process != this_process()):  # it publishes just now
            return {}
        return {path: files[name] for path in self._paths.values() if (name := str(path.absolute())) in files}


def _read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file; an empty one where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _identity(path: Path) -> list[int] | None:
    """Return inode, size and time of modification of a file, which it keeps when it is renamed; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _is_within(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents
