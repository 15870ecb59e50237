"""The order of things in a session: what is asked before what, what a void does, when it ends. No arm takes part."""

import dataclasses
import errno
import json
import os
import random
import re
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from real_sessions import Sitting, by_chance, never, play
from real_studies import locked, small_study
from so101_eval.cli import BENCH
from so101_eval.errors import ConfigError, EvalError
from so101_eval.evaluation.records import EPISODES, read_runs
from so101_eval.palletizing.scene.draw import Reset
from so101_eval.real_study.design.lock import read_locked, writing
from so101_eval.real_study.design.sealing import unseal
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.journal import EVENTS, Event, Journal, read_events
from so101_eval.real_study.events.state import Kind, State
from so101_eval.real_study.measurement.nothing import Nothing
from so101_eval.real_study.measurement.protocol import Offset, Placed, Placement
from so101_eval.real_study.session.kept_pictures import save
from so101_eval.real_study.session.outcomes import value_of
from so101_eval.real_study.session.runner import TRIALS, Settings
from so101_eval.real_study.session.view import Action
from so101_eval.real_study.unblinding.real_records import counted
from so101_eval.real_study.unblinding.unblind import FIELDTRIAL, unblind
from so101_eval.report.data.report_data import report_data
from so101_eval.report.media import Films, encode
from so101_eval.report.page import render
from so101_eval.report.recorded import recorded
from so101_policy.files.plain_data import Plain
from so101_robot.runs.clip import CLIP


def sit(
    folder: Path,
    study: Study | None = None,
    *,
    succeeds: Callable[[int, int], bool] = by_chance,
    fault: Callable[[int, int], str | None] = never,
    prepare: Callable[[Sitting], None] = lambda sitting: None,
    settings: Settings | None = None,
) -> tuple[State, Sitting]:
    locked(folder, study)
    with writing(folder) as (found, journal):
        sitting = Sitting(found, folder, journal, succeeds, fault, settings)
        prepare(sitting)
        return sitting.run(), sitting


def kinds(folder: Path) -> list[str]:
    study, _ = read_locked(folder)
    return [event.kind for event in read_events(folder / EVENTS, study.sha256)]


def test_a_block_is_one_start_and_every_policy_once(tmp_path: Path):
    state, sitting = sit(tmp_path / "s", small_study(blocks=4, policies=3))
    assert state.now is None
    for block in range(4):
        at = [number for start, number in sitting.bench.driven if start == block]
        assert sorted(at) == [0, 1, 2]
        assert tuple(at) == sitting.schedule.orders[block]


def test_the_rig_is_asked_about_before_the_outcome_and_measured_after_it(tmp_path: Path):
    sit(tmp_path / "s", small_study(blocks=1))
    trial = [Kind.TRIAL_STARTED, Kind.TRIAL_ENDED, Kind.RIG_ANSWERED, Kind.OUTCOME, Kind.MEASURED]
    assert kinds(tmp_path / "s") == [
        Kind.LOCKED, Kind.SESSION_OPENED, Kind.RIG_CHECKED, *trial, *trial, Kind.BLOCK_ENDED, Kind.SESSION_CLOSED,
    ]  # fmt: skip


def test_an_operators_void_keeps_the_outcome_and_queues_the_block_again(tmp_path: Path):
    def once(sitting: Sitting) -> None:
        sitting.operator.answers["rig"] = [
            Action("rig", {"reason": None}),
            Action("rig", {"reason": "bumped"}),
        ]

    state, _ = sit(tmp_path / "s", small_study(blocks=2), prepare=once)
    void = [trial for trial in state.trials.values() if trial.void]
    assert [trial.void for trial in void] == ["bumped"]
    assert void[0].outcome is not None
    assert [place.block for place in state.queue] == [0, 1, 0]
    assert len(state.complete) == 2


