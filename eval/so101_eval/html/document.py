"""A template -> one HTML page that needs nothing but itself: no script, no font, no request leaves it.

The page's own policy (Content-Security-Policy) forbids whatever is not inside it. Templates extend `document.html` and
fill its blocks: `title`, `rules` (of style, further ones) and `body`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")
"""One look for all pages."""


class Section(NamedTuple):
    """A heading, how to read the figure, and the figure."""

    id: str
    title: str
    lead: str
    figure: Markup


def fill(
    template: Path, values: Mapping[str, object], filters: Mapping[str, Callable[..., object]] | None = None
) -> str:
    """The page. What is put into it is escaped, unless it is `Markup`.

    Args:
        template: extends `document.html`.
        values: by the names that the template has for them.
        filters: of the template, beside Jinja's own.

    Raises:
        jinja2.UndefinedError: the template has a name that is not in `values`.
    """
    loader = FileSystemLoader([template.parent, TEMPLATES])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= filters or {}
    page = environment.get_template(template.name).render(style=Markup(STYLE), **values)
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)
