"""One picture of a run for a terminal, drawn from a `View`: pure, so that it can be tested and exported as
SVG."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from so101_policy.command_line.console import Console
from so101_robot.bus.protocol import Errors
from so101_robot.chunks.turns import Turns
from so101_robot.display.style import (
    ACCENT,
    BAD,
    CAMERA_STYLES,
    MESSAGE_STYLES,
    QUIET,
    SHARE_STYLES,
    THEME,
    WARN,
    fault_style,
    headline,
)
from so101_robot.faults.fault import Mode
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.message import Message

if TYPE_CHECKING:
    from so101_policy.attention.maps import Maps
    from so101_policy.attention.shares import AttentionShares
    from so101_robot.chunks.scheduler import Driver
    from so101_robot.loop.tick import AttentionWarning, Tick
    from so101_robot.state import Health

SIDE_BY_SIDE = 110
"""From this width on [columns] shares and joints stand beside each other."""

LOW = 30
"""Below this height [rows] frames and what is said elsewhere are left out, so that there is room for messages."""

LINES_BELOW = 4
"""Of faults and messages together, at least; where the height is not known, so many."""

FAULTS_SHOWN = 3

STAMP = 11
"""Columns before a message: when it was."""

WARM_C, HOT_C = 55.0, 65.0
"""Servo temperature that deserves a look; the STS3215 protects itself at 70 deg C (its register 13)."""

LOADED_PERCENT, OVERLOADED_PERCENT = 60.0, 80.0
"""Load that deserves a look; the STS3215's overload protection starts at 80 % (its register 36)."""

LAGGING = 8.0
"""Distance between goal and position that deserves a look [deg, percent]."""


@dataclass(frozen=True)
class Title:
    """What a run is, for its heading."""

    policy: str
    arm: str
    cameras: str
    chunks: str
    looks: bool = True
    """A policy is asked; False: something else plays."""
    plays: str = "recorded goals are played"
    """What plays, where no policy is asked."""
    answers_s: float | None = None
    """In simulated time: how long an answer takes by setting; None: time is real."""
    no_shares: str = ""
    """Why the policy's answers have no attention shares; empty: they have."""


@dataclass(frozen=True)
class View:
    """What the dashboard shows, all of it."""

    title: Title
    elapsed_s: float = 0.0
    phase: str = "starting"
    mode: Mode = Mode.RUNNING
    """What the supervisor says."""
    faults: Mapping[str, str] = field(default_factory=dict[str, str])
    """All that is wrong, `fault: where` -> words, oldest first."""
    blind: "AttentionWarning | None" = None
    rate_hz: float | None = None
    jitter_ms: float | None = None
    """95th percentile of how late ticks began."""
    busy_ms: float | None = None
    """Median work of a tick."""
    latency_ms: float | None = None
    """Of the newest inference."""
    starved: int = 0
    missed: int = 0
    held: int = 0
    tick: "Tick | None" = None
    """The newest tick."""
    health: "Health | None" = None
    """The newest `Health`: it may be read less often than every tick."""
    changed: int = 0
    """Ticks on which the guard changed the action."""
    shares: "AttentionShares | None" = None
    spread: float | None = None
    """Of the newest inference's samples [deg, percent]."""
    maps: "Maps | None" = None
    """Where the policy looked last, if it was loaded to tell."""
    chunk_length: int = 0
    driver: "Driver | None" = None
    """Who drives, where a person may take over."""
    turns: Turns = ()
    """Who drove when, there [s since the first tick]."""
    messages: Sequence[tuple[float, Message]] = field(default=())
    """(seconds since the start, text), oldest first."""


