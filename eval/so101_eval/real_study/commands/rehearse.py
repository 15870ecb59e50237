"""so101-bench rehearse STUDY: the same study on the mock arm, from lock to unblinding.

It plays in a folder of its own inside the study, with a schedule of its own, and its records say that they are of a
rehearsal: nothing of it counts, and nothing of the study is touched.
"""

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from so101_eval.errors import ConfigError
from so101_eval.pool import one_thread
from so101_eval.real_study.console.operators import make_operator
from so101_eval.real_study.design.lock import lock
from so101_eval.real_study.design.study import STUDY, read_study
from so101_eval.real_study.events.journal import EVENTS
from so101_eval.real_study.events.state import State
from so101_eval.real_study.measurement.made import of_mock
from so101_eval.real_study.session.hands import Hands, Simulated
from so101_eval.real_study.session.operator import Operator
from so101_eval.real_study.session.runner import Settings
from so101_eval.real_study.session.scripted import NAME, ScriptedOperator
from so101_eval.real_study.session.sitting import sit
from so101_eval.real_study.unblinding.unblind import unblind
from so101_policy.command_line.command_flags import Parser, Whole
from so101_policy.command_line.command_shell import OK
from so101_policy.command_line.console import Console
from so101_robot.arm.config_arm import SO101Config
from so101_robot.commands.run_config import RunConfig

REHEARSAL = "rehearsal"
OPERATORS = ("script", "console", "terminal")
EXAMPLES = """
  so101-bench rehearse studies/looks
  so101-bench rehearse studies/looks --operator=console
"""


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-bench rehearse",
        "Plays the study on the mock arm, in a folder of its own. Nothing of it counts.\nThe same command goes on.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("folder", metavar="study", type=Path, help="folder of so101-bench init; locked or not")
    add("--operator", choices=OPERATORS, default="script",
        help="who operates: a script, or you at the console or in the terminal (default: %(default)s)")  # fmt: skip
    add("--port", type=Whole(0, 65535), default=8101, help="of the console (default: %(default)s)")
    add("--output_dir", type=Path, help=f"of the rehearsal (default: {REHEARSAL}/ in the study)")
    add("--again", action="store_true", help="throw the last rehearsal away first")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Raises what is wrong with the request."""
    one_thread()
    console, folder = Console(), rehearsal_of(options.folder, options.output_dir, options.again)
    state = rehearse(folder, options.operator, options.port)
    console.print(f"rehearsed: {len(state.complete)} blocks, {len(state.trials)} trials", soft_wrap=True)
    if state.now is None:
        for line in unblind(folder).lines():
            console.print(line, soft_wrap=True)
        console.print(f"next: so101-eval report {folder}", soft_wrap=True)
    return OK


def rehearsal_of(study: Path, output: Path | None, again: bool) -> Path:
    """The rehearsal's own folder, locked. Raises `ConfigError`."""
    read_study(study)
    folder = output or study / REHEARSAL
    if again and (folder / EVENTS).is_file():
        shutil.rmtree(folder)
    if (folder / EVENTS).is_file():
        return folder
    if folder.exists() and any(path.name != STUDY for path in folder.iterdir()):
        raise ConfigError(f"{folder} holds something else; choose another --output_dir")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(study / STUDY, folder / STUDY)
    lock(folder)
    return folder


def rehearse(folder: Path, who: str = "script", port: int = 8101) -> State:
    """A locked study on the mock arm. Raises as `sit`."""
    config = RunConfig(robot=SO101Config(port="mock"))
    if who == "script":
        return sit(folder, config, _script, of_mock, Settings(countdown_s=0.0, operator=NAME))
    make = partial(make_operator, port=port, lan=False, console=who == "console")
    return sit(folder, config, make, of_mock, Settings(), scale=1.0)


def _script(hands: Hands) -> Operator:
    assert isinstance(hands, Simulated)  # on the mock arm they are
    return ScriptedOperator(hands)
