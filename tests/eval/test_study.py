"""A study's bookkeeping: its folder, its trainings as processes, its table. The trainings themselves are played by a
script that leaves what so101-train leaves."""

import hashlib
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from rich.console import Console

from so101_eval.cli import STUDY
from so101_eval.errors import ConfigError, StudyError
from so101_eval.evaluation import run_folder
from so101_eval.evaluation.plan import Plan
from so101_eval.evaluation.policy_specs import EPISODES, parse_policies
from so101_eval.palletizing.scene.draw import DEMO_SEEDS, EVAL_SEEDS
from so101_eval.study import command as study
from so101_eval.study import crew as crew_module
from so101_eval.study import hours as hours_module
from so101_eval.study import probing, training
from so101_eval.study.command import Means, Place
from so101_eval.study.crew import LocalCrew, crew_of
from so101_eval.study.design import VARIANTS, Design
from so101_eval.study.probing import RELIANCE, Findings
from so101_eval.study.table import LOOKS, differences, draw, markdown, successes
from so101_eval.study.training import TrainRun, command, runs_of, train_all

QUICK = Design(variants=("baseline", "phase1"), train_seeds=(0, 1), steps=40)

TRAINER = """
import json, sys
from pathlib import Path
flags = dict(x.removeprefix("--").split("=", 1) for x in sys.argv[1:])
log = Path(sys.argv[0]).with_name("calls.jsonl")
with log.open("a") as file:
    file.write(json.dumps(flags) + "\\n")
if flags.get("seed") == FAILING:
    sys.exit("so101-train: the disk is full")
out = Path(flags["output_dir"]) if "output_dir" in flags else Path(flags["config_path"]).parents[3]
folder = out / "checkpoints" / "000040"
(folder / "pretrained_model").mkdir(parents=True, exist_ok=True)
link = out / "checkpoints" / "last"
link.unlink(missing_ok=True)
link.symlink_to(folder.name)
(out / "metrics.jsonl").write_text(json.dumps({"step": 40, "heldout_l1": 0.1}) + "\\n")
"""


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a script in the trainer's place; gives the flags that it was called with."""

    def install(failing: str = "none"):
        script = tmp_path / "trainer.py"
        script.write_text(TRAINER.replace("FAILING", repr(failing)))
        monkeypatch.setattr(training, "PROGRAM", (str(script),))
        monkeypatch.setattr(crew_module, "LOOK_S", 0.02)

    def calls() -> list[dict[str, str]]:
        file = tmp_path / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    install.calls = calls  # type: ignore[attr-defined]
    return install


def train(folder: Path) -> None:
    train_all(QUICK, folder, folder / "demos", None, LocalCrew(2), Console(quiet=True))


def test_a_folder_belongs_to_its_design_and_refuses_another(tmp_path: Path):
    QUICK.settle(tmp_path / "study")
    QUICK.settle(tmp_path / "study")
    assert Design.from_json((tmp_path / "study" / "design.json").read_text()) == QUICK
    with pytest.raises(ConfigError, match=r"steps: 40 there, 50 asked"):
        Design(variants=QUICK.variants, train_seeds=QUICK.train_seeds, steps=50).settle(tmp_path / "study")


def test_a_study_of_version_0_1_0_says_arms_where_it_is_variants_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    QUICK.settle(tmp_path / "study")
    file = tmp_path / "study" / "design.json"
    file.write_text(file.read_text().replace('"variants"', '"arms"'))
    assert '"arms"' in file.read_text()
    QUICK.settle(tmp_path / "study")
    assert STUDY.main([f"--output_dir={tmp_path / 'new'}", "--arms", "phase9"]) == 2  # the flag of then
    assert "there is no variant 'phase9'" in capsys.readouterr().err


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path):
    (tmp_path / "photos.zip").touch()
    with pytest.raises(ConfigError, match="is not empty and holds no study"):
        QUICK.settle(tmp_path)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"variants": ("baseline", "phase9")}, "no variant 'phase9'; possible: baseline, phase1"),
        ({"variants": ()}, "at least one variant"),
        ({"task": "juggling"}, "no task 'juggling'"),
        ({"scenarios": ("earthquake",)}, "earthquake"),
        ({"steps": 0}, "1 or more"),
        ({"first_scene": DEMO_SEEDS.start}, "is not for eval"),
        ({"first_scene": EVAL_SEEDS.stop - 1, "episodes": 2}, "is not for eval"),
    ],
)
def test_a_design_that_cannot_be_is_refused(fields: dict[str, Any], says: str):
    with pytest.raises(ConfigError, match=says):
        Design(**fields)


