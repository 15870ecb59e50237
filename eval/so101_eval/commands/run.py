"""so101-eval run: policies x scenarios x seeds -> a folder of records."""

import argparse
import re
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.table import Table

from so101_eval.episode.policy_notes import AUTO, CHUNKS, LATENCY_S
from so101_eval.errors import ConfigError
from so101_eval.evaluation import run_folder, watching
from so101_eval.evaluation.cluster import cluster_players
from so101_eval.evaluation.local_jobs import Play, local_players
from so101_eval.evaluation.plan import LEVEL, Plan, parse_cells
from so101_eval.evaluation.policy_specs import check_backgrounds, check_unseen, parse_policies, picture_size
from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.html.progress_page import DISPLAYS
from so101_eval.palletizing.scene.draw import EVAL_SEEDS
from so101_eval.palletizing.scene.scenarios import NOMINAL
from so101_eval.palletizing.scene.tasks import TASKS, load_task
from so101_eval.statistics import wilson
from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.command_shell import complain
from so101_policy.command_line.console import Console
from so101_policy.command_line.next_steps import Step, next_steps, tell_next
from so101_policy.inference.engine import ENGINES
from so101_policy.machine import cores as usable_cores
from so101_robot.commands.run_config import OFF

EXAMPLES = """
  so101-eval run --task=palletize-2 --episodes=200 \\
      --output_dir=outputs/eval/first \\
      --policies baseline=outputs/baseline regularized=outputs/regularized \\
      --scenarios=nominal,camera-pose,box-start-outside:3
"""


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-eval run", "Plays episodes, or goes on with it. Every policy meets the same scenes.", EXAMPLES
    )
    add = parser.add_argument
    add("--policies", nargs="+", required=True, metavar="NAME=CHECKPOINT",
        help="checkpoints by name (VARIANT:SEED=... for training seeds of one variant; ...@no-state, ...@no-images: "
        "hide that from it), recordings NAME=FILE.npy, or expert, hold, replay")  # fmt: skip
    add("--task", required=True, help=f"of {', '.join(TASKS)}")
    add(
        "--scenarios",
        default=NOMINAL,
        metavar="NAME[:LEVEL],...",
        help="what is changed, or all (default: nominal)",
    )
    add(
        "--level",
        type=Whole(),
        default=LEVEL,
        help="of scenarios without one, 0 to 3 (default: 2, as published)",
    )
    add("--episodes", type=Whole(), required=True, help="scenes per scenario; every policy meets each")
    add("--first_seed", type=Whole(), default=EVAL_SEEDS.start, help="first scene (default: %(default)s)")
    add(
        "--latency",
        type=Number(),
        default=LATENCY_S,
        help="of an inference, in simulated seconds (default: %(default)s)",
    )
    add(
        "--chunks",
        default=AUTO,
        help=f"how chunks of actions join: {', '.join(CHUNKS)} (default: as in so101-run)",
    )
    add(
        "--engine",
        choices=ENGINES,
        default=AUTO,
        help="what computes a checkpoint's actions: plain is LeRobot's own forward (default: auto, the one of "
        "openvino, onnx and torch that is installed, in this order)",
    )
    add(
        "--fps",
        type=Number(0, 1000),
        help="actions per second of checkpoints that do not say theirs (default: as in "
        "their dataset, if it is on this machine)",
    )
    add(
        "--use_degrees",
        choices=("true", "false"),
        help="false: checkpoints that do not say their units are of joints in LeRobot's -100..100 (default: degrees)",
    )
    add(
        "--task_text",
        default="",
        help="the task in words, for policies that are told it (SmolVLA, pi0 and the like)",
    )
    add(
        "--width",
        type=Whole(0, 4096),
        help="of both cameras [pixels] (default: as the policies were trained)",
    )
    add("--height", type=Whole(0, 4096), help="with --width")
    add(
        "--camera_correction",
        choices=(AUTO, OFF),
        default=OFF,
        help="put cameras that moved back, as so101-run --camera.correct does, from the pictures alone (default: off, "
        "so that a scenario shows what the policy itself bears)",
    )
    add("--size", help=argparse.SUPPRESS)  # how --width and --height were spelled
    add(
        "--num_workers",
        type=Whole(0, 1024),
        default=usable_cores(),
        help="processes (default: one a core)",
    )
    add("--cluster", nargs="?", const="", metavar="ADDRESS",
        help="play on a Ray cluster: at that address, or one of this machine alone; no --num_workers")  # fmt: skip
    add(
        "--display",
        choices=DISPLAYS,
        default=OFF,
        help="web: a page of this machine with progress, the table so far and the latest failures (default: off)",
    )
    add(
        "--output_dir",
        type=Path,
        help="run folder (default: outputs/eval/TASK-PLAN, the same for the same request)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Raises what is wrong with the request."""
    console = Console(stderr=True)
    plan = make_plan(options)
    if unknown := check_unseen(plan.policies, plan.seeds):
        console.print(
            f"not known which scenes {', '.join(unknown)} learned from; demonstrations of so101-demos are never "
            "scenes of an evaluation",
            soft_wrap=True,
        )
    out = options.output_dir or Path("outputs") / "eval" / f"{plan.task}-{plan.sha256[:8]}"
    output = Console()
    with watching.page(
        options.display, "so101-eval run", plan.task, out, lambda text: console.print(text, soft_wrap=True)
    ) as page:
        watcher = None if page is None else watching.Watching(plan, out, page.show)
        records = run_folder.run(plan, out, _players(plan, options), console, watcher)
        steps = steps_after(out)
        output.print(success_table(plan, records))
        if (words := refused_in_words(records)) is not None:
            output.print(words, soft_wrap=True)
        output.print(f"run folder: {out}", soft_wrap=True)
        tell_next(steps)
        if page is not None:
            page.finish((f"All {len(records)} episodes are played.", *([words] if words else [])), out, steps)
    return 0


def steps_after(out: Path) -> list[Step]:
    """What to type after a run in the folder `out`."""
    return next_steps(
        Step(f"so101-eval report {shlex.quote(str(out))}", "what can be concluded: one page, with films"),
    )


def make_plan(options: argparse.Namespace) -> Plan:
    """What the flags ask for. Raises `ConfigError`, `CheckpointError`."""
    if options.num_workers < 1:
        raise ConfigError(f"--num_workers {options.num_workers}: expected 1 or more")
    if options.episodes < 1:
        raise ConfigError(f"--episodes {options.episodes}: expected 1 or more")
    load_task(options.task)
    cells = parse_cells(options.scenarios, options.level)
    said = {None: None, "true": True, "false": False}[options.use_degrees]
    specs = parse_policies(options.policies, options.fps, said, options.task_text)
    if options.camera_correction != OFF:
        check_backgrounds(specs)
    height, width = picture_size(specs, options.task, _size(options))
    return Plan(
        options.task,
        cells,
        options.episodes,
        specs,
        options.first_seed,
        options.latency,
        options.chunks,
        width,
        height,
        engine=options.engine,
        camera_correction=options.camera_correction,
    )


def _size(options: argparse.Namespace) -> tuple[int, int] | None:
    """(height, width) [px]."""
    if options.size is not None:
        return _old_size(options.size)
    if options.width is None and options.height is None:
        return None
    if options.width is None or options.height is None or min(options.width, options.height) < 1:
        raise ConfigError("--width and --height go together, both 1 or more: --width=96 --height=96")
    return options.height, options.width


def _old_size(text: str) -> tuple[int, int]:
    if not (found := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)):
        raise ConfigError(f"--size {text}: expected WIDTHxHEIGHT, for example 96x96")
    complain("so101-eval run", f"--size={text} is spelled --width={found[1]} --height={found[2]} now")
    return int(found[2]), int(found[1])


