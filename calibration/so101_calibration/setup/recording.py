"""Steps about the first recording: made, and looked at."""

import json
from pathlib import Path

from so101_calibration.errors import FileError
from so101_calibration.setup.work import NotYetError, Setup
from so101_policy.command_line.command_shell import say
from so101_policy.errors import first_line

RECORDING = Path("data") / "first"
EPISODES = 5
PAGE = "first_recording.html"
TASK = "put the box on the pallet"


def record(setup: Setup) -> None:
    there = recorded(setup)
    if there:
        say(f"{there} episodes are in {RECORDING} already; more are added to them.")
    task = setup.person.ask("What shall the arm do, in words?", TASK)
    flags = [f"--record.repo_id=me/{RECORDING.name}", f"--record.root={RECORDING}", f"--record.task={task}"]
    flags.append(f"--record.num_episodes={EPISODES - there if there < EPISODES else EPISODES}")
    if there:
        flags.append("--record.resume=true")
    if setup.simulated:  # nobody presses a key, and the hand of the simulated leader waves
        flags += ["--record.episode_time_s=3", "--record.reset_time_s=1", "--record.success=unknown"]
        flags += ["--clip=false", "--dashboard=plain"]
        arms = ["--robot.port=mock", *setup.of_leader(), "--config_path=none"]
        setup.command("so101-teleop", *arms, *flags)
        return
    say("n begins and ends an episode, r throws one away, q ends the recording.")
    setup.command("so101-teleop", *flags)


def recorded(setup: Setup) -> int:
    """Whole episodes in the recording; 0 if there is none. Raises FileError for one that cannot be read."""
    path = setup.folder / RECORDING / "meta" / "info.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as problem:
        raise FileError(
            f"{path} cannot be read ({first_line(problem)}); so101-setup --undo=record puts the recording aside"
        ) from problem
    count = content.get("total_episodes") if isinstance(content, dict) else None
    return count if isinstance(count, int) else 0


def recording_wrong(setup: Setup) -> str:
    try:
        there = recorded(setup)
    except FileError as problem:
        return str(problem)
    return "" if there >= EPISODES else f"{there} of {EPISODES} episodes are in {RECORDING}"


def put_aside(setup: Setup) -> str:
    place = setup.folder / RECORDING
    if not place.exists():
        return "there is no recording"
    number = next(n for n in range(1, 10_000) if not place.with_name(f"{place.name}.undone{n}").exists())
    aside = place.rename(place.with_name(f"{place.name}.undone{number}"))
    return f"the recording lies in {aside}; nothing was deleted"


def check(setup: Setup) -> None:
    if not recorded(setup):
        raise NotYetError(f"there is no recording in {RECORDING}; do the step `record` first")
    setup.command("so101-data", "check", str(RECORDING), f"--html={PAGE}")