def test_every_variant_is_trained_with_every_seed_once(tmp_path: Path, trainer: Any):
    trainer()
    train(tmp_path)
    train(tmp_path)  # nothing is left to do
    seen = sorted((Path(call["output_dir"]).name, call["regularizer.preset"]) for call in trainer.calls())
    assert seen == [
        *[("baseline-s0", "none"), ("baseline-s1", "none")],
        *[("phase1-s0", "phase1"), ("phase1-s1", "phase1")],
    ]
    assert all(run.step() == 40 for run in runs_of(QUICK, tmp_path))


def test_a_training_that_stopped_halfway_is_resumed_from_its_checkpoint(tmp_path: Path, trainer: Any):
    trainer()
    run = runs_of(QUICK, tmp_path)[0]
    (run.folder / "checkpoints" / "000020" / "pretrained_model").mkdir(parents=True)
    (run.folder / "checkpoints" / "last").symlink_to("000020")
    train(tmp_path)
    resumed = [call for call in trainer.calls() if "resume" in call]
    assert [call["config_path"] for call in resumed] == [str(run.checkpoint / "train_config.json")]
    assert run.step() == 40


def test_a_training_that_never_saved_begins_again_beside_what_it_left(tmp_path: Path, trainer: Any):
    trainer()
    run = runs_of(QUICK, tmp_path)[0]
    run.folder.mkdir(parents=True)
    (run.folder / "metrics.jsonl").write_text('{"step": 10}\n')
    train(tmp_path)
    assert run.step() == 40
    assert len(list(run.folder.parent.glob(f"{run.folder.name}.abandoned-*"))) == 1


def test_one_failed_training_is_named_and_the_others_are_finished_first(tmp_path: Path, trainer: Any):
    trainer(failing="0")
    with pytest.raises(
        StudyError, match=r"baseline-s0 failed: so101-train: the disk is full.*phase1-s0 failed"
    ):
        train(tmp_path)
    assert [run.step() for run in runs_of(QUICK, tmp_path)] == [0, 0, 40, 40]


