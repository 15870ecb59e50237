"""so101-bench lock STUDY: from here on it is what it is."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from so101_eval.real_study.commands.init import sentence
from so101_eval.real_study.design.lock import lock
from so101_eval.real_study.design.sealing import KEYS, keys_folder, order_bits, places
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.rule.planning import detectable, power_of
from so101_policy.command_line.command_flags import Parser
from so101_policy.command_line.command_shell import OK
from so101_policy.command_line.console import Console

EXAMPLES = """
  so101-bench lock studies/looks
"""


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-bench lock",
        "Hashes the study, draws who drives when, and seals that. study.yaml is never\nedited again.",
        EXAMPLES,
    )
    parser.add_argument("folder", metavar="study", type=Path, help="folder of so101-bench init")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Raises what is wrong with the request."""
    study, console = lock(options.folder), Console()
    for line in says(study):
        console.print(line, soft_wrap=True)
    console.print(
        f"next: so101-bench rehearse {options.folder}, then so101-bench run {options.folder}", soft_wrap=True
    )
    return OK


def says(study: Study) -> list[str]:
    """What was locked, and what it can show."""
    policies = len(study.policies)
    planned = power_of(study.blocks, study.difference, study.primary, policies=policies, alpha=study.alpha)
    least = detectable(study.blocks, study.primary, policies, study.alpha)
    lines = [
        f"locked: sha256 {study.sha256}",
        f"{places(study)} orders drawn, {order_bits(policies):.1f} bits each; the secret key is in {keys_folder()} "
        f"({KEYS} moves it). A look into the study's folder tells nothing; whoever opens the key knows all.",
        sentence(planned, study.difference, study.primary, policies),
    ]
    if least is None:
        lines.append("So many blocks do not find even 50 points four times of five.")
    else:
        lines.append(
            f"The least that so many blocks find four times of five is about {100 * least:.0f} points."
        )
    if study.latency == "own":
        lines.append("latency: own. Answers are not held back, so their times may tell the policies apart.")
    return lines
