"""so101-eval as a person meets it: wrong input, a run, the same run again, its report, Ctrl-C."""

import dataclasses
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pexpect
import pytest
from numpy.typing import NDArray

from short_attempts import hurry
from so101_eval.cli import EVAL
from so101_eval.commands.run import make_plan, parser
from so101_eval.errors import EvalError
from so101_eval.evaluation.another_run import another_run
from so101_eval.evaluation.plan import Player
from so101_eval.evaluation.policy_specs import EPISODES as SCENES
from so101_eval.evaluation.records import EPISODES, EVAL_INFO, RUN, TABLE, EpisodeRecord, Key, read_episodes
from so101_eval.evaluation.run_folder import SESSIONS
from so101_eval.report.media import Films, clip_key, make_media
from so101_policy.command_line import command_shell
from so101_policy.command_line.command_shell import INTERRUPTED, WRONG_INPUT
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.inference.loaded import Prediction

MakeAct = Callable[..., Path]
ASKED = ["--task", "palletize-1", "--episodes", "2", "--num_workers", "1"]


def again(act: Path, out: Path) -> list[str]:
    """The command of the fixture `finished`."""
    return ["run", "--policies", "expert", "hold", f"mine={act}", *ASKED, "--output_dir", str(out)]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one message of a command that cannot be done."""
    capsys.readouterr()
    assert EVAL.main(arguments) == WRONG_INPUT
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert [line.startswith("so101-eval: ") for line in lines] == [False] * (len(lines) - 1) + [True]
    assert "Traceback" not in said
    return said


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Key]:
    """What is played from now on."""
    keys: list[Key] = []
    play = Player.play

    def noting(self: Player, key: Key, *more: Any) -> EpisodeRecord:
        keys.append(key)
        return play(self, key, *more)

    monkeypatch.setattr(Player, "play", noting)
    return keys


# Wrong input


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["--task", "palletise"], "palletize-1"),
        (["--scenarios", "camera_pose"], "there is no scenario 'camera_pose'; available: nominal"),
        (["--scenarios", "camera-pose:7"], "no level 7"),
        (["--scenarios", "camera-pose", "--level", "7"], "no level 7"),
        (["--policies", "experts"], "a checkpoint needs a name, NAME=PATH"),
        (["--policies", "a=/nothing/here"], "there is no checkpoint"),
        (["--policies", "hold", "hold"], "hold is there twice"),
        (["--episodes", "0"], "--episodes 0: expected 1 or more"),
        (["--num_workers", "0"], "--num_workers 0: expected 1 or more"),
        (["--latency", "-1"], "--latency -1: possible are 0 to 60 s"),
        (["--chunks", "sometimes"], "--chunks sometimes: possible are auto"),
        (["--size", "96"], "--size 96: expected WIDTHxHEIGHT"),
        (["--size", "0x96"], "--size 0x96: expected WIDTHxHEIGHT"),
        (["--first_seed", "999999"], "seed 1000000"),
        (["--policy.server=localhost:8080"], "there is no flag --policy.server: an episode has to end twice"),
        (["--policy.rtc.enabled=true"], "there is no flag --policy.rtc.enabled: the cross-fade is played"),
    ],
)
def test_what_cannot_be_run_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], says: str
):
    assert says in refused(
        ["run", "--policies", "hold", *ASKED, "--output_dir", str(tmp_path / "out"), *changes], capsys
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([[0.0] * 6, [0, 0, 1e5, 0, 0, 0]], "tick 1, elbow_flex: 100000"),
        ([[0.0] * 6, [0, 0, 0, 0, 0, np.nan]], "tick 1, gripper: nan"),
        ([[0.0] * 6, [0.5, -1.7, 1.6, 1.2, 0, 0.4]], "looks like radians"),
    ],
)
def test_a_recording_that_no_arm_can_follow_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: list[list[float]], says: str
):
    np.save(tmp_path / "moves.npy", values)
    policies = ["--policies", f"moves={tmp_path / 'moves.npy'}"]
    assert says in refused(["run", *policies, *ASKED, "--output_dir", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


def test_a_size_that_a_policy_does_not_want_is_refused(
    act: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    asked = [
        "run",
        "--policies",
        f"mine={act}",
        *ASKED,
        "--size",
        "32x24",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    said = refused(asked, capsys)
    assert "so101-eval run: --size=32x24 is spelled --width=32 --height=24 now" in said
    assert "mine was trained with front of 24x24" in said
    now = [*asked[:-4], "--width=32", "--height=24", *asked[-2:]]
    assert "mine was trained with front of 24x24" in refused(now, capsys)
    assert "--width and --height go together" in refused([*asked[:-4], "--width=32"], capsys)


def test_a_policy_is_not_judged_on_scenes_that_it_was_trained_on(
    act: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    checkpoint, dataset = Path(shutil.copytree(act, tmp_path / "it")), tmp_path / "dataset"
    (dataset / SCENES).parent.mkdir(parents=True)
    (dataset / SCENES).write_text('{"seed": 1}\n{"seed": 2}\n')
    (checkpoint / "train_config.json").write_text(json.dumps({"dataset": {"root": str(dataset)}}))
    asked = ["run", "--policies", f"mine={checkpoint}", *ASKED, "--output_dir", str(tmp_path / "out")]
    assert "mine was trained on 1 of these scenes" in refused(asked, capsys)
    assert not (tmp_path / "out").exists()


# A run


def test_a_run_leaves_every_file_and_a_record_of_every_episode(finished: Path):
    files = {RUN, EPISODES, TABLE, EVAL_INFO, SESSIONS}
    assert files <= {path.name for path in finished.iterdir()}
    records = read_episodes(finished / EPISODES)
    assert [(record.policy, record.seed) for record in records] == [
        (policy, seed) for policy in ("expert", "hold", "mine") for seed in (0, 1)
    ]
    assert [record.success for record in records] == [True, True, False, False, False, False]
    mine = records[-1]
    assert (mine.chunks, mine.latency_s) == ("asynchronous", 0.1)
    assert mine.inferences is not None
    assert mine.inferences > 3
    assert mine.held_ticks is not None
    assert mine.held_ticks >= 3
    assert mine.shares is not None
    assert records[0].shares is None


def test_the_same_command_again_plays_nothing_and_a_lost_line_once(
    act: Path, finished: Path, tmp_path: Path, played: list[Key], capsys: pytest.CaptureFixture[str]
):
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    assert EVAL.main(again(act, out)) == 0
    assert played == []
    output = capsys.readouterr()
    assert "0/2 [0.00, 0.66]" in output.out
    assert "not known which scenes mine learned from" in output.err
    lines = (out / EPISODES).read_text().splitlines(keepends=True)
    (out / EPISODES).write_text("".join(lines[:-1]))
    assert EVAL.main(again(act, out)) == 0
    assert [(key.policy, key.seed) for key in played] == [("mine", 1)]
    before, now = read_episodes(finished / EPISODES), read_episodes(out / EPISODES)
    assert [record.comparable() for record in now] == [record.comparable() for record in before]


@pytest.mark.parametrize(
    ("make_changes", "says"),
    [({"seed": 1}, "another mine: sha256 was"), ({"fps": 30.0}, "another mine: recipe_sha256 was")],
)
def test_a_checkpoint_that_changed_under_its_name_is_refused(
    make: MakeAct, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    make_changes: dict[str, Any], says: str,
):  # fmt: skip
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    changed = make(tmp_path / "changed", **make_changes)
    assert says in refused(again(changed, out), capsys)


def test_a_control_under_the_name_of_what_it_was_is_refused(
    act: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    said = refused([word.replace(str(act), f"{act}@no-state") for word in again(act, out)], capsys)
    assert "another mine: without was" in said


def test_records_of_two_versions_are_refused(
    act: Path, finished: Path, tmp_path: Path, played: list[Key], capsys: pytest.CaptureFixture[str]
):
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    meta = json.loads((out / RUN).read_text())
    meta["versions"]["mujoco"] = "1.0"
    (out / RUN).write_text(json.dumps(meta))
    assert "records of two versions do not mix: mujoco 1.0 (here" in refused(again(act, out), capsys)
    assert played == []


def test_controls_never_see_what_is_hidden_from_them(
    act: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[NDArray[np.float64], Mapping[str, NDArray[np.uint8]]]] = []
    predict = ActPolicy.predict

    def noting(self: ActPolicy, state: Any, images: Any) -> Prediction:
        seen.append((np.array(state), {name: np.array(image) for name, image in images.items()}))
        return predict(self, state, images)

    monkeypatch.setattr(ActPolicy, "predict", noting)
    hurry(monkeypatch)
    for control in ("no-state", "no-images"):
        seen.clear()
        asked = [*ASKED, "--episodes", "1", "--output_dir", str(tmp_path / control)]
        assert EVAL.main(["run", "--policies", f"mine={act}@{control}", *asked]) == 0
        assert len(seen) > 3
        poses = {state.tobytes() for state, _ in seen}
        pictures = {image.tobytes() for _, images in seen for image in images.values()}
        assert (len(poses) == 1) == (control == "no-state")
        assert (len(pictures) == 1) == (control == "no-images")


# Ctrl-C


@pytest.mark.parametrize("when", ["playing", "importing"])
def test_ctrl_c_is_one_message_and_what_is_finished_is_kept(
    act: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], when: str
):
    out, asked = (
        tmp_path / "out",
        ["run", "--policies", "expert", *ASKED, "--output_dir", str(tmp_path / "out")],
    )

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if when == "importing":
            patch.setattr(command_shell, "import_module", interrupt)
        else:
            play = Player.play
            patch.setattr(Player, "play", lambda self, key: play(self, key) if key.seed == 0 else interrupt())
        assert EVAL.main(asked) == INTERRUPTED == 130
    said = capsys.readouterr().err
    assert said.count("so101-eval: interrupted; finished episodes are kept") == 1
    assert len(read_episodes(out / EPISODES) if out.exists() else []) == (when == "playing")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ctrl_c_in_a_terminal_while_processes_play_is_one_message_and_the_same_command_goes_on(
    tmp_path: Path, played: list[Key]
):
    """There Ctrl-C goes to the playing processes too."""
    out = tmp_path / "out"
    asked = ["run", "--policies", "expert", "hold", *ASKED, "--episodes", "8", "--output_dir", str(out)]
    run = pexpect.spawn(
        sys.executable, ["-m", "so101_eval", *asked, "--num_workers", "2"], encoding="utf-8", timeout=300
    )
    run.expect("3/16")
    run.sendintr()
    run.expect(pexpect.EOF)
    run.close()
    assert run.exitstatus == 130
    said = str(run.before)
    assert said.count("interrupted; finished episodes are kept") == 1
    assert "Traceback" not in said
    kept = {record.key for record in read_episodes(out / EPISODES)}
    assert 3 <= len(kept) < 16
    assert EVAL.main(asked) == 0
    assert not kept & set(played)
    assert len(kept) + len(played) == 16


# Its report


def episode(record: EpisodeRecord) -> dict[str, Any]:
    """As the report's choices name it."""
    return record.key._asdict() | {"run": record.run, "time_s": 1.0}