def _players(plan: Plan, options: argparse.Namespace) -> AbstractContextManager[Play]:
    if options.cluster is None:
        return local_players(plan, options.num_workers)
    return cluster_players(plan, options.cluster or None)


def success_table(plan: Plan, records: Sequence[EpisodeRecord]) -> Table:
    """Success of each policy in each cell, with Wilson's 95 % interval."""
    table = Table(title=f"{plan.task}: success and 95 % interval")
    table.add_column("scenario")
    for policy in plan.policies:
        table.add_column(policy.name, justify="right")
    for scenario, level in plan.cells:
        cell = [record for record in records if (record.scenario, record.level) == (scenario, level)]
        verdicts = [[r.success for r in cell if r.policy == policy.name] for policy in plan.policies]
        table.add_row(f"{scenario}:{level}", *map(_rate, verdicts))
    return table


def refused_in_words(records: Sequence[EpisodeRecord]) -> str | None:
    """How many attempts ended because a camera could not be put back; they count as failures in the table. None where
    no camera was to be put back."""
    corrected = [record for record in records if record.correction is not None]
    if not corrected:
        return None
    failed = [record for record in corrected if record.correction and record.correction["failed"]]
    return (
        f"camera correction: {len(failed)} of {len(corrected)} attempts ended because a camera could not be put back "
        "with certainty (failures in the table)"
    )


def _rate(verdicts: Sequence[bool | None]) -> str:
    known = [verdict for verdict in verdicts if verdict is not None]
    low, high = wilson(sum(known), len(known))
    return f"{sum(known)}/{len(known)} [{low:.2f}, {high:.2f}]"
