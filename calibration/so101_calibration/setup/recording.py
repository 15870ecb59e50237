"""Steps about the first recording: made, and looked at."""

from pathlib import Path

from so101_calibration.setup.work import NotYetError, Setup
from so101_policy.command_line.command_shell import say

RECORDING = Path("data") / "first"
EPISODES = 5
TASK = "put the box on the pallet"


def record(setup: Setup) -> None:
    if (setup.folder / RECORDING).exists() and not recording_wrong(setup):
        say(f"{RECORDING} is there already; more episodes are added to it.")
    task = setup.person.ask("What shall the arm do, in words?", TASK)
    flags = [f"--record.repo_id=me/{RECORDING.name}", f"--record.root={RECORDING}", f"--record.task={task}"]
    flags.append(f"--record.num_episodes={EPISODES}")
    if (setup.folder / RECORDING / "meta" / "info.json").exists():
        flags.append("--record.resume=true")
    if setup.simulated:  # nobody presses a key, and the hand of the simulated leader waves
        flags += ["--record.episode_time_s=3", "--record.reset_time_s=1", "--clip=false", "--dashboard=plain"]
        arms = ["--robot.port=mock", *setup.of_leader(), "--config_path=none"]
        setup.command("so101-teleop", *arms, *flags)
        return
    say("n begins and ends an episode, r throws one away, q ends the recording.")
    setup.command("so101-teleop", *flags)


def recording_wrong(setup: Setup) -> str:
    there = (setup.folder / RECORDING / "meta" / "info.json").exists()
    return "" if there else f"there is no recording in {RECORDING}"


def put_aside(setup: Setup) -> str:
    place = setup.folder / RECORDING
    if not place.exists():
        return "there is no recording"
    number = next(n for n in range(1, 10_000) if not place.with_name(f"{place.name}.undone{n}").exists())
    aside = place.rename(place.with_name(f"{place.name}.undone{number}"))
    return f"the recording lies in {aside}; nothing was deleted"


def check(setup: Setup) -> None:
    if problem := recording_wrong(setup):
        raise NotYetError(problem)
    setup.command("so101-data", "check", str(RECORDING), "--html=first_recording.html")
