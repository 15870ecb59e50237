"""`so101-setup`: from the kit on the table to the first recording that is right, step by step.

Every step asks, runs the command that does the work (and shows it, to be used alone later), checks what came of it, and
is remembered on disk. So it can be left at any time: Ctrl-C leaves the arm as the command that runs leaves it, and the
same line goes on.
"""

from collections.abc import Sequence
from pathlib import Path

from so101_calibration.cli import SETUP
from so101_calibration.errors import InputEndedError
from so101_calibration.setup import cameras, progress
from so101_calibration.setup.person import AtTerminal, Person, Simulated, in_width
from so101_calibration.setup.progress import DONE, SKIPPED, Progress
from so101_calibration.setup.running import run
from so101_calibration.setup.steps import EXPECTED, STEPS, Step, step_of
from so101_calibration.setup.work import Setup
from so101_policy.command_line.command_flags import Parser
from so101_policy.command_line.command_shell import FAILED, OK, in_words, say
from so101_policy.command_line.next_steps import Step as Next
from so101_policy.command_line.next_steps import next_steps, tell_next
from so101_robot.so101_yaml.find import NAME

EXAMPLES = """
  so101-setup
      begin, or go on where it was left
  so101-setup --mock
      see all of it on two simulated arms; nothing to plug in
  so101-setup --list
      what is done, and what is still to be done
  so101-setup --again=cameras
      do one step again
  so101-setup --undo=record
      take back what a step wrote; recordings are put aside, never deleted
"""

OF_MOCK = Path("outputs") / "setup_mock"
"""Where a rehearsal goes, so that the set-up of a real arm can begin in the same folder afterwards."""

AGAIN, SKIP, LEAVE = "again", "skip", "leave"


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        SETUP.name,
        f"A guided first hour. Writes {NAME}, which every command reads.",
        EXAMPLES,
    )
    parser.add_argument("--list", action="store_true", help="show the steps, do nothing")
    parser.add_argument("--again", metavar="STEP", default="", help="do this step again, and no other")
    parser.add_argument("--undo", metavar="STEP", default="", help="take back what this step wrote")
    parser.add_argument("--mock", action="store_true", help="two simulated arms, a simulated person")
    parser.add_argument(
        "--folder",
        metavar="DIR",
        default="",
        help=f"where {NAME} is, or will be (default: the current one; with --mock {OF_MOCK})",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for wrong input."""
    options = parser().parse_args(arguments)
    folder = Path(options.folder or (OF_MOCK if options.mock else ".")).absolute()
    asked = [step_of(name) for name in (options.again, options.undo) if name]
    if not options.list or asked:
        folder.mkdir(parents=True, exist_ok=True)
    done = progress.load(folder, options.mock, STEPS)
    person: Person = Simulated() if options.mock else AtTerminal()
    eyes = cameras.Simulated() if options.mock else cameras.OfThisMachine()
    setup = Setup(folder, options.mock, person, lambda words: run(words, folder), eyes)
    if options.list:
        say(listed(setup, done))
        return OK
    if options.undo:
        say(step_of(options.undo).undo(setup))
        done.mark(options.undo, None)
        return OK
    if options.again:
        return OK if one_step(setup, done, options.again) else FAILED
    return all_steps(setup, done)


def listed(setup: Setup, done: Progress) -> str:
    """The steps, a line each."""
    width = max(map(len, STEPS))
    minutes = sum(step.minutes for name, step in STEPS.items() if name not in done.marks)
    lines = [
        f"  {_state(setup, done, name):9} {name.ljust(width)}  {step.title} ({step.minutes} min)"
        for name, step in STEPS.items()
    ]
    return "\n".join([*lines, f"about {minutes} minutes are left" if minutes else "all is done"])


def _state(setup: Setup, done: Progress, name: str) -> str:
    mark = done.marks.get(name, "to do")
    return "not right" if mark == DONE and STEPS[name].wrong(setup) else mark


def all_steps(setup: Setup, done: Progress) -> int:
    """Go on with the first step that is not done, or not right any more."""
    say(
        in_width(
            "so101-setup: the first hour with an SO-101. Ctrl-C leaves it; the same line goes on. "
            f"It writes {setup.file}."
        )
    )
    for name, step in STEPS.items():
        if step.needs_leader and done.marks.get("ports") == DONE and setup.content.leader is None:
            done.mark(name, SKIPPED)
        if done.marks.get(name) == SKIPPED:
            continue
        if done.marks.get(name) == DONE:
            if not (problem := step.wrong(setup)):
                continue
            say(f"\n{name} was done, and is not right now: {problem}")
        if not one_step(setup, done, name):
            return FAILED
    say(f"\n{listed(setup, done)}")
    skipped = [name for name in STEPS if done.marks.get(name) == SKIPPED]
    if skipped:
        say(f"skipped: {', '.join(skipped)}; so101-setup --again=STEP does one after all")
    _tell_what_is_next(setup)
    return OK


def one_step(setup: Setup, done: Progress, name: str) -> bool:
    """Do one step until it is right, or skipped (True), or left (False)."""
    step = STEPS[name]
    number = list(STEPS).index(name) + 1
    say(f"\n── {number} of {len(STEPS)} · {step.title} (about {step.minutes} min) ──\n{in_width(step.words)}")
    while True:
        if problem := attempt(setup, step):
            say(in_width(f"\nNot done: {problem}"))
        else:
            done.mark(name, DONE)
            if name == "ports":  # what was skipped without a leader is to be done with one
                for other in [other for other, mark in done.marks.items() if mark == SKIPPED]:
                    if STEPS[other].needs_leader:
                        done.mark(other, None)
            say(f"✓ {step.title}")
            return True
        done.mark(name, None)
        match _what_now(setup.person):
            case "skip":
                done.mark(name, SKIPPED)
                return True
            case "leave":
                say("so101-setup goes on with this step when it is called again.")
                return False
            case _:
                continue


def attempt(setup: Setup, step: Step) -> str:
    """Do it; what went wrong, or is not right afterwards."""
    try:
        step.do(setup)
        return step.wrong(setup)
    except InputEndedError:
        raise
    except EXPECTED as problem:
        return in_words(problem)


def _what_now(person: Person) -> str:
    if isinstance(person, Simulated):
        return LEAVE
    possible = (AGAIN, SKIP, LEAVE)
    said = person.ask(
        "again, skip or leave?",
        AGAIN,
        lambda answer: (
            "" if answer and any(word.startswith(answer.lower()) for word in possible) else "expected one"
        ),
    )
    return next(word for word in possible if word.startswith(said.lower()))


def _tell_what_is_next(setup: Setup) -> None:
    say(f"\n{setup.file} is read by every command in this folder.")
    recorded = setup.content.leader is not None
    record = "so101-teleop --record.repo_id=me/boxes --record.root=data/boxes --record.task=WORDS"
    train = "so101-train --recipe=recommended --dataset.repo_id=me/boxes --dataset.root=data/boxes"
    steps = [Next(record, "record fifty episodes"), Next(train, "train on them")] if recorded else []
    tell_next(next_steps(*steps, Next("so101-run --policy.path=CHECKPOINT", "drive with a policy")))
