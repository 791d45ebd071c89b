"""HTML pages from the Jinja templates in ``templates/``: escaped by default, one file each, one policy.

Whatever a template prints is escaped, unless it is ``Markup``: the package's own style sheets and scripts,
the SVG of ``plots``, and what a template's macro made.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    import jinja2

FOLDER = Path(__file__).parent
ELLIPSIS = "…"


def render(template: str, *, title: str, styles: tuple[str, ...], script: str = "", **values: Any) -> str:
    """A complete page.

    The page's Content-Security-Policy forbids everything but inline styles and the page's own script:
    predictions can hold any text, and escaping should not be the only barrier.

    Args:
      template: the file's name in ``templates/``; it extends ``page.html.jinja``.
      title: of the page.
      styles: names of CSS files of this package, in order.
      script: the name of the JavaScript file of this package that the page runs; empty for none.
      **values: what the template shows.
    """
    code = _package_file(script) if script else Markup()
    return _environment().get_template(template).render(
        title=title,
        css=Markup().join(map(_package_file, styles)),
        script=code,
        script_source=f"'sha256-{_sha256(code)}'" if code else "'none'",
        **values,
    )  # fmt: skip


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2  # only where a page is written

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "clip": clip,
        "points": points,
        "shorten": shorten,
        "signed": signed,
        "task_name": task_name,
        "thousands": "{:,}".format,
    }
    return environment


@functools.cache
def _package_file(name: str) -> Markup:
    """A style sheet or script of this package."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def points(value: float | None) -> str:
    """A score with one decimal; an en dash for none."""
    return "–" if value is None else f"{value:.1f}"


def signed(value: float) -> str:
    """A difference with one decimal, a sign that is as wide as a digit, and no negative zero."""
    rounded = round(value, 1)
    if rounded == 0:
        return "0.0"
    return f"{'+' if rounded > 0 else '−'}{abs(rounded):.1f}"


def clip(value: str, longest: int, *, end: bool = False) -> str:
    """The first (where ``end``, the last) ``longest`` characters, with an ellipsis where some are missing."""
    if len(value) <= longest:
        return value
    return f"{ELLIPSIS} {value[-longest:]}" if end else f"{value[:longest]} {ELLIPSIS}"


def shorten(text: str, longest: int) -> str:
    """At most ``longest`` characters, the last of which is an ellipsis where some are missing."""
    return text if len(text) <= longest else text[: longest - 1] + ELLIPSIS


def task_name(name: str) -> Markup:
    """A task's name, escaped, with line breaks allowed where its parts end."""
    pieces = str(escape(name)).replace(":", ":<wbr>").replace("_", "_<wbr>")
    return Markup(pieces)  # escaped above
