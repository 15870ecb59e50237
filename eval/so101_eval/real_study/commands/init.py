"""so101-bench init STUDY: a study.yaml to look at, to change, and to lock."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from so101_eval.errors import ConfigError
from so101_eval.evaluation.plan import LEVEL, parse_cells
from so101_eval.evaluation.policy_specs import PolicySpec, check_unseen, parse_policies, picture_size
from so101_eval.palletizing.scene.draw import EVAL_SEEDS
from so101_eval.palletizing.scene.scenarios import NOMINAL
from so101_eval.palletizing.scene.tasks import TASKS
from so101_eval.real_study.design.own_task import is_file, read_task
from so101_eval.real_study.design.study import STUDY, Study, check_policies, write_study
from so101_eval.real_study.design.tolerances import Tolerances
from so101_eval.real_study.rule.planning import POWER, Planned, power_of, propose
from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.command_shell import OK
from so101_policy.command_line.console import Console
from so101_policy.inference.any_policy import load_policy
from so101_robot.joints import JOINTS

EXAMPLES = """
  so101-bench init studies/looks --task=palletize-2 --difference=30 \\
      --policies stock=outputs/stock looks=outputs/looks
  so101-bench init studies/quick --task=palletize-1 --difference=50 \\
      --starts=12 --policies stock=outputs/stock looks=outputs/looks \\
      --scenarios=nominal,box-start-outside
"""
PRIMARY = ("success", "credit")


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-bench init",
        "Writes study.yaml, which says all that is decided before the first trial.\n"
        "Look at it, change what you like, then lock it.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("folder", metavar="study", type=Path, help="a new folder")
    add("--policies", nargs="+", required=True, metavar="NAME=CHECKPOINT",
        help="two to six; the others are compared with the first. Also recordings NAME=FILE.npy, and hold")  # fmt: skip
    add("--task", required=True, help=f"of {', '.join(TASKS)}; or the YAML of a task of your own")
    add("--difference", type=Number(1, 100), default=30.0, metavar="POINTS",
        help="to be found, in points of success (default: %(default)g)")  # fmt: skip
    add(
        "--starts",
        type=Whole(1, 1000),
        help="blocks, each with a start of its own (default: as many as that needs)",
    )
    add("--scenarios", default=NOMINAL, metavar="NAME[:LEVEL],...",
        help="what is changed about the start; blocks go round them (default: nominal)")  # fmt: skip
    add("--primary", choices=PRIMARY, default="success",
        help="what decides: success, or credit, the share of stages reached (default: %(default)s)")  # fmt: skip
    add("--practice", type=Whole(0, 20), default=2, help="blocks that do not count (default: %(default)s)")
    add("--first_seed", type=Whole(), default=EVAL_SEEDS.start, help="of the starts (default: %(default)s)")
    add("--start_pose", type=Number(-360, 360), nargs=len(JOINTS), metavar="DEG",
        help="where every policy begins (default: as the first checkpoint that says it)")  # fmt: skip
    add("--fps", type=Number(0, 1000), help="actions per second of checkpoints that do not say theirs")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Raises what is wrong with the request."""
    folder: Path = options.folder
    if (folder / STUDY).exists() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(
            f"{folder} is there already; choose a new folder, or change its {STUDY} if it is not locked"
        )
    console = Console()
    own, tolerances = read_task(Path(options.task)) if is_file(options.task) else (None, Tolerances())
    task = options.task if own is None else own.name
    specs = parse_policies(options.policies, options.fps)
    check_policies(specs)
    picture_size(specs, task, None)
    difference = options.difference / 100
    planned = plan(options.starts, difference, options.primary, len(specs))
    study = Study(
        specs,
        task,
        parse_cells(options.scenarios, LEVEL),
        planned.blocks,
        difference,
        tuple(options.start_pose or _start_pose(specs)),
        options.primary,
        practice=options.practice,
        first_seed=options.first_seed,
        own=own,
        tolerances=tolerances,
    )
    check_unseen(specs, range(study.first_seed, study.first_seed + study.blocks + study.practice))
    folder.mkdir(parents=True, exist_ok=True)
    write_study(folder, study)
    console.print(sentence(planned, difference, options.primary, len(specs)), soft_wrap=True)
    console.print(f"written: {folder / STUDY}; next: so101-bench lock {folder}", soft_wrap=True)
    return OK


def plan(starts: int | None, difference: float, primary: str, policies: int) -> Planned:
    """As many blocks as asked for, or as the difference needs."""
    measure = "credit" if primary == "credit" else "success"
    if starts is None:
        return propose(difference, measure, policies)
    return power_of(starts, difference, measure, policies=policies)


def sentence(planned: Planned, difference: float, primary: str, policies: int) -> str:
    """What such a study can show, in words."""
    enough = (
        ""
        if planned.power >= POWER
        else f" That is less than the usual {POWER:.0%}: plan more blocks, or look for more."
    )
    return (
        f"{planned.blocks} blocks of {policies} trials find a difference of {100 * difference:.0f} points of {primary} "
        f"in {planned.power:.0%} of such studies (simulated from 50 %, with common scenes), and take "
        f"{planned.mean_blocks:.0f} blocks on average.{enough}"
    )


def _start_pose(specs: Sequence[PolicySpec]) -> list[float]:
    """Of the first checkpoint that says where its demonstrations began. Raises `ConfigError`."""
    for spec in specs:
        if (
            spec.kind == "act"
            and spec.path is not None
            and (pose := load_policy(spec.path, task=spec.task).start_pose)
        ):
            return pose
    raise ConfigError(
        "no checkpoint says where its demonstrations began: give --start_pose, five angles and the gripper's percent"
    )
