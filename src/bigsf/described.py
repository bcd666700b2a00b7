"""Objects that show themselves in one line, and as a small table in a notebook."""

from collections.abc import Mapping
from html import escape


class Described:
    """An object with a few facts that are worth a look.

    Examples
    --------
    >>> class Star(Described):
    ...     def facts(self):
    ...         return {"name": "S2", "period": "16 yr"}
    >>> Star()
    <bigsf.Star: name S2, period 16 yr>
    """

    def facts(self) -> Mapping[str, object]:
        """Return what is shown, in a few words each."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<bigsf.{type(self).__name__}: {', '.join(f'{name} {value}' for name, value in self.facts().items())}>"

    def _repr_html_(self) -> str:
        """Return a table without colours of its own, which can be read on a light and on a dark page."""
        rows = "".join(
            f'<tr><th style="text-align: left">{escape(name)}</th>'
            f'<td style="text-align: left">{escape(str(value))}</td></tr>'
            for name, value in self.facts().items()
        )
        return f"<table><caption>bigsf.{escape(type(self).__name__)}</caption>{rows}</table>"
