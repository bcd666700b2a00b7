import re
from pathlib import Path

import pytest

from bigsf.evaluation.report.page import write_page

ODD = "<b>5 & 6</b>"


@pytest.fixture
def text(tmp_path: Path) -> str:
    write_page(tmp_path / "page.html", ODD, "<p>head</p>", {"The map": "<p>one</p>", ODD: "<p>two</p>"})
    return (tmp_path / "page.html").read_text()


def test_titles_are_escaped(text: str) -> None:
    assert ODD not in text
    assert text.count("&lt;b&gt;5 &amp; 6&lt;/b&gt;") == 4  # title, h1, contents, section


def test_contents_link_to_the_sections_in_their_order(text: str) -> None:
    links = re.findall('href="#(.*?)"', text)
    assert links == re.findall('<h2 id="(.*?)">', text) == ["the-map", "b-5-6-b"]
    assert text.index("<p>head</p>") < text.index("href=") < text.index("<p>one</p>") < text.index("<p>two</p>")


def test_style_and_script_are_on_the_page_and_nothing_is_loaded(text: str) -> None:
    assert "@media print" in text
    assert "prefers-color-scheme: dark" in text
    assert text.count("<script") == 1
    assert not re.search(r"https?://|@import|<link|<script [^>]*src", text)
    policy = re.search('content="(default-src .*?)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:;")