def test_a_line_of_metrics_that_is_still_being_written_does_not_count(tmp_path: Path):
    run = TrainRun("baseline", 0, tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 10}\n{"step": 2')
    assert run.metrics() == [{"step": 10}]


def test_variants_differ_in_their_flags_and_in_nothing_else(tmp_path: Path):
    def flags(variant: str) -> set[str]:
        run = TrainRun(variant, 0, tmp_path / "same")
        return set(command(run, QUICK, tmp_path / "demos", None))

    common = flags("baseline") - set(VARIANTS["baseline"].flags)
    assert all(flags(variant) == common | set(VARIANTS[variant].flags) for variant in VARIANTS)


def findings(variant: str, seed: int, share: float, reliance: float) -> Findings:
    reliance_json: dict[str, Any] = {
        "reliance": {kind: {"executed": {"value": reliance}} for kind in ("any", "phase")},
        "cue_conflict": {"executed": {"value": 1 - reliance}},
        "attention": {"shares": {"state": share, "latent": 0.1, "vision": 0.9 - share}},
    }
    return Findings(
        TrainRun(variant, seed, Path(variant)), {"heldout_l1": 0.11, "shifted_l1": 0.22}, reliance_json
    )


def test_the_table_shows_every_training_seed_in_order_and_variants_as_they_are_defined():
    found = [
        findings("phase1", 1, 0.2, 0.3),
        findings("phase1", 0, 0.25, 0.4),
        findings("baseline", 0, 0.3, 0.9),
    ]
    rows = markdown(found).splitlines()[2:]
    assert rows == [
        "| **baseline**: ACT as it is | 0.30 | 0.10 | 0.60 | 0.90 | 0.90 | 0.10 | 0.11 | 0.22 |",
        "| **phase1**: state dropout 0.3 | 0.25 / 0.20 | 0.10 / 0.10 | 0.65 / 0.70 | 0.40 / 0.30 | 0.40 / 0.30 "
        "| 0.60 / 0.70 | 0.11 / 0.11 | 0.22 / 0.22 |",
    ]


def test_the_picture_is_drawn(tmp_path: Path):
    draw(
        [findings(variant, 0, 0.1 + 0.05 * i, 0.1 * i) for i, variant in enumerate(VARIANTS)],
        tmp_path / "x.png",
    )
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_successes_and_differences_of_a_report_as_tables():
    cell = {"label": "home-pose:2", "scenario": "home-pose", "level": 2}
    report: dict[str, Any] = {
        "cells": [cell],
        "variants": [{"name": "baseline", "is_baseline": True}, {"name": "phase1", "is_baseline": False}],
        "rates": [
            {
                "variant": variant,
                "cell": "home-pose:2",
                "successes": sum(good),
                "episodes": 12,
                "by_seed": [[n, 6] for n in good],
            }
            for variant, good in (("baseline", (3, 4)), ("phase1", (5, 6)))
        ],
        "contrasts": [
            {
                "first": "phase1",
                "second": "baseline",
                "cell": cell,
                "difference": 1 / 3,
                "interval": [-0.05, 0.5],
            }
        ],
    }
    assert successes(report).splitlines()[2:] == [
        "| **baseline** | 7/12 (3 4) | 7/12 |",
        "| **phase1** | 11/12 (5 6) | 11/12 |",
    ]
    assert differences(report).splitlines()[2:] == ["| **phase1** | +33 [-5, +50] |"]


def test_every_variant_has_looks_of_its_own():
    assert list(LOOKS) == list(VARIANTS)
    assert len(set(LOOKS.values())) == len(VARIANTS)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert STUDY.main(["--output_dir", str(tmp_path / "study"), "--variants", "phase9"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("so101-study: there is no variant 'phase9'")
    assert "Traceback" not in error
    assert not (tmp_path / "study").exists()


def test_a_variant_can_be_spelled_as_its_preset_is():
    asked = study.parser().parse_args(["--variants", "isolation_band", "no-state"])
    assert asked.variants == ["isolation-band", "no-state"]


def test_other_scenes_are_evaluated_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    played: list[Plan] = []
    monkeypatch.setattr(run_folder, "run", lambda plan, *rest: played.append(plan))
    monkeypatch.setattr(study, "parse_policies", lambda named, fps: parse_policies(["baseline=expert"]))
    fresh = Design(first_scene=1000, episodes=3, scenarios=())
    study.evaluate(fresh, Place(tmp_path), Means(1), Console(quiet=True))
    assert [plan.seeds for plan in played] == [range(1000, 1003)]


def test_policies_are_not_judged_on_scenes_that_they_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = tmp_path / "data" / EPISODES
    seen.parent.mkdir(parents=True)
    seen.write_text(json.dumps({"seed": 1001}) + "\n")
    learned = replace(parse_policies(["baseline=expert"])[0], dataset=str(tmp_path / "data"))
    monkeypatch.setattr(study, "parse_policies", lambda named, fps: (learned,))
    monkeypatch.setattr(run_folder, "run", lambda *_: pytest.fail("it was played"))
    fresh = Design(first_scene=1000, episodes=3, scenarios=())
    with pytest.raises(ConfigError, match="baseline was trained on 1 of these scenes"):
        study.evaluate(fresh, Place(tmp_path), Means(1), Console(quiet=True))


def test_the_command_stops_after_the_stage_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    stages = {name: lambda *_, name=name: done.append(name) for name in study.STAGES}
    monkeypatch.setattr(study, "STAGES", stages)
    monkeypatch.setattr(study, "slowness", lambda: 2.0)
    assert study.main([f"--output_dir={tmp_path / 'study'}", "--until=probes"]) == 0
    assert done == ["demonstrations", "training", "probes"]
    assert study.main([f"--output_dir={tmp_path / 'study'}"]) == 0
    assert done[3:] == list(stages)


def test_a_page_shows_the_stages_what_runs_and_the_hours_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shown: list[dict[str, Any]] = []
    ends: list[Any] = []

    class Page:
        def __init__(self, *_: Any) -> None: ...
        def show(self, parts: dict[str, Any]) -> None:
            shown.append(parts)

        def finish(self, *told: Any) -> None:
            ends.append(told)

    def trained(design: Design, place: Place, means: Means, console: Console) -> None:
        means.detail("3/12 trained")
        assert means.show == pages[0].show

    pages: list[Page] = []
    monkeypatch.setattr(study.watching, "ProgressPage", lambda *_: pages.append(Page()) or pages[0])
    monkeypatch.setattr(study, "STAGES", dict.fromkeys(study.STAGES, trained))
    monkeypatch.setattr(study, "slowness", lambda: 2.0)
    assert study.main([f"--output_dir={tmp_path / 'study'}", "--until=training", "--display=web"]) == 0
    assert [parts["now"].partition(";")[0] for parts in shown if "now" in parts] == [
        "demonstrations",
        "training",
    ]
    first = next(parts["stages"] for parts in shown if "stages" in parts)
    assert [(stage["name"], stage["state"]) for stage in first] == [
        ("demonstrations", "now"),
        ("training", "later"),
    ]
    assert first[1]["words"].startswith("about ")
    assert [(stage["state"], stage["words"]) for stage in shown[-1]["stages"]] == [
        ("done", ""),
        ("now", "3/12 trained"),
    ]
    assert ends[0][0] == ("The study is done: up to training.",)


def test_the_episodes_of_a_study_are_shown_on_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    watchers: list[Any] = []
    monkeypatch.setattr(study, "parse_policies", lambda *_: parse_policies(["hold"]))
    monkeypatch.setattr(run_folder, "run", lambda *given: watchers.append(given[-1]))
    show: Any = [].append
    study.evaluate(Design(), Place(tmp_path), Means(1, show=show), Console(quiet=True))
    assert watchers[0].view()["unit"] == "episodes"


def test_findings_belong_to_the_weights_that_they_were_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = TrainRun("baseline", 0, tmp_path / "training" / "baseline-s0")
    run.checkpoint.mkdir(parents=True)
    weights = run.checkpoint / "model.safetensors"
    (run.folder / "metrics.jsonl").write_text(json.dumps({"step": 40, "heldout_l1": 0.1}) + "\n")
    calls: list[list[str]] = []

    def probes(arguments: list[str]) -> None:
        calls.append(arguments)
        run.reliance.mkdir(exist_ok=True)
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        found = {
            "schema": 1,
            "study": {"frames": 9},
            "interval": "",
            "policies": [{"name": "x", "sha256": sha256}],
        }
        (run.reliance / RELIANCE).write_text(json.dumps(found))

    monkeypatch.setattr(probing.reliance_command, "main", probes)
    for content, expected in ((b"first", 1), (b"first", 1), (b"trained on", 2)):
        weights.write_bytes(content)
        probing.probe(run, tmp_path / "data")
        assert len(calls) == expected


# Where it runs, and how long


class FakeRay:
    """Runs what it is given at once, and passes on what it raises as Ray does."""

    class exceptions:  # noqa: N801 - a module of Ray's
        class RayError(Exception): ...

        class RayTaskError(RayError):
            def __init__(self, cause: Exception):
                super().__init__(str(cause))
                self.cause = cause

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 3.0}

    def remote(self, **options: Any) -> Any:
        assert options["num_cpus"] == 1

        def wrap(function: Any) -> Any:
            def begin(task: Any) -> Any:
                travelled = pickle.loads(pickle.dumps(task))
                try:
                    return function(travelled)
                except StudyError as problem:
                    return self.exceptions.RayTaskError(problem)

            return SimpleNamespace(remote=begin)

        return wrap

    def wait(self, references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return references, []

    def get(self, reference: Any) -> int:
        if isinstance(reference, Exception):
            raise reference
        return reference


def test_trainings_on_a_cluster_are_the_same_commands_resumed_the_same_way(tmp_path: Path, trainer: Any):
    trainer(failing="1")
    crew = crew_module.RayCrew(FakeRay())
    assert crew.size == 3
    with pytest.raises(StudyError, match="baseline-s1 failed: so101-train: the disk is full"):
        train_all(QUICK, tmp_path, tmp_path / "demos", None, crew, Console(quiet=True))
    assert [run.step() for run in runs_of(QUICK, tmp_path)] == [40, 40, 0, 0]
    trainer()
    train_all(QUICK, tmp_path, tmp_path / "demos", None, crew, Console(quiet=True))
    assert len(trainer.calls()) == 6  # two of them again


def test_a_folder_that_a_machine_does_not_have_is_named(tmp_path: Path):
    run = TrainRun("baseline", 0, tmp_path / "elsewhere" / "baseline-s0")
    job = crew_module.RayCrew(FakeRay()).start(training.Training(run, QUICK, tmp_path, None))
    with pytest.raises(StudyError, match=r"baseline-s0: .*elsewhere is not on every machine of the cluster"):
        job.poll()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_ray_of_this_machine_runs_a_task(tmp_path: Path):
    pytest.importorskip("ray")
    (tmp_path / "training").mkdir()
    with crew_of(1, "") as crew:
        failed = crew_module.run_all([Echo("echo", tmp_path / "training" / "echo.log")], crew, lambda _: True)
    assert not failed
    assert (tmp_path / "training" / "echo.log").read_text() == "said\n"


class Echo(NamedTuple):
    name: str
    log: Path

    def command(self) -> list[str]:
        return [sys.executable, "-c", "print('said')"]


PROBER = """
import hashlib, json, sys
from pathlib import Path
flags = dict(x.removeprefix("--").split("=", 1) for x in sys.argv[1:] if "=" in x)
weights = Path(flags["policy.path"].partition("=")[2]) / "model.safetensors"
if weights.read_bytes() == b"bad":
    sys.exit("so101-reliance: the dataset is gone")
out = Path(flags["output_dir"])
out.mkdir(exist_ok=True)
policy = {"name": "x", "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
found = {"schema": 1, "study": {"frames": 9}, "interval": "", "policies": [policy]}
(out / "reliance.json").write_text(json.dumps(found))
with (Path(sys.argv[0]).with_name("probed.txt")).open("a") as file:
    file.write(out.name + "\\n")
"""


def test_probes_are_spread_and_only_what_is_not_probed_is_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script = tmp_path / "prober.py"
    script.write_text(PROBER)
    monkeypatch.setattr(probing, "PROGRAM", (str(script),))
    monkeypatch.setattr(crew_module, "LOOK_S", 0.02)
    runs = runs_of(QUICK, tmp_path)
    for number, run in enumerate(runs):
        run.checkpoint.mkdir(parents=True)
        (run.checkpoint / "model.safetensors").write_bytes(b"bad" if number == 2 else b"%d" % number)
    quiet = Console(quiet=True)
    with pytest.raises(StudyError, match=r"the probes of baseline-s1 failed: so101-reliance: the dataset is"):
        probing.probe_all(runs, tmp_path / "data", LocalCrew(2), quiet)
    assert [probing.is_probed(run) for run in runs] == [True, True, False, True]
    (runs[2].checkpoint / "model.safetensors").write_bytes(b"2")
    probing.probe_all(runs, tmp_path / "data", LocalCrew(2), quiet)
    probed = (tmp_path / "probed.txt").read_text().split()
    assert sorted(probed) == sorted(f"{run.name}.reliance" for run in runs)  # each of them once


def test_the_program_of_the_probes_is_so101_reliance():
    asked = [sys.executable, *probing.PROGRAM, "--version"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.startswith(
        "so101-reliance"
    )


def test_what_is_left_of_a_study_is_told_in_hours(tmp_path: Path):
    place = Place(tmp_path)
    design = replace(QUICK, episodes=10, demonstrations=100)
    everything = study.left(design, place)
    assert everything == (100 + design.shifted_demonstrations, 4 * 40, 4, 3 * 4 * 10)
    place.demonstrations.mkdir(parents=True)
    place.evaluation.mkdir()
    (place.evaluation / "episodes.jsonl").write_text("{}\n" * 7)
    run = runs_of(design, tmp_path)[0]
    (run.folder / "checkpoints" / "000030" / "pretrained_model").mkdir(parents=True)
    (run.folder / "checkpoints" / "last").symlink_to("000030")
    assert study.left(design, place) == (design.shifted_demonstrations, 3 * 40 + 10, 4, 113)
    one, two = (hours_module.hours(everything, design, jobs, 1.0) for jobs in (1, 2))
    assert one["training"] == pytest.approx(160 * 16 * hours_module.STEP_S / 3600)
    assert sum(one.values()) == pytest.approx(2 * sum(two.values()))
    said = hours_module.in_words({"training": 2.5, "probes": 0.25}, 2)
    assert said == "left on 2 cores of this machine, about: training 2.5 h, probes 15 min; all 2.8 h"


def test_how_slow_this_machine_is_is_measured():
    assert 0.05 < hours_module.slowness() < 100


@pytest.mark.parametrize(
    ("demonstrations", "until", "code"), [(10, [], 2), (11, [], 0), (10, ["--until=training"], 0)]
)
def test_demonstrations_that_are_too_few_for_the_probes_are_refused_before_anything_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], demonstrations: int,
    until: list[str], code: int,
):  # fmt: skip
    stages = {name: lambda *_: None for name in study.STAGES}
    monkeypatch.setattr(study, "STAGES", stages)
    monkeypatch.setattr(study, "slowness", lambda: 2.0)
    out = tmp_path / "study"
    assert STUDY.main([f"--output_dir={out}", f"--demonstrations={demonstrations}", *until]) == code
    if code:
        assert "expected 11 or more" in capsys.readouterr().err
        assert not out.exists()
