"""Flags whose value is a list, with and without its brackets."""

import dataclasses
from pathlib import Path

import pytest

from so101_robot.cli import RUN
from so101_robot.commands.flags import LISTS, normalised, parse


@pytest.mark.parametrize(
    ("given", "skipped"),
    [("all", ["all"]), ("heat,drift", ["heat", "drift"]), ("[all]", ["all"]), ("[]", [])],
)
def test_brackets_may_be_left_out(given: str, skipped: list[str]):
    assert parse(normalised([f"--preflight.skip={given}"])).preflight.skip == skipped
    assert parse(normalised(["--preflight.skip", given])).preflight.skip == skipped


def test_numbers_and_null_are_read_as_before():
    config = parse(normalised(["--robot.home=0,-90,90,70,0,5", "--start_pose=null"]))
    assert config.robot.home == [0, -90, 90, 70, 0, 5]
    assert config.start_pose is None


def test_every_list_of_the_configuration_is_in_the_table():
    config = parse({})
    groups = {"": config, "robot.": config.robot, "preflight.": config.preflight}
    lists = {
        f"--{prefix}{field.name}"
        for prefix, group in groups.items()
        for field in dataclasses.fields(group)
        if str(field.type).startswith("list[")
    }
    assert lists == set(LISTS)


def test_a_check_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = f"--output_dir={tmp_path / 'run'}"
    assert RUN.main(["--robot.port=mock", "--duration_s=1", "--preflight.skip=everything", out]) == 2
    assert "--preflight.skip=everything: expected one of all, " in capsys.readouterr().err
