"""Inline SVG by hand: a canvas, a scale, ticks. Colours are CSS variables, so one drawing serves light and dark.

Text is HTML-escaped here and nowhere else. Coordinates are CSS pixels at the figure's own width.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from markupsafe import Markup

NARROW, WIDE, PANEL = 346, 996, 346
"""[px] A phone's column, the page's column, one of several panels side by side."""
SIDE = 172
"""[px] Right of a wide figure, for the names of arms."""
NAME = 24
"""Letters of a name that have room there."""
COLOURS = 10
DASHES = ("", "6 3", "2 3", "9 3 2 3")


class Scale(NamedTuple):
    """Values to pixels, linearly."""

    low: float
    high: float
    left: float
    right: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)

    def clipped(self, value: float) -> float:
        """Within the drawing."""
        return self(min(max(value, self.low), self.high))


class Canvas:
    """Collects elements; `svg()` gives the whole."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height, self._label = width, height, label
        self._parts: list[str] = []

    def add(self, tag: str, content: str = "", title: str = "", **attributes: Any) -> None:
        """One element; `_` in names is `-`, `cls` is `class`, `title` shows when a pointer rests on it."""
        tip = f"<title>{escape(title)}</title>" if title else ""
        self._parts.append(f"<{tag}{_attributes(attributes)}>{tip}{content}</{tag}>")

    def line(self, x1: float, y1: float, x2: float, y2: float, cls: str, **attributes: Any) -> None:
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, cls=cls, **attributes)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        cls: str = "t",
        anchor: str = "start",
        title: str = "",
        **attributes: Any,
    ) -> None:
        self.add("text", escape(text), title, x=x, y=y, cls=cls, text_anchor=anchor, **attributes)

    def title(self, x: float, y: float, text: str, aside: str) -> None:
        """A name, and something smaller behind it."""
        self.add(
            "text", f'{escape(text)}<tspan class="s" dx="8">{escape(aside)}</tspan>', x=x, y=y, cls="b halo"
        )

    def dot(self, x: float, y: float, r: float, cls: str, **attributes: Any) -> None:
        self.add("circle", cx=x, cy=y, r=r, cls=cls, **attributes)

    def rect(self, x: float, y: float, width: float, height: float, cls: str, **attributes: Any) -> None:
        self.add("rect", x=x, y=y, width=max(0.0, width), height=max(0.0, height), cls=cls, **attributes)

    def path(
        self, points: Sequence[tuple[float, float]], cls: str, close: bool = False, **attributes: Any
    ) -> None:
        d = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points) + ("Z" if close else "")
        self.add("path", d=d, cls=cls, **attributes)

    def interval(self, scale: Scale, y: float, ends: Sequence[float], colour: str, **attributes: Any) -> None:
        """A horizontal whisker; an end outside the scale has no cap."""
        low, high = (scale.clipped(end) for end in ends)
        self.line(low, y, high, y, "whisker", style=colour, **attributes)
        for end, x in zip(ends, (low, high), strict=True):
            if scale.low <= end <= scale.high:
                self.line(x, y - 3.5, x, y + 3.5, "whisker", style=colour)

    def open_link(self, target: str) -> None:
        """What is drawn until `close_link` leads there."""
        self._parts.append(f'<a href="{escape(target, quote=True)}">')

    def close_link(self) -> None:
        self._parts.append("</a>")

    def svg(self) -> Markup:
        return Markup(
            f'<svg role="img" aria-label="{escape(self._label, quote=True)}" viewBox="0 0 {_number(self.width)} '
            f'{_number(self.height)}" style="max-width:{_number(self.width)}px">{"".join(self._parts)}</svg>'
        )


def _attributes(attributes: dict[str, Any]) -> str:
    names = {"cls": "class"}
    return "".join(
        f' {names.get(name, name.replace("_", "-"))}="{escape(_number(value), quote=True)}"'
        for name, value in attributes.items()
        if value not in (None, "")
    )


def _number(value: Any) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def both_widths(draw: Callable[[float], Canvas]) -> Markup:
    """The same figure for desk and phone; the style sheet shows one of them."""
    parts = Markup('<div class="{}">{}</div>')
    return parts.format("wide", draw(WIDE).svg()) + parts.format("narrow", draw(NARROW).svg())


def panels(canvases: Sequence[Canvas]) -> Markup:
    """Small multiples: side by side where there is room."""
    inside = Markup("").join(
        Markup('<div class="panel">{}</div>').format(canvas.svg()) for canvas in canvases
    )
    return Markup('<div class="panels">{}</div>').format(inside)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], summary: str = "The numbers") -> Markup:
    """The figure as a table, for readers who want digits or cannot see it."""
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in header)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row))
        for row in rows
    )
    return Markup(
        '<details><summary>{}</summary><div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'
        "</div></details>"
    ).format(summary, head, body)


def percent_axis(canvas: Canvas, scale: Scale, top: float, bottom: float, step: float = 0.25) -> None:
    """Vertical grid lines with percentages below."""
    value = scale.low
    while value <= scale.high + 1e-9:
        canvas.line(scale(value), top, scale(value), bottom, "grid")
        canvas.text(scale(value), bottom + 15, f"{100 * value:.0f} %", "s", "middle")
        value += step


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Labels moved apart until none is nearer than `gap` to the next, in their order; crowds stay where they were.

    Labels that touch are a block around the mean of where they belong (pooling of adjacent violators).
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[list[float]] = []
    """Where each label's block would begin for it alone."""
    for rank, index in enumerate(order):
        blocks.append([places[index] - gap * rank])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    starts = [_mean(block) for block in blocks for _ in block]
    found = [0.0] * len(places)
    for rank, (index, start) in enumerate(zip(order, starts, strict=True)):
        found[index] = start + gap * rank
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def round_step(span: float, most: int = 5) -> float:
    """1, 2 or 5 times a power of ten, so that a span has at most so many steps."""
    step = 10.0 ** math.floor(math.log10(span / most))
    return next(size * step for size in (1, 2, 5, 10) if span / (size * step) <= most + 1e-9)


def colour(number: int) -> str:
    """Of the arm of that number, 0 being the baseline: what elements of its class draw with."""
    return f"--k:var(--c{number if number < COLOURS else 1 + (number - 1) % (COLOURS - 1)})"


def dash(number: int) -> str:
    """So that lines differ without colour too."""
    return DASHES[(number + (number >= COLOURS)) % len(DASHES)]


def arm_numbers(data: dict[str, Any]) -> dict[str, int]:
    """Arm by name -> its number."""
    return {arm["name"]: number for number, arm in enumerate(data["arms"])}


def shortened(text: str, most: int) -> str:
    """With an ellipsis where it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"
