"""What is kept of every episode: one schema for the simulation and for the real arm, and the files of a run.

A run folder holds

    run.json         what was asked for: plan, policies with their hashes, versions; written once, before all else
    episodes.jsonl   one `EpisodeRecord` a line; appended while the run goes on, sorted by key when it is complete
    episodes.csv     the same for a spreadsheet, without what is nested
    eval_info.json   the same as `lerobot-eval` writes it; a policy is a group, a scenario a task

An episode is known by its `Key`. All that may differ between two machines or two evenings stands under `timing`;
the rest of a simulated episode is a function of plan, policy and versions.
"""

import csv
import dataclasses
import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from so101_eval.errors import RecordError
from so101_eval.json_lines import parse_line, to_json
from so101_eval.palletizing.scene.tasks import TASKS, is_own, load_task
from so101_eval.palletizing.score.record import Score
from so101_policy.errors import first_line, one_line, shown
from so101_policy.files.plain_data import parse_json
from so101_policy.files.typed_data import typed
from so101_policy.files.whole_files import write_text

SCHEMA = 1
LONGEST_NAME = 200
"""Characters of a policy, a task, a scenario."""
LONGEST_SAID, LONGEST_ERROR = 280, 600
"""Characters of anything else of a record in a message, and of what is wrong with it."""
KINDS = ("simulation", "real", "rehearsal")
"""rehearsal: a study of a real arm, played on the mock arm to see that all of it works."""
LAID_OUT = "laid out"
RUN, EPISODES, TABLE, EVAL_INFO = "run.json", "episodes.jsonl", "episodes.csv", "eval_info.json"


class Key(NamedTuple):
    """Which episode; the order of a finished file."""

    policy: str
    task: str
    scenario: str
    level: int
    seed: int

    def __str__(self) -> str:
        return f"{self.policy}, {self.task} {self.scenario}:{self.level}, seed {self.seed}"