def render(view: View, width: int, height: int | None = None) -> RenderableType:
    """The dashboard for a terminal of `width` columns and `height` rows; None: as high as it gets."""
    low = height is not None and height < LOW
    if width >= SIDE_BY_SIDE:
        body = Table.grid(expand=True, padding=(0, 1))
        body.add_column(ratio=1)
        body.add_column(width=66)
        body.add_row(
            _section("where the policy looks", _attention(view, width - 66 - 7)),
            _section("joints", _joints(view)),
        )
        parts: list[RenderableType] = [body]
        rows = max(len(JOINTS) + 1, _attention_rows(view)) + 2
    elif low:
        parts = [Padding(part, (0, 2)) for part in (_attention(view, width - 6, low), _joints(view))]
        rows = _attention_rows(view, low) + len(JOINTS) + 1
    else:
        parts = [
            _section("where the policy looks", _attention(view, width - 6)),
            _section("joints", _joints(view)),
        ]
        rows = _attention_rows(view) + len(JOINTS) + 1 + 4
    room = LINES_BELOW if height is None else max(LINES_BELOW, height - HEADING_ROWS - rows - 1)
    return Group(_heading(view), *parts, _below(view, width, room))


def export_svg(view: View, path: Path, width: int = 100) -> None:
    """Write one picture of the dashboard as SVG, for a README."""
    console = Console(width=width, file=StringIO(), record=True)
    console.print(render(view, width))
    svg = console.export_svg(title="so101-run", theme=THEME, font_aspect_ratio=0.61)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # rich would have it fetch a font
    path.write_text(
        svg.replace("Fira Code", "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas"), encoding="utf-8"
    )


def plain_line(view: View) -> str:
    """The run as one line, for a log file or a pipe."""
    parts = [f"{view.elapsed_s:7.1f} s", view.phase]
    if view.phase == "run" and view.driver not in (None, "policy"):
        parts.append(f"driven by {view.driver}")
    if view.mode not in (Mode.RUNNING, Mode.PARKING):
        parts.append(view.mode)
    parts += list(view.faults)
    if view.rate_hz is not None and view.title.answers_s is None:
        parts.append(f"{view.rate_hz:.1f} Hz")
    if view.latency_ms is not None and view.title.answers_s is None:
        parts.append(f"inference {view.latency_ms:.0f} ms")
    if (shares := view.shares) is not None:
        parts.append(" ".join(f"{name} {value:.0%}" for name, value, _, _ in share_rows(shares)))
    if view.blind is not None:
        parts.append(f"may be blind for {view.blind.for_s:.0f} s")
    parts += [
        f"{count} {what}"
        for what, count in (("starved", view.starved), ("missed", view.missed), ("held", view.held))
        if count
    ]
    if view.tick is not None and view.tick.state.errors.any() and not view.faults:
        parts.append("; ".join(f"{joint}: {text}" for joint, text in error_texts(view).items()))
    return " | ".join(parts)


