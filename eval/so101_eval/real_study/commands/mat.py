"""so101-bench mat STUDY: the mat under boxes and pallet, to be printed in true size."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from so101_eval.errors import ConfigError
from so101_eval.real_study.design.study import read_study
from so101_eval.real_study.measurement.mat import Mat
from so101_eval.real_study.measurement.mat_pdf import PAGES_MM, write_mat
from so101_policy.command_line.command_flags import Parser
from so101_policy.command_line.command_shell import OK, say

FILE = "mat.pdf"
EXAMPLES = """
  so101-bench mat studies/looks
  so101-bench mat studies/looks --page=a4
"""


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-bench mat",
        "Draws the mat of a study's task in true size: pick area, pallet corners,\nslots, tags, a bar of 100 mm.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("folder", metavar="study", type=Path, help="folder of so101-bench init")
    add("--page", choices=tuple(PAGES_MM), default="a3",
        help="a3 is one sheet, the others two to be cut and taped (default: %(default)s)")  # fmt: skip
    add("--output", type=Path, metavar="FILE", help=f"(default: {FILE} in the study's folder)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Raises what is wrong with the request."""
    study = read_study(options.folder)
    if study.own is not None:
        raise ConfigError(
            f"{study.task} is a task of its own: the mat is that of a pallet. Outlines of the start come by the "
            "camera's place: so101-calibrate cameras front"
        )
    task = study.plan_task
    path: Path = options.output or options.folder / FILE
    pages = write_mat(Mat(task), path, options.page)
    say(
        f"{path}: {pages} page{'s' if pages > 1 else ''}. Print at 100 %, not fitted to the page, and measure the bar:"
    )
    say(
        "100 mm, or say what it is with --bar_mm of so101-bench run. Near edge to the arm, then `run` says how it lies."
    )
    return OK