@dataclass(frozen=True)
class EpisodeRecord:
    """One policy's attempt at one scene."""

    kind: str
    """One of `KINDS`."""
    run: str
    """Identity of what was asked for; runs of the same plan share it."""
    policy: str
    policy_sha256: str
    """Of a checkpoint's weights, or of what a built-in policy is made of."""
    variant: str
    """Policies that differ in their training seed only share one."""
    train_seed: int | None
    task: str
    suite: str
    scenario: str
    level: int
    seed: int
    scene_sha256: str | None
    """Of the whole reset: the same for every policy that met this scene."""
    latency_s: float | None
    """Stated inference latency; None on a real arm, where it is measured."""
    chunks: str
    """How chunks were joined; `none` for what does not plan in chunks."""
    success: bool | None
    score: dict[str, Any]
    """`palletizing.record.Score` as plain data."""
    duration_s: float
    ticks: int
    shares: dict[str, Any] | None
    """Mean over the inferences of the decoder's attention shares; None for what is no ACT."""
    inferences: int | None
    held_ticks: int | None
    """Control ticks on which the policy had no action ready, the first answer included."""
    interventions: dict[str, int]
    """Ticks on which the guard changed or stopped something, by rule and joint."""
    state_hash: str | None
    """Of arm and world at the end; None on a real arm."""
    versions: dict[str, str | None]
    timing: dict[str, Any]
    """started_unix_s, wall_s, cpu_s, policy_s (in forward passes), host, pid."""
    media: dict[str, Any] | None = None
    start: str = LAID_OUT
    """How it began: with the arm laid out at the scene's start pose, the same for every policy."""
    end: str | None = None
    """Why it was over, one of `attempt.End`; None in records of before 0.2, which do not say."""
    fault: str | None = None
    """The fault for which the loop's supervisor ended it; None where it did not."""
    exception: str | None = None
    """Class of what the policy raised, where that ended it."""
    ending: str | None = None
    """What became of the arm after the score was read: skipped, home or not home; None: not recorded."""
    happened: dict[str, float] | None = None
    """What was done to the scene in the middle of it, and when [s]; None: not recorded."""
    engine: str | None = None
    """What computed the actions; its version is in `versions`. None: no checkpoint, or not recorded, which was
    LeRobot's own forward."""
    correction: dict[str, Any] | None = None
    """How cameras were put back (`correcting.py`): cameras, moved_again, failed; None: they were not."""
    grasp: dict[str, Any] | None = None
    """Where the hand first closed, against the box (`real_study.measurement.grasp`): box, box_mm, hand_mm, off_mm; or
    why_not. None: not looked at, as in the simulation."""
    overridden: bool | None = None
    """On an arm: somebody began although a box was measured to lie elsewhere than it should. None: not asked."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise RecordError(f"this episode has schema {self.schema}; this version reads {SCHEMA}")
        if self.kind not in KINDS:
            raise RecordError(f"an episode of kind {shown(self.kind)}; possible are {', '.join(KINDS)}")

    @property
    def key(self) -> Key:
        return Key(self.policy, self.task, self.scenario, self.level, self.seed)

    def full_score(self) -> Score:
        """The score with its types. Raises `RecordError` for a damaged one."""
        return Score.from_json(json.dumps(self.score))

    def comparable(self) -> dict[str, Any]:
        """Everything but `timing`: equal for two plays of the same episode."""
        data = dataclasses.asdict(self)
        del data["timing"]
        return data

    def to_json(self) -> str:
        """One line."""
        return to_json(self)

    @staticmethod
    def from_json(text: str) -> "EpisodeRecord":
        """Back from `to_json`. Raises `RecordError` for anything else."""
        try:
            data = parse_line(text)
            if not isinstance(data, dict):
                raise ValueError(f"it is {shown(data)}")
            if data.get("schema") != SCHEMA:
                raise RecordError(
                    f"this episode has schema {shown(data.get('schema'))}; this version reads {SCHEMA}"
                )
            if "arm" in data:  # as version 0.1.0 called it
                data["variant"] = data.pop("arm")
            record = typed(EpisodeRecord, data)
            typed(Score, record.score, "score")
            _check_figures(record)
        except ValueError as error:
            raise RecordError(f"this is no episode: {one_line(str(error), LONGEST_ERROR)}") from error
        return record


def _check_figures(record: EpisodeRecord) -> None:
    """Raises ValueError for what no episode has, or what is missing of figures that reports are made of."""
    for name in ("policy", "variant", "task", "scenario"):
        value: str = getattr(record, name)
        if not value.isprintable() or not 0 < len(value) <= LONGEST_NAME:
            raise ValueError(
                f"{name} is {shown(value)}, expected a name of at most {LONGEST_NAME} characters"
            )
    for name in ("level", "duration_s", "ticks", "inferences", "held_ticks", "latency_s"):
        if (getattr(record, name) or 0) < 0:
            raise ValueError(f"{name} is {getattr(record, name)}, expected 0 or more")
    typed(float, record.timing.get("wall_s"), "timing.wall_s")
    shares = typed(dict[str, float | dict[str, float | None] | None], record.shares or {}, "shares")
    drawn = {name: shares.get(name) for name in ("state", "vision", "latent")}
    typed(dict[str, float | None], drawn, "shares")
    typed(dict[str, float | None], shares.get("uniform") or {}, "shares.uniform")
    typed(dict[str, str | None], record.media or {}, "media")
    if record.grasp and "why_not" not in record.grasp:
        for name in ("box_mm", "hand_mm"):
            if len(typed(list[float], record.grasp.get(name), f"grasp.{name}")) != 2:
                raise ValueError(f"grasp.{name} is {shown(record.grasp[name])}, expected two numbers")
        typed(float, record.grasp.get("off_mm"), "grasp.off_mm")


# Reading


def read_episodes(path: Path) -> list[EpisodeRecord]:
    """All whole lines of an episodes.jsonl, sorted by key. A last line that was cut off does not count.

    Raises:
        RecordError: a line is damaged, or an episode occurs twice.
        OSError: the file cannot be read.
    """
    found: dict[Key, EpisodeRecord] = {}
    lines = path.read_bytes().split(b"\n")[:-1]  # what comes after the last line end is empty, or cut off
    for number, line in enumerate(lines, 1):
        try:
            record = EpisodeRecord.from_json(line.decode())
        except (RecordError, UnicodeDecodeError) as error:
            raise RecordError(f"{path}, line {number}: {error}") from error
        if record.key in found:
            raise RecordError(f"{path}, line {number}: the episode {record.key} is there twice")
        found[record.key] = record
    return [found[key] for key in sorted(found)]


def read_runs(folders: Iterable[Path]) -> list[EpisodeRecord]:
    """The episodes of several runs together.

    Raises:
        RecordError: one folder is no run, or they do not belong together; see `check_together`.
    """
    records: dict[Key, EpisodeRecord] = {}
    for folder in folders:
        if not (folder / EPISODES).is_file():
            raise RecordError(f"{folder} is no run of so101-eval: it has no {EPISODES}")
        for record in read_episodes(folder / EPISODES):
            if record.key in records and records[record.key].comparable() != record.comparable():
                raise RecordError(
                    f"{folder}: the episode {record.key} is in another run too, and went otherwise"
                )
            records[record.key] = record
    check_together(list(records.values()))
    return [records[key] for key in sorted(records)]


def check_together(records: Sequence[EpisodeRecord]) -> None:
    """Whether these may stand in one table. Raises `RecordError` for a task that is not known, versions that are mixed,
    a name that means two checkpoints, or a scene that was not the same for all."""
    if unknown := sorted({record.task for record in records if not is_own(record.task)} - TASKS.keys()):
        raise RecordError(
            f"a task that this version does not know: {shown(unknown[0])}; expected one of {', '.join(TASKS)}"
        )
    for record in records:
        slots = 0 if is_own(record.task) else len(load_task(record.task).slots)
        for box in record.score["boxes"]:
            if box["slot"] is not None and not 0 <= box["slot"] < slots:
                raise RecordError(
                    f"the episode {record.key}: a box is in slot {box['slot']}; {record.task} has {slots} slots"
                )
    for what, belongs, value in _ONE_OF:
        seen: dict[str, str] = {}
        for record in records:
            owner, found = belongs(record), value(record)
            if seen.setdefault(owner, found) != found:
                raise RecordError(
                    f"{what} {one_line(owner, LONGEST_SAID)}: {one_line(seen[owner], LONGEST_SAID)} and "
                    f"{one_line(found, LONGEST_SAID)}; evaluate them in runs of one version"
                )


def _versions(record: EpisodeRecord) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))


_ONE_OF: tuple[tuple[str, Callable[[EpisodeRecord], str], Callable[[EpisodeRecord], str]], ...] = (
    ("records of two versions are mixed, kind", lambda record: record.kind, _versions),
    ("one name, two checkpoints: policy", lambda record: record.policy, lambda record: record.policy_sha256),
    (
        "policies met different scenes:",
        lambda record: f"{record.task} {record.suite} {record.scenario}:{record.level}, seed {record.seed}",
        lambda record: str(record.scene_sha256),
    ),
)  # fmt: skip


# Writing


def cut_tail(path: Path) -> None:
    """Take away what follows the last whole line: an append that was cut off."""
    if not path.is_file():
        return
    whole = path.read_bytes().rfind(b"\n") + 1
    if whole < path.stat().st_size:
        os.truncate(path, whole)


def write_tables(folder: Path, records: Sequence[EpisodeRecord]) -> None:
    """The sorted episodes.jsonl of a complete run, and what is made of it."""
    ordered = sorted(records, key=lambda record: record.key)
    write_text(folder / TABLE, as_csv(ordered))
    write_text(folder / EVAL_INFO, json.dumps(as_eval_info(ordered), indent=2))
    write_text(folder / EPISODES, "".join(record.to_json() + "\n" for record in ordered))


def as_csv(records: Sequence[EpisodeRecord]) -> str:
    """A line an episode, without what depends on the evening."""
    text = io.StringIO()
    rows = [_row(record) for record in records]
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["policy"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


_FROM_SCORE = ("credit", "drops", "collisions", "empty_grasps", "robot_s", "seconds_per_box", "boxes_per_hour",
               "sparc", "ldlj")  # fmt: skip


def _row(record: EpisodeRecord) -> dict[str, Any]:
    score = record.score
    boxes: list[dict[str, Any]] = score["boxes"]
    errors_mm = [box["error_mm"] for box in boxes if box["good"] and box["error_mm"] is not None]
    failure: dict[str, Any] = score["failure"] or {}
    shares = record.shares or {}
    return {
        **record.key._asdict(),
        "variant": record.variant,
        "train_seed": record.train_seed,
        "kind": record.kind,
        "success": None if record.success is None else int(record.success),
        "boxes": len(boxes),
        "good_boxes": sum(bool(box["good"]) for box in boxes),
        **{name: score[name] for name in _FROM_SCORE},
        "mean_error_mm": float(np.mean(errors_mm)) if errors_mm else None,
        "failure": failure.get("kind"),
        "failure_phase": failure.get("phase"),
        "failure_s": failure.get("time_s"),
        "duration_s": record.duration_s,
        "interventions": sum(record.interventions.values()),
        "share_latent": shares.get("latent"),
        "share_state": shares.get("state"),
        "share_vision": shares.get("vision"),
        "latency_s": record.latency_s,
        "chunks": record.chunks,
        "policy_sha256": record.policy_sha256,
        "scene_sha256": record.scene_sha256,
        "state_hash": record.state_hash,
    }


def as_eval_info(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """The records in the format of LeRobot's `eval_info.json`.

    As in this project's gymnasium environment the reward is the score's credit, once, at the end. LeRobot has
    no word for "not known", so an episode without a verdict is left out.
    """
    known = [record for record in records if record.success is not None]
    groups: defaultdict[str, defaultdict[str, list[EpisodeRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in known:
        groups[record.policy][f"{record.task} {record.scenario}:{record.level}"].append(record)
    return {
        "per_task": [
            {"task_group": policy, "task_id": index, "task": name, "metrics": _metrics(cell)}
            for policy, cells in groups.items()
            for index, (name, cell) in enumerate(cells.items())
        ],
        "per_group": {
            policy: _aggregated([record for cell in cells.values() for record in cell])
            for policy, cells in groups.items()
        },
        "overall": {
            **_aggregated(known),
            "eval_s": sum(record.timing["wall_s"] for record in known),
            "eval_ep_s": sum(record.timing["wall_s"] for record in known) / max(1, len(known)),
        },
    }


def _metrics(records: Sequence[EpisodeRecord]) -> dict[str, list[Any]]:
    credits = [record.score["credit"] or 0.0 for record in records]
    return {
        "sum_rewards": credits,
        "max_rewards": credits,
        "successes": [record.success for record in records],
        "seeds": [record.seed for record in records],
        "video_paths": _videos(records),
        "predicted_video_paths": [],
    }


def _aggregated(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    reward = float(np.mean([record.score["credit"] or 0.0 for record in records])) if records else None
    return {
        "avg_sum_reward": reward,
        "avg_max_reward": reward,
        "pc_success": 100 * float(np.mean([bool(record.success) for record in records])) if records else None,
        "n_episodes": len(records),
        "video_paths": _videos(records),
        "predicted_video_paths": [],
    }


def _videos(records: Iterable[EpisodeRecord]) -> list[str]:
    return [str(record.media["video"]) for record in records if record.media and "video" in record.media]


def read_meta(folder: Path) -> dict[str, Any]:
    """What run.json holds. Raises `RecordError` if there is none, or none that can be read."""
    try:
        meta = parse_json((folder / RUN).read_text(encoding="utf-8"))
        if not isinstance(meta, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{folder} is no run of so101-eval: {RUN} cannot be read ({first_line(error)})"
        ) from error
    if meta.get("schema") != SCHEMA:
        raise RecordError(
            f"{folder / RUN} has schema {shown(meta.get('schema'))}; this version reads {SCHEMA}"
        )
    return cast(dict[str, Any], meta)
