"""Figures as inline SVG: matplotlib draws, and its colours become CSS variables, so one drawing serves light and dark.

matplotlib wants colours as hex codes. Each variable of the style sheet has a code of its own here, which the finished
drawing is searched for; text stays text, in the page's font. A name becomes an attribute or a text of an element tree,
so it can never be markup. Lengths are CSS pixels at the figure's own width (72 dots per inch: a point is a pixel).
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

NARROW, WIDE, PANEL = 346, 996, 346
"""[px] A phone's column, the page's column, one of several panels side by side."""
NAME, PANEL_NAME = 24, 17
"""Letters of a variant's name that have room: beside a wide figure, and in a panel."""
COLOURS = 10
DASHES = ("-", (0, (6, 3)), (0, (2, 3)), (0, (9, 3, 2, 3)))
_VARIABLES = ("ink", "soft", "line", "strong", "paper", "plus", "minus", "wood", "wood-edge", "g0", "g1", "g2",
              *(f"c{number}" for number in range(COLOURS)))  # fmt: skip
_CODES = {name: f"#0102{index:02x}" for index, name in enumerate(_VARIABLES)}
_NAMES = {code: f"var(--{name})" for name, code in _CODES.items()}
INK, SOFT, LINE, STRONG, PAPER = (_CODES[name] for name in ("ink", "soft", "line", "strong", "paper"))
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_TIP, _HALO = "tip:", "halo"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "so101", "text.parse_math": False, "font.size": 12, "text.color": INK,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False, "axes.spines.bottom": False,
    "axes.grid": True, "axes.grid.axis": "x", "axes.axisbelow": True, "grid.color": LINE, "grid.linewidth": 1,
    "axes.titlelocation": "left", "axes.titlesize": 13.5, "axes.titleweight": "bold", "axes.labelsize": 12,
    "axes.labelcolor": SOFT, "xtick.labelcolor": SOFT, "ytick.labelcolor": SOFT, "xtick.major.size": 0,
    "ytick.major.size": 0, "lines.scale_dashes": False, "lines.linewidth": 2.2, "lines.solid_joinstyle": "round",
    "xtick.major.pad": 6, "ytick.major.pad": 6, "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}  # fmt: skip


def drawn(width: float, height: float, label: str, draw: Callable[[Figure], None]) -> Markup:
    """What `draw` puts on a figure of that size [px]; `label` is read to those who cannot see it."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r"Glyph \d+ .* missing"
        )  # measured in our font, shown in the reader's
        figure = Figure((width / 72, height / 72), dpi=72, layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(
            file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _inline(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", file.getvalue()), width, label)


def _inline(text: str, width: float, label: str) -> Markup:
    """A page has many figures: what one of them refers to within itself gets names that no other has."""
    prefix = f"f{sha256(f'{width} {label} {text}'.encode()).hexdigest()[:10]}-"
    root = ElementTree.fromstring(text)
    view = root.attrib["viewBox"]
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {
            name.rpartition("}")[2]: _restyled(value) if name == "style" else value
            for name, value in element.attrib.items()
        }
        name = element.attrib.pop("id", "")
        if name.startswith(_TIP):
            tip = ElementTree.Element("title")
            tip.text = name.removeprefix(_TIP)
            element.insert(0, tip)
        elif name == _HALO:
            element.attrib["class"] = _HALO
        elif element.tag in ("path", "clipPath") and name:
            element.attrib["id"] = prefix + name
        if clip := element.attrib.get("clip-path"):
            element.attrib["clip-path"] = clip.replace("#", f"#{prefix}")
        if element.tag == "use":
            element.attrib["href"] = element.attrib["href"].replace("#", f"#{prefix}")
        if element.tag == "a" and not "".join(element.itertext()).strip():  # the link beside it has the words
            element.attrib |= {"tabindex": "-1", "aria-hidden": "true"}
    role = "img" if root.find(".//a") is None else "group"  # what is in a picture cannot be reached by keys
    root.attrib = {"role": role, "aria-label": label, "viewBox": view, "style": f"max-width:{width:g}px"}
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    return Markup(ElementTree.tostring(root, "unicode", method="xml"))


def _restyled(style: str) -> str:
    style = re.sub(r"(font: [^;]*?px) [^;]*", rf"\1 {FONT}", style)
    return re.sub(r"#[0-9a-f]{6}", lambda code: _NAMES.get(code[0], code[0]), style)


def both_widths(
    height: float, label: str, draw: Callable[[Figure, bool], None], narrow_height: float | None = None
) -> Markup:
    """The same figure for desk and phone, drawn with `is_wide`; the style sheet shows one of them."""
    parts = Markup('<div class="{}">{}</div>')
    wide = drawn(WIDE, height, label, lambda figure: draw(figure, True))
    narrow = drawn(NARROW, narrow_height or height, label, lambda figure: draw(figure, False))
    return parts.format("wide", wide) + parts.format("narrow", narrow)


def panels(drawings: Sequence[Markup]) -> Markup:
    """Small multiples: side by side where there is room."""
    inside = Markup("").join(Markup('<div class="panel">{}</div>').format(drawing) for drawing in drawings)
    return Markup('<div class="panels">{}</div>').format(inside)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], summary: str = "The numbers") -> Markup:
    """The figure as a table, for readers who want digits or cannot see it."""
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in header)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row))
        for row in rows
    )
    return Markup(
        '<details><summary>{}</summary><div class="scroll" role="region" tabindex="0" aria-label="{}">'
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
        "</div></details>"
    ).format(summary, summary, head, body)


# What several figures are made of


def tip(artist: Artist, text: str) -> None:
    """`text` shows when a pointer rests on it."""
    artist.set_gid(_TIP + text)


def halo(artist: Artist) -> None:
    """A rim in the page's colour, so that text can be read on lines."""
    artist.set_gid(_HALO)