def test_a_reason_that_was_not_locked_is_not_taken(tmp_path: Path):
    def tries(sitting: Sitting) -> None:
        sitting.operator.answers["rig"] = [Action("rig", {"reason": "did not like it"})]

    state, _ = sit(tmp_path / "s", small_study(blocks=1), prepare=tries)
    assert not any(trial.void for trial in state.trials.values())


def test_the_table_of_faults_decides_and_not_the_operator(tmp_path: Path):
    calls: list[tuple[int, int]] = []

    def fault(block: int, policy: int) -> str | None:
        calls.append((block, policy))
        return {1: "camera gone", 3: "overload"}.get(len(calls))

    state, _ = sit(tmp_path / "s", small_study(blocks=2), fault=fault)
    trials = list(state.trials.values())
    assert trials[0].void == "camera"
    assert trials[2].void is None
    assert trials[2].outcome is not None
    assert (trials[2].outcome.success, trials[2].outcome.why) == (False, "fault")


def test_a_decided_study_stops_and_says_nothing_of_whom(tmp_path: Path):
    state, sitting = sit(tmp_path / "s", small_study(blocks=20), succeeds=lambda block, policy: policy == 1)
    assert state.stopped == "decided"
    assert len(state.complete) == 8, "E(8, 0) = 28"
    shown = json.dumps([dataclasses.asdict(view) for view in sitting.operator.views])
    assert not re.search(r"e-value|better|worse|secret-name|decided", shown)


def test_stops_for_danger_end_a_study_whatever_the_statistics_say(tmp_path: Path):
    def danger(sitting: Sitting) -> None:
        plain = sitting.operator.next

        def ends(timeout_s: float) -> Action | None:
            action = plain(timeout_s)
            if action is not None and action.kind == "outcome" and sitting.bench.number == 0:
                return Action("outcome", {"stages": [1], "success": False, "why": "danger"})
            return action

        sitting.operator.next = ends  # type: ignore[method-assign]

    state, _ = sit(
        tmp_path / "s", small_study(blocks=20), prepare=danger, succeeds=lambda block, policy: False
    )
    assert (state.stopped, len(state.complete)) == ("danger", 3)


def test_an_outcome_may_be_changed_until_the_next_start(tmp_path: Path):
    def undo(sitting: Sitting) -> None:
        sitting.operator.answers["reset"] = [Action("start"), Action("undo")]

    state, _ = sit(tmp_path / "s", small_study(blocks=1), prepare=undo)
    study, _ = read_locked(tmp_path / "s")
    outcomes = [e for e in read_events(tmp_path / "s" / EVENTS, study.sha256) if e.kind == Kind.OUTCOME]
    assert [event.data["change"] for event in outcomes] == [False, True, False]
    assert len(state.trials) == 2


def test_an_outcome_that_contradicts_itself_is_asked_again(tmp_path: Path):
    def wrong(sitting: Sitting) -> None:
        sitting.operator.answers["outcome"] = [
            Action("outcome", {"stages": [3], "success": True, "why": "done"}),
            Action("outcome", {"stages": [1, 1], "success": False, "why": "done"}),
            Action("outcome", {"nonsense": 1}),
            Action(
                "outcome",
                {
                    "stages": [2],
                    "success": False,
                    "why": "stopped",
                    "note": "#Slipped, #slipped \u2192 #hit-box",
                },
            ),
        ]

    state, sitting = sit(tmp_path / "s", small_study(blocks=1), prepare=wrong)
    assert len(state.complete) == 1
    texts = [view.text for view in sitting.operator.views if view.screen == "outcome"]
    assert any("a success with stages" in text for text in texts)
    assert any("2 boxes, expected 1" in text for text in texts)
    first = next(iter(state.trials.values()))
    assert first.outcome is not None
    assert first.outcome.tags == ("slipped", "hit-box")


def test_practice_does_not_count_and_comes_first(tmp_path: Path):
    state, sitting = sit(tmp_path / "s", small_study(blocks=2, practice=2))
    assert len(state.complete) == 2
    assert [view.block for view in sitting.operator.views if view.screen == "block"] == [0, 0, 1, 2]


