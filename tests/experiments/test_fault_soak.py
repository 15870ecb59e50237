"""A minute of the soak, and that it can fail."""

from pathlib import Path

import pytest

from experiments.faults import soak
from experiments.faults.soak import Injected, Result, Saboteur, growth
from experiments.faults.stage import Stage
from so101_robot.loop.loop import StopRequests


def test_half_a_minute_of_random_faults_moves_nothing_it_should_not(tmp_path: Path):
    result = soak.soak(30.0, 1, tmp_path)
    assert result.failures() == []
    assert result.faults >= 1
    assert sum(result.noticed.values()) + sum(result.harmless.values()) == result.faults
    assert result.missing == 0
    assert result.ticks > 500
    assert list(tmp_path.rglob("ticks.jsonl")) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"simulated_s": 7200.0, "faults": 33}, "only 33 faults in 7200 s"),
        ({"unaccounted": ["overheat at 3 s"]}, "not accounted for: overheat"),
        ({"missing": 2}, "2 ticks are missing"),
        ({"speed_deg_s": 250.0}, "leapt"),
        ({"beyond_deg": 2.0}, "left its range"),
        ({"let_fall_mm": 50.0}, "let fall"),
        ({"growth_mb_per_hour": 20.0}, "memory grows"),
    ],
)
def test_every_question_of_the_soak_can_be_answered_with_no(wrong: dict[str, object], words: str):
    assert Result().failures() == []
    assert words in Result(**wrong).failures()[0]  # pyright: ignore[reportArgumentType]


def test_a_fault_that_nobody_noticed_is_not_accounted_for_unless_it_is_harmless():
    stage, result = Stage(0), Result()
    with stage.open():
        stage.live(0.1)
        saboteur = Saboteur(stage, StopRequests(), 60.0, result)
        for fault, noticed in (("overheat", False), ("overheat", True), ("lost_request", False)):
            saboteur._now = Injected(fault, 0.0, 0.1, noticed)  # pyright: ignore[reportPrivateUsage]
            saboteur.settle()
    assert result.noticed == {"overheat": 1}
    assert result.harmless == {"lost_request": 1}
    assert len(result.unaccounted) == 1


def test_a_fault_that_outlasts_its_run_is_waited_for():
    stage = Stage(0)
    with stage.open():
        stage.live(0.1)
        saboteur = Saboteur(stage, StopRequests(), 60.0, Result())
        assert saboteur.left_s() == 0.0
        saboteur._now = Injected("overload", 0.0, 20.0)  # pyright: ignore[reportPrivateUsage]
        assert saboteur.left_s() == pytest.approx(20.0 - stage.now_s())


def test_growth_is_the_slope_after_the_warm_up():
    assert growth([50.0] * 3, 3600.0) == 0.0
    warm = [500.0 - 40 * k for k in range(10)] + [100.0 + k * 0.1 for k in range(90)]
    assert growth(warm, 3600.0) == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize("flag", ["--hours=0", "--hours=-1", "--minutes=0", "--minutes=nan"])
def test_a_soak_of_no_time_is_refused(flag: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        soak.main([flag])
    assert ended.value.code == 2
    assert "expected a number above 0" in capsys.readouterr().err
