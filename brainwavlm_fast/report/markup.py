"""Pieces of HTML. Every text that comes in is escaped here, and nowhere else."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

_COLUMN = 4.5  # inches that stay readable on a phone


class Markup(str):
    """HTML that is safe to put on the page as it is."""


def text(value: Any) -> Markup:
    """A value as text: escaped, unless it is markup already."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def joined(parts: Iterable[Any]) -> Markup:
    """Pieces one after the other."""
    return Markup("\n".join(text(part) for part in parts))


def element(tag: str, *children: Any, **attributes: Any) -> Markup:
    """An element; ``class_`` is its class, ``aria_label`` its aria-label, and so on."""
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    inside = "".join(f' {name}="{html.escape(str(value))}"' for name, value in names.items())
    return Markup(f"<{tag}{inside}>{''.join(text(child) for child in children)}</{tag}>")


def heading(level: int, title: str, id_: str = "") -> Markup:
    """A heading that can be linked to."""
    return element(f"h{level}", title, **({"id": id_} if id_ else {}))


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A table with a caption, whose first column names its rows; it scrolls by itself on a narrow screen."""
    head = element("tr", *(element("th", name, scope="col") for name in heads))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    ]
    inside = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", inside, class_="scroll", tabindex="0", role="region", aria_label=caption)


def image(svg: bytes, *, alt: str, caption: str, inches: float) -> Markup:
    """A figure whose picture is inside the page; a wide one scrolls by itself where it would be too small to read."""
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    picture = Markup(f'<img src="{source}" alt="{html.escape(alt)}">')
    if inches > _COLUMN:
        picture = element("div", picture, class_="scroll wide", tabindex="0", role="region", aria_label=caption)
    return element("figure", picture, element("figcaption", caption))


def items(values: Iterable[Any]) -> Markup:
    """A list."""
    return element("ul", *(element("li", value) for value in values))


def code_block(lines: Iterable[str], label: str) -> Markup:
    """Commands or a file, to be copied."""
    return element("pre", element("code", "\n".join(lines)), tabindex="0", role="region", aria_label=label)


def embedded_json(value: Any, id_: str) -> Markup:
    """Data for the page's script. No text in it can end the element."""
    safe = json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="{html.escape(id_)}">{safe}</script>')


def number(value: float | None, form: str = ".4f") -> str:
    """A number for people; a dash where there is none."""
    return "-" if value is None else format(value, form)