def test_the_rig_is_checked_again_after_ten_blocks(tmp_path: Path):
    sit(tmp_path / "s", small_study(blocks=12), succeeds=lambda block, policy: False)
    assert kinds(tmp_path / "s").count(Kind.RIG_CHECKED) == 2


def test_leaving_ends_the_session_and_the_next_one_goes_on(tmp_path: Path):
    def leaves(sitting: Sitting) -> None:
        sitting.operator.answers["reset"] = [Action("start"), Action("leave")]

    state, first = sit(
        tmp_path / "s", small_study(blocks=2), prepare=leaves, settings=Settings(countdown_s=0.0)
    )
    assert len(first.bench.driven) == 1
    assert state.operator == "anna"
    with writing(tmp_path / "s") as (study, journal):
        again = Sitting(study, tmp_path / "s", journal)
        state = again.run()
    assert len(again.bench.driven) == 3
    assert state.sessions == 2
    assert state.now is None


def test_a_trial_that_ended_is_not_voided_by_a_crash(tmp_path: Path):
    """Else whoever did not like what he saw would pull the plug."""
    folder = tmp_path / "s"
    locked(folder, small_study(blocks=1))
    with writing(folder) as (study, journal):
        sitting = Sitting(study, folder, journal)
        plain = sitting.operator.next

        def crashes(timeout_s: float) -> Action | None:
            if sitting.operator.views[-1].screen == "rig":
                raise MemoryError
            return plain(timeout_s)

        sitting.operator.next = crashes  # type: ignore[method-assign]
        with pytest.raises(MemoryError):
            sitting.run()
    with writing(folder) as (study, journal):
        again = Sitting(study, folder, journal)
        again.bench.number = sitting.bench.number
        state = again.run()
    assert len(again.bench.driven) == 1
    assert not any(trial.void for trial in state.trials.values())


def test_a_study_unblinds_into_records_of_the_simulations_schema(tmp_path: Path):
    folder = tmp_path / "s"
    sit(folder, small_study(blocks=6))
    summary = unblind(folder)
    records = read_runs([folder])
    assert len(records) == 12
    assert {record.kind for record in records} == {"real"}
    schedule = unseal(folder, read_locked(folder)[0])
    assert len(schedule.orders) == 18
    for record in records:
        number = int(record.policy[-1])
        assert record.success == by_chance(record.seed, number), "the right name for every trial"
    assert [one.successes for one in summary.of_policies] == [
        sum(by_chance(block, policy) for block in range(6)) for policy in range(2)
    ]
    rows = (folder / FIELDTRIAL).read_text().splitlines()
    assert rows[0].startswith("trial_id,seq,block,replicate,condition,arm,status,attempt,stage_index,success")
    assert len(rows) == 13
    assert unblind(folder).as_data()["of_policies"] == summary.as_data()["of_policies"], (
        "once more gives the same"
    )
    assert kinds(folder).count(Kind.UNBLINDED) == 1


def test_a_trial_that_a_person_took_over_is_a_failure_whatever_the_operator_and_the_camera_say(
    tmp_path: Path,
):
    folder = tmp_path / "s"

    def takes_over(sitting: Sitting) -> None:
        drive = sitting.bench.drive

        def driven(*what: Any) -> Any:
            ran = drive(*what)
            return replace(ran, why="human") if (sitting.bench.block, sitting.bench.number) == (0, 0) else ran

        def answers(timeout_s: float) -> Action | None:
            view = sitting.operator.views[-1]
            if view.screen == "outcome" and view.suggested == "human":
                said.append(view.text)
                success = len(said) == 1  # refused, and asked again
                return Action("outcome", {"stages": [7], "success": success, "why": "done"})
            return following(timeout_s)

        following = sitting.operator.next
        sitting.bench.drive = driven  # type: ignore[method-assign]
        sitting.operator.next = answers  # type: ignore[method-assign]

    said: list[str] = []
    state, _ = sit(folder, small_study(blocks=2), succeeds=lambda block, policy: True, prepare=takes_over)
    assert said[0].startswith("A person took over, so the trial is a failure.")
    assert "expected 7 of every box, and no danger, fault or human" in said[1]
    summary = unblind(folder)
    one = next(trial for trial in state.trials.values() if trial.outcome and trial.outcome.why == "human")
    assert one.outcome is not None
    assert (one.outcome.success, one.outcome.credit) == (False, 0.0)
    by_camera = replace(read_locked(folder)[0], decided_by="camera")
    assert value_of(by_camera, replace(one, measured={"success": True})) == 0.0
    assert [each.successes for each in summary.of_policies] == [1, 2]
    assert [each.taken_over for each in summary.of_policies] == [1, 0]
    assert any("a person took over, which counts as a failure" in line for line in summary.lines())
    records = [record for record in read_runs([folder]) if record.end == "human"]
    assert len(records) == 1
    assert records[0].success is False


