"""so101-eval report RUNS...: the page that is read, and report.json with all that it shows.

runs -> records -> data -> report.json -> episodes played again -> report.html
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from so101_eval.errors import ConfigError, EvalError
from so101_eval.evaluation.another_run import another_run
from so101_eval.evaluation.records import EpisodeRecord, read_runs
from so101_eval.evaluation.run_folder import plan_of
from so101_eval.json_lines import read_figures
from so101_eval.pool import one_thread
from so101_eval.progress import progress
from so101_eval.report.data.reliance import read_reliance
from so101_eval.report.data.report_data import report_data
from so101_eval.report.data.table import BASELINE
from so101_eval.report.media import BUDGET, Clip, Films, make_media
from so101_eval.report.page import render
from so101_policy.command_line.command_flags import Number, Parser
from so101_policy.command_line.console import Console
from so101_policy.files.whole_files import write_text

EXAMPLES = """
  so101-eval report outputs/eval/first
  so101-eval report outputs/eval/first --baseline=stock --no_videos
"""

PAGE, DATA, MEDIA = "report.html", "report.json", "media"
METRICS = "metrics.jsonl"
MEGABYTE = 2**20


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-eval report", "The page that is read, and report.json with all that it shows.", EXAMPLES
    )
    add = parser.add_argument
    add("folders", metavar="run", nargs="+", type=Path, help="run folders; their episodes go on one page")
    add("--output_dir", type=Path, metavar="DIR", help="where to (default: report/ in the first run)")
    add(
        "--baseline",
        metavar="VARIANT",
        help="what others are compared with (default: baseline, else the first policy)",
    )
    add(
        "--reliance", nargs="+", type=Path, default=[], metavar="FILE", help="reliance.json of so101-reliance"
    )
    add("--training", nargs="+", default=[], metavar="POLICY=DIR",
        help="output folders of so101-train: is the loss a predictor of success?")  # fmt: skip
    add("--no_videos", dest="videos", action="store_false", help="play nothing again: no pictures, no clips")
    add("--megabytes", type=Number(0, 10_000), default=BUDGET / MEGABYTE, metavar="N",
        help="most that pictures and clips may take (default: %(default)g)")  # fmt: skip
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Raises what is wrong with the request."""
    console, out = Console(stderr=True), options.output_dir or options.folders[0] / "report"
    records = read_runs(options.folders)
    reliance = [read_reliance(path) for path in options.reliance]
    training = dict(last_figures(text) for text in options.training)
    baseline = options.baseline or first_variant(records, options.folders[0])
    again = partial(_again, options.folders[-1], records)
    data = report_data(records, reliance, training, baseline, again)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / DATA, json.dumps(data, indent=1) + "\n")
    clips, problems = _media(data, records, options, out, console) if options.videos else ({}, [])
    write_text(out / PAGE, render(data, clips, problems))
    output = Console()
    output.print(data["sentence"]["headline"], style="bold", soft_wrap=True)
    output.print(f"page: {out / PAGE}", soft_wrap=True)
    return 0


def _again(folder: Path, records: Sequence[EpisodeRecord], scenes: int) -> str:
    """The command that plays so many scenes which none of the records has; of a run without a plan, in words."""
    first = max(record.seed for record in records) + 1
    try:
        return another_run(plan_of(folder), scenes, first, folder.with_name(f"{folder.name}-next"))
    except EvalError:
        return f"so101-eval run with --episodes={scenes} and --first_seed={first}"


def first_variant(records: Sequence[EpisodeRecord], folder: Path) -> str | None:
    """`baseline` where there is such a variant, else that of the first policy which the run was asked for."""
    variants = {record.variant for record in records}
    if BASELINE in variants:
        return BASELINE
    return next((spec.variant for spec in plan_of(folder).policies if spec.variant in variants), None)


def last_figures(text: str) -> tuple[str, Mapping[str, float]]:
    """`POLICY=DIR` -> the policy and the last value of every figure in the folder's metrics.jsonl.

    Raises:
        ConfigError: that is no folder of so101-train.
        RecordError: a line of its file is damaged.
    """
    name, sign, folder = text.partition("=")
    file = Path(folder) / METRICS
    if not sign or not file.is_file():
        raise ConfigError(f"--training {text}: expected POLICY=DIR, with DIR/{METRICS} of so101-train")
    figures: dict[str, float] = {}
    for line in read_figures(file):
        figures |= line
    return name, figures


def _media(
    data: Mapping[str, Any],
    records: Sequence[EpisodeRecord],
    options: argparse.Namespace,
    out: Path,
    console: Console,
) -> tuple[dict[str, Clip], list[str]]:
    one_thread()
    choices = data["choices"]
    with Films(options.folders, records) as films, progress(console) as bar:
        task = bar.add_task("playing again", total=sum(map(len, choices.values())))
        return make_media(
            choices, films.film, out / MEDIA, round(options.megabytes * MEGABYTE), lambda _: bar.advance(task)
        )
