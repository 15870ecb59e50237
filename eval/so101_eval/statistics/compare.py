"""Which of two policies is better, from counts alone: so101-eval compare.

Two counts are taken as episodes on scenes of their own. With one number about pairs they are episodes on common
scenes, which tells more. The first line is the answer and cannot claim more than was found: where no difference was
detected, nothing is called equal, and the difference that would probably have been detected is given.
"""

import argparse
import math
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table

from so101_eval.errors import ConfigError
from so101_eval.statistics import (
    ALPHA,
    POWER,
    Interval,
    Pairs,
    barnard,
    detectable_difference,
    detectable_unpaired,
    detectable_watched,
    difference_interval,
    e_value,
    mcnemar_exact,
    mcnemar_mid_p,
    newcombe,
    newcombe_paired,
    tango,
    wilson,
)
from so101_eval.statistics.checks import MOST, check_count, check_open
from so101_eval.statistics.power import MOST_WATCHED
from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.console import Console
from so101_policy.errors import shown

EXAMPLES = """
  so101-eval compare 17/20 14/20
  so101-eval compare 17/20 14/20 --both=12
  so101-eval compare --both=12 --only_first=5 --only_second=2 --neither=1 \\
      --names regularized baseline
  so101-eval compare --both=12 --only_first=5 --only_second=2 --neither=1 \\
      --watched
"""

WIDTH = 110
"""Characters of the output where it is written to a file."""
NAMES = ("first", "second")
CAPTION = (
    "The test decides; intervals by a formula can disagree with it at the edge. One checkpoint of each policy compares "
    "checkpoints, not training methods."
)


class Count(NamedTuple):
    """Of one policy."""

    successes: int
    episodes: int

    def __str__(self) -> str:
        return f"{self.successes}/{self.episodes}"


class Comparison(NamedTuple):
    """The answer, and what it rests on. Differences are of success rates, first minus second."""

    names: tuple[str, str]
    first: Count
    second: Count
    winner: str | None
    """None is "no difference was detected", never "equal"."""
    interval: Interval
    interval_name: str
    evidence: str
    """What decided: a p-value or an e-value with its name."""
    detectable: float | None
    """Smallest difference that would have been found with this power; None where none would."""
    alpha: float
    power: float
    details: tuple[tuple[str, str], ...]
    """Further figures, by what they are."""

    @property
    def difference(self) -> float:
        return self.first.successes / self.first.episodes - self.second.successes / self.second.episodes

    def sentence(self) -> str:
        """The finding in one line."""
        if self.winner is not None:
            return f"{self.winner} is better. {self.numbers()}"
        if self.detectable is None:
            return f"no difference was detected; with so few episodes none could have been. {self.numbers()}"
        reached = f"{points(self.detectable)} points would probably have been"
        return f"no difference was detected; {reached}. {self.numbers()}"

    def numbers(self) -> str:
        """What it rests on."""
        counts = f"{self.names[0]} {self.first}, {self.names[1]} {self.second}"
        level = f"{100 * (1 - self.alpha):g} % interval {span(self.interval)} points"
        return f"{counts}: {points(self.difference)} points, {level} ({self.evidence})."


def compare_counts(
    first: Count,
    second: Count,
    names: tuple[str, str] = NAMES,
    alpha: float = ALPHA,
    power: float = POWER,
) -> Comparison:
    """Episodes on scenes that were not shared, by Barnard's test. Raises StatisticsError for impossible counts."""
    interval, p_value = newcombe(first, second, alpha), barnard(first, second)
    middle = (first.successes + second.successes) / (first.episodes + second.episodes)
    return Comparison(
        names,
        first,
        second,
        _winner(
            names, first.successes * second.episodes - second.successes * first.episodes, p_value <= alpha
        ),
        interval,
        "Newcombe",
        f"Barnard p = {p_value:.2g}",
        detectable_unpaired(first.episodes, second.episodes, middle, power, alpha),
        alpha,
        power,
        (),
    )


