import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator

import pytest
from rich.console import Console

import bigsf
from bigsf import console
from bigsf.cli.display import show_table
from bigsf.errors import BigsfWarning

pytestmark = pytest.mark.usefixtures("_restored")


@pytest.fixture
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(console, "_silent", True)
    monkeypatch.setattr(console, "_progress", True)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    level, handlers = console.logger.level, console.logger.handlers
    yield
    console.logger.setLevel(level)
    console.logger.handlers = handlers


@pytest.mark.parametrize("shown", [True, False])
def test_a_library_shows_the_progress_of_long_work_alone(
    shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_PLAIN_INTERVAL_S", 0.0)
    if not shown:
        bigsf.show_progress(False)
    console.print_line("hello")
    console.print_table("hello")
    with console.progress("work", 3, "patches") as advance:
        advance(3)
    assert re.sub(r"[\d,.]+ patches/s.*", "...", capsys.readouterr().err) == (
        "work: 3 of 3 patches, ...\n" if shown else ""
    )


def test_results_are_printed_once_configured_and_keep_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure_output()
    console.print_line("written: [bold] map.fits[1]")
    assert capsys.readouterr() == ("written: [bold] map.fits[1]\n", "")


def test_quiet_leaves_errors_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure_output(quiet=True)
    console.print_line("result")
    console.logger.info("detail")
    console.logger.warning("slow [disk]")
    console.print_error("no file [1]")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = console._show_warning  # type: ignore[assignment]
        warnings.warn("7 pixels [odd]", BigsfWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "slow [disk]\nError: no file [1]\nWarning: 7 pixels [odd]\n")


def test_a_warning_is_shown_once_by_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with warnings.catch_warnings():
            console.configure_output()
            for number in (1, 2, 1):
                warnings.warn(f"{number} pixels", BigsfWarning, stacklevel=1)
        assert capsys.readouterr().err == "Warning: 1 pixels\nWarning: 2 pixels\n"


def test_log_lines_are_shown_once_however_often_output_is_configured(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure_output()
    console.configure_output()
    console.logger.info("epoch 1")
    assert capsys.readouterr().err == "epoch 1\n"
    assert console.logger.level == logging.INFO


def test_long_lines_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure_output()
    console.print_line("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_progress_off_a_terminal_is_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console.configure_output()
    clock = iter([0.0, 5.0, 20.0, 21.0])
    monkeypatch.setattr("bigsf.console.time.monotonic", lambda: next(clock))
    with console.progress("preprocess", 4000, "rows") as advance:
        for _ in range(3):
            advance(1000)
    assert capsys.readouterr().err == "preprocess: 2,000 of 4,000 rows, 100 rows/s, 20 s left\n"


def test_progress_on_a_terminal_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "err", Console(stderr=True, force_terminal=True, width=100))
    console.configure_output()
    with console.progress("preprocess", 40, "rows") as advance:
        advance(40)
    assert "preprocess" in (shown := capsys.readouterr().err)
    assert "40/40" in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.4, "59.4 s"), (60, "1 min"), (3599, "1 h 0 min"), (3725, "1 h 2 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.parametrize(("done", "said"), [(0, "0 patches/s"), (5, "0.2 patches/s, 20 s left")])
def test_slow_progress_has_a_decimal_and_none_has_no_end(
    done: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 20.0])
    monkeypatch.setattr("bigsf.console.time.monotonic", lambda: next(clock))
    console._plain_progress("train", 10, "patches")(done)
    assert capsys.readouterr().err == f"train: {done} of 10 patches, {said}\n"


def test_plural() -> None:
    assert [console.plural(number, "model") for number in (0, 1, 2)] == ["0 models", "1 model", "2 models"]


@pytest.mark.parametrize(
    "text",
    ["\x1b[2J\x1b]0;mine\x07", "\x9b31m", "a\rb", "\u202egnp", "\udc80"],
    ids=["escape", "C1", "return", "override", "surrogate"],
)
def test_text_from_files_cannot_command_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.configure_output()
    expected = text.encode("unicode_escape").decode()
    console.print_line(text)
    console.print_error(text)
    console.print_message(text)
    out, err = capsys.readouterr()
    assert (out, err) == (f"{expected}\n", f"Error: {expected}\n{expected}\n")


def test_text_from_files_stands_in_tables_and_progress_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console.configure_output()
    show_table(["tile"], [["[red]a[/red]\x1b[2J"]])
    assert capsys.readouterr().out.splitlines()[1] == "[red]a[/red]\\x1b[2J"
    terminal = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=200)
    monkeypatch.setattr(console, "err", terminal)
    with console.progress("segment [/]\x1b]0;a", 3, "rows") as advance:
        advance(3)
    assert isinstance(terminal.file, io.StringIO)
    assert "segment [/]\\x1b]0;a" in terminal.file.getvalue()


class _Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [_Full(), None])
def test_what_cannot_be_printed_is_dropped(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    console.configure_output()
    console.print_line("result")
    console.print_error("an error")
    console.logger.info("detail")
    with console.progress("work", 3, "patches") as advance:
        advance(3)


def test_parts_are_wrapped_and_not_broken() -> None:
    assert console.wrapped(["epoch 1/4", "loss 0.5", "dice 0.8"], width=20) == "epoch 1/4  loss 0.5\n  dice 0.8"
    assert console.wrapped(["a longer part", "b"], width=4) == "a longer part\n  b"
