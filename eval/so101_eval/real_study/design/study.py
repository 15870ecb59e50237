"""What a study is, as data. `study.yaml` holds it; once locked, its bytes are canonical and their sha256 is the study.

The file is made by `so101-bench init`, may be edited until `so101-bench lock`, and is never written again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from so101_eval.errors import ConfigError
from so101_eval.evaluation.policy_specs import PolicySpec
from so101_eval.palletizing.scene.draw import EVAL_SEEDS, SUITE, Reset, check_seed, draw
from so101_eval.palletizing.scene.scenarios import changed, load_scenario
from so101_eval.palletizing.scene.tasks import Task, load_task
from so101_eval.palletizing.score.record import MILESTONES
from so101_eval.real_study.design.faults import FAULTS, VOID_REASONS, VOIDING
from so101_eval.real_study.design.own_task import OwnTask
from so101_eval.real_study.design.tolerances import Tolerances
from so101_eval.statistics import ALPHA
from so101_policy.errors import first_line
from so101_policy.files.plain_data import parse_yaml, read_text
from so101_policy.files.typed_data import typed
from so101_policy.files.whole_files import write_text
from so101_robot.joints import JOINTS

SCHEMA = 1
STUDY = "study.yaml"
FEWEST, MOST = 2, 6
"""Policies of a study."""
MOST_BLOCKS = 1000

BY_HAND = frozenset(
    ("start_band_m", "start_band_boxes", "pallet_shift_m", "pallet_shift_within", "pallet_yaw_rad", "pallet_yaw_within")
)  # fmt: skip
"""What a person can lay out on a table from an outline in the picture."""


class Start(NamedTuple):
    """One start: a cell of the evaluation and its seed."""

    scenario: str
    level: int
    seed: int


@dataclass(frozen=True)
class Study:
    """All that is decided before the first trial."""

    policies: tuple[PolicySpec, ...]
    """The others are compared with the first one."""
    task: str
    cells: tuple[tuple[str, int], ...]
    """Scenario and level; the blocks go round them."""
    blocks: int
    """Planned. A block is one start, played once by every policy."""
    difference: float
    """That the study was planned to find: 0.3 is 30 points."""
    start_pose: tuple[float, ...]
    """(6,) where every policy begins, in degrees and the gripper in percent."""
    primary: Literal["success", "credit"] = "success"
    """credit: the share of stages that were reached, mean over the boxes."""
    decided_by: Literal["operator", "camera"] = "operator"
    """camera: where it measured; where it did not, the operator."""
    practice: int = 2
    """Blocks at the start that do not count."""
    first_seed: int = EVAL_SEEDS.start
    time_limit_s: float | None = None
    """Of a trial, from the policy's first action; None: the task's."""
    latency: Literal["slowest", "own"] = "slowest"
    """slowest: every answer is held back until the slowest policy's would be there."""
    alpha: float = ALPHA
    dangers: int = 3
    """So many operator's stops for danger of one policy end the study."""
    voids: dict[str, str] = field(default_factory=lambda: dict(VOIDING))
    """Fault of the supervisor -> why the trial is void; faults that are not here count."""
    void_reasons: tuple[str, ...] = tuple(VOID_REASONS)
    """What an operator may void a trial for."""
    tolerances: Tolerances = field(default_factory=Tolerances)
    own: OwnTask | None = None
    """The task, where it is none of the built-in ones; its name is `task`."""
    suite: str = SUITE
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ConfigError(f"this study has schema {self.schema}; this version reads {SCHEMA}")
        check_policies(self.policies)
        if self.own is None:
            load_task(self.task)
        elif self.own.name != self.task:
            raise ConfigError(f"task is {self.task!r}, and own is {self.own.name!r}: expected the same name")
        for scenario, level in self.cells:
            _require_by_hand(scenario, level, self.own is not None)
        if not self.cells:
            raise ConfigError("cells: expected at least one scenario")
        if not 1 <= self.blocks <= MOST_BLOCKS or not 0 <= self.practice <= 20:
            raise ConfigError(
                f"blocks {self.blocks}, practice {self.practice}: expected 1 to {MOST_BLOCKS} and 0 to 20"
            )
        for seed in (self.first_seed, self.first_seed + self.blocks + self.practice - 1):
            check_seed(seed, "eval")
        if not 0 < self.difference <= 1 or not 0 < self.alpha < 0.5:
            raise ConfigError(
                f"difference {self.difference:g}, alpha {self.alpha:g}: expected shares from 0 to 1, and to 0.5"
            )
        if len(self.start_pose) != len(JOINTS):
            raise ConfigError(f"start_pose: expected a number for each of {', '.join(JOINTS)}")
        if unknown := sorted(set(self.voids) - set(FAULTS)):
            raise ConfigError(f"voids: there is no fault {unknown[0]!r}; possible are {', '.join(FAULTS)}")
        if unknown := sorted(set(self.void_reasons) - set(VOID_REASONS)):
            raise ConfigError(f"void_reasons: {unknown[0]!r} is none of {', '.join(VOID_REASONS)}")
        if self.limit_s <= 0 or self.dangers < 1:
            raise ConfigError(f"time_limit_s {self.limit_s:g}, dangers {self.dangers}: expected more than 0")

    @property
    def plan_task(self) -> Task:
        """As the scenes know it."""
        return load_task(self.task) if self.own is None else self.own.task

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of what is brought somewhere."""
        if self.own is not None:
            return self.own.names
        return tuple(f"box {number}" for number in range(1, self.plan_task.boxes + 1))

    @property
    def stages(self) -> tuple[str, ...]:
        """Of each object, in order."""
        return MILESTONES if self.own is None else self.own.stages

    @property
    def limit_s(self) -> float:
        """Of a trial [s]."""
        return self.plan_task.time_limit_s if self.time_limit_s is None else self.time_limit_s

    @property
    def comparisons(self) -> int:
        """Policies that are compared with the first."""
        return len(self.policies) - 1

    def start(self, block: int) -> Start:
        """Of a block; practice blocks are -1, -2, ... and use seeds after the last counted one."""
        place = block if block >= 0 else self.blocks - 1 - block
        scenario, level = self.cells[place % len(self.cells)]
        return Start(scenario, level, self.first_seed + place)

    def reset(self, block: int) -> Reset:
        """Where everything lies at its start; the same scene as in a simulation of this seed."""
        return draw(self.plan_task, *self.start(block), self.suite)

    def to_yaml(self) -> str:
        """Canonical: the same study gives the same bytes."""
        data = asdict(self)
        if self.own is None:
            del data["own"]  # as studies of before
        return yaml.safe_dump(_plain(data), sort_keys=True, allow_unicode=True, width=100)

    @property
    def sha256(self) -> str:
        """Of the canonical bytes."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()


