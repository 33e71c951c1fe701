"""Pieces of HTML: numbers that keep their full value, tables, pictures, badges of states, status marks."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape

from matplotlib.figure import Figure

from ..plots.style import STATE_COLOURS, colour

BLACK, WHITE = "#000000", "#ffffff"
MIDDLE = 0.179  # luminance with equal contrast to black and to white, 4.6 : 1
DASH = '<span title="no number">–</span>'

SHAPES = {
    "good": ("good", '<circle cx="16" cy="16" r="14"/>', "M9 16.5l5 5 9-11"),
    "look": ("look closer", '<path d="M16 2L31 29H1z"/>', "M16 12v8M16 25v.1"),
    "bad": ("do not rely on it", '<rect x="2" y="2" width="28" height="28" rx="3"/>', "M10 10l12 12M22 10L10 22"),
}
"""A word, a shape and the strokes on it for every status, so that colour is never needed to tell them apart."""


def ink(background: str) -> str:
    """Black or white, whichever has more contrast to a colour (relative luminance, WCAG 2)."""
    parts = [int(background[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return WHITE if luminance < MIDDLE else BLACK


INKS = [ink(shade) for shade in STATE_COLOURS]


def badge(state: int) -> str:
    """The number of a state on its colour."""
    shade = colour(state)
    return f'<span class="badge" style="background:{shade};color:{ink(shade)}">{state}</span>'


def number(value: float | None, shape: str = "#.3g", factor: float = 1.0, name: str = "") -> str:
    """A rounded number, with its full value and name in attributes for programs; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return DASH
    mark = f' data-name="{escape(name)}"' if name else ""
    text = format(factor * value, shape).rstrip(".").replace("-", "−")
    return f'<data value="{value!r}"{mark}>{escape(text)}</data>'


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows, in a box that scrolls sideways on a narrow screen.

    The caption stands above the box, so that it does not scroll with the table.
    """
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in rows
    )
    text = escape(caption)
    return (
        f'<p class="caption" aria-hidden="true">{text}</p>'
        f'<div class="wide" role="region" tabindex="0" aria-label="{text}">'
        f'<table aria-label="{text}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def facts(entries: dict[str, str]) -> str:
    """Short facts side by side."""
    return '<dl class="facts">' + "".join(f"<div><dt>{n}</dt><dd>{v}</dd></div>" for n, v in entries.items()) + "</dl>"


def picture(figure: Figure, alternative: str, caption: str, kind: str = "broad") -> str:
    """A matplotlib figure inside the page, with a sentence for readers who cannot see it.

    `kind`: a `broad` figure scrolls sideways on a narrow screen, a `middle` one shrinks.
    """
    shown = f'<div class="pan">{image(figure, alternative)}</div>'
    return f'<figure class="{kind}">{shown}<figcaption>{caption}</figcaption></figure>'


def image(figure: Figure, alternative: str) -> str:
    """The figure without a caption."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
    code = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{code}" alt="{escape(alternative)}">'


def status(name: str) -> str:
    """The mark of a status: a shape with strokes, as SVG."""
    _, outline, strokes = SHAPES[name]
    pen = 'fill="none" stroke="#fff" stroke-width="3.5" stroke-linecap="round" stroke-linejoin="round"'
    return (
        f'<svg class="{name}" viewBox="0 0 32 32" aria-hidden="true"><g fill="currentColor">{outline}</g>'
        f'<path d="{strokes}" {pen}/></svg>'
    )


def folded(title: str, content: str) -> str:
    """Content that is hidden until the reader opens it."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"
