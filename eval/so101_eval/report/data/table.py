"""Episodes by arm, cell and scene; in an order that neither the records' order nor anybody's name decides.

An arm is a way to train, with a policy per training seed (or one policy that was never trained). A cell is a task
under a scenario of a severity. The scenes of a cell are its seeds: every policy met the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from so101_eval.errors import ConfigError
from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.palletizing.scene.scenarios import NOMINAL, SCENARIOS

BASELINE = "baseline"
"""The arm that others are compared with where it is not said."""

FloatArray = npt.NDArray[np.float64]


class Cell(NamedTuple):
    """What is comparable."""

    kind: str
    task: str
    suite: str
    scenario: str
    level: int


class Policy(NamedTuple):
    """One checkpoint, or one thing that was never trained."""

    name: str
    sha256: str
    train_seed: int | None


@dataclass(frozen=True)
class Arm:
    """Policies that differ in their training seed only."""

    name: str
    policies: tuple[Policy, ...]


class Outcomes(NamedTuple):
    """Of an arm in a cell: success by policy S and scene N, on the scenes that all its policies finished."""

    policies: tuple[Policy, ...]
    scenes: tuple[int, ...]
    success_SN: FloatArray

    def on(self, scenes: Sequence[int]) -> FloatArray:
        """Its columns for these scenes."""
        where = {scene: index for index, scene in enumerate(self.scenes)}
        return self.success_SN[:, [where[scene] for scene in scenes]]


class Table:
    """All episodes of a report."""

    def __init__(self, records: Iterable[EpisodeRecord], baseline: str | None = None) -> None:
        """Raises `ConfigError` where there are no episodes, or none of the asked baseline."""
        self._episodes: defaultdict[tuple[str, Cell], dict[int, EpisodeRecord]] = defaultdict(dict)
        policies: defaultdict[str, set[Policy]] = defaultdict(set)
        for record in sorted(
            records, key=lambda record: record.seed
        ):  # sums round alike in any order of records
            self._episodes[record.policy, cell_of(record)][record.seed] = record
            policies[record.arm].add(Policy(record.policy, record.policy_sha256, record.train_seed))
        if not policies:
            raise ConfigError("nothing to report: the runs hold no episode")
        self.cells = sorted({cell for _, cell in self._episodes}, key=_cell_order)
        self.main = self.cells[0]
        """The cell that the first sentence is about: the nominal one where there is one."""
        arms = [Arm(name, tuple(sorted(found, key=_policy_order))) for name, found in policies.items()]
        self.baseline = _baseline(arms, baseline)
        self.arms = [
            self.baseline,
            *sorted((arm for arm in arms if arm is not self.baseline), key=self._rank),
        ]
        """The baseline, then the others from the best to the worst in the main cell."""

    @property
    def others(self) -> list[Arm]:
        """All arms but the baseline."""
        return self.arms[1:]

    def episodes(self, arm: Arm, cell: Cell) -> list[EpisodeRecord]:
        """Of all its policies, policy by policy and scene by scene, with or without a verdict."""
        return [
            record
            for policy in arm.policies
            for record in self._episodes.get((policy.name, cell), {}).values()
        ]

    def of_policy(self, policy: Policy, cell: Cell) -> dict[int, EpisodeRecord]:
        """By scene."""
        return self._episodes.get((policy.name, cell), {})

    def outcomes(self, arm: Arm, cell: Cell) -> Outcomes:
        """Empty where none of its policies was evaluated there."""
        met = [policy for policy in arm.policies if self.of_policy(policy, cell)]
        known = [
            {seed for seed, record in self.of_policy(policy, cell).items() if record.success is not None}
            for policy in met
        ]
        scenes = tuple(sorted(set.intersection(*known))) if known else ()
        success = [[bool(self.of_policy(policy, cell)[seed].success) for seed in scenes] for policy in met]
        return Outcomes(
            tuple(met), scenes, np.array(success, dtype=np.float64).reshape(len(met), len(scenes))
        )

    def _rank(self, arm: Arm) -> tuple[float, list[str]]:
        success = self.outcomes(arm, self.main).success_SN
        return -float(success.mean()) if success.size else 1.0, [policy.sha256 for policy in arm.policies]


def cell_of(record: EpisodeRecord) -> Cell:
    return Cell(record.kind, record.task, record.suite, record.scenario, record.level)


def common_scenes(first: Outcomes, second: Outcomes) -> list[int]:
    """On which both can be compared."""
    return sorted(set(first.scenes) & set(second.scenes))


def cell_labels(cells: Sequence[Cell]) -> dict[Cell, str]:
    """Short, and different for each: what all cells share is left out."""
    labels: dict[Cell, str] = {}
    for cell in cells:
        words = [cell.scenario if cell.level == 0 else f"{cell.scenario}:{cell.level}"]
        words += [getattr(cell, part) for part in ("task", "suite", "kind") if _varies(cells, part)]
        labels[cell] = ", ".join(words)
    return labels


def _varies(cells: Sequence[Cell], part: str) -> bool:
    return len({getattr(cell, part) for cell in cells}) > 1


def _cell_order(cell: Cell) -> tuple[bool, str, str, int, int, str]:
    """The real arm first, the nominal scene first in each task, then as the scenarios are listed."""
    names = list(SCENARIOS)
    place = names.index(cell.scenario) if cell.scenario in names else len(names)
    place = -1 if cell.scenario == NOMINAL else place
    return cell.kind != "real", cell.task, cell.suite, place, cell.level, cell.scenario


def _policy_order(policy: Policy) -> tuple[int, str, str]:
    return -1 if policy.train_seed is None else policy.train_seed, policy.sha256, policy.name


def _baseline(arms: Sequence[Arm], asked: str | None) -> Arm:
    by_name = {arm.name: arm for arm in arms}
    if asked is not None and asked not in by_name:
        raise ConfigError(
            f"--baseline {asked}: the runs have no such arm; possible: {', '.join(sorted(by_name))}"
        )
    return by_name[asked or (BASELINE if BASELINE in by_name else min(by_name))]
