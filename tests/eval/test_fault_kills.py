"""kill -9, a few times, and what is left."""

import json
from pathlib import Path

import pytest
from so101_eval.faults import kills
from so101_eval.faults.kills import Kill, in_words

KILL = Kill(3, "park", 1.0, "run", 40, "parked and released", "parked", 2, ())


@pytest.mark.slow
def test_a_runner_that_is_killed_leaves_its_log_the_episodes_and_a_safe_arm(tmp_path: Path):
    found = kills.kills(4, 1, tmp_path)
    assert [kill.problems for kill in found] == [()] * 4
    assert {kill.action for kill in found} == {"hold", "park"}
    assert sum(kill.ticks for kill in found) > 20


def test_ticks_with_a_gap_in_their_order_are_a_problem(tmp_path: Path):
    path = tmp_path / "ticks.jsonl"
    lines = [json.dumps({"tick": k, "phase": "run"}) for k in (0, 1, 2)]
    path.write_text("\n".join([*lines, '{"tick": 3, "pha']))
    problems: list[str] = []
    assert kills._ticks(path, problems) == (3, "run")  # pyright: ignore[reportPrivateUsage]
    assert problems == []
    path.write_text("\n".join([lines[0], lines[2], lines[1], ""]))
    kills._ticks(path, problems)  # pyright: ignore[reportPrivateUsage]
    assert "not in order" in problems[0]


def test_a_problem_is_told_with_its_kill():
    words = in_words([KILL, KILL._replace(number=4, problems=("the arm is neither",))])
    assert "1 with a problem" in words
    assert "kill 4: the arm is neither" in words
    assert "2 in phase run" in words


def test_no_kills_at_all_are_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        kills.main(["--kills=0"])
    assert ended.value.code == 2
    assert "needed is 1 or more" in capsys.readouterr().err
