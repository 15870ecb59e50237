"""The study of levers: what is asked of whom, what is counted, and that nothing is counted by halves."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.levers import levers, run
from experiments.levers.levers import LEVERS, SHIFTS, STOCK
from experiments.levers.run import Stage
from so101_eval.commands.run import parser as eval_parser
from so101_eval.demos.command import parser as demos_parser
from so101_eval.evaluation.plan import parse_cells
from so101_eval.palletizing.scene.draw import check_seed
from so101_policy.train.settings.flags import FLAGS


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setitem(levers.STAGES, "screening", levers.Plan(range(30_000, 30_003), (11, 12)))
    return Stage("screening", tmp_path, ["recovery", "replan-2"], jobs=1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What commands were asked for; none is run."""
    found: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(run, "_command", lambda name, flags: found.append((name, list(flags))))
    return found


def test_every_flag_is_one_of_its_command(stage: Stage, asked: list[tuple[str, list[str]]]):
    for data in levers.DATASETS:
        stage._demonstrate(data)
    for _, flags in asked:
        demos_parser().parse_args(flags)
    for lever in LEVERS.values():
        assert {flag.partition("=")[0] for flag in lever.train} <= set(FLAGS)
    for shift in (*SHIFTS, *levers.UNSEEN):
        parse_cells(shift, levers.LEVEL)


def test_no_stage_sees_the_scenes_or_seeds_of_another():
    scenes = [set(plan.scenes) for plan in levers.STAGES.values()]
    for seed in set.union(*scenes):
        check_seed(seed, "eval")
    assert len(set.union(*scenes)) == sum(map(len, scenes))
    seeds = [seed for plan in levers.STAGES.values() for seed in plan.seeds]
    assert len(set(seeds)) == len(seeds)


def test_a_lever_that_trains_nothing_plays_the_policies_of_another(
    stage: Stage, asked: list[tuple[str, list[str]]]
):
    trained = stage.checkpoint(STOCK, 11)
    trained.mkdir(parents=True)
    (trained / "config.json").write_text('{"n_action_steps": 5, "chunk_size": 20}')
    stage.seeds = (11,)
    stage._play("replan-2")
    [(name, flags)] = asked
    assert name == "so101-eval"
    [policy] = [flag for flag in flags if flag.startswith("replan-2:11=")]
    played = Path(policy.partition("=")[2])
    assert json.loads((played / "config.json").read_text()) == {"n_action_steps": 2, "chunk_size": 20}
    assert json.loads((trained / "config.json").read_text())["n_action_steps"] == 5
    asked.clear()
    stage._play(STOCK)
    assert f"stock:11={trained}" in asked[0][1]
    eval_parser().parse_args(asked[0][1][1:])


def test_the_table_counts_whole_rows_and_nothing_else(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    won: dict[str, Callable[[str, int], bool]] = {
        STOCK: lambda cell, seed: cell == "nominal",
        "recovery": lambda cell, seed: cell != "box-moved" or seed == 11,
    }

    @dataclasses.dataclass
    class Record:
        policy: str
        scenario: str
        seed: int
        success: bool

    def records(file: Path) -> list[Record]:
        key = file.parent.name
        return [
            Record(f"{key}:{s}", cell, n, won[key](cell, s))
            for s in stage.seeds
            for cell in ("nominal", *SHIFTS)
            for n in stage.scenes
        ][: -1 if key == "replan-2" else None]

    won["replan-2"] = won[STOCK]
    for key in stage.levers:
        file = stage._evaluation(key) / run.EPISODES
        file.parent.mkdir(parents=True)
        file.write_text("")
    monkeypatch.setattr(run, "read_episodes", records)
    rows = {line.split("**")[1]: line.split("|")[2:-1] for line in stage.table().splitlines()[2:]}
    assert set(rows) == {STOCK, "recovery"}  # one episode of the third is missing
    assert [cell.strip() for cell in rows[STOCK]] == ["6/6", *["0/6"] * 6, "0", "", ""]
    assert [cell.strip() for cell in rows["recovery"]][:3] == ["6/6", "6/6", "3/6"]
    mean = 100 * np.mean([1, 0.5, 1, 1, 1, 1])
    assert rows["recovery"][7].strip() == f"{mean:.0f}"
    assert rows["recovery"][8].strip().startswith(f"+{mean:.0f} [")


def test_the_hours_that_are_told_go_down_with_what_is_there(stage: Stage):
    before = stage.forecast()
    for seed in stage.seeds:
        stage.checkpoint(STOCK, seed).mkdir(parents=True)
    assert "training 0.7" in before  # two seeds of two levers; replan-2 has none
    assert "training 0.3" in stage.forecast()


def test_another_task_has_demonstrations_trainings_and_episodes_of_its_own(
    tmp_path: Path, asked: list[tuple[str, list[str]]]
):
    stages = [Stage("confirmation", tmp_path, ["recovery"], 1, task) for task in (levers.TASK, "palletize-1")]
    for stage in stages:
        stage._demonstrate("recovery")
        stage._play(STOCK)
    tasks = [flag for _, flags in asked for flag in flags if flag.startswith("--task=")]
    assert tasks == ["--task=palletize-1-small"] * 2 + ["--task=palletize-1"] * 2
    outputs = [flag for _, flags in asked for flag in flags if flag.startswith("--output_dir=")]
    assert len(set(outputs)) == 4
    [scenarios] = {flag for _, flags in asked for flag in flags if flag.startswith("--scenarios=")}
    assert scenarios.endswith(",".join(levers.UNSEEN))


def test_in_the_confirmation_a_corrected_lever_plays_where_a_camera_moves_and_takes_the_rest_from_the_same_policies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, list[str]]]
):
    monkeypatch.setitem(
        levers.STAGES, "confirmation", levers.STAGES["confirmation"]._replace(scenes=range(2))
    )
    stage = Stage("confirmation", tmp_path, ["recovery", "recovery-corrected"], jobs=1)
    stage._play("recovery-corrected")
    [scenarios] = [flag for _, flags in asked for flag in flags if flag.startswith("--scenarios=")]
    assert scenarios == "--scenarios=nominal,camera-pose,camera-bumped"
    assert "--camera_correction=auto" in asked[0][1]

    def won(key: str) -> dict[tuple[str, int, int], float]:
        cells = stage._played(key)
        return {(c, s, n): float(key != STOCK) for c in cells for s in stage.seeds for n in stage.scenes}

    monkeypatch.setattr(stage, "_won", lambda key: won(key) if key != "recovery" else won(STOCK))
    found = stage._successes("recovery-corrected")
    assert found is not None
    cells = dict(zip(stage.cells, found.mean(axis=(1, 2)), strict=True))
    assert {cell for cell, share in cells.items() if share} == {"nominal", "camera-pose", "camera-bumped"}
    monkeypatch.setattr(stage, "_won", lambda key: {} if key == "recovery" else won(key))
    assert stage._successes("recovery-corrected") is None
