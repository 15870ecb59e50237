"""One episode of an evaluation: a function of the plan and of which one it is.

A `Plan` is all that decides; it is written into the run and compared when a run is gone on with. A `Player` plays
episodes of one plan in one process. It loads each policy once and builds the arm once, and nothing goes over from
one episode to the next.
"""

import dataclasses
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from so101_eval.episode.episode import Attempt, Stage
from so101_eval.episode.policy_notes import AUTO, CHUNKS, LATENCY_S, PolicyNotes
from so101_eval.errors import ConfigError, EvalError
from so101_eval.evaluation.loaded_policies import Acting, Loaded, load
from so101_eval.evaluation.policy_specs import PolicySpec
from so101_eval.evaluation.records import EpisodeRecord, Key
from so101_eval.palletizing.scene.draw import EVAL_SEEDS, SUITE, Reset, check_seed, draw
from so101_eval.palletizing.scene.scenarios import NOMINAL, SCENARIOS, load_scenario
from so101_eval.palletizing.scene.tasks import load_task
from so101_policy.files.typed_data import typed
from so101_policy.inference.engine import check_engine, check_installed, installed_engine
from so101_policy.inference.graph import EngineError
from so101_robot.commands.run_config import OFF
from so101_robot.errors import RobotError
from so101_robot.loop.tick import Tick
from so101_robot.mock.cameras.backend import choose_backend
from so101_robot.mock.config import MockConfig
from so101_robot.runs.provenance import versions as package_versions

ALL = "all"
PLAIN = "plain"
"""LeRobot's own forward."""
LEVEL = 2
"""The published severity."""
SOURCES = ("so101_robot", "so101_policy", "so101_eval", "lerobot_policy_so101")
"""The packages that take part in an episode. All of their files count, data too: which of them an episode does not use
is a list that nobody keeps right."""
_NOT_SOURCE = ("__pycache__",)
"""Folders of what is made from the sources."""


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    task: str
    cells: tuple[tuple[str, int], ...]
    """Scenario and level."""
    episodes: int
    """Per cell and policy."""
    policies: tuple[PolicySpec, ...]
    first_seed: int = EVAL_SEEDS.start
    latency_s: float = LATENCY_S
    chunks: str = AUTO
    width: int = 96
    height: int = 96
    renderer: str = "auto"
    suite: str = SUITE
    engine: str = PLAIN
    """What computes a checkpoint's actions, of `so101_policy.inference.engine.ENGINES`. `auto`: the one that is
    installed, never a measurement, so that the load of a machine decides nothing. Runs of before: LeRobot's own."""
    camera_correction: str = OFF
    """Whether cameras that moved are put back, as `so101-run --camera.correct` does it: auto or off."""

    def __post_init__(self) -> None:
        load_task(self.task)
        for scenario, level in self.cells:
            load_scenario(scenario).knobs(level)
        if not self.cells or self.episodes < 1:
            raise ConfigError("nothing to do: expected a scenario and an episode")
        for seed in (self.seeds.start, self.seeds.stop - 1):
            check_seed(seed, "eval")
        if self.chunks not in CHUNKS:
            raise ConfigError(f"--chunks {self.chunks}: possible are {', '.join(CHUNKS)}")
        if self.camera_correction not in (AUTO, OFF):
            raise ConfigError(f"--camera_correction {self.camera_correction}: possible are {AUTO}, {OFF}")
        if not 0.0 <= self.latency_s <= 60.0:
            raise ConfigError(f"--latency {self.latency_s:g}: possible are 0 to 60 s")
        # what computes decides about the last digits of actions: the run stays with what this machine has
        object.__setattr__(self, "engine", _engine(self.engine))
        # what draws decides about pixels: the run stays with what this machine has
        object.__setattr__(self, "renderer", choose_backend(self.renderer))

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.episodes)

    def keys(self) -> Generator[Key]:
        """All episodes. Scene by scene, so that what is done at any time can be compared pair by pair."""
        for seed in self.seeds:
            for scenario, level in self.cells:
                for policy in self.policies:
                    yield Key(policy.name, self.task, scenario, level, seed)

    def policy(self, name: str) -> PolicySpec:
        """The policy of that name."""
        return next(spec for spec in self.policies if spec.name == name)

    def to_dict(self) -> dict[str, Any]:
        """As in run.json."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Plan":
        """Back from `to_dict`. Raises ValueError, and as the plan itself."""
        return typed(Plan, data, "plan")

    @property
    def identity(self) -> dict[str, Any]:
        """What must stay the same from one sitting to the next."""
        data = self.to_dict()
        if data["engine"] == PLAIN:
            del data["engine"]  # as in runs of before
        if data["camera_correction"] == OFF:
            del data["camera_correction"]  # as in runs of before
        return data | {"policies": {spec.name: spec.identity for spec in self.policies}}

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


def _engine(name: str) -> str:
    """The engine that is meant. Raises `ConfigError` for one that is not there."""
    try:
        check_engine(name)
        if name == AUTO:
            return installed_engine()
        check_installed(name)
    except EngineError as error:
        raise ConfigError(f"--engine {name}: {error}") from error
    return name


def parse_cells(text: str, level: int = LEVEL) -> tuple[tuple[str, int], ...]:
    """`nominal,camera-pose,box-start-outside:3` -> scenarios and levels; `all` for every one that an arm can be in.

    Raises:
        ConfigError: no such scenario or level, or one that is there twice.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    words = [name for word in words for name in (_possible() if word == ALL else (word,))]
    cells = tuple(_cell(word, level) for word in words)
    if twice := sorted({f"{name}:{level}" for name, level in cells if cells.count((name, level)) > 1}):
        raise ConfigError(f"--scenarios: {', '.join(twice)} is there twice")
    if not cells:
        raise ConfigError(f"--scenarios: expected at least one of {', '.join(SCENARIOS)}")
    return cells


