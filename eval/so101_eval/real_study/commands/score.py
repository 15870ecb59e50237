"""so101-bench score STUDY: a second person looks at the films, in a random order, blind.

Reads one line a film from standard input. What is given is an event like any other; the order is drawn anew each time,
and films that this rater has scored do not come again. What the camera measured is shown after the verdict, and goes
when the command ends: another rater shall not find it.
"""

import argparse
import secrets
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from so101_eval.errors import ConfigError
from so101_eval.real_study.design.lock import writing
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.outcome import Outcome
from so101_eval.real_study.events.state import Kind, State, Trial, fold
from so101_eval.real_study.measurement.shown import words
from so101_eval.real_study.session.kept_pictures import save_measured
from so101_eval.real_study.session.runner import TRIALS
from so101_policy.command_line.command_flags import Number, Parser
from so101_policy.command_line.command_shell import OK, say
from so101_robot.runs.clip import CLIP

EXAMPLES = """
  so101-bench score studies/looks --rater=anna
  so101-bench score studies/looks --rater=anna --share=25
"""


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-bench score",
        "A second person scores the films, in random order, without seeing what the\noperator said.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("folder", metavar="study", type=Path, help="folder of a study with trials")
    add("--rater", required=True, metavar="NAME", help="who scores; somebody else than the operator")
    add("--share", type=Number(1, 100), default=100.0, metavar="PERCENT", help="of the films (default: all)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Raises what is wrong with the request."""
    rater: str = options.rater.strip()
    with writing(options.folder) as (study, journal):
        state = fold(journal.events)
        if state.unblinded:
            raise ConfigError(f"{options.folder} was unblinded: who knows the names does not score any more")
        left = waiting(state, rater, options.folder, options.share / 100)
        say(
            f"{len(left)} films. For each: the stages of {', '.join(study.objects)}, then s (success) or f (failure)"
        )
        say(
            f"stages: {', '.join(f'{number} {name}' for number, name in enumerate(study.stages, 1))}. q ends."
        )
        with tempfile.TemporaryDirectory(prefix="so101-bench-") as shown:
            for number, trial in enumerate(left, 1):
                at = options.folder / TRIALS / trial.code
                say(f"{number} of {len(left)}: {at / CLIP}")
                if (outcome := ask(study, rater)) is None:
                    break
                journal.append(Kind.SCORED, {"trial": trial.code, "rater": rater, "outcome": asdict(outcome)})
                show_measured(study, trial, at, Path(shown))
    return OK


def show_measured(study: Study, trial: Trial, at: Path, into: Path) -> None:
    """After the verdict: words, and a picture while the command runs."""
    if trial.measured is None:
        return
    say(f"  the camera: {'; '.join(words(trial.measured, study.objects))}")
    picture = into / f"{trial.code}.jpg"
    if save_measured(at, trial.measured, study.objects, picture):
        say(f"  {picture} (until this command ends)")


def waiting(state: State, rater: str, folder: Path, share: float) -> list[Trial]:
    """Films that this rater has not scored, in a random order. Raises `ConfigError` for the operator."""
    done = [trial for trial in state.trials.values() if trial.outcome is not None and trial.void is None]
    if any(trial.outcome is not None and trial.outcome.by == rater for trial in done):
        raise ConfigError(f"--rater={rater} has operated in this study; a second rater is somebody else")
    filmed = [trial for trial in done if trial.block >= 0 and (folder / TRIALS / trial.code / CLIP).is_file()]
    left = [trial for trial in filmed if all(score["rater"] != rater for score in trial.scores)]
    secrets.SystemRandom().shuffle(left)
    most = round(share * len(filmed)) - (len(filmed) - len(left))
    return left[: max(0, most)]


def ask(study: Study, rater: str) -> Outcome | None:
    """One line; what is no answer is asked again. None: enough."""
    for line in sys.stdin:
        *stages, last = line.split() or [""]
        if last == "q":
            return None
        boxes, top = len(study.objects), len(study.stages)
        if last in ("s", "f") and all(stage.isdigit() for stage in stages) and len(stages) in (0, boxes):
            given = tuple(map(int, stages)) or (top if last == "s" else 0,) * boxes
            if max(given) <= top and (last == "f" or set(given) == {top}):
                return Outcome(given, last == "s", "done" if last == "s" else "stopped", rater, of=top)
        say(
            f"expected {boxes} numbers from 0 to {top} and then s or f, or q; a success has {top} of every box"
        )
    return None
