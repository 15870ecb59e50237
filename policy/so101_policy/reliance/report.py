"""Reliance as a report: a table for the terminal and plain data for a file. The picture is in `picture`.

All policies of a report were probed on the same frames with the same donors, so they are compared draw by draw.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from lerobot.utils.constants import OBS_IMAGES
from rich.table import Table
from rich.text import Text

from so101_policy.names import camera_name
from so101_policy.reliance.intervals import LEVEL, Estimate, Resampled
from so101_policy.reliance.phases import PHASES
from so101_policy.reliance.probes import FIRST_STEPS, Figures

SCHEMA = 1
NOTE = (
    "A diagnostic: where the decoder looks. In a stock ACT the encoder has mixed the joint state into the vision "
    "tokens, so this is not what the action depends on."
)
FIRST_KEY = f"first_{FIRST_STEPS}"


class Reliance(NamedTuple):
    """What the probes found about one policy."""

    name: str
    path: str
    sha256: str
    n_action_steps: int
    figures: Figures
    attention: dict[str, Any]
    """`shares` and, under uniform attention, `uniform`; empty where they cannot be read."""


class Study(NamedTuple):
    """The frames on which policies were probed."""

    dataset: str
    episodes: list[int]
    frames: int
    phases: dict[str, int]
    """Frames by phase."""
    seed: int
    delay: int


class Row(NamedTuple):
    """A line of the report: how it is called, and under which path it is found."""

    label: str
    path: tuple[str, ...]


MOSTLY = 0.7
"""Of reliance: the whole interval above it, or below its complement, before a sentence takes a side."""

RELIANCE_ROWS = (
    Row("donor from any moment", ("reliance", "any", "executed")),
    Row("donor from the same phase", ("reliance", "phase", "executed")),
    Row(f"same phase, first {FIRST_STEPS} actions", ("reliance", "phase", FIRST_KEY)),
)
CONFLICT_ROWS = (
    Row("cue conflict (VCI)", ("cue_conflict", "executed")),
    Row(f"cue conflict, first {FIRST_STEPS} actions", ("cue_conflict", FIRST_KEY)),
)
PHASE_ROWS = tuple(Row(phase, ("phases", phase, "reliance")) for phase in PHASES)


def exchange_rows(figures: Figures, what: str) -> list[Row]:
    """Rows of `what`, "change" or "error", for whatever was exchanged, cameras by name."""
    labels = {"state": "state of another episode", "images": "images of another episode"}
    rows: list[Row] = [Row("nothing exchanged", ("error", "clean"))] if what == "error" else []
    for path in figures:
        if path[:2] == (what, "any"):
            camera = camera_name(path[2])
            rows.append(Row(labels.get(path[2], f"only camera {camera}"), path))
    moments = {"frozen": "images of the episode's start", "delayed": "images of a moment ago"}
    return rows + [Row(label, (what, kind)) for kind, label in moments.items() if (what, kind) in figures]


def sentences(policies: Sequence[Reliance]) -> list[str]:
    """The answer in words, one line for each policy, with its interval and without a verdict that it does not bear."""
    lines: list[str] = []
    for policy in policies:
        value, low, high, *_ = policy.figures[RELIANCE_ROWS[0].path].estimate()
        if value is None:
            lines.append(f"{policy.name}: undefined, its actions change with nothing that was exchanged")
            continue
        if low is None or high is None:
            lines.append(
                f"{policy.name}: reliance on its joints {value:.2f}, without an interval: too few episodes"
            )
            continue
        verdict = (
            "follows its joint state, and looks little"
            if low > MOSTLY
            else "follows its cameras"
            if high < 1 - MOSTLY
            else "uses both its joint state and its cameras"
        )
        lines.append(
            f"{policy.name} {verdict}: reliance on its joints {value:.2f} [{low:.2f}, {high:.2f}], 0 to 1"
        )
    return lines


def table(study: Study, policies: Sequence[Reliance]) -> Table:
    """A column a policy; a value and its interval in each cell."""
    title = f"{study.frames} frames of {len(study.episodes)} episodes of {study.dataset}"
    grid = Table(title=title, caption=_caption(), title_justify="left", caption_justify="left")
    grid.add_column("")
    for policy in policies:
        grid.add_column(policy.name, justify="right", no_wrap=True, min_width=18)
    figures = policies[0].figures
    sections = [
        ("Reliance: 0 follows the cameras, 1 the joint state", list(RELIANCE_ROWS)),
        ("Image against state: 1 follows the image, 0 the state", list(CONFLICT_ROWS)),
        ("Reliance by phase (donor from the same phase)", [row for row in PHASE_ROWS if row.path in figures]),
        ("How far the action moves (normalised units)", exchange_rows(figures, "change")),
        ("L1 to the demonstrated action (normalised units)", exchange_rows(figures, "error")),
    ]
    for heading, rows in sections:
        grid.add_section()
        grid.add_row(Text(heading, style="bold"))
        for row in rows:
            note = f" ({study.phases[row.label]} frames)" if row.label in study.phases else ""
            grid.add_row(
                Text.assemble(f"  {row.label}", (note, "dim")),
                *(_cell(policy.figures.get(row.path)) for policy in policies),
            )
    if len(policies) > 1:
        _add_differences(grid, policies)
    _add_attention(grid, policies)
    return grid


def _add_differences(grid: Table, policies: Sequence[Reliance]) -> None:
    grid.add_section()
    grid.add_row(Text(f"Reliance, difference to {policies[0].name}", style="bold"))
    for row in RELIANCE_ROWS:
        first = policies[0].figures[row.path]
        cells = [_cell(policy.figures[row.path].minus(first), sign=True) for policy in policies[1:]]
        grid.add_row(f"  {row.label}", "", *cells)


def _add_attention(grid: Table, policies: Sequence[Reliance]) -> None:
    grid.add_section()
    note = " (diagnostic; in brackets: if uniform)"
    grid.add_row(Text.assemble(("Attention shares", "bold"), (note, "dim")))
    names = list(dict.fromkeys(name for policy in policies for name in policy.attention.get("shares", {})))
    for name in names:
        cells: list[Text] = []
        for policy in policies:
            share = policy.attention.get("shares", {}).get(name)
            uniform = policy.attention.get("uniform", {}).get(name, 0.0)
            known = Text.assemble(f"{share or 0:.3f} ", (f"({uniform:.3f})", "dim"))
            cells.append(Text("-") if share is None else known)
        grid.add_row(f"  {name}", *cells)


def as_data(study: Study, policies: Sequence[Reliance]) -> dict[str, Any]:
    """The report as plain data: every figure as {value, low, high, frames, episodes}."""
    return {
        "schema": SCHEMA,
        "study": study._asdict(),
        "interval": f"{LEVEL:.0%} bootstrap over episodes",
        "units": "normalised actions",
        "policies": [_policy_data(policy, policies[0]) for policy in policies],
    }


def _policy_data(policy: Reliance, first: Reliance) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": policy.name,
        "path": policy.path,
        "sha256": policy.sha256,
        "n_action_steps": policy.n_action_steps,
    }
    for path, figure in policy.figures.items():
        _put(data, tuple(part.removeprefix(f"{OBS_IMAGES}.") for part in path), figure.estimate())
    if policy is not first:
        for row in RELIANCE_ROWS:
            difference = policy.figures[row.path].minus(first.figures[row.path])
            _put(data, ("difference_to_first", *row.path), difference.estimate())
    return data | {"attention": policy.attention | {"note": NOTE}}


def _put(data: dict[str, Any], path: tuple[str, ...], estimate: Estimate) -> None:
    for part in path[:-1]:
        data = data.setdefault(part, {})
    data[path[-1]] = estimate._asdict()


def _cell(figure: Resampled | None, sign: bool = False) -> Text:
    if figure is None:
        return Text("-")
    value, low, high, *_ = figure.estimate()
    if value is None:
        return Text("undefined")
    form = "+.2f" if sign else ".2f" if abs(value) >= 0.095 else ".3f"
    interval = "no interval" if low is None or high is None else f"[{low:{form}}, {high:{form}}]"
    return Text.assemble((f"{value:{form}}", "bold"), " ", (interval, "dim"))


def _caption() -> str:
    return (
        f"With {LEVEL:.0%} intervals over episodes. "
        "Reliance = D_state / (D_state + D_images), D the change of the action."
    )
