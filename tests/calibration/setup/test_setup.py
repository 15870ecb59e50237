"""`so101-setup`: the order of its steps, what they ask of which command, and that it can be left and gone on with."""

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pexpect
import pytest

from so101_calibration import files
from so101_calibration.cli import CALIBRATE, SETUP
from so101_calibration.errors import FileError, InputEndedError
from so101_calibration.setup import arms, command, place, progress, running
from so101_calibration.setup.cameras import Shown
from so101_calibration.setup.looking import PICTURES
from so101_calibration.setup.person import AtTerminal, in_width
from so101_calibration.setup.progress import DONE, SKIPPED
from so101_calibration.setup.recording import RECORDING
from so101_calibration.setup.steps import STEPS
from so101_calibration.setup.work import Setup
from so101_eval.cli import DATA
from so101_policy.command_line.next_steps import Step, tell_next
from so101_policy.files.plain_data import Plain
from so101_robot.cli import TELEOP
from so101_robot.joints import FOLDED
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.so101_yaml.content import Arm, Content, in_yaml, parsed

FOLLOWER, LEADER = "/dev/null", "/dev/zero"
"""Devices that are there on every machine."""


class Scripted:
    """A person who has an answer for some questions, and takes what is offered for the others."""

    def __init__(self, **answers: str | list[str]) -> None:
        self.answers = {word: [said] if isinstance(said, str) else said for word, said in answers.items()}
        self.asked: list[str] = []

    def ask(self, question: str, default: str, problem: Callable[[str], str] = lambda answer: "") -> str:
        self.asked.append(question)
        for word, said in self.answers.items():
            if word in question and said:
                answer = said.pop(0)
                assert not problem(answer), (question, answer, problem(answer))
                return answer
        assert not problem(default), (question, default)
        return default

    def yes(self, question: str, default: bool) -> bool:
        return self.ask(question, "y" if default else "n") == "y"

    def wait(self, request: str) -> None:
        self.asked.append(request)


class Eyes:
    """Two cameras; the first is out of focus at first."""

    def __init__(self) -> None:
        self.looks = 0

    def devices(self) -> list[str]:
        return ["/dev/video0", "/dev/video2"]

    def look(self, device: str) -> Shown:
        self.looks += 1
        image = np.zeros((48, 64, 3), np.uint8)
        image[::2] = 60 * min(self.looks, 4)
        return Shown(device, image)

    def settings(self, device: str) -> dict[str, Plain]:
        return {"type": "opencv", "index_or_path": int(device[-1]), "width": 64, "height": 48, "fps": 30}


