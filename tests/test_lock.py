import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from bigsf.errors import UsageError
from bigsf.lock import lock_folder


def test_a_run_does_not_open_a_folder_that_another_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with ExitStack() as former:
        former.enter_context(lock_folder(folder))
        shutil.rmtree(folder)
        folder.mkdir()
        with lock_folder(folder):
            former.close()
            with pytest.raises(UsageError, match="run is in use by process"), lock_folder(folder):
                pass
    assert not list(folder.iterdir())


def test_a_lock_is_gone_after_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with lock_folder(folder):
        shutil.rmtree(folder)
    assert not folder.exists()