def bar(share: float, base_rate: float | None, width: int, style: str) -> Text:
    """A share as a bar of `width` cells, with a mark where uniform attention would put it."""
    halves = min(2 * width, max(0, round(2 * width * share)))
    cells = "━" * (halves // 2) + "╸" * (halves % 2)
    parts = [(cells, style), ("─" * (width - len(cells)), "grey23")]
    if base_rate is not None:
        parts = _with_mark(parts, min(width - 1, int(base_rate * width)))
    return Text.assemble(*parts)


def _with_mark(parts: list[tuple[str, str]], at: int) -> list[tuple[str, str]]:
    """Runs of text with one cell replaced by the mark."""
    marked: list[tuple[str, str]] = []
    for text, style in parts:
        if 0 <= at < len(text):
            marked += [(text[:at], style), ("◆", "bold white"), (text[at + 1 :], style)]
        else:
            marked.append((text, style))
        at -= len(text)
    return marked


def _section(title: str, content: RenderableType) -> RenderableType:
    return Panel(
        content, title=Text(title, style=QUIET), title_align="left", border_style="grey30", padding=(0, 1)
    )


HEADING_ROWS = 4


def _heading(view: View) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(style=QUIET, no_wrap=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    words, style = headline(view.phase, view.mode, view.driver)
    minutes, seconds = divmod(view.elapsed_s, 60)
    grid.add_row("policy", Text(view.title.policy, style="bold"), Text(f"● {words}", style=style))
    grid.add_row("arm", Text(view.title.arm), Text(f"{int(minutes):02d}:{seconds:04.1f}", style="bold"))
    grid.add_row("cameras", Text(view.title.cameras), _counters(view))
    return Padding(Group(grid, _pulse(view)), (0, 2))


def figures(view: View) -> list[tuple[str, str]]:
    """(name, value) of rate and latency. In simulated time they are what was asked for, so it is said that they are."""
    if (answers_s := view.title.answers_s) is not None:
        return [("simulated time;", f"answers take {answers_s * 1e3:.0f} ms by setting")]
    values = (
        ("rate", view.rate_hz, "{:.1f} Hz"),
        ("jitter", view.jitter_ms, "{:.1f} ms"),
        ("work", view.busy_ms, "{:.1f} ms"),
        ("inference", view.latency_ms, "{:.0f} ms"),
    )
    return [(name, "–" if value is None else form.format(value)) for name, value, form in values]


def _pulse(view: View) -> Text:
    """Rate and latency in one line."""
    parts = [Text.assemble((f"{name} ", QUIET), (value, ACCENT)) for name, value in figures(view)]
    line = Text("  ").join([*parts, Text(view.title.chunks, style=QUIET)])
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _counters(view: View) -> Text:
    """Ticks on which something was not as it should be."""
    parts = [
        Text(f"{count} {name}", style=WARN)
        for name, count in (("starved", view.starved), ("missed", view.missed), ("held", view.held))
        if count
    ]
    return Text("  ").join(parts) if parts else Text("no tick starved or missed", style=QUIET)


def _attention_rows(view: View, low: bool = False) -> int:
    """How many lines `_attention` has."""
    shares = 1 if view.shares is None else len(share_rows(view.shares)) + (not low)
    return shares + 1 + (not low or view.blind is not None)


def _attention(view: View, width: int, low: bool = False) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style=QUIET, no_wrap=True, min_width=7)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    bar_width = max(10, width - 7 - 8 - 2)
    if view.shares is None:
        grid.add_row("", Text(instead(view), style=QUIET), "")
    else:
        for name, share, base_rate, style in share_rows(view.shares):
            grid.add_row(name, bar(share, base_rate, bar_width, style), Text(f"{share:.1%}", style=style))
        if not low:
            spread = f"{view.shares.entropy:.2f} of 1"
            shown = bar(view.shares.entropy, None, bar_width, "grey62")
            grid.add_row("spread", shown, Text(spread, style=QUIET))
    grid.add_row("chunk", _chunk_bar(view, bar_width), Text(_chunk_text(view), style=QUIET))
    return grid if low and view.blind is None else Group(grid, _legend(view.blind))


def instead(view: View) -> str:
    """Instead of shares, in one line."""
    if view.latency_ms is None or not view.title.no_shares:
        return waiting(view.title)
    planned = None if view.tick is None else view.tick.planned
    known = [f"answered in {view.latency_ms:.0f} ms"]
    if planned is not None and isfinite(planned.age_s):
        known.append(f"acts on what it saw {planned.age_s:.2f} s ago")
    if view.spread is not None:
        known.append(f"samples {view.spread:.1f} deg apart")
    return f"{', '.join(known)} ({view.title.no_shares})"


def waiting(title: Title) -> str:
    """Instead of shares."""
    return "waiting for the first inference" if title.looks else f"no policy looks: {title.plays}"


def _legend(blind: "AttentionWarning | None") -> Text:
    if blind is None:
        return Text("◆ uniform attention   spread: entropy of vision", style=QUIET, no_wrap=True)
    words = f"the policy may be blind: state {blind.share:.0%} for {blind.for_s:.0f} s (uniform {blind.uniform:.0%})"
    return Text(words, style=BAD, no_wrap=True, overflow="ellipsis")


def share_rows(shares: "AttentionShares") -> list[tuple[str, float, float | None, str]]:
    """(name, share, base rate, style) of each part that the model has."""
    rows: list[tuple[str, float, float | None, str]] = []
    for name in ("latent", "state", "environment"):
        if shares.uniform.get(name, 0.0) > 0:
            rows.append((name, getattr(shares, name), shares.uniform[name], SHARE_STYLES[name]))
    for index, (camera, share) in enumerate(shares.cameras.items()):
        rows.append((camera, share, shares.uniform.get(camera), CAMERA_STYLES[index % len(CAMERA_STYLES)]))
    return rows


def _chunk_bar(view: View, width: int) -> Text:
    planned = view.tick.planned if view.tick is not None else None
    if planned is None or planned.action is None or not view.chunk_length:
        return bar(0.0, None, width, QUIET)
    return bar((planned.index_in_chunk + 1) / view.chunk_length, None, width, ACCENT)


def _chunk_text(view: View) -> str:
    planned = view.tick.planned if view.tick is not None else None
    if planned is None or planned.action is None:
        return "holding" if view.phase == "run" else ""
    return f"{planned.index_in_chunk + 1}/{view.chunk_length}"


def _joints(view: View) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style=QUIET, pad_edge=False)
    table.add_column("joint", no_wrap=True)
    for name in ("position", "goal", "load", "volt", "temp"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("faults", no_wrap=True, overflow="ellipsis", ratio=1)
    if view.tick is None:
        for joint in JOINTS:
            table.add_row(joint, *["–"] * 5, "")
        return table
    errors = error_texts(view)
    positions = view.tick.state.position.tolist()
    goals = [None] * len(JOINTS) if view.tick.goal is None else view.tick.goal.tolist()
    for index, joint in enumerate(JOINTS):
        unit = "%" if index == GRIPPER else "°"
        position, goal = positions[index], goals[index]
        lagging = goal is not None and abs(goal - position) > LAGGING
        table.add_row(
            joint,
            _cell(position, f"{{:.1f}}{unit}", WARN if lagging else ""),
            _cell(goal, f"{{:.1f}}{unit}", QUIET),
            *_health_cells(view.health, index),
            Text(errors.get(joint, ""), style=BAD),
        )
    return table


def _health_cells(health: "Health | None", index: int) -> list[Text]:
    if health is None:
        return [Text("–", style=QUIET)] * 3
    load, temperature = abs(float(health.load_percent[index])), float(health.temperature_c[index])
    return [
        _cell(load, "{:.0f} %", _above(load, LOADED_PERCENT, OVERLOADED_PERCENT)),
        _cell(float(health.voltage_v[index]), "{:.1f} V", ""),
        _cell(temperature, "{:.0f} °C", _above(temperature, WARM_C, HOT_C)),
    ]


def _above(value: float, warn: float, bad: float) -> str:
    return BAD if value >= bad else WARN if value >= warn else ""


def _cell(value: float | None, form: str, style: str) -> Text:
    if value is None or value != value:
        return Text("–", style=QUIET)
    return Text(form.format(value), style=style)


def error_texts(view: View) -> Mapping[str, str]:
    """What is wrong with a servo, by joint; those that are well are left out."""
    if view.tick is None:
        return {}
    state = view.tick.state
    texts: dict[str, str] = {}
    for joint, answered, bits in zip(JOINTS, state.answered.tolist(), state.errors.tolist(), strict=True):
        if not answered:
            texts[joint] = "no answer"
        elif bits:
            texts[joint] = Errors(bits).describe()
    return texts


def _below(view: View, width: int, rows: int) -> RenderableType:
    """What is wrong now, then what happened last; the newest first, and as much as there is room for."""
    lines: list[Text] = []
    faults = list(reversed(tuple(view.faults.items())))
    more = len(faults) - FAULTS_SHOWN
    for number, (fault, words) in enumerate(faults[:FAULTS_SHOWN], start=1):
        others = f" (and {more} more)" if more > 0 and number == FAULTS_SHOWN else ""
        line = Text(f"{'✖':>9}  {fault}{others}", style=fault_style(fault, view.mode))
        lines.append(line.append(f"  {words}", style=QUIET))
    for time_s, message in reversed(view.messages):
        if len(lines) >= rows:
            break
        parts = textwrap.wrap(message.text, max(20, width - 4 - STAMP)) or [""]
        stamps = [f"{time_s:7.1f} s  ", *[" " * STAMP] * (len(parts) - 1)]
        for stamp, part in zip(stamps, parts, strict=True):
            line = Text(stamp, style=QUIET)
            lines.append(line.append(part, style=MESSAGE_STYLES[message.severity]))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Padding(Group(*lines[:rows]), (0, 2))
