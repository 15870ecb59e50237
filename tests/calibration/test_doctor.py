"""so101-doctor on machines that are not this one: what it finds, what it advises, and what it must not tell."""

import os
from pathlib import Path

import pytest

from so101_calibration import doctor
from so101_calibration.cli import DOCTOR
from so101_policy.findings import Level


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without anything, below a folder."""
    for name in ("dev", "sys/class/video4linux", "home", "cache"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(doctor, "DEV", tmp_path / "dev")
    monkeypatch.setattr(doctor, "SYS", tmp_path / "sys")
    monkeypatch.setattr(doctor, "PROC", tmp_path / "proc")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SO101_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path / "home" / "calibration"))
    return tmp_path


def add_camera(machine: Path, number: int, usb: str, speed: str = "480", index: str = "0") -> None:
    (machine / "dev" / f"video{number}").touch()
    interface = machine / "sys" / "devices" / usb / f"{usb}:1.0"
    node = interface / "video4linux" / f"video{number}"
    node.mkdir(parents=True)
    (machine / "sys" / "devices" / usb / "speed").write_text(speed)
    (node / "index").write_text(index)
    (node / "name").write_text("HD Webcam")
    (node / "device").symlink_to(interface)
    (machine / "sys" / "class" / "video4linux" / f"video{number}").symlink_to(node)


def test_a_machine_without_anything_is_no_trouble(machine: Path, capsys: pytest.CaptureFixture[str]):
    assert DOCTOR.main([]) == 0
    said = capsys.readouterr().out
    for words in ("no serial port", "no video device", "0 of followers", "extras:", "lerobot 0.", "GB free"):
        assert words in said
    assert "stop" not in {line[:4] for line in said.splitlines()}


def test_a_port_that_this_user_may_not_open_is_named_with_the_way_out(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (machine / "dev" / "ttyACM0").touch()
    assert [finding.level for finding in doctor.ports()] == [Level.OK]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (finding,) = doctor.ports()
    assert finding.level is Level.STOP
    assert "sudo usermod -aG" in finding.possible
    assert DOCTOR.main([]) == 1


def test_a_program_that_takes_serial_ports_is_named(machine: Path, capsys: pytest.CaptureFixture[str]):
    for number, name in ((7, "bash"), (81, "brltty")):
        (machine / "proc" / str(number)).mkdir(parents=True)
        (machine / "proc" / str(number) / "comm").write_text(f"{name}\n")
    assert DOCTOR.main([]) == 0
    said = capsys.readouterr().out
    assert "brltty runs, and may take the arm's serial port" in said
    assert "sudo apt remove brltty" in said
    assert "ModemManager" not in said


def test_two_cameras_on_one_usb_2_port_are_worth_a_word(machine: Path):
    add_camera(machine, 0, "1-2.1")
    add_camera(machine, 1, "1-2.1", index="1")  # its second node: no pictures
    assert [finding.level for finding in doctor.cameras()] == [Level.OK]
    add_camera(machine, 2, "1-2.4")
    levels = [finding.level for finding in doctor.cameras()]
    assert levels == [Level.OK, Level.OK, Level.WARN]
    add_camera(machine, 4, "2-1", speed="5000")
    assert [finding.level for finding in doctor.cameras()] == [*[Level.OK] * 3, Level.WARN]
    assert "HD Webcam, USB 2-1 at 5000 Mbit/s" in list(doctor.cameras())[2].found


def test_nothing_personal_is_in_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("USER", "annabel")
    (machine / "dev" / "ttyACM0").touch()
    (machine / "dev" / "serial" / "by-id").mkdir(parents=True)
    link = machine / "dev" / "serial" / "by-id" / "usb-1a86_USB_Single_Serial_58FA101234-if00"
    link.symlink_to(machine / "dev" / "ttyACM0")
    followers = machine / "home" / "calibration" / "robots" / "so_follower"
    followers.mkdir(parents=True)
    (followers / "annabels_arm.json").write_text("{}")
    assert DOCTOR.main([]) == 0
    said = capsys.readouterr().out
    for private in ("annabel", "58FA101234", str(machine / "home"), os.uname().nodename):
        assert private not in said
    assert "usb-1a86_USB_Single_Serial_SERIAL-if00" in said
    assert "1 of followers" in said


def test_little_room_is_a_warning(machine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "LEAST_FREE", 1e18)
    assert {finding.level for finding in doctor.disk()} == {Level.WARN}


def test_a_gpu_whose_driver_does_not_answer_is_said(machine: Path, monkeypatch: pytest.MonkeyPatch):
    tool = machine / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(machine))
    assert any("does not answer" in finding.found for finding in doctor.machine())
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 550.1, 143771 MiB'\n")
    assert any(finding.found == "NVIDIA H200, 550.1, 143771 MiB" for finding in doctor.machine())