def row_axes(figure: Figure, rows: float) -> Axes:
    """Row 0 is on top."""
    axes = figure.subplots()
    axes.set(ylim=(rows, 0), yticks=[])
    return axes


def plane(figure: Figure) -> Axes:
    """With horizontal lines."""
    axes = figure.subplots()
    axes.grid(axis="y")
    axes.grid(visible=False, axis="x")
    return axes


def title(figure: Figure, text: str, colour: str = INK) -> None:
    """Above all, at the left edge."""
    figure.suptitle(text, x=0.005, ha="left", fontsize=13.5, weight="bold", color=colour)


def percent_axis(axes: Axes, step: float = 0.25) -> None:
    """0 to 100 %, with room for the end of a whisker."""
    ticks = [step * index for index in range(round(1 / step) + 1)]
    axes.set_xlim(-0.006, 1.006)
    axes.set_xticks(ticks, [f"{100 * tick:.0f} %" for tick in ticks])


def beside(axes: Axes, y: float, text: str, right: bool = False, colour: str = SOFT) -> None:
    """Text in the margin of a row."""
    x, align = (1.02, "left") if right else (-0.02, "right")
    artist = axes.text(x, y, text, transform=axes.get_yaxis_transform(), ha=align, va="center", color=colour)
    tip(artist, text)


def whisker(
    axes: Axes, y: float, value: float, ends: Sequence[float], colour: str, text: str, filled: bool = True,
    size: float = 9,
) -> None:  # fmt: skip
    """An interval with its estimate; an end outside the axis has no cap."""
    axes.plot(ends, (y, y), color=colour, linewidth=1.8, marker="|", markersize=7, markeredgewidth=1.8)
    dot(axes, value, y, colour, text, filled, size)


def dot(axes: Axes, x: float, y: float, colour: str, text: str, filled: bool = True, size: float = 9) -> None:
    """Filled or hollow."""
    face, edge = (colour, PAPER) if filled else (PAPER, colour)
    (mark,) = axes.plot(x, y, "o", markersize=size + filled, markerfacecolor=face, markeredgecolor=edge,
                        markeredgewidth=1.2 if filled else 1.8, clip_on=False, zorder=3)  # fmt: skip
    tip(mark, text)


def rings(axes: Axes, y: float, by_seed: Sequence[tuple[int, int]], colour: str, name: str) -> None:
    """Successes of each training seed, where there are several."""
    for good, of in by_seed if len(by_seed) > 1 else ():
        dot(axes, good / of, y, colour, f"{name}, one training seed: {good}/{of}", False, 5)


# What variants are drawn with


def number_of(data: Mapping[str, Any]) -> dict[str, int]:
    """Variant by name -> its number, 0 being the baseline."""
    return {variant["name"]: number for number, variant in enumerate(data["variants"])}


def colours_of(data: Mapping[str, Any]) -> dict[str, str]:
    """Variant by name -> what matplotlib draws it with."""
    return {name: _CODES[_variable(number)] for name, number in number_of(data).items()}


def css_colour(number: int) -> str:
    """Of the variant of that number: what elements of its class are drawn with."""
    return f"--k:var(--{_variable(number)})"


def _variable(number: int) -> str:
    return f"c{number if number < COLOURS else 1 + (number - 1) % (COLOURS - 1)}"


def dash(number: int) -> Any:
    """So that lines differ without colour too."""
    return DASHES[(number + (number >= COLOURS)) % len(DASHES)]


def css(name: str) -> str:
    """What matplotlib draws with in place of `var(--name)`."""
    return _CODES[name]


def shortened(text: str, most: int) -> str:
    """With an ellipsis where it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"