def _cell(word: str, level: int) -> tuple[str, int]:
    name, colon, own = word.partition(":")
    scenario = load_scenario(name)
    if colon and not own.isdigit():
        raise ConfigError(f"--scenarios {word}: {own!r} is no level; possible are 0, 1, 2, 3")
    chosen = int(own) if colon else 0 if name == NOMINAL else level
    scenario.knobs(chosen)
    return scenario.name, chosen


def _possible() -> list[str]:
    return [name for name, scenario in SCENARIOS.items() if scenario.possible]


@cache
def versions() -> dict[str, str | None]:
    """What decides about an episode besides its plan: packages, and a hash of this project's own source."""
    return {"python": platform.python_version(), **package_versions(), "code": _code_sha256()[:16]}


def _code_sha256() -> str:
    """Of all files of the packages that take part: an edit between two sittings is another version, a commit that
    changes documents or tests is not."""
    digest = hashlib.sha256()
    for package in SOURCES:
        root = _folder(package)
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(root)
            if not any(part in _NOT_SOURCE for part in name.parts):
                digest.update(f"{package}/{name.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _folder(package: str) -> Path:
    """Where a package lies."""
    found = find_spec(package)
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(next(iter(found.submodule_search_locations)))


class Player:
    """Plays episodes of one plan, one after the other. A context manager; closing twice is fine."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._stage: Stage | None = None
        self._loaded: dict[str, Loaded] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def stage(self) -> Stage:
        """Where all episodes take place."""
        if self._stage is None:
            plan = self.plan
            mock = MockConfig(
                width=plan.width, height=plan.height, renderer=plan.renderer, realtime_factor=0.0
            )
            self._stage = Stage(plan.task, mock)
        return self._stage

    def close(self) -> None:
        """Free the renderer."""
        if self._stage is not None:
            self._stage.close()
            self._stage = None

    def play(self, key: Key, on_tick: Callable[[Tick], None] | None = None) -> EpisodeRecord:
        """That episode. Raises `EvalError`, naming it, where it cannot be played; a policy that fails, fails it."""
        spec = self.plan.policy(key.policy)
        reset = draw(key.task, key.scenario, key.level, key.seed, self.plan.suite)
        loaded, notes = self._policy(spec), PolicyNotes()  # loading is no part of the episode's time
        told = [notes.on_tick] if on_tick is None else [notes.on_tick, on_tick]
        started = time.time(), time.perf_counter(), time.process_time()
        try:
            attempt = self.stage.attempt(reset, lambda stage: loaded(stage, reset), *told)
        except RobotError as error:
            raise EvalError(f"{key}: {error}") from error
        timing = {
            "started_unix_s": started[0],
            "wall_s": time.perf_counter() - started[1],
            "cpu_s": time.process_time() - started[2],
            "host": platform.node(),
            "pid": os.getpid(),
        }
        return self._record(spec, reset, attempt, notes, timing)

    def _policy(self, spec: PolicySpec) -> Loaded:
        if spec.name not in self._loaded:
            self._loaded[spec.name] = self.load(spec)
        return self._loaded[spec.name]

    def load(self, spec: PolicySpec) -> Loaded:
        """The policy, from where its files are. Raises as `loaded_policies.load`."""
        plan = self.plan
        return load(spec, plan.latency_s, plan.chunks, plan.engine, plan.camera_correction)

    def _record(
        self, spec: PolicySpec, reset: Reset, attempt: Attempt, notes: PolicyNotes, timing: dict[str, Any]
    ) -> EpisodeRecord:
        loaded = self._policy(spec)
        acting = notes if isinstance(loaded, Acting) else None
        return EpisodeRecord(
            kind="simulation",
            run=self.plan.sha256[:16],
            policy=spec.name,
            policy_sha256=spec.sha256,
            variant=spec.variant,
            train_seed=spec.train_seed,
            task=reset.task,
            suite=reset.suite,
            scenario=reset.scenario,
            level=reset.level,
            seed=reset.seed,
            scene_sha256=hashlib.sha256(reset.to_json().encode()).hexdigest(),
            latency_s=self.plan.latency_s,
            chunks=loaded.playing.mode if isinstance(loaded, Acting) else "none",
            success=attempt.score.success,
            score=json.loads(attempt.score.to_json()),
            duration_s=attempt.score.duration_s,
            ticks=len(attempt.trajectory.time_s),
            shares=None if acting is None else acting.shares(),
            inferences=None if acting is None else acting.inferences,
            held_ticks=None if acting is None else acting.held_ticks,
            interventions=attempt.interventions,
            state_hash=attempt.state_hash,
            versions=versions(),
            timing=timing | {"policy_s": 0.0 if acting is None else acting.policy_s},
            end=str(attempt.end),
            fault=attempt.fault,
            exception=attempt.exception,
            ending=attempt.ending,
            engine=loaded.policy.engine_name if isinstance(loaded, Acting) else None,
            happened=attempt.happened,
            correction=loaded.correction if isinstance(loaded, Acting) else None,
        )