def chosen(**groups: list[Any]) -> dict[str, list[Any]]:
    return {"failures": [], "pairs": [], "worst": [], "random": []} | groups


def test_the_report_of_a_run_without_videos(
    finished: Path, tmp_path: Path, played: list[Key], capsys: pytest.CaptureFixture[str]
):
    assert EVAL.main(["report", str(finished), "--no_videos", "--output_dir", str(tmp_path / "report")]) == 0
    assert played == []
    page = (tmp_path / "report" / "report.html").read_text()
    assert all(name in page for name in ("expert", "hold", "mine"))
    assert "data:video" not in page
    data = json.loads((tmp_path / "report" / "report.json").read_text())
    assert data["sentence"]["headline"] in capsys.readouterr().out.replace("\n", " ")
    lines = [
        line for line in data["sentence"]["reach"] if "Next: so101-eval run --policies expert hold" in line
    ]
    assert lines, "two scenes decide nothing, and what would is a line to type"
    assert "--first_seed=2" in lines[0]


def test_films_repeat_the_episodes_of_a_real_run(finished: Path, tmp_path: Path, played: list[Key]):
    records = read_episodes(finished / EPISODES)
    expert, _, hold = (episode(record) for record in records[:3])
    choices = chosen(failures=[hold], pairs=[{"first": expert, "second": hold}], worst=[hold])
    with Films([finished], records) as films:
        assert len(films.film(expert).pictures) == pytest.approx(records[0].ticks / 4, abs=1)
        played.clear()
        clips, problems = make_media(choices, films.film, tmp_path)
        assert problems == []
        assert clips.keys() == {
            "still " + clip_key(hold),
            clip_key(expert, hold),
            clip_key(hold),
        }
        assert all(clip.as_recorded for clip in clips.values())
        assert len(played) == 4
        assert make_media(choices, films.film, tmp_path) == (clips, [])  # kept, and not played again
        assert len(played) == 4