def compare_pairs(
    pairs: Pairs,
    names: tuple[str, str] = NAMES,
    alpha: float = ALPHA,
    power: float = POWER,
    watched: bool = False,
) -> Comparison:
    """Episodes on common scenes: by the exact McNemar test, or by the e-value where results were watched.

    Raises StatisticsError for impossible counts.
    """
    pairs.check()
    won, lost, total = pairs.first_only, pairs.second_only, pairs.total
    evidence, p_value = e_value(won, lost), mcnemar_exact(won, lost)
    alone = (won + lost) / total
    anytime = difference_interval([1.0] * won + [-1.0] * lost + [0.0] * (total - won - lost), alpha)
    fixed = tango(won, lost, total, alpha)
    if watched:
        decided, interval, name = evidence >= 1 / alpha, anytime, "confidence sequence"
        detectable = detectable_watched(total, alone, power, alpha) if total <= MOST_WATCHED else None
    else:
        decided, interval, name = p_value <= alpha, fixed, "Tango"
        detectable = detectable_difference(total, alone, power, alpha)
    return Comparison(
        names,
        Count(pairs.first, total),
        Count(pairs.second, total),
        _winner(names, won - lost, decided),
        interval,
        name,
        f"e = {e_value_text(evidence)}, needed {1 / alpha:g}"
        if watched
        else f"exact McNemar p = {p_value:.2g}",
        detectable,
        alpha,
        power,
        (
            (
                "pairs",
                f"both {pairs.both}, {names[0]} only {won}, {names[1]} only {lost}, neither {pairs.neither}",
            ),
            (
                "exact McNemar",
                f"p = {p_value:.3g}, mid-p = {mcnemar_mid_p(won, lost):.3g}; for a fixed number of pairs",
            ),
            (
                "e-value",
                f"{e_value_text(evidence)}, decides at {1 / alpha:g}; holds however often one looked",
            ),
            ("Tango interval", f"{span(fixed)} points; for a fixed number of pairs"),
            (
                "Newcombe interval",
                f"{span(newcombe_paired(pairs, alpha))} points; for a fixed number of pairs",
            ),
            ("confidence sequence", f"{span(anytime)} points; holds however often one looked"),
            ("phi", f"{pairs.phi:+.2f}: correlation of the two outcomes, what pairing gains"),
        ),
    )


def points(difference: float) -> str:
    """In percentage points with a sign."""
    rounded = round(100 * difference)
    return f"{rounded:+d}" if rounded else "0"


def span(interval: Interval) -> str:
    """Of differences, in percentage points."""
    return f"{points(interval.low)} to {points(interval.high)}"


def e_value_text(value: float) -> str:
    """Short, also where it is astronomic."""
    return "above 1e300" if math.isinf(value) else f"{value:.3g}"


