"""The pages in a browser without a window: at two widths, light and dark, on paper, and what a click does."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

PROBE = """<!doctype html><title></title><iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{page}">
</iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const page = frame.contentDocument, seen = {{}};
  seen.width = frame.contentWindow.innerWidth;
  seen.needed = page.documentElement.scrollWidth;
  seen.ground = getComputedStyle(page.body).backgroundColor;
  seen.figure = getComputedStyle(page.querySelector("img")).backgroundColor;
  const table = page.querySelector("table"), heads = [...table.rows[0].cells];
  const column = heads.findIndex((head) => head.textContent === "at threshold");
  const cells = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
  table.rows[0].cells[column].click();
  seen.falling = cells();
  table.rows[0].cells[column].click();
  seen.rising = cells();
  page.querySelector("figure img").click();
  seen.enlarged = page.querySelectorAll("dialog[open] img").length;
  page.querySelector("dialog").click();
  seen.open = page.querySelectorAll("dialog[open]").length;
  document.title = JSON.stringify(seen);
}};
</script>"""


def browse(page: Path, *options: str) -> tuple[str, str]:
    """Return the page as a browser has it in the end, and what it writes on its console."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium or Chrome is installed here, so no page is opened")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *options]
    result = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=600, check=True)
    return result.stdout, "\n".join(line for line in result.stderr.splitlines() if "CONSOLE" in line)


def look_at(text: str, width: int, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Return what a browser says of a page in a window of some width, and what it writes on its console."""
    probe = folder / "probe.html"
    probe.write_text(PROBE.format(width=width, page=escape(text)))
    dom, console = browse(probe, "--dump-dom", *options)
    title = re.search("<title>(.*?)</title>", dom)
    assert title is not None
    return json.loads(unescape(title[1])), console


@pytest.fixture(params=["k-fold", "run"])
def text(request: pytest.FixtureRequest, trained_kfold: Path, trained: Path) -> str:
    return ({"k-fold": trained_kfold, "run": trained}[request.param] / "report.html").read_text()


@pytest.mark.parametrize("width", [1400, 400])
def test_a_page_is_not_wider_than_its_window_and_raises_no_error(text: str, width: int, tmp_path: Path) -> None:
    seen, console = look_at(text, width, tmp_path)
    assert seen["needed"] <= seen["width"] == width
    assert console == ""
    assert seen["ground"] == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", [1400, 400])
def test_a_page_is_dark_where_the_reader_likes_it_dark_but_figures_are_white(
    text: str, width: int, tmp_path: Path
) -> None:
    seen, console = look_at(text, width, tmp_path, "--force-dark-mode")
    assert seen["needed"] <= seen["width"] == width
    assert console == ""
    assert max(map(int, re.findall(r"\d+", seen["ground"]))) < 50
    assert seen["figure"] == "rgb(255, 255, 255)"


def test_a_click_sorts_a_table_and_enlarges_a_figure(text: str, tmp_path: Path) -> None:
    seen, _ = look_at(text, 1400, tmp_path)
    assert seen["falling"] == sorted(seen["falling"], key=float, reverse=True)
    assert seen["rising"] == seen["falling"][::-1]
    assert len(set(seen["rising"])) > 1
    assert (seen["enlarged"], seen["open"]) == (1, 0)


def test_no_other_script_runs_on_a_page(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(text.replace("</body>", "<script>document.title = 'taken over'</script></body>"))
    dom, console = browse(path, "--dump-dom")
    assert "<title>taken over</title>" not in dom
    assert "Content Security Policy" in console


def test_a_page_can_be_printed(text: str, tmp_path: Path) -> None:
    path, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(text)
    browse(path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) < 40
