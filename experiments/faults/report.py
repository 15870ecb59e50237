"""The fault table as Markdown: one row a fault, both drivers side by side."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.faults.record import Record
from experiments.faults.rows import Row

HEAD = (
    "fault",
    "so101-run ended",
    "noticed after",
    "fastest joint",
    "state wrong by",
    "let fall",
    "ticks lost",
    "safe",
    "LeRobot ended",
    "noticed after",
    "fastest joint",
    "state wrong by",
    "let fall",
    "safe",
)

GROUPS = {
    "start": "Before the arm is touched",
    "wire": "On the wire",
    "servo": "In the servos",
    "port": "At the port",
    "camera": "Cameras",
    "usb": "USB cameras, with LeRobot's camera class",
    "policy": "The policy",
    "computer": "The computer",
    "person": "The person",
}


def write_between(path: Path, mark: str, text: str) -> None:
    """Into a Markdown file, between its marks of that name; without marks it becomes the whole file."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before = path.read_text() if path.exists() else ""
    head, found, rest = before.partition(begin)
    _, closed, tail = rest.partition(end)
    path.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}" if found and closed else text)


def markdown(rows: Sequence[Row], records: Sequence[Record]) -> str:
    """A table for each group of rows, then what was unsafe and why."""
    lines: list[str] = []
    for group, title in GROUPS.items():
        members = [row for row in rows if row.group == group]
        if not members:
            continue
        lines += [f"### {title}", "", _line(HEAD), _line(["---", "---", *["---:"] * 6, "---", *["---:"] * 5])]
        lines += [_line(_cells(row, records)) for row in members]
        lines.append("")
    lines += _totals(records)
    return "\n".join(lines) + "\n"


def _cells(row: Row, records: Sequence[Record]) -> list[str]:
    mine = [record for record in records if record.row == row.name]
    ours = [record for record in mine if record.side == "so101-run"]
    theirs = [record for record in mine if record.side == "lerobot"]
    cells = [row.name, *_figures(ours)]
    cells.insert(6, _lost(ours))
    if row.only_ours:
        return [*cells, "has none", "", "", "", "", ""]
    return [*cells, *_figures(theirs)]


def _figures(records: Sequence[Record]) -> list[str]:
    """ended, noticed, speed, state, fall, safe."""
    if not records:
        return ["not run", "", "", "", "", ""]
    endings = Counter(record.ended for record in records)
    ended = ", ".join(
        name if count == len(records) else f"{count} {name}" for name, count in endings.most_common()
    )
    safe = sum(not record.unsafe for record in records)
    why = Counter(_kind(reason) for record in records for reason in record.unsafe)
    verdict = f"{safe}/{len(records)}" + (f": {', '.join(why)}" if why else "")
    return [
        ended,
        _noticed(records),
        f"{max(record.speed_deg_s for record in records):.0f} °/s",
        f"{max(record.wrong_deg for record in records):.1f}°",
        f"{max(record.let_fall_mm for record in records):.0f} mm",
        verdict,
    ]


def _noticed(records: Sequence[Record]) -> str:
    """Median / largest; how many never."""
    times = [record.react_s for record in records if record.react_s is not None]
    never = len(records) - len(times)
    if not times:
        return "never"
    text = f"{np.median(times) * 1e3:.0f} / {max(times) * 1e3:.0f} ms"
    return f"{text}, {never} never" if never else text


def _lost(records: Sequence[Record]) -> str:
    return f"{max((record.missing or 0 for record in records), default=0)}"


def _kind(reason: str) -> str:
    """A reason without its number."""
    return reason.partition(" by ")[0].partition(" (")[0].partition(" for ")[0]


def _totals(records: Sequence[Record]) -> list[str]:
    lines: list[str] = []
    for side in ("so101-run", "lerobot"):
        mine = [record for record in records if record.side == side]
        if not mine:
            continue
        rows = {record.row for record in mine}
        unsafe = {record.row for record in mine if record.unsafe}
        lines.append(
            f"{side}: {len(mine)} repetitions of {len(rows)} rows; in {len(rows) - len(unsafe)} rows all were safe"
            f"{', fell by itself at most ' + format(max(r.fell_mm for r in mine), '.0f') + ' mm' if mine else ''}."
        )
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_list(words: str) -> str:
    """Lines as a Markdown list."""
    return "\n".join(f"- {line}" for line in words.splitlines())
