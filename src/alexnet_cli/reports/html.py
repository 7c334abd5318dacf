"""A page of HTML that is one file: no script, no style, font or picture from elsewhere. It is well-formed XML, too."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli import __version__
from alexnet_cli.console import printable

GENERATOR = '<meta name="generator" content="alexnet'
"""By this a page is known as ours."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222;
  background: #fff }
h1, h2 { font-weight: 600; line-height: 1.2 } h2 { margin-top: 2em; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .2em .8em; text-align: right }
th { border-bottom: 1px solid #888; font-weight: 600 } th.t, td.t { text-align: left }
tr:nth-child(even) td { background: #f6f6f6 } figure { display: inline-block; margin: .4em; vertical-align: top }
.cards figure { width: 136px } figcaption { font-size: 12px; line-height: 1.3; overflow-wrap: anywhere }
img, svg { max-width: 100%; height: auto } .pixels { image-rendering: pixelated } .scroll { overflow-x: auto }
.note { color: #555 }
"""


def text(value: object) -> str:
    """Text escaped for HTML and SVG, control characters escaped."""
    return html.escape(printable(value))


def page(title: str, sections: Mapping[str, str], *, about: str = "") -> str:
    """A whole page: a title, a line about it, and sections of HTML by their headings."""
    body = "".join(f"<h2>{text(name)}</h2>\n{content}\n" for name, content in sections.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>{GENERATOR} {__version__}"/>'
        f'<meta name="viewport" content="width=device-width"/><title>{text(title)}</title>'
        f"<style>{_STYLE}</style></head>\n"
        f'<body><h1>{text(title)}</h1>\n<p class="note">{text(about)}</p>\n{body}</body></html>\n'
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """A table; the first `left` columns are text, the others numbers."""

    def cells(tag: str, values: Sequence[object]) -> str:
        return "".join(
            f'<{tag} class="t">{text(value)}</{tag}>' if place < left else f"<{tag}>{text(value)}</{tag}>"
            for place, value in enumerate(values)
        )

    lines = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", heads)}</tr>\n{lines}</table></div>'


def paragraph(words: str) -> str:
    return f"<p>{text(words)}</p>"


def figure(picture: str, caption: Sequence[str]) -> str:
    """A picture with lines below it."""
    return f"<figure>{picture}<figcaption>{'<br/>'.join(map(text, caption))}</figcaption></figure>"


def cards(figures: Sequence[str]) -> str:
    """Small figures in rows."""
    return f'<div class="cards">{"".join(figures)}</div>'


def photograph(pixels: NDArray[np.uint8], *, side: int, name: str) -> str:
    """A picture, uint8 (H, W, 3), scaled to a side and inlined as JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX).save(file, "JPEG", quality=80)
    return _inline(file, "jpeg", side, side, name)


def pixel_image(pixels: NDArray[np.uint8], *, scale: int, name: str) -> str:
    """Pixels, uint8 (H, W, 3), each shown as a square of `scale`, inlined as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    height, width = pixels.shape[:2]
    return _inline(file, "png", width * scale, height * scale, name)


def _inline(file: io.BytesIO, kind: str, width: int, height: int, name: str) -> str:
    data = base64.b64encode(file.getvalue()).decode()
    shown = ' class="pixels"' if kind == "png" else ""
    return f'<img{shown} width="{width}" height="{height}" alt="{text(name)}" src="data:image/{kind};base64,{data}"/>'