def test_an_episode_that_goes_otherwise_now_is_marked_and_a_lost_policy_named(
    finished: Path, tmp_path: Path, make: MakeAct
):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    lines = [json.loads(line) for line in (run / EPISODES).read_text().splitlines()]
    lines[0]["state_hash"] = "another"
    (run / EPISODES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    changed = make(tmp_path / "changed", seed=1)
    meta = json.loads((run / RUN).read_text())
    meta["plan"]["policies"][-1]["path"] = str(changed)
    (run / RUN).write_text(json.dumps(meta))
    records = read_episodes(run / EPISODES)
    first, last = episode(records[0]), episode(records[-1])
    with Films([run], records) as films:
        clips, problems = make_media(chosen(failures=[first], worst=[last]), films.film, tmp_path / "media")
        assert [clip.as_recorded for clip in clips.values()] == [False]
        assert len(problems) == 1
        assert "the weights in" in problems[0]
        with pytest.raises(EvalError, match="it is of no run that was given"):
            Films([], records).film(first)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_report_of_a_run_with_videos(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "report"
    assert EVAL.main(["report", str(finished), "--output_dir", str(out)]) == 0
    page = (out / "report.html").read_text()
    files = list((out / "media").iterdir())
    assert {path.suffix for path in files} == {".webm", ".jpg"}
    assert all("-same" in path.name for path in files)
    assert page.count("data:video/webm;base64,") >= len([path for path in files if path.suffix == ".webm"])
    assert "page: " in capsys.readouterr().out


@pytest.mark.parametrize("command", ["report", "replay"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str):
    more = ["1"] if command == "replay" else []
    assert "is no run of so101-eval: it has no episodes.jsonl" in refused(
        [command, str(tmp_path), *more], capsys
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--policies", "expert", "mine:2={act}@no-state,no-images", "lazy=hold"],
        [
            "--policies",
            "expert",
            "hold",
            "--latency=0.2",
            "--chunks=synchronous",
            "--width=48",
            "--height=48",
        ],
    ],
)
def test_the_line_for_another_run_asks_for_the_same_in_other_scenes(
    act: Path, tmp_path: Path, words: list[str]
):
    words = [word.format(act=act) for word in words]
    asked = make_plan(parser().parse_args([*words, *ASKED, "--scenarios=nominal,box-moved:3"]))
    line = another_run(asked, 40, 700, tmp_path / "next")
    assert line.startswith("so101-eval run --policies expert ")
    options = parser().parse_args(shlex.split(line)[2:])
    assert options.output_dir == tmp_path / "next"
    assert make_plan(options) == dataclasses.replace(asked, episodes=40, first_seed=700)
