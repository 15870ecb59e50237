"""Records of episodes: whole or refused, the same in every file, and never of two versions in one table."""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest

from so101_eval.errors import RecordError
from so101_eval.evaluation.records import (
    EPISODES,
    EVAL_INFO,
    TABLE,
    EpisodeRecord,
    Key,
    as_csv,
    as_eval_info,
    cut_tail,
    read_episodes,
    read_meta,
    read_runs,
    write_tables,
)
from so101_eval.palletizing.score.record import MILESTONES, BoxScore, Event, Score
from so101_policy.files.whole_files import write_text


def score(success: bool | None, seed: int, scenario: str = "nominal", level: int = 0) -> dict[str, Any]:
    why = {} if success is not None else {"success": "nobody looked", "credit": "nobody looked"}
    box = BoxScore(
        0, 0, bool(success), dict.fromkeys(MILESTONES, 1.0), 1.0, 2.0, 2.5, 0.0, 3.0, 0.0, 0.0, 4.0, 0
    )
    whole = Score(
        "palletize-1", "v1", scenario, level, seed, "mujoco", success,
        None if success is None else float(success), (box,), 0, 0, 0, 8.0, 5.0, 5.0, 720.0, -2.0, -9.0,
        None if success else Event(3.0, "drop", "carry", 0), unmeasured=why,
    )  # fmt: skip
    return json.loads(whole.to_json())


def record(policy: str = "a", seed: int = 0, success: bool | None = True, **changes: Any) -> EpisodeRecord:
    scenario, level = changes.get("scenario", "nominal"), changes.get("level", 0)
    fields: dict[str, Any] = {
        "kind": "simulation", "run": "r", "policy": policy, "policy_sha256": f"sha-{policy}", "variant": policy,
        "train_seed": None, "task": "palletize-1", "suite": "v1", "scenario": scenario, "level": level,
        "seed": seed, "scene_sha256": f"scene-{scenario}-{level}-{seed}", "latency_s": 0.1, "chunks": "asynchronous",
        "success": success, "score": score(success, seed, scenario, level), "duration_s": 8.0, "ticks": 240,
        "shares": {"state": 0.2, "vision": 0.7, "latent": 0.1}, "inferences": 9, "held_ticks": 3,
        "interventions": {"speed gripper": 2}, "state_hash": "h", "versions": {"lerobot": "0.6.1"},
        "timing": {"wall_s": 2.0},
    }  # fmt: skip
    return EpisodeRecord(**fields | changes)


def test_a_record_comes_back_from_json_as_it_was():
    assert EpisodeRecord.from_json(record().to_json()) == record()
    assert "\n" not in record().to_json()


def test_a_record_of_0_1_is_read_and_says_what_it_can():
    data = json.loads(record().to_json())
    for name in ("start", "end", "fault", "exception", "ending"):
        del data[name]
    found = EpisodeRecord.from_json(json.dumps(data))
    assert (found.start, found.end, found.fault, found.exception) == ("laid out", None, None, None)
    assert found.score == record().score


def test_a_record_of_version_0_1_0_says_arm_where_it_is_variant_now():
    old = json.loads(record().to_json())
    old["arm"] = old.pop("variant")
    assert EpisodeRecord.from_json(json.dumps(old)) == record()


def test_its_score_comes_back_with_its_types():
    found = record(success=False).full_score()
    assert isinstance(found, Score)
    assert found.failure == Event(3.0, "drop", "carry", 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no episode"),
        ("[1]", "no episode"),
        ("3", "no episode"),
        ('{"schema": 1}', "missing: kind, run"),
        (record().to_json().replace('"schema": 1}', '"schema": 7}'), "schema 7"),
        (record().to_json().replace('"ticks": 240', '"ticks": "many"'), "ticks is 'many'"),
        (record().to_json().replace('"simulation"', '"dream"'), "kind 'dream'"),
        (record().to_json().replace('"media": null', '"media": null, "mood": 1'), "mood"),
    ],
)
def test_what_is_no_record_is_refused(text: str, says: str):
    with pytest.raises(RecordError, match=says):
        EpisodeRecord.from_json(text)


def test_two_plays_of_an_episode_differ_in_their_timing_only():
    assert record(timing={"wall_s": 1.0}).comparable() == record(timing={"wall_s": 9.0}).comparable()
    assert record(state_hash="other").comparable() != record().comparable()


def test_episodes_are_read_in_the_order_of_their_keys(tmp_path: Path):
    path = tmp_path / EPISODES
    shuffled = [record("b", 1), record("a", 10), record("b", 0), record("a", 2)]
    path.write_text("".join(each.to_json() + "\n" for each in shuffled))
    assert [each.key for each in read_episodes(path)] == [
        Key("a", "palletize-1", "nominal", 0, 2),
        Key("a", "palletize-1", "nominal", 0, 10),
        Key("b", "palletize-1", "nominal", 0, 0),
        Key("b", "palletize-1", "nominal", 0, 1),
    ]


