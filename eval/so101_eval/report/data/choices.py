"""Which episodes are shown: discordant pairs, the worst, some at random, and one of each class of failure.

Chance is a hash of what an episode is, so the same records show the same episodes, and nobody picks cherries.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.report.data.describe import judged
from so101_eval.report.data.table import Arm, Cell, Policy, Table

PAIRS_EACH_WAY = 2
WORST, RANDOM = 5, 5


def chosen(table: Table, rival: Arm | None) -> dict[str, list[dict[str, Any]]]:
    """Names of the episodes; `rival` is the arm that the baseline's pairs are shown with."""
    main = [record for arm in table.arms for record in judged(table.episodes(arm, table.main))]
    everything = [
        record for arm in table.arms for cell in table.cells for record in table.episodes(arm, cell)
    ]
    return {
        "pairs": _pairs(table, rival) if rival else [],
        "worst": [_name(record) for record in sorted(judged(everything), key=_badness)[:WORST]],
        "random": [_name(record) for record in sorted(everything, key=_chance)[:RANDOM]],
        "failures": _one_of_each(main or judged(everything)),
    }


def _pairs(table: Table, rival: Arm) -> list[dict[str, Any]]:
    """Scenes on which only one succeeded: in the main cell up to `PAIRS_EACH_WAY` each way, in every other cell one;
    by checkpoints of the same training seed where there are such."""
    rows: list[dict[str, Any]] = []
    for cell in table.cells:
        found: dict[bool, list[tuple[EpisodeRecord, EpisodeRecord]]] = {True: [], False: []}
        for first, second in _partners(rival, table.baseline):
            theirs, ours = table.of_policy(first, cell), table.of_policy(second, cell)
            for scene in sorted(theirs.keys() & ours.keys()):
                a, b = theirs[scene], ours[scene]
                if a.success is not None and b.success is not None and a.success != b.success:
                    found[a.success].append((a, b))
        of = {won: len(pairs) for won, pairs in found.items()}
        if cell == table.main:
            shown = [
                pair
                for won in (True, False)
                for pair in sorted(found[won], key=_pair_chance)[:PAIRS_EACH_WAY]
            ]
        else:
            shown = sorted(found[True] + found[False], key=_pair_chance)[:1]
        for a, b in shown:
            winner = a.arm if a.success else b.arm
            rows.append({"first": _name(a), "second": _name(b), "winner": winner, "of": of[bool(a.success)]})
    return rows


def _partners(first: Arm, second: Arm) -> list[tuple[Policy, Policy]]:
    by_seed = {policy.train_seed: policy for policy in second.policies}
    same = [(policy, by_seed[policy.train_seed]) for policy in first.policies if policy.train_seed in by_seed]
    return same or [(first.policies[0], second.policies[0])]


def _one_of_each(records: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    first: dict[str, EpisodeRecord] = {}
    for record in sorted(records, key=_chance):
        if record.score["failure"]:
            first.setdefault(record.score["failure"]["kind"], record)
    return [_name(first[kind]) | {"time_s": first[kind].score["failure"]["time_s"]} for kind in sorted(first)]


def _badness(record: EpisodeRecord) -> tuple[float, float, str]:
    harm = (record.score["collisions"] or 0) + (record.score["drops"] or 0)
    return record.score["credit"] or 0.0, -float(harm), _chance(record)


def _chance(record: EpisodeRecord) -> str:
    cell: Sequence[object] = Cell(record.kind, record.task, record.suite, record.scenario, record.level)
    text = "|".join(map(str, [*cell, record.seed, record.policy_sha256]))
    return hashlib.sha256(text.encode()).hexdigest()


def _pair_chance(pair: tuple[EpisodeRecord, EpisodeRecord]) -> str:
    return _chance(pair[0])


def _name(record: EpisodeRecord) -> dict[str, Any]:
    failure = record.score["failure"]
    return {
        **record.key._asdict(), "kind": record.kind, "arm": record.arm, "run": record.run, "success": record.success,
        "credit": record.score["credit"], "failure": failure and failure["kind"], "duration_s": record.duration_s,
    }  # fmt: skip
