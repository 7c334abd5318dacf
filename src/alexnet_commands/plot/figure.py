"""One figure: a page without a display, and the file that it becomes. Only this file imports matplotlib, and late.

page = Page(8, 3)
page.figure.add_subplot()
page.publish(config, inputs, numbers)
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_cli import __version__
from alexnet_cli.artifacts.common.ownership import Kind, require_output
from alexnet_cli.artifacts.common.publish import publish_file
from alexnet_cli.artifacts.common.working import prepare_parent
from alexnet_cli.console import printable
from alexnet_cli.errors import ResourceError
from alexnet_commands.plot.config import PlotConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIGNATURE = "alexnet plot"
_STARTS = (b"\x89PNG\r\n\x1a\n", b"<?xml", b"%PDF-")
_ENDS = 1 << 16
"""PNG and SVG tell who made them at their beginning, PDF at its end."""

BLUE, RED, INK = "#3b6ea8", "#c8423b", "#222222"
"""Bars of wrong labels, of the right one; text."""
LINES = ("#3b6ea8", "#c8423b", "#3d8b57", "#8a5aa8", "#c98a1f", "#4aa3b5", "#7a5a44", "#666666")
"""One for each line of a graph, in order."""

NAMES: dict[str, Any] = {
    "parse_math": False,
    "fontfamily": ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Hiragino Sans GB", "Arial Unicode MS"],
}
"""For text that holds names: a `$` is a `$`, and letters that one font lacks come from the next that is installed."""


def is_ours(path: Path) -> bool:
    """Whether a file is a figure that this command made: its format's first bytes, and our name in its metadata."""
    try:
        with path.open("rb") as file:
            start = file.read(_ENDS)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _ENDS))
            return start.startswith(_STARTS) and _SIGNATURE.encode() in start + file.read(_ENDS)
    except OSError:
        return False


FIGURE = Kind(name="figure", title="figure made by `alexnet plot`", tell=is_ours)


@dataclass(frozen=True)
class Drawn:
    """A figure, and the numbers that it shows."""

    path: Path
    numbers: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"path": str(self.path), **self.numbers}


def require_figure(config: PlotConfig, inputs: Mapping[str, Path | None]) -> None:
    """UsageError if the figure may not be written, ResourceError without matplotlib; before any work."""
    require_matplotlib()
    require_output(config.path, FIGURE, overwrite=config.overwrite, inputs=inputs)


class Page:
    """A white page in inches."""

    def __init__(self, width: float, height: float, *, layout: Any = None) -> None:
        """layout: as matplotlib takes it; None: `at` and `text` place everything."""
        require_matplotlib()
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(width, height), facecolor="white", layout=layout)

    def at(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes at a place in inches from the upper left corner."""
        across, down = self.figure.get_size_inches()
        return self.figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def picture(self, left: float, top: float, width: float, height: float, image: Any, **how: Any) -> Axes:
        """An image without ticks, its pixels sharp-edged unless `how` says otherwise."""
        axes = self.at(left, top, width, height)
        axes.imshow(image, **{"interpolation": "nearest", "aspect": "auto", **how})
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, left: float, top: float, text: str, **how: Any) -> None:
        """Text whose upper left corner is at a place in inches."""
        across, down = self.figure.get_size_inches()
        style: dict[str, Any] = {"va": "top", "ha": "left", "fontsize": 9, "color": INK, **NAMES, **how}
        self.figure.text(left / across, 1 - top / down, printable(text), **style)

    def publish(self, config: PlotConfig, inputs: Mapping[str, Path | None], numbers: dict[str, Any]) -> Drawn:
        """Write the file whole, or not at all. numbers: what it shows."""
        prepare_parent(config.path)
        content = self.content(config.path.suffix.lower().removeprefix("."), config.dpi)
        publish_file(config.path, content, FIGURE, overwrite=config.overwrite, inputs=inputs)
        return Drawn(config.path, numbers)

    def content(self, kind: str, dpi: int) -> bytes:
        """The bytes of a file of a kind (png, svg, pdf); the same figure gives the same."""
        import matplotlib

        creator = f"{_SIGNATURE} {__version__}"
        made_by: dict[str, dict[str, Any]] = {
            "png": {"Software": creator},
            "svg": {"Creator": creator, "Date": None},
            "pdf": {"Creator": creator, "CreationDate": None},
        }
        out = io.BytesIO()
        style: Any = {"svg.hashsalt": _SIGNATURE, "svg.fonttype": "none", "pdf.fonttype": 42}
        with matplotlib.rc_context(style), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # a letter that no font has is a box
            self.figure.savefig(out, format=kind, dpi=dpi, metadata=made_by[kind])
        return out.getvalue()


def plain(axes: Axes) -> None:
    """A graph's axes as they are in a book: two lines, a light grid."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(visible=True, color="#e6e8eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, color="#888888", labelcolor=INK)


def shortened(text: str, most: int) -> str:
    """Text of at most this many characters, its middle replaced by `…`: names tell most at both ends."""
    text = printable(text)
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def require_matplotlib() -> None:
    """Load matplotlib, which may have no folder for its cache; ResourceError if it is missing."""
    if not os.environ.get("MPLCONFIGDIR") and not os.access(Path.home(), os.W_OK):
        os.environ["MPLCONFIGDIR"] = str(Path(tempfile.gettempdir()) / f"alexnet-matplotlib-{os.getuid()}")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it reports every letter that a font lacks
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ResourceError(f"figures need matplotlib ({error}): pip install matplotlib") from None