def test_a_rehearsal_is_never_real(tmp_path: Path):
    folder = tmp_path / "s"
    sit(folder, small_study(blocks=2), settings=Settings(countdown_s=0.0, operator="x", rehearsal=True))
    assert unblind(folder).lines()[0].startswith("REHEARSAL")
    assert {record.kind for record in read_runs([folder])} == {"rehearsal"}


def test_an_unfinished_study_is_not_unblinded_by_the_way(tmp_path: Path):
    folder = tmp_path / "s"

    def leaves(sitting: Sitting) -> None:
        sitting.operator.answers["reset"] = [Action("start")] * 2 + [Action("leave")]

    sit(folder, small_study(blocks=3), prepare=leaves)
    with pytest.raises(ConfigError, match="is not over: 1 of 3"):
        unblind(folder)
    assert not (folder / EPISODES).exists()
    assert unblind(folder, early=True).blocks == 1


def test_nothing_in_the_folder_or_on_the_screens_tells_who_is_who(tmp_path: Path):
    folder = tmp_path / "s"
    _, sitting = sit(folder, small_study(blocks=3))
    for path in folder.rglob("*"):
        assert "secret-name" not in path.name
        if path.is_file() and path.name != "study.yaml":
            data = path.read_bytes()
            assert b"secret-name" not in data
            assert b"policy" not in data.replace(b"lerobot_policy_so101", b"")
    shown = json.dumps([dataclasses.asdict(view) for view in sitting.operator.views])
    assert "secret-name" not in shown
    assert str(folder) not in shown
    codes = {view.code for view in sitting.operator.views if view.screen == "trial"}
    assert len(codes) == 6
    assert all(re.fullmatch(r"[B-Z]{4}", code) for code in codes)


def lines_of(folder: Path) -> list[bytes]:
    return (folder / EVENTS).read_bytes().splitlines(keepends=True)


def result_of(folder: Path) -> list[tuple[int, int, bool]]:
    """What a kill may not change: start, policy and success of every trial that counts."""
    study, state = read_locked(folder)
    found = counted(unseal(folder, study), state)
    return sorted(
        (one.trial.block, one.policy, one.trial.outcome is not None and one.trial.outcome.success)
        for one in found
    )


def test_two_studies_that_differ_in_names_alone_look_alike(tmp_path: Path):
    """File sizes and kinds of events, sorted: what a look into the folder shows."""

    def shape(name: str) -> list[str]:
        sit(tmp_path / name, small_study(blocks=2), succeeds=lambda block, policy: block == 0)
        return kinds(tmp_path / name)

    assert shape("a") == shape("b")


