"""The self-test's report: grades, the JSON for programs, and the tables for people."""

import json

import pytest

from so101_calibration.report import as_json, graded, show
from so101_robot.preflight.findings import Finding, Level

from .conftest import Scripted

FINDINGS = [
    Finding(Level.OK, "servos", "", "1 to 6 answer"),
    Finding(Level.WARN, "heat", "servo 3 (elbow_flex)", "60 C", "below 55 C", "let it cool down"),
    graded("shoulder_pan backlash", 5.0, "deg", 1.5, 4.0, "up against down"),
]


@pytest.mark.parametrize(
    ("value", "level"), [(1.5, Level.OK), (1.51, Level.WARN), (4.0, Level.WARN), (4.01, Level.STOP)]
)
def test_a_measurement_is_graded_by_its_limits(value: float, level: Level) -> None:
    assert graded("backlash", value, "deg", 1.5, 4.0, "off by").level is level


def test_programs_read_the_same_keys_and_words_as_ever() -> None:
    report = json.loads(json.dumps(as_json(FINDINGS)))
    assert report["verdict"] == "fail"
    assert [item["verdict"] for item in report["items"]] == ["pass", "warn", "fail"]
    assert report["items"][1] == {
        "name": "heat",
        "verdict": "warn",
        "text": "servo 3 (elbow_flex): 60 C; expected: below 55 C - let it cool down",
        "value": None,
        "unit": "",
    }
    assert report["items"][2]["value"] == 5.0
    assert report["items"][2]["unit"] == "deg"


def test_people_see_what_is_wrong_last_and_marked(operator: Scripted) -> None:
    show(FINDINGS, operator)
    joints, rest, verdict = operator.said
    assert "5.00 deg !" in joints
    assert rest.index("servos") < rest.index("heat") < rest.index("FAIL")
    assert verdict.strip() == "Self-test: fail"
