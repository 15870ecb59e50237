"""The first sentence of a report: it says what was found in the main cell, and cannot say more.

Where no difference was detected, nothing is called equal: the difference that would have been detected is given, and
the number of scenes that a smaller one takes. A claim about
a way to train needs training seeds: with one checkpoint the sentence speaks of checkpoints, with fewer than
`ENOUGH_SEEDS` too, and with more the distribution-free test over seeds has to agree. With several rivals the p-values
are Holm's.
"""

from collections.abc import Callable, Sequence
from typing import Any

from so101_eval.report.data.contrasts import ENOUGH_SEEDS, Contrast, Rate
from so101_eval.statistics import ALPHA, POWER, holm, pairs_needed_exactly, smallest_permutation_p
from so101_eval.statistics.compare import points, span

LEVEL = f"{100 * (1 - ALPHA):g} %"
WANTED = 0.15
"""Difference for which the next run is planned."""
BETTER, WORSE, OPEN = "better", "worse", "open"


def verdicts(contrasts: Sequence[Contrast]) -> list[str]:
    """Of each first variant against the second, all told at once: better, worse or open."""
    adjusted = holm([found.p_value for found in contrasts])
    return [_verdict(found, float(p)) for found, p in zip(contrasts, adjusted, strict=True)]


def _verdict(found: Contrast, adjusted: float) -> str:
    speaks_of_training = min(found.seeds) >= ENOUGH_SEEDS
    agrees = found.permutation_p is None or not speaks_of_training or found.permutation_p <= ALPHA
    if adjusted > ALPHA or not agrees or found.difference == 0:
        return OPEN
    return BETTER if found.difference > 0 else WORSE


def first_sentence(
    contrasts: Sequence[Contrast], baseline: str, rate: Rate | None, again: Callable[[int], str] | None = None
) -> dict[str, Any]:
    """`headline`, then `finding` with its numbers, then `reach`: what it does not say.

    Args:
        contrasts: of the main cell, each against the baseline.
        baseline: its name.
        rate: of the baseline, for where there is nothing to compare it with.
        again: number of scenes -> the command that plays so many new ones.
    """
    if not contrasts:
        return _alone(baseline, rate)
    found = verdicts(contrasts)
    head = _one(contrasts[0], found[0]) if len(contrasts) == 1 else _many(contrasts, found, baseline)
    finding = [_capital(contrast.text) for contrast in contrasts] if len(contrasts) == 1 else []
    return {"headline": head, "finding": finding, "reach": _reach(contrasts, again)}


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
    return {
        "headline": head,
        "finding": [],
        "reach": ["Only one variant: there is nothing to compare it with."],
    }


def _one(found: Contrast, verdict: str) -> str:
    first, second = _who(found, 0), _who(found, 1)
    numbers = f"{points(found.difference)} points, {LEVEL} interval {span(found.interval)}"
    if verdict == OPEN:
        return f"No difference between {first} and {second} was detected: {numbers}.{_reached([found])}"
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
        every = len(named[OPEN]) == len(contrasts)
        of = f"any of the {len(contrasts)} variants" if every else _list(named[OPEN])
        parts.append(f"no difference from {'it' if parts else baseline} was detected for {of}")
    unclear = [contrast for contrast, verdict in zip(contrasts, found, strict=True) if verdict == OPEN]
    return _capital("; ".join(parts)) + "." + _reached(unclear)


def _reached(unclear: Sequence[Contrast]) -> str:
    """What these episodes could have shown; nothing of a control without training seeds, where it is not known."""
    known = [found.detectable for found in unclear if found.pairs or min(found.seeds) > 1]
    if not known:
        return ""
    if None in known:
        return " With so few episodes even the largest difference can go undetected."
    return f" Differences of {100 * max(filter(None, known)):.0f} points or more would probably have been."


def _reach(contrasts: Sequence[Contrast], again: Callable[[int], str] | None) -> list[str]:
    fewest = min(min(found.seeds) for found in contrasts)
    said: list[str] = []
    if fewest == 1:
        said.append("One checkpoint of a variant compares checkpoints, not ways to train.")
    elif fewest < ENOUGH_SEEDS:
        said.append(
            f"{fewest} training seeds a variant: a test over seeds that assumes no distribution cannot go below "
            f"p = {smallest_permutation_p(fewest):.2g}, so this speaks of these checkpoints. Intervals include "
            f"the luck of training as far as {fewest} seeds show it; a claim about the way to train needs "
            f"{ENOUGH_SEEDS} or more."
        )
    else:
        said.append(
            f"{fewest} training seeds a variant or more: this speaks of the ways to train, on these scenes."
        )
    if len(contrasts) > 1:
        said.append(
            f"{len(contrasts)} variants were compared with the baseline; p-values are Holm's for that many."
        )
    if any(found.detectable is not None for found in contrasts):
        said.append(
            f"“Probably” is with {100 * POWER:g} % probability by as many episodes"
            + (" and in one comparison alone; Holm's for several takes more." if len(contrasts) > 1 else ".")
        )
    return said + _next(contrasts, again)


def _next(contrasts: Sequence[Contrast], again: Callable[[int], str] | None) -> list[str]:
    """How many scenes a new run needs for `WANTED`, where a checkpoint met another and too few were played.

    In the power of McNemar's exact test the share of scenes on which only one succeeds is this run's, by the rule of
    succession. A new run: to go on until something is found would not keep the test's promise.
    """
    found = verdicts(contrasts)
    pairs = [c.pairs for c, verdict in zip(contrasts, found, strict=True) if verdict == OPEN and c.pairs]
    if not pairs:
        return []
    alone = max((each.first_only + each.second_only + 1) / (each.total + 2) for each in pairs)
    shares = (max(alone, WANTED) + WANTED) / 2, (max(alone, WANTED) - WANTED) / 2
    needed = pairs_needed_exactly(*shares, alpha=ALPHA / len(contrasts))
    if needed <= min(each.total for each in pairs):
        return []
    anew = f"so101-eval run with --episodes={needed} and a --first_seed that makes all scenes new."
    return [
        f"For {100 * WANTED:.0f} points about {needed} scenes per scenario are needed. Next: "
        f"{again(needed) if again else anew}"
    ]


def _who(found: Contrast, side: int) -> str:
    """A variant of several checkpoints too few to speak of training is called by them."""
    name, seeds = (found.first, found.second)[side], found.seeds[side]
    return f"the {seeds} checkpoints of {name}" if seeds > 1 and min(found.seeds) < ENOUGH_SEEDS else name


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capital(text: str) -> str:
    """Only what the report itself says; a variant is called as it is called."""
    return text[0].upper() + text[1:] if text.startswith(("the ", "no ", "could ")) else text