def parser() -> Parser:
    """Of the command line."""
    parser = Parser("so101-eval compare", "Which of two policies is better, from counts alone.", EXAMPLES)
    parser.add_argument(
        "counts", nargs="*", metavar="SUCCESSES/EPISODES", help="of the first and the second policy"
    )
    parser.add_argument("--both", type=Whole(), help="pairs in which both policies succeeded")
    parser.add_argument("--only_first", type=Whole(), help="pairs in which only the first policy succeeded")
    parser.add_argument("--only_second", type=Whole(), help="pairs in which only the second policy succeeded")
    parser.add_argument(
        "--neither", type=Whole(), help="pairs in which both failed (default: 0, or what counts leave)"
    )
    parser.add_argument(
        "--watched", action="store_true", help="results were looked at on the way: decide by e-value"
    )
    parser.add_argument(
        "--names", nargs=2, default=NAMES, metavar=("FIRST", "SECOND"), help="of the two policies"
    )
    parser.add_argument(
        "--alpha", type=Number(), default=ALPHA, help="false alarms allowed (default: %(default)s)"
    )
    parser.add_argument(
        "--power", type=Number(), default=POWER, help="of what was detectable (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """The command on parsed arguments; returns its exit code. Raises EvalError for what cannot be."""
    comparison = _compare(options)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(comparison.sentence(), style="bold", soft_wrap=True)
    console.print(_table(comparison))
    return 0


def _compare(options: argparse.Namespace) -> Comparison:
    check_open("--alpha", options.alpha)
    check_open("--power", options.power)
    names: tuple[str, str] = (options.names[0], options.names[1])
    counts = [_count(text) for text in options.counts]
    if len(counts) not in (0, 2):
        raise ConfigError(f"{len(counts)} count(s): expected two, such as 17/20 14/20, or none and pairs")
    told = {
        "both": options.both,
        "first_only": options.only_first,
        "second_only": options.only_second,
        "neither": options.neither,
    }
    for flag in ("both", "only_first", "only_second", "neither"):
        if (value := getattr(options, flag)) is not None:
            check_count(f"--{flag}", value)
    if any(value is not None for value in told.values()):
        pairs = _complete(told, counts[0], counts[1]) if counts else _only_pairs(told)
        return compare_pairs(pairs, names, options.alpha, options.power, options.watched)
    if not counts:
        raise ConfigError(
            "nothing to compare: expected two counts such as 17/20 14/20, or --both, --only_first, ..."
        )
    if options.watched:
        raise ConfigError("--watched needs pairs: add --both, the scenes on which both policies succeeded")
    return compare_counts(counts[0], counts[1], names, options.alpha, options.power)


def _count(text: str) -> Count:
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if match is None:
        raise ConfigError(f"{shown(text)}: expected SUCCESSES/EPISODES, such as 17/20")
    if max(map(len, match.groups())) > len(str(MOST)):
        raise ConfigError(f"{shown(text)}: expected at most {MOST} episodes")
    count = Count(int(match[1]), int(match[2]))
    if count.successes > count.episodes:
        raise ConfigError(f"{text}: there cannot be more successes than episodes")
    if count.episodes == 0:
        raise ConfigError(f"{text}: nothing was tried; expected 1 episode or more")
    return count


def _only_pairs(told: dict[str, int | None]) -> Pairs:
    both, first_only, second_only = told["both"], told["first_only"], told["second_only"]
    if both is None or first_only is None or second_only is None:
        raise ConfigError("pairs without counts need --both, --only_first and --only_second")
    return Pairs(both, first_only, second_only, told["neither"] or 0)


def _complete(told: dict[str, int | None], first: Count, second: Count) -> Pairs:
    """Counts and one number about pairs tell all four. Raises ConfigError where they contradict each other."""
    if first.episodes != second.episodes:
        raise ConfigError(f"{first} and {second}: pairs need as many episodes of both policies")
    both = next(
        value
        for value in (
            told["both"],
            _minus(first.successes, told["first_only"]),
            _minus(second.successes, told["second_only"]),
            _minus(first.successes + second.successes - first.episodes, told["neither"], sign=-1),
        )
        if value is not None
    )
    left = first.episodes - first.successes - second.successes + both
    pairs = Pairs(both, first.successes - both, second.successes - both, left)
    if min(pairs) < 0 or any(value not in (None, pairs._asdict()[name]) for name, value in told.items()):
        asked = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in told.items() if value is not None
        )
        raise ConfigError(f"{first} and {second} cannot have {asked}: {_possible(first, second)}")
    return pairs


def _minus(total: int, part: int | None, sign: int = 1) -> int | None:
    return None if part is None else total - sign * part


def _possible(first: Count, second: Count) -> str:
    least = max(0, first.successes + second.successes - first.episodes)
    return f"both can succeed on {least} to {min(first.successes, second.successes)} scenes, the rest follows"


def _winner(names: tuple[str, str], excess: int, decided: bool) -> str | None:
    return names[0 if excess > 0 else 1] if decided and excess else None


def _table(comparison: Comparison) -> Table:
    level = f"{100 * (1 - comparison.alpha):g} %"
    table = Table(show_header=False, caption=CAPTION)
    for name, count in zip(comparison.names, (comparison.first, comparison.second), strict=True):
        low, high = wilson(*count, comparison.alpha)
        share = count.successes / count.episodes
        table.add_row(name, f"{count} = {share:.0%}, {level} interval {low:.0%} to {high:.0%} (Wilson)")
    table.add_row(
        "difference",
        f"{points(comparison.difference)} points, {level} interval {span(comparison.interval)} "
        f"({comparison.interval_name})",
    )
    detectable = "none" if comparison.detectable is None else f"{points(comparison.detectable)} points"
    table.add_row(
        "detectable", f"{detectable}, with {comparison.power:.0%} power at alpha {comparison.alpha:g}"
    )
    for name, text in comparison.details:
        table.add_row(name, text)
    return table
