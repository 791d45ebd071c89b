"""The little HTML that the pages are made of; whatever comes from data goes through ``text``."""

from __future__ import annotations

import html
from collections.abc import Sequence

Cell = tuple[str, str]  # HTML and its class


def text(value: object) -> str:
    """Escaped, for element content and quoted attributes."""
    return html.escape(str(value), quote=True)


def name_of(task: str) -> str:
    """A task's name, escaped, that breaks where its parts end."""
    return text(task).replace(":", ":<wbr>").replace("_", "_<wbr>")


def section(title: str, body: str, id: str = "") -> str:
    """A section with its heading."""
    return f"<section{f' id={id!r}' if id else ''}><h2>{text(title)}</h2>{body}</section>"


def attributes(**data: str) -> str:
    """``data-…`` attributes."""
    return " ".join(f"data-{name}='{text(value)}'" for name, value in data.items())


def cells(values: Sequence[Cell], marks: str = "", kind: str = "td") -> str:
    """A table row; ``marks`` are its attributes, already escaped."""
    inner = "".join(
        f"<{kind} class='{style}'>{value}</{kind}>" if style else f"<{kind}>{value}</{kind}>"
        for value, style in values
    )
    return f"<tr {marks}>{inner}</tr>" if marks else f"<tr>{inner}</tr>"


def table(heads: Sequence[Cell], rows: Sequence[str], style: str = "") -> str:
    """A table that scrolls sideways where it is too wide; heads are plain text."""
    head = cells([(text(name), of) for name, of in heads], kind="th")
    mark = f" class='{style}'" if style else ""
    return (
        f"<div class='scroll'><table{mark}><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def clip(value: str, longest: int, *, end: bool = False) -> str:
    """At most so many characters, the last ones where ``end``, with a sign where some are missing."""
    if len(value) <= longest:
        return value
    return f"… {value[-longest:]}" if end else f"{value[:longest]} …"