def check_policies(policies: Sequence[PolicySpec]) -> None:
    """Raises `ConfigError` unless they are two to six of different names."""
    names = [policy.name for policy in policies]
    if not FEWEST <= len(names) <= MOST or len(set(names)) != len(names):
        raise ConfigError(f"policies {', '.join(names)}: expected {FEWEST} to {MOST} of different names")


def read_study(folder: Path) -> Study:
    """What `study.yaml` says, locked or not. Raises `ConfigError`."""
    path = folder / STUDY
    if not path.is_file():
        raise ConfigError(f"{folder} is no study: it has no {STUDY}; so101-bench init {folder} ... makes one")
    try:
        return typed(Study, parse_yaml(read_text(path)))
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem}") from problem
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{path}: {first_line(problem)}") from problem


def write_study(folder: Path, study: Study) -> None:
    """In its canonical form. Raises OSError."""
    write_text(folder / STUDY, study.to_yaml())


def _require_by_hand(scenario: str, level: int, own: bool) -> None:
    """Raises `ConfigError` for a scenario that a person cannot lay out, or that needs a pallet where there is none."""
    changes = set(changed(load_scenario(scenario).knobs(level)))
    if own and (of_pallet := sorted(name for name in changes if name.startswith("pallet_"))):
        raise ConfigError(
            f"the scenario {scenario} changes {', '.join(of_pallet)}, and this task has no pallet"
        )
    if others := sorted(changes - BY_HAND):
        raise ConfigError(
            f"the scenario {scenario} changes {', '.join(others)}, which nobody can lay out by hand; a study on an arm "
            "takes those of the start alone, such as nominal, box-start-edge, box-start-outside, pallet-shift"
        )


def _plain(value: Any) -> Any:
    """Tuples as lists, which is what YAML has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value  # an enum of texts is a text
