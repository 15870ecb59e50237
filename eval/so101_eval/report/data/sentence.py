"""The first sentence of a report: it says what was found in the main cell, and cannot say more.

What was not told apart is never called equal: the difference that would have been found stands beside it. A claim about
a way to train needs training seeds: with one checkpoint the sentence speaks of checkpoints, with fewer than
`ENOUGH_SEEDS` too, and with more the distribution-free test over seeds has to agree. With several rivals the p-values
are Holm's.
"""

from collections.abc import Sequence
from typing import Any

from so101_eval.report.data.contrasts import ENOUGH_SEEDS, Contrast, Rate
from so101_eval.statistics import ALPHA, POWER, holm, smallest_permutation_p
from so101_eval.statistics.compare import points, span

LEVEL = f"{100 * (1 - ALPHA):g} %"
BETTER, WORSE, OPEN = "better", "worse", "open"


def verdicts(contrasts: Sequence[Contrast]) -> list[str]:
    """Of each first arm against the second, all told at once: better, worse or open."""
    adjusted = holm([found.p_value for found in contrasts])
    return [_verdict(found, float(p)) for found, p in zip(contrasts, adjusted, strict=True)]


def _verdict(found: Contrast, adjusted: float) -> str:
    speaks_of_training = min(found.seeds) >= ENOUGH_SEEDS
    agrees = found.permutation_p is None or not speaks_of_training or found.permutation_p <= ALPHA
    if adjusted > ALPHA or not agrees or found.difference == 0:
        return OPEN
    return BETTER if found.difference > 0 else WORSE


def first_sentence(contrasts: Sequence[Contrast], baseline: str, rate: Rate | None) -> dict[str, Any]:
    """`headline`, then `finding` with its numbers, then `reach`: what it does not say."""
    if not contrasts:
        return _alone(baseline, rate)
    found = verdicts(contrasts)
    head = _one(contrasts[0], found[0]) if len(contrasts) == 1 else _many(contrasts, found, baseline)
    finding = [_capital(contrast.text) for contrast in contrasts] if len(contrasts) == 1 else []
    return {"headline": head, "finding": finding, "reach": _reach(contrasts)}


def _alone(name: str, rate: Rate | None) -> dict[str, Any]:
    if rate is None:
        return {
            "headline": f"Nothing is known of {name}: no episode has a verdict.",
            "finding": [],
            "reach": [],
        }
    low, high = rate.interval
    interval = f"{LEVEL} interval {100 * low:.0f} to {100 * high:.0f} %"
    head = f"{name} succeeded in {rate.successes} of {rate.episodes} episodes ({interval})."
    return {"headline": head, "finding": [], "reach": ["One arm alone: there is nothing to compare it with."]}


def _one(found: Contrast, verdict: str) -> str:
    first, second = _who(found, 0), _who(found, 1)
    numbers = f"{points(found.difference)} points, {LEVEL} interval {span(found.interval)}"
    if verdict == OPEN:
        could = "no difference was" if found.detectable is None else f"{points(found.detectable)} points was"
        return f"Could not tell {first} and {second} apart ({numbers}); {could} detectable."
    better, worse = (first, second) if verdict == BETTER else (second, first)
    gain = found.difference if verdict == BETTER else -found.difference
    interval = found.interval if verdict == BETTER else found.interval.mirrored()
    verb = "succeed" if better.startswith("the ") else "succeeds"
    numbers = f"{points(gain)} points, {LEVEL} interval {span(interval)}"
    return f"{_capital(better)} {verb} more often than {worse}: {numbers}."


def _many(contrasts: Sequence[Contrast], found: Sequence[str], baseline: str) -> str:
    named = {
        kind: [f"{contrast.first} ({points(contrast.difference)} points)"
               for contrast, verdict in zip(contrasts, found, strict=True) if verdict == kind]
        for kind in (BETTER, WORSE, OPEN)
    }  # fmt: skip
    parts: list[str] = []
    if named[BETTER]:
        parts.append(f"{_list(named[BETTER])} succeeded more often than {baseline}")
    if named[WORSE]:
        parts.append(f"{_list(named[WORSE])} less often" + ("" if parts else f" than {baseline}"))
    if named[OPEN]:
        parts.append(_could_not(contrasts, found, named[OPEN], baseline, bool(parts)))
    return _capital("; ".join(parts)) + "."


def _could_not(
    contrasts: Sequence[Contrast], found: Sequence[str], names: list[str], baseline: str, others: bool
) -> str:
    known = [
        c.detectable for c, verdict in zip(contrasts, found, strict=True) if verdict == OPEN and c.detectable
    ]
    size = f", where {points(max(known))} points was detectable" if known else ""
    if len(names) == len(contrasts):
        return f"none of the {len(names)} arms could be told apart from {baseline}{size}"
    return f"{_list(names)} could not be told apart from {'it' if others else baseline}{size}"


def _reach(contrasts: Sequence[Contrast]) -> list[str]:
    fewest = min(min(found.seeds) for found in contrasts)
    said: list[str] = []
    if fewest == 1:
        said.append("One checkpoint of an arm compares checkpoints, not ways to train.")
    elif fewest < ENOUGH_SEEDS:
        said.append(
            f"{fewest} training seeds an arm: a test over seeds that assumes no distribution cannot go below "
            f"p = {smallest_permutation_p(fewest):.2g}, so this speaks of these checkpoints. Intervals include "
            f"the luck of training as far as {fewest} seeds show it; a claim about the way to train needs "
            f"{ENOUGH_SEEDS} or more."
        )
    else:
        said.append(
            f"{fewest} training seeds an arm or more: this speaks of the ways to train, on these scenes."
        )
    if len(contrasts) > 1:
        said.append(
            f"{len(contrasts)} arms were compared with the baseline; p-values are Holm's for that many."
        )
    if any(found.detectable is not None for found in contrasts):
        said.append(
            f"Detectable: the smallest difference found with {100 * POWER:g} % probability by as many episodes."
        )
    return said


def _who(found: Contrast, side: int) -> str:
    """An arm of several checkpoints too few to speak of training is called by them."""
    name, seeds = (found.first, found.second)[side], found.seeds[side]
    return f"the {seeds} checkpoints of {name}" if seeds > 1 and min(found.seeds) < ENOUGH_SEEDS else name


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capital(text: str) -> str:
    """Only what the report itself says; an arm is called as it is called."""
    return text[0].upper() + text[1:] if text.startswith(("the ", "none ", "could ")) else text
