"""A small SVG writer: elements with escaped text, one style for light and dark, tooltips by ``<title>``."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape as html_escape
from typing import Any

#: What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

#: Colours of Okabe and Ito (2008), told apart by every kind of colour vision, a shade lighter on dark ground.
#: Nothing is said by colour alone: lines differ in dashes, too, and signs are in the tooltips.
STYLE = """
.bp{--ink:#1d2128;--soft:#5a6270;--grid:#e4e7eb;--page:#fff;--one:#0072b2;--two:#c24f00;--three:#00795a;
--minus:#0072b2;--plus:#d55e00;--on:#fff;background:var(--page);
font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',Arial,sans-serif}
@media (prefers-color-scheme:dark){.bp{--ink:#e8eaee;--soft:#a4acb8;--grid:#343a44;--page:#181b20;
--one:#56b4e9;--two:#f0a040;--three:#2fc79a;--minus:#4aa8e0;--plus:#f08a3c;--on:#10131a}}
.bp text{fill:var(--ink);font-size:12px}.bp .h{font-size:15px;font-weight:600}.bp .b{font-weight:600}
.bp .s{fill:var(--soft);font-size:11px}.bp .on{fill:var(--on)}
.bp .e{text-anchor:end}.bp .m{text-anchor:middle}
.bp .page{fill:var(--page)}.bp .grid{stroke:var(--grid);stroke-width:1;fill:none}
.bp .frame{stroke:var(--soft);stroke-width:1;fill:none}
.bp .line{fill:none;stroke-width:2;stroke-linejoin:round}
.bp .one{stroke:var(--one)}.bp .two{stroke:var(--two);stroke-dasharray:7 3}
.bp .three{stroke:var(--three);stroke-dasharray:2 3}
.bp .faint{stroke:var(--one);stroke-width:1;stroke-opacity:.35}
.bp .dot-faint{fill:var(--one);fill-opacity:.35}
.bp .dot-one{fill:var(--one)}.bp .dot-two{fill:var(--two)}.bp .dot-three{fill:var(--three)}
.bp .mark{stroke:var(--soft);stroke-dasharray:3 3;fill:none}
.bp .halo{paint-order:stroke;stroke:var(--page);stroke-width:4px;stroke-linejoin:round}
.bp .plus{stroke:var(--plus)}.bp .minus{stroke:var(--minus)}.bp .fill-plus{fill:var(--plus)}
.bp .fill-minus{fill:var(--minus)}.bp .unit{fill:var(--page);stroke:var(--ink);stroke-width:1.4}
.bp .cloud{stroke:var(--one);stroke-width:4;stroke-linecap:round;stroke-opacity:.4;fill:none}
.bp .hit{fill:#000;fill-opacity:0}.bp image{image-rendering:pixelated}
"""


def plain(text: object) -> str:
    """Any text as XML can hold it, markup escaped.

    Examples
    --------
    >>> plain("<img src=x onerror=alert(1)>")
    '&lt;img src=x onerror=alert(1)&gt;'
    """
    return html_escape(_FORBIDDEN.sub("\ufffd", str(text)), quote=True)


def number(value: float) -> str:
    """A coordinate: at most two digits after the point.

    Examples
    --------
    >>> number(3.14159), number(2.0), number(-0.001)
    ('3.14', '2', '0')
    """
    written = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def width(text: str, size: float = 12) -> float:
    """About how wide a text is, in pixels; rather too much than too little."""
    wide = 0.0
    for c in text:
        if unicodedata.east_asian_width(c) in "WF":
            wide += 1.0
        else:
            wide += 0.9 if c in "MWmw@%" else 0.36 if c in "iljt.,:;|' " else 0.62
    return wide * size


def cut(text: object, room: float, size: float = 12) -> str:
    """A text that fits into `room` pixels, with an ellipsis where it was cut.

    Examples
    --------
    >>> cut("a rather long name of a column", 80)
    'a rather lo…'
    """
    written = " ".join(_FORBIDDEN.sub("\ufffd", str(text)).split())
    if width(written, size) <= room:
        return written
    room -= width("…", size)
    sizes = itertools.accumulate(width(c, size) for c in written)
    return written[: sum(used <= room for used in sizes)].rstrip() + "…"


class Svg:
    """A picture under construction; ``str()`` gives the SVG.

    Parameters
    ----------
    title : str
        The heading in the picture, and what a screen reader says.
    wide, high : float
        Pixels, the heading included.
    """

    def __init__(self, title: str, wide: float, high: float) -> None:
        self.title, self.wide, self.high = title, wide, high
        self._parts: list[str] = []
        self.add("rect", class_="page", width=wide, height=high)
        if title:
            self.text(
                16, 25, cut(title, wide - 32, 15), "h", tip=title if width(title, 15) > wide - 32 else ""
            )

    def add(self, tag: str, /, tip: str = "", inner: str | None = None, **attributes: Any) -> None:
        """An element. `inner` is its text, `tip` what hovering shows; both are escaped."""
        content = (f"<title>{plain(tip)}</title>" if tip else "") + ("" if inner is None else plain(inner))
        head = f"<{tag}{_attributes(attributes)}"
        self._parts.append(f"{head}>{content}</{tag}>" if content else f"{head}/>")

    def text(
        self, x: float, y: float, text: object, class_: str = "", tip: str = "", turn: float = 0
    ) -> None:
        """A text with its base line at y; `turn` in degrees about its anchor."""
        place = {"transform": f"translate({number(x)} {number(y)}) rotate({number(turn)})"} if turn else {}
        at = {} if turn else {"x": x, "y": y}
        self.add("text", tip=tip, inner=str(text), class_=class_ or None, **at, **place)

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        self.add("path", d=f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}", class_=class_)

    @contextmanager
    def group(self, **attributes: Any) -> Iterator[None]:
        """What is added within shares these attributes."""
        self._parts.append(f"<g{_attributes(attributes)}>")
        yield
        self._parts.append("</g>")

    def __str__(self) -> str:
        size = f'width="{number(self.wide)}" height="{number(self.high)}"'
        box = f'viewBox="0 0 {number(self.wide)} {number(self.high)}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="bp" role="img" aria-label="{plain(self.title)}" '
            f"{size} {box}><style>{STYLE.strip()}</style>\n" + "\n".join(self._parts) + "\n</svg>"
        )


def _attributes(attributes: dict[str, Any]) -> str:
    shown = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items() if v is not None}
    return "".join(
        f' {k}="{number(v) if isinstance(v, (int, float)) else plain(v)}"' for k, v in shown.items()
    )