def killed_at(folder: Path, moment: int) -> None:
    """A process that plays the study and is killed after so many events; forked: a new one would import for seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child uses none of them
        child = os.fork()
    if child == 0:
        try:
            play(folder, moment)
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def played_whole(tmp_path: Path) -> tuple[Study, list[tuple[int, int, bool]], int]:
    """A study, its result without any kill, and how many events that took."""
    study = locked(tmp_path / "whole", small_study(blocks=3, practice=1))
    play(tmp_path / "whole")
    return study, result_of(tmp_path / "whole"), len(lines_of(tmp_path / "whole")) - 1


def test_a_kill_in_the_first_block_loses_nothing(tmp_path: Path):
    study, expected, _ = played_whole(tmp_path)
    for moment in (1, 4, 5, 6, 7):
        goes_on_after(tmp_path / f"{moment}", study, [moment], expected)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_kill_at_any_event_loses_nothing_and_changes_nothing(tmp_path: Path):
    """100 kills: after every event of a study once, then one kill after the other in the same study."""
    study, expected, events = played_whole(tmp_path)
    kills = sum(
        goes_on_after(tmp_path / f"{moment}", study, [moment], expected) for moment in range(1, events)
    )
    for seed in range(8):
        moments = random.Random(seed).sample(range(1, 12), 8)
        kills += goes_on_after(tmp_path / f"often-{seed}", study, moments, expected)
    assert kills >= 100


def goes_on_after(
    folder: Path, study: Study, moments: list[int], expected: list[tuple[int, int, bool]]
) -> int:
    """Killed at each of these, one after the other, then played to the end."""
    locked(folder, study)
    kept, voids = lines_of(folder), 0
    for moment in moments:
        killed_at(folder, moment)
        now = lines_of(folder)
        assert now[: len(kept)] == kept, "what was written stays, byte by byte"
        assert len(now) == len(kept) + moment
        voids += json.loads(now[-1])["kind"] == Kind.TRIAL_STARTED
        kept = now
    state = play(folder)
    assert lines_of(folder)[: len(kept)] == kept
    interrupted = [trial.void for trial in state.trials.values() if trial.void]
    assert interrupted == ["interrupted"] * voids, "a trial is void only where its run was cut off"
    assert result_of(folder) == expected
    return len(moments)


class Doubtful(Nothing):
    """A camera that sees the box 8 mm off its place, whatever is done."""

    available = True

    def reset_offsets(self, pictures: Any, reset: Reset) -> list[Offset]:
        return [Offset(0, 8.0, 0.0, 0.0)]


def test_a_start_against_the_cameras_word_is_an_event_and_is_told(tmp_path: Path):
    folder = tmp_path / "s"
    locked(folder, small_study(blocks=2))
    with writing(folder) as (study, journal):
        sitting = Sitting(study, folder, journal, measurement=Doubtful())
        usual = sitting.operator.next
        pressed: list[str] = []

        def insists(timeout_s: float) -> Action | None:
            view = sitting.operator.views[-1]
            if view.screen != "reset":
                return usual(timeout_s)
            assert (view.ready, view.can_override) == (False, True)
            pressed.append("start" if len(pressed) % 2 == 0 else "override")
            return Action(pressed[-1])  # type: ignore[arg-type]

        sitting.operator.next = insists  # type: ignore[method-assign]
        state = sitting.run()
    assert kinds(folder).count(Kind.START_OVERRIDDEN) == 4, "Space alone begins nothing"
    assert all(trial.overridden for trial in state.trials.values())
    summary = unblind(folder)
    names = ", ".join(f"{one.policy} 2" for one in summary.of_policies)
    assert f"begun although a box was measured to lie elsewhere (trials): {names}" in summary.lines()
    data = report_data(read_runs([folder]))
    told = [(row["trials"], row["overridden"]) for row in data["integrity"]["overridden"]]
    assert told == [(2, 2), (2, 2)]
    assert "although a box was measured to lie elsewhere" in render(data)


def test_where_the_camera_agrees_nothing_can_be_overridden(tmp_path: Path):
    def insists(sitting: Sitting) -> None:
        sitting.operator.answers["reset"] = [Action("override")] * 3

    state, sitting = sit(tmp_path / "s", small_study(blocks=1), prepare=insists)
    assert Kind.START_OVERRIDDEN not in kinds(tmp_path / "s")
    assert not any(trial.overridden for trial in state.trials.values())
    assert not any(view.can_override for view in sitting.operator.views)


class FullDisk(Journal):
    """There is room for so many events."""

    room = 0

    def append(self, kind: str, data: Mapping[str, Plain] | None = None) -> Event:
        if len(self.events) >= self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().append(kind, data)


@pytest.mark.parametrize("room", [4, 5, 6])
def test_a_full_disk_ends_the_sitting_and_the_next_one_goes_on(tmp_path: Path, room: int):
    """Before the first trial, while it is in flight, and after it."""
    folder = tmp_path / "s"
    study = locked(folder, small_study(blocks=2))
    with FullDisk(folder / EVENTS, study.sha256) as journal:
        journal.room = room
        with pytest.raises(OSError, match="No space left"):
            Sitting(study, folder, journal).run()
    before = lines_of(folder)
    assert len(before) == room
    state = play(folder)
    assert lines_of(folder)[:room] == before
    assert len(state.complete) == 2
    assert sum(trial.void is not None for trial in state.trials.values()) == (room == 4)


class Measures(Nothing):
    """A camera that measured the one box."""

    available = True

    def reset_offsets(self, pictures: Any, reset: Reset) -> list[Offset]:
        return [Offset(0, 0.0, 0.0, 0.0)]

    def placement(self, before: Any, after: Any, reset: Reset) -> Placement:
        target, seen = ((0.4, 0.4), (0.5, 0.4), (0.5, 0.5)), ((0.41, 0.4), (0.51, 0.4), (0.51, 0.5))
        return Placement((Placed(0, 3.0, 4.0, 6.0, "", target, seen),), True, 0.5)


def test_what_was_measured_is_shown_after_a_verdict_and_never_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "s"
    locked(folder, small_study(blocks=1))
    with writing(folder) as (study, journal):
        state = Sitting(study, folder, journal, measurement=Measures()).run()
    for code in state.trials:
        at = folder / TRIALS / code
        save({"front": np.full((480, 640, 3), 90, np.uint8)}, at, "end")
        (at / CLIP).write_bytes(
            encode([np.full((96, 192, 3), shade, np.uint8) for shade in range(20)], Fraction(10))
        )
    shown: list[Path] = []

    def rater() -> Iterator[str]:
        for film in range(2):
            said = capsys.readouterr().out
            assert said.count("the camera: ") == film, "of the films before, and not of this one"
            shown.extend(Path(path) for path in re.findall(r"/\S+\.jpg", said))
            assert all(path.is_file() for path in shown)
            assert not list(folder.rglob("*.jpg"))
            yield "f\n"

    monkeypatch.setattr("sys.stdin", rater())
    assert BENCH.main(["score", str(folder), "--rater=eva"]) == 0
    assert "the camera: box 1: 5 mm off, turned by 6 deg" in capsys.readouterr().out
    assert len(shown) == 1
    assert not shown[0].exists(), "another rater does not find it"
    assert not list(folder.rglob("*.jpg"))
    assert [len(trial.scores) for trial in read_locked(folder)[1].trials.values()] == [1, 1]

    unblind(folder)
    records = read_runs([folder])
    for record in records:
        assert record.media is not None
        assert (folder / str(record.media["measured"])).is_file()
    with Films([folder], records) as films:
        filmed = films.film(records[0].key._asdict())
        assert len(filmed.pictures) == 15 + 8, "two seconds of film, one of what was measured, 7.5 a second"
        assert filmed.pictures[14].max() < 40
        assert np.abs(filmed.pictures[-1][:, 120].astype(int) - 90).min() < 10
        away = replace(records[0], media={"trial": "../elsewhere"})
        with pytest.raises(EvalError, match="outside"):
            recorded(folder, away, (240, 180), Fraction(15, 2))
        lost = replace(records[0], media={"trial": "trials/none"})
        with pytest.raises(EvalError, match="cannot be shown"):
            recorded(folder, lost, (240, 180), Fraction(15, 2))
