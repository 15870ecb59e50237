"""How many episodes a difference needs, and which difference a number of episodes can show: so101-eval plan.

Four ways to run a comparison: on separate scenes; on common scenes with a fixed number of pairs; the same with the
outcomes correlated by the scenes' difficulty (phi, which `so101-eval compare` prints for pairs that were run); and
watched after every pair, ended as soon as it is clear. Numbers are of episodes of each policy.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.table import Table

from so101_eval.errors import ConfigError
from so101_eval.statistics import (
    ALPHA,
    POWER,
    discordance,
    largest_phi,
    mcnemar_power,
    pairs_needed_exactly,
    sequential_power,
    smallest_permutation_p,
    unpaired_needed,
    unpaired_power,
)
from so101_eval.statistics.checks import check_open, check_probability
from so101_eval.statistics.power import MOST_NEEDED, MOST_WATCHED, smallest_difference
from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.console import Console


def count(text: str) -> int:
    """A whole number from 1 on. Raises ArgumentTypeError, ValueError."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: expected 1 or more")
    return value


def amount(text: str) -> float:
    """A finite number above 0. Raises ArgumentTypeError, ValueError."""
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{value:g}: expected a number above 0")
    return value


EXAMPLES = """
  so101-eval plan
  so101-eval plan --base=60% --difference=15%
  so101-eval plan --base=0.6 --difference=0.1 --phi=0.3 --episodes=200
"""

WIDTH = 110
"""Characters of the output where it is written to a file."""
DIFFERENCES = (0.05, 0.10, 0.15, 0.20, 0.30)
EPISODES = (20, 50, 100, 200, 500)
PHI = 0.3
"""Of two policies on common scenes, where nothing better is known: between none and what common scenes can give."""
PLANNED = 3
"""A watched study is followed for this many times the pairs of a fixed one; it needs less than half more of them."""
MOST_FOLLOWED = 10_000
"""Pairs up to which a watched study is followed when planning: some seconds."""


class Design(NamedTuple):
    """What is to be told apart, and how surely."""

    base: float
    """Success rate of the worse policy."""
    phi: float
    power: float
    alpha: float


class Needed(NamedTuple):
    """Episodes of each policy that find a difference."""

    difference: float
    separate: int
    """On separate scenes."""
    paired: int
    """On common scenes that turn out to decide nothing (phi 0)."""
    correlated: int
    """On common scenes, with phi."""
    planned: int | None
    """Watched after every pair, with phi: the most that is run. None beyond what was followed."""
    mean: float | None
    """Watched after every pair, with phi: run on average."""


class Detectable(NamedTuple):
    """Smallest improvements over the base rate that so many episodes of each policy find; None where none is, and for
    a watched study of more pairs than `MOST_WATCHED`."""

    episodes: int
    separate: float | None
    paired: float | None
    correlated: float | None
    watched: float | None


def needed(design: Design, difference: float) -> Needed:
    """Raises StatisticsError where base + difference is no success rate, or the difference is none."""
    better = design.base + difference
    check_probability("base rate + difference", better)
    separate = unpaired_needed(better, design.base, design.power, design.alpha)
    paired = pairs_needed_exactly(*discordance(better, design.base), design.power, design.alpha)
    only = _alone(design, better)
    correlated = pairs_needed_exactly(*only, design.power, design.alpha)
    planned = mean = None
    if PLANNED * correlated <= MOST_FOLLOWED:
        watched = sequential_power(*only, PLANNED * correlated, design.alpha)
        planned = watched.pairs_for(design.power)
        mean = None if planned is None else watched.mean_pairs(planned)
    return Needed(difference, separate, paired, correlated, planned, mean)


def detectable(design: Design, episodes: int) -> Detectable:
    """Raises StatisticsError for impossible rates."""
    base, alpha = design.base, design.alpha

    def smallest(power_against: Callable[[float], float]) -> float | None:
        most = 1 - base
        found = smallest_difference(lambda d: d > most or power_against(base + d) >= design.power)
        return None if found is None or found > most else found

    watched = (
        smallest(lambda better: float(sequential_power(*_alone(design, better), episodes, alpha).first[-1]))
        if episodes <= MOST_WATCHED
        else None
    )
    return Detectable(
        episodes,
        smallest(lambda better: unpaired_power(episodes, episodes, better, base, alpha)),
        smallest(lambda better: mcnemar_power(episodes, *discordance(better, base), alpha)),
        smallest(lambda better: mcnemar_power(episodes, *_alone(design, better), alpha)),
        watched,
    )