def test_a_last_line_cut_off_anywhere_does_not_count_and_can_be_taken_away(tmp_path: Path):
    path, first, second = (
        tmp_path / EPISODES,
        record(seed=0).to_json() + "\n",
        record(seed=1).to_json() + "\n",
    )
    for end in (*range(0, len(second), 97), len(second) - 1):
        path.write_text(first + second[:end])
        assert [each.seed for each in read_episodes(path)] == [0]
        cut_tail(path)
        assert path.read_text() == first
    path.write_text(first + second)
    cut_tail(path)
    assert [each.seed for each in read_episodes(path)] == [0, 1]
    cut_tail(tmp_path / "not there")


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path):
    path = tmp_path / EPISODES
    path.write_text(record(seed=0).to_json()[:-20] + "\n" + record(seed=1).to_json() + "\n")
    with pytest.raises(RecordError, match="line 1"):
        read_episodes(path)
    path.write_text(2 * (record().to_json() + "\n"))
    with pytest.raises(RecordError, match=r"line 2: the episode a, .* is there twice"):
        read_episodes(path)


def folder(path: Path, *records: EpisodeRecord) -> Path:
    path.mkdir()
    (path / EPISODES).write_text("".join(each.to_json() + "\n" for each in records))
    return path


def test_runs_are_read_together(tmp_path: Path):
    one = folder(tmp_path / "one", record("a"), record("b"))
    two = folder(tmp_path / "two", record("a", 1), record("a", 0, timing={"wall_s": 7.0}))
    assert [(each.policy, each.seed) for each in read_runs([one, two])] == [("a", 0), ("a", 1), ("b", 0)]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (record("b", versions={"lerobot": "0.7.0"}), "two versions are mixed"),
        (record("a", 1, policy_sha256="changed"), "one name, two checkpoints"),
        (record("b", scene_sha256="another"), "different scenes"),
        (record("a", 0, state_hash="other"), "went otherwise"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path: Path, other: EpisodeRecord, says: str):
    runs = [folder(tmp_path / "one", record("a")), folder(tmp_path / "two", other)]
    with pytest.raises(RecordError, match=says):
        read_runs(runs)


def test_records_of_the_real_arm_may_have_versions_of_their_own(tmp_path: Path):
    real = record("a", 5, kind="real", versions={"lerobot": "0.7.0"}, state_hash=None, latency_s=None)
    assert len(read_runs([folder(tmp_path / "one", record("a"), real)])) == 2


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(RecordError, match="no run of so101-eval"):
        read_runs([tmp_path])
    with pytest.raises(RecordError, match="no run of so101-eval"):
        read_meta(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": 99}')
    with pytest.raises(RecordError, match="schema 99"):
        read_meta(tmp_path)


def test_the_table_has_a_line_an_episode_and_no_timing():
    rows = list(
        csv.DictReader(io.StringIO(as_csv([record(), record("b", success=False), record("c", success=None)])))
    )
    assert [row["success"] for row in rows] == ["1", "0", ""]
    assert rows[1]["failure"] == "drop"
    assert rows[0]["mean_error_mm"] == "2.5"
    assert rows[0]["share_state"] == "0.2"
    assert not any("wall" in name or "unix" in name for name in rows[0])
    assert as_csv([]) == "policy\n"


def test_eval_info_has_lerobots_keys_and_counts():
    records = [record("a", seed, success=seed < 3) for seed in range(4)]
    records += [record("a", seed, scenario="blur", level=2) for seed in range(2)] + [
        record("b", success=None)
    ]
    info = as_eval_info(records)
    assert info.keys() == {"per_task", "per_group", "overall"}
    assert [(task["task_group"], task["task_id"]) for task in info["per_task"]] == [("a", 0), ("a", 1)]
    lerobots = {"sum_rewards", "max_rewards", "successes", "video_paths", "predicted_video_paths"}
    assert lerobots <= info["per_task"][0]["metrics"].keys()
    assert info["per_task"][0]["metrics"]["successes"] == [True, True, True, False]
    assert info["per_group"]["a"]["pc_success"] == pytest.approx(100 * 5 / 6)
    assert info["overall"]["n_episodes"] == 6
    assert info["overall"]["eval_s"] == 12.0
    json.dumps(info, allow_nan=False)
    json.dumps(as_eval_info([]), allow_nan=False)


def test_lerobot_would_aggregate_the_same_numbers():
    """Against LeRobot's own aggregation, run on its own metrics of one task."""
    from lerobot.scripts.lerobot_eval import ACC_KEYS, TaskMetrics

    metrics = as_eval_info([record("a", seed, success=seed % 2 == 0) for seed in range(3)])["per_task"][0][
        "metrics"
    ]
    assert set(ACC_KEYS) == set(TaskMetrics.__annotations__) <= metrics.keys()


def test_files_of_a_finished_run_agree(tmp_path: Path):
    records = [record("b"), record("a", 1), record("a", 0)]
    write_tables(tmp_path, records)
    assert read_episodes(tmp_path / EPISODES) == sorted(records, key=lambda each: each.key)
    assert (tmp_path / TABLE).read_text() == as_csv(read_episodes(tmp_path / EPISODES))
    assert json.loads((tmp_path / EVAL_INFO).read_text())["overall"]["n_episodes"] == 3


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    write_text(path, "before")

    def full(file: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "after")
    assert path.read_text() == "before"


def test_all_fields_are_documented_in_json_order():
    assert list(json.loads(record().to_json())) == [field.name for field in dataclasses.fields(EpisodeRecord)]