class Bench:
    """A set-up whose commands do what they would, in files, or say no."""

    def __init__(self, folder: Path, person: Scripted, simulated: bool = False) -> None:
        self.ran: list[list[str]] = []
        self.episodes = 5
        """How many each recording adds."""
        self.fails: dict[str, int] = {}
        """Word -> exit code of the commands that have it."""
        self.setup = Setup(folder, simulated, person, self.run, Eyes())
        self.folder = folder

    def run(self, words: Sequence[str]) -> int:
        self.ran.append(list(words))
        for word, code in self.fails.items():
            if word in words:
                return code
        if words[1] == "servos":
            path = self.setup.calibration("--leader" in words)
            files.write_whole(
                path, files.dump(files.calibration.of(MockArm(MockConfig(realtime_factor=0)).calibration))
            )
        if words[0] == "so101-teleop":
            (self.folder / RECORDING / "meta").mkdir(parents=True, exist_ok=True)
            info = self.folder / RECORDING / "meta" / "info.json"
            before = json.loads(info.read_text())["total_episodes"] if info.exists() else 0
            info.write_text(json.dumps({"total_episodes": before + self.episodes}))
        return 0

    def go(self) -> int:
        return command.all_steps(self.setup, progress.load(self.folder, self.setup.simulated, STEPS))

    @property
    def marks(self) -> dict[str, str]:
        return progress.load(self.folder, self.setup.simulated, STEPS).marks


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two ports, one of them the follower's, and LeRobot's folder elsewhere."""
    monkeypatch.setattr(arms.ports, "present", lambda: [FOLLOWER, LEADER])
    monkeypatch.setattr(arms.ports, "unplugged", lambda listed, operator: FOLLOWER)
    for check in ("ports", "takers", "cameras"):
        monkeypatch.setattr(arms.doctor, check, list)
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path / "lerobot"))


def test_from_nothing_to_a_recording_every_command_is_asked_for_what_it_knows(tmp_path: Path):
    bench = Bench(
        tmp_path, Scripted(front="/dev/video2", millimetres="5", cm="45 30 30 50", sharp=["n", "y"])
    )
    assert bench.go() == 0
    assert bench.marks == dict.fromkeys(STEPS, DONE)
    assert [words[:2] for words in bench.ran] == [
        ["so101-calibrate", "ids"], ["so101-calibrate", "ids"], ["so101-calibrate", "servos"],
        ["so101-calibrate", "servos"], ["so101-calibrate", "pair"], ["so101-calibrate", "check"],
        ["so101-teleop", "--record.repo_id=me/first"], ["so101-data", "check"],
    ]  # fmt: skip
    for words in bench.ran:
        whole = {"so101-calibrate": CALIBRATE, "so101-teleop": TELEOP, "so101-data": DATA}[words[0]]
        chosen = whole.chosen(words[1:])
        assert chosen is not None
        chosen.check_flags(words[1:])
    assert bench.ran[2][2:] == [f"--robot.port={FOLLOWER}", "--robot.id=my_arm"]
    assert bench.ran[3][2:] == [f"--robot.port={LEADER}", "--robot.id=my_leader", "--leader"]
    content = bench.setup.content
    assert content.arm == Arm(FOLLOWER, "my_arm")
    assert content.leader == Arm(LEADER, "my_leader")
    assert content.cameras["front"]["index_or_path"] == 2
    assert content.cameras["wrist"]["index_or_path"] == 0
    assert content.place.table_m == -0.015
    assert content.place.walls_m == {"x": [-0.3, 0.45], "y": [-0.3, 0.3], "z": [-0.05, 0.5]}
    assert content.place.home == list(FOLDED)
    assert {path.name for path in (tmp_path / PICTURES).iterdir()} == {
        "camera_video0.png", "camera_video2.png", "front.png", "wrist.png",
    }  # fmt: skip
    # everything is right, so nothing is done again
    bench.ran.clear()
    assert bench.go() == 0
    assert bench.ran == []


def test_a_step_that_fails_is_not_done_and_is_where_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bench = Bench(tmp_path, Scripted(**{"skip or": "leave"}))
    bench.fails = {"check": 1}
    assert bench.go() == 1
    assert "Not done: so101-calibrate check ended with exit code 1" in capsys.readouterr().out
    assert list(bench.marks) == list(STEPS)[: list(STEPS).index("motion")]
    bench.fails, bench.ran = {}, []
    assert bench.go() == 0
    assert next(words[:2] for words in bench.ran) == ["so101-calibrate", "check"]
    assert bench.marks == dict.fromkeys(STEPS, DONE)


def test_what_was_done_and_is_not_right_any_more_is_done_again(tmp_path: Path):
    bench = Bench(tmp_path, Scripted())
    bench.go()
    bench.setup.calibration().unlink()
    bench.ran.clear()
    assert bench.go() == 0
    assert [words[1] for words in bench.ran] == ["servos"]


def test_without_a_leader_its_steps_are_left_out_until_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(arms.ports, "present", lambda: [FOLLOWER])
    bench = Bench(tmp_path, Scripted())
    assert bench.go() == 0
    assert {step for step, mark in bench.marks.items() if mark == SKIPPED} == {
        "leader",
        "pair",
        "record",
        "check",
    }
    assert bench.setup.content.leader is None
    monkeypatch.setattr(arms.ports, "present", lambda: [FOLLOWER, LEADER])
    assert command.one_step(bench.setup, progress.load(tmp_path, False, STEPS), "ports")
    assert not {"leader", "pair", "record", "check"} & set(bench.marks)


def test_half_a_recording_is_not_done_and_the_rest_is_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bench = Bench(tmp_path, Scripted(**{"skip or": "leave"}))
    bench.episodes = 3
    assert bench.go() == 1
    assert "3 of 5 episodes are in data/first" in capsys.readouterr().out
    assert "record" not in bench.marks
    bench.episodes = 2
    bench.ran.clear()
    assert bench.go() == 0
    assert {"--record.num_episodes=2", "--record.resume=true"} <= set(bench.ran[0])
    (tmp_path / RECORDING / "meta" / "info.json").write_text('{"total_')
    assert "cannot be read" in STEPS["record"].wrong(bench.setup)


@pytest.mark.parametrize("step", [name for name, step in STEPS.items() if step.needs_leader])
def test_a_step_for_a_leader_says_that_there_is_none(step: str, tmp_path: Path):
    bench = Bench(tmp_path, Scripted(), simulated=True)
    bench.setup.write(Content(arm=Arm("mock", "my_arm")))
    assert command.attempt(bench.setup, STEPS[step]).endswith(
        ("so101-setup --again=ports", "`ports` first", "`record` first")
    )


def test_the_simulated_person_is_asked_nothing_while_it_records(tmp_path: Path):
    """In a terminal so101-teleop would ask whether each episode succeeded, and wait for a key."""
    bench = Bench(tmp_path, Scripted(), simulated=True)
    bench.setup.write(Content(arm=Arm("mock", "my_arm"), leader=Arm("mock", "my_leader")))
    assert command.attempt(bench.setup, STEPS["record"]) == ""
    assert {"--record.success=unknown", "--record.reset_time_s=1"} <= set(bench.ran[0])


@pytest.mark.parametrize("said", ["-1", "nan", "inf", "two", "2000"])
def test_a_table_that_a_file_cannot_give_is_asked_again(said: str):
    assert place.no_length(said)
    assert not place.no_length("20")


def test_a_rehearsal_leaves_the_folder_to_the_real_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert SETUP.main(["--mock", "--undo=home"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    assert SETUP.main(["--list"]) == 0


def test_a_person_may_skip_and_is_asked_again_until_it_works(tmp_path: Path):
    bench = Bench(tmp_path, Scripted(**{"skip or": ["again", "skip"]}))
    bench.fails = {"ids": 2}
    assert bench.go() == 0
    assert bench.marks["ids"] == SKIPPED
    assert sum("ids" in words for words in bench.ran) == 2


def test_every_undo_takes_back_what_its_step_wrote_and_deletes_nothing(tmp_path: Path):
    bench = Bench(tmp_path, Scripted())
    bench.go()
    bench.ran.clear()
    setup = bench.setup
    files.back_up(setup.calibration(), files.datetime(2026, 1, 2))
    words = {name: step.undo(setup) for name, step in reversed(list(STEPS.items()))}
    assert all(words.values())
    [restored] = bench.ran
    assert restored[:2] == ["so101-calibrate", "servos"]
    assert restored[-1].startswith("--from=")
    assert (tmp_path / "data" / "first.undone1" / "meta" / "info.json").is_file()
    assert not (tmp_path / RECORDING).exists()
    assert setup.content == Content()


def test_a_file_that_somebody_wrote_is_kept(tmp_path: Path):
    written = f"# mine\narm: {{port: {LEADER}, id: old}}\nlimits: {{slow_c: 50}}\n"
    (tmp_path / "so101.yaml").write_text(written)
    bench = Bench(tmp_path, Scripted())
    bench.go()
    assert (tmp_path / "so101.yaml.before").read_text() == written
    assert bench.setup.content.limits == {"slow_c": 50}
    assert bench.setup.content.arm == Arm(FOLLOWER, "old")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "remove it to begin anew: so101.yaml stays"),
        ('{"steps": {"ports": "perhaps"}}', "expected what so101-setup writes"),
        ('{"simulated": true, "steps": {}}', "about simulated arms"),
    ],
)
def test_a_state_file_that_is_not_right_is_said(text: str, words: str, tmp_path: Path):
    (tmp_path / progress.NAME).write_text(text)
    with pytest.raises(FileError, match=words):
        progress.load(tmp_path, False, STEPS)


def test_wrong_input_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert SETUP.main([f"--folder={tmp_path}", "--again=camera"]) == 2
    assert "there is no step 'camera'; possible: permissions, ports" in capsys.readouterr().err
    (tmp_path / "so101.yaml").write_text("arm: {prot: x}\n")
    assert SETUP.main([f"--folder={tmp_path}", "--undo=ports"]) == 2
    assert "prot is not known" in capsys.readouterr().err
    assert SETUP.main([f"--folder={tmp_path / 'new'}", "--list"]) == 0
    assert "about 55 minutes are left" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_ctrl_c_leaves_what_is_done_done(tmp_path: Path):
    bench = Bench(tmp_path, Scripted())

    def interrupted(words: Sequence[str]) -> int:
        raise KeyboardInterrupt

    bench.setup.run = interrupted
    with pytest.raises(KeyboardInterrupt):
        bench.go()
    assert bench.marks == {"permissions": DONE, "ports": DONE}
    parsed((tmp_path / "so101.yaml").read_text())


def test_at_a_terminal_enter_takes_what_is_offered_and_a_wrong_answer_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\nperhaps\nn\n\n"))
    person = AtTerminal()
    assert person.ask("A name", "my_arm") == "my_arm"
    assert person.yes("Is it sharp?", True) is False
    person.wait("Plug it in")
    said = capsys.readouterr().out
    assert said.startswith("A name [my_arm] ")
    assert "found 'perhaps', expected y or n" in said
    with pytest.raises(InputEndedError, match="goes on from here"):
        person.wait("Plug it in")


def test_a_long_question_is_broken_between_words(monkeypatch: pytest.MonkeyPatch):
    words = "Which is the front camera, of those whose pictures are in the folder?"
    assert in_width(words) == words
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    lines = in_width(f"\n{words}").split("\n")
    assert max(map(len, lines)) <= 30
    assert " ".join(lines[1:]) == words


def test_input_that_ends_is_no_answer(tmp_path: Path):
    class Gone(Scripted):
        def ask(self, question: str, default: str, problem: Callable[[str], str] = lambda answer: "") -> str:
            raise InputEndedError("input ended")

    with pytest.raises(InputEndedError):
        Bench(tmp_path, Gone()).go()


def test_a_request_to_end_goes_to_the_command_once_and_is_waited_for(tmp_path: Path):
    """The command gets SIGTERM and takes its time; a second one would have it drop the arm."""
    code = (
        "import signal, time, pathlib\n"
        "got = []\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))\n"
        "pathlib.Path('ready').touch()\n"
        "while not got: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "pathlib.Path('ended').write_text(str(len(got)))\n"
    )

    def ask() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            running.run([sys.executable, "-c", code], tmp_path)
    finally:
        thread.join()
    assert (tmp_path / "ended").read_text() == "1"
    assert running.run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path) == 3


def test_a_command_within_leaves_it_to_the_guide_what_is_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    code = "from so101_policy.command_line.next_steps import Step, tell_next; tell_next([Step('so101-run', 'drive')])"
    assert running.run([sys.executable, "-c", code], tmp_path) == 0
    assert "next:" not in capfd.readouterr().out
    tell_next([Step("so101-run", "drive")])
    assert "next:" in capfd.readouterr().out


@contextmanager
def _in_terminal(folder: Path, *arguments: str) -> Generator["pexpect.spawn[str]"]:
    """The command in a terminal of a usual size."""
    program = str(Path(sys.executable).with_name("so101-setup"))
    words = ["--mock", f"--folder={folder}", *arguments]
    terminal = pexpect.spawn(program, words, dimensions=(24, 80), encoding="utf-8", timeout=900)
    with (folder / "said.txt").open("a", encoding="utf-8") as said:
        terminal.logfile_read = said
        yield terminal
        terminal.expect(pexpect.EOF)
        terminal.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_in_a_terminal_it_goes_from_nothing_to_a_checked_recording_and_may_be_left_in_between(tmp_path: Path):
    steps, info = list(STEPS), tmp_path / RECORDING / "meta" / "info.json"
    with _in_terminal(tmp_path) as first:
        first.expect("episode 2 of 5 is being recorded")
        first.sendintr()
        first.expect("released")  # the arm is safe
        first.expect("goes on with this step when it is called again")
    assert first.exitstatus == 130
    saved = json.loads((tmp_path / progress.NAME).read_text())
    assert saved["steps"] == dict.fromkeys(steps[: steps.index("record")], DONE)
    text = (tmp_path / "so101.yaml").read_text()
    assert in_yaml(parsed(text)) == text
    kept = json.loads(info.read_text())["total_episodes"]
    assert 1 <= kept < 5

    with _in_terminal(tmp_path) as again:
        again.expect(f"{kept} episodes are in data/first already")
        again.expect("Nothing is wrong")
        again.expect("all is done")
    assert again.exitstatus == 0
    said = (tmp_path / "said.txt").read_text()
    assert said.count("✓") == len(STEPS)
    assert json.loads((tmp_path / progress.NAME).read_text())["steps"] == dict.fromkeys(steps, DONE)
    assert json.loads(info.read_text())["total_episodes"] == 5
