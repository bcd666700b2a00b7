"""Title, head and sections -> a page that is whole: its style, script and figures lie in the one HTML file."""

import base64
import hashlib
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path

from bigsf.files import write_text
from bigsf.provenance import now
from bigsf.version import __version__


def write_page(path: Path, title: str, head: str, sections: Mapping[str, str]) -> None:
    """Write a page with a table of contents.

    Parameters
    ----------
    path
        The HTML file.
    title
        The title, as text.
    head
        What stands above the table of contents, as HTML.
    sections
        From the title of each section, as text, to its content, as HTML.
    """
    style, script = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    contents = "".join(f'<li><a href="#{_anchor(name)}">{escape(name)}</a></li>' for name in sections)
    body = "".join(
        f'<section><h2 id="{_anchor(name)}">{escape(name)}</h2>{content}</section>'
        for name, content in sections.items()
    )
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}"><style>{style}</style></head>'
        f"<body><h1>{escape(title)}</h1>{head}<nav><h2>Contents</h2><ul>{contents}</ul></nav>{body}"
        f"<footer><p>Written by BigSF {__version__} at <time>{now()}</time>.</p></footer>"
        f"<script>{script}</script></body></html>\n"
    )
    write_text(path, page.encode(errors="backslashreplace").decode())  # names of files may hold bytes that are no text


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-")


def _policy(script: str) -> str:
    """Return what a browser lets the page do: load nothing, and run no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