def sentence(design: Design, found: Needed) -> str:
    """The answer in one line."""
    better = design.base + found.difference
    watched = (
        "watched after every pair it takes too many to say"
        if found.planned is None or found.mean is None
        else f"watched after every pair, plan {found.planned} and use {found.mean:.0f} on average"
    )
    return (
        f"{better:.3g} against {design.base:.3g} ({100 * found.difference:+.3g} points) takes {found.correlated} "
        f"episodes of each policy on common scenes (phi {design.phi:g}; {found.paired} if phi is 0), "
        f"{found.separate} on separate ones; {watched}."
    )


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-eval plan",
        "How many episodes a difference needs, and which difference a number of episodes\ncan show.",
        EXAMPLES,
    )
    parser.add_argument(
        "--base", default="60%", help="success of the worse policy (default: 60%%)", metavar="SHARE"
    )
    parser.add_argument(
        "--difference", default="15%", help="to be found, in points (default: 15%%)", metavar="SHARE"
    )
    parser.add_argument(
        "--phi", type=Number(), default=PHI, help="correlation on common scenes (default: %(default)s)"
    )
    parser.add_argument("--episodes", type=Whole(), help="of each policy: also say what so many can show")
    parser.add_argument("--power", type=Number(), default=POWER, help="default: %(default)s")
    parser.add_argument(
        "--alpha", type=Number(), default=ALPHA, help="false alarms allowed (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """The command on parsed arguments; returns its exit code. Raises EvalError for what cannot be."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    design = _design(options)
    asked = _share("--difference", options.difference)
    if asked == 0:
        raise ConfigError("--difference 0: no number of episodes shows a difference that is not there")
    if options.episodes is not None and not 1 <= options.episodes <= MOST_NEEDED:
        raise ConfigError(f"--episodes {options.episodes}: expected 1 to {MOST_NEEDED}")
    answer = needed(design, asked)
    rows = [needed(design, d) for d in _with(DIFFERENCES, asked) if d != asked and design.base + d <= 1]
    numbers = [detectable(design, n) for n in _with(EPISODES, options.episodes)]
    console.print(sentence(design, answer), style="bold", soft_wrap=True)
    console.print(_needed_table(design, sorted([*rows, answer])))
    console.print(_detectable_table(design, numbers))
    console.print(_advice(), soft_wrap=True)
    return 0


def _alone(design: Design, better: float) -> tuple[float, float]:
    """Probabilities that only the better and only the worse policy succeed; less phi where rates forbid it."""
    return discordance(better, design.base, min(design.phi, largest_phi(better, design.base)))


def _design(options: argparse.Namespace) -> Design:
    base = _share("--base", options.base)
    check_open("--power", options.power)
    check_open("--alpha", options.alpha)
    if not 0 <= options.phi <= 1:
        raise ConfigError(
            f"--phi {options.phi:g}: expected 0 (scenes decide nothing) to 1 (scenes decide alone)"
        )
    return Design(base, options.phi, options.power, options.alpha)


def _share(name: str, text: str) -> float:
    """0.15, 15% or 15: more than 1 can only be percent."""
    number = text.removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        raise ConfigError(f"{name} {text!r}: expected a share such as 0.15 or 15%") from None
    value /= 100 if text.endswith("%") or value > 1 else 1
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} {text}: expected 0 to 1, or 0% to 100%")
    return value


def _with[N: float](values: Sequence[N], more: N | None) -> list[N]:
    return sorted({*values, *([] if more is None else [more])})


def _needed_table(design: Design, rows: Sequence[Needed]) -> Table:
    title = (
        f"episodes of each policy for {design.power:.0%} power from {design.base:.0%}, alpha {design.alpha:g}"
    )
    table = _table(title, "points", design)
    table.add_column("watched, phi: plan", justify="right")
    table.add_column("on average", justify="right")
    for row in rows:
        watched = ("-", "-") if row.planned is None else (str(row.planned), f"{row.mean:.0f}")
        counts = (str(row.separate), str(row.paired), str(row.correlated))
        table.add_row(f"{100 * row.difference:+.3g}", *counts, *watched)
    return table


def _detectable_table(design: Design, rows: Sequence[Detectable]) -> Table:
    table = _table(f"points above {design.base:.0%} found with {design.power:.0%} power", "episodes", design)
    table.add_column("watched, phi", justify="right")
    for row in rows:
        found = ("-" if value is None else f"{100 * value:+.0f}" for value in row[1:])
        table.add_row(str(row.episodes), *found)
    return table


def _table(title: str, first: str, design: Design) -> Table:
    table = Table(title=title)
    for name in (first, "separate scenes", "common, phi 0", f"common, phi {design.phi:g}"):
        table.add_column(name, justify="right")
    return table


def _advice() -> str:
    return (
        "Episodes say which checkpoint is better. Which training method is better takes several training seeds of "
        f"each: 3 against 3 never reach p < {smallest_permutation_p(3):g}, 5 against 5 reach "
        f"{smallest_permutation_p(5):.3f} at best."
    )
