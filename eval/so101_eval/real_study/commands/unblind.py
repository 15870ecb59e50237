"""so101-bench unblind STUDY: names for codes, once, at the end."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from so101_eval.real_study.unblinding.unblind import unblind
from so101_policy.command_line.command_flags import Parser
from so101_policy.command_line.command_shell import OK
from so101_policy.command_line.console import Console

EXAMPLES = """
  so101-bench unblind studies/looks
  so101-eval report studies/looks
"""


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-bench unblind",
        "Says which policy drove which trial, and what the study found. No trial can be\nadded afterwards.",
        EXAMPLES,
    )
    parser.add_argument("folder", metavar="study", type=Path, help="folder of a study that is over")
    parser.add_argument("--early", action="store_true", help="although blocks are missing")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Raises what is wrong with the request."""
    summary, console = unblind(options.folder, options.early), Console()
    for line in summary.lines():
        console.print(line, soft_wrap=True)
    console.print(
        f"written: episodes.jsonl and its tables; next: so101-eval report {options.folder}", soft_wrap=True
    )
    return OK
