"""so101-data check: is this dataset right, and what does it show?

    look -> numbers -> pictures -> text, JSON, page

Exit code 1: something is wrong, and no command would use the dataset.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from so101_eval.dataset_report.report import Report, as_data, headline, make_report, shown
from so101_policy.command_line.command_flags import Number, Parser
from so101_policy.command_line.command_shell import FAILED, OK, say
from so101_policy.command_line.console import Console
from so101_policy.command_line.next_steps import Step, next_steps, on_dataset, tell_next
from so101_policy.dataset_check.explained import AHEAD_S
from so101_policy.dataset_check.folder import INFO
from so101_policy.dataset_check.look import TOLERANCE_S, look
from so101_policy.errors import DatasetError
from so101_policy.files.whole_files import write_text
from so101_policy.findings import Level, in_words

STDOUT = Path("-")

EXAMPLES = """
  so101-data check data/palletize-2
  so101-data check data/palletize-2 --html=check.html
  so101-data check data/palletize-2 --no_video --json
  so101-data check user/so101_pick --html=check.html
"""

NOTES = """\
Wrong (stop): so101-train, so101-reliance and the others refuse the dataset.
Doubtful (warn): they go on and say so. Exit code 1 if something is wrong."""


def parser() -> Parser:
    """Of the command line."""
    flags = Parser(
        "so101-data check", "Is this dataset right, and what does it show?", EXAMPLES, epilog=NOTES
    )
    add = flags.add_argument
    add("dataset", help="folder of a LeRobotDataset v3, or the hub's USER/NAME")
    add("--no_video", dest="video", action="store_false", help="decode no pictures")
    add("--html", type=Path, metavar="PAGE", help="write a page with pictures")
    add("--json", type=Path, nargs="?", const=STDOUT, metavar="FILE",
        help="the report as JSON, into FILE, or on standard output in place of the text")  # fmt: skip
    add("--tolerance_s", type=Number(0, 1000), default=TOLERANCE_S, metavar="S",
        help="how far times of frames may be from 1/fps [s] (1e-4)")  # fmt: skip
    return flags


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises PolicyError, OSError."""
    asked = parser().parse_args(arguments)
    root = _folder(asked.dataset)
    seen = look(root, tolerance_s=asked.tolerance_s)
    with _progress() as bars:
        cameras = 0 if seen.about is None or not asked.video else len(seen.about.cameras)
        task = bars.add_task(
            "looking at pictures", total=cameras * (seen.about.episodes if seen.about else 0)
        )
        report = make_report(seen, asked.video, lambda: bars.advance(task))
    if asked.html is not None:
        from so101_eval.dataset_report.page import render  # matplotlib takes a second

        asked.html.parent.mkdir(parents=True, exist_ok=True)
        write_text(asked.html, render(report))
    text = json.dumps(as_data(report), indent=1) + "\n"
    if asked.json == STDOUT:
        say(text.rstrip("\n"))
    else:
        if asked.json is not None:
            write_text(asked.json, text)
        show(report)
        if asked.html is not None:
            say(f"page: {asked.html}")
    if any(finding.level == Level.STOP for finding in report.findings):
        return FAILED
    if asked.json != STDOUT:
        tell_next(next_steps(Step(on_dataset("so101-train", root), "train on it")))
    return OK


def show(report: Report) -> None:
    """For a person."""
    about = report.seen.about
    if about is not None:
        minutes = about.frames / about.fps / 60
        say(
            f"{report.seen.root}: {about.episodes} episodes, {about.frames} frames, {minutes:.1f} minutes at "
            f"{about.fps:g} per second; joints in {report.seen.unit}"
        )
    say(headline(report))
    for level in (Level.STOP, Level.WARN):
        for finding in report.findings:
            if finding.level == level:
                say(f"  {level}  {in_words(shown(finding, report.seen.root))}")
    if report.measures is not None:
        say(f"pauses: {float(report.measures.idle_N.mean()):.0%} of all frames")
    if report.explained is not None:
        value, low, high = (max(0.0, part) for part in report.explained.whole)
        say(
            f"the joints alone explain {value:.0%} [{low:.0%}, {high:.0%}] of the movement in the next {AHEAD_S:g} s: "
            "so much a policy can do without its cameras"
        )
    if report.picks is not None:
        how = "as so101-demos placed them" if report.picks.is_exact else "where the jaws closed"
        say(f"picked: {len(report.picks.episodes)} places ({how}), outline {report.picks.area_cm2:.0f} cm2")


def _folder(dataset: str) -> Path:
    """Raises DatasetError: it is neither a folder nor a hub's id."""
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        if not os.path.lexists(folder / INFO):
            inside = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
            raise DatasetError(f"{folder} is not a LeRobotDataset v3: it has no {INFO}; it holds {inside}")
        return folder
    if folder.exists() or dataset.count("/") != 1 or dataset.startswith((".", "/", "~")):
        raise DatasetError(f"there is no dataset folder {folder}; a dataset on the hub is written USER/NAME")
    from so101_policy.frames.dataset import (
        open_dataset,
    )  # LeRobot takes seconds, and a folder needs none of it

    return Path(open_dataset(dataset).root)


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)
