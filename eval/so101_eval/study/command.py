"""so101-study: does a cure for blindness help? From nothing to the answer, with one command.

    demonstrations -> training, every variant with every seed -> probes -> paired episodes -> report

Each stage takes up what is there, so the same command after Ctrl-C, a power cut or kill -9 goes on where it stopped.
The folder says what was asked (design.json); another question needs another folder.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from so101_eval.demos.command import make_dataset
from so101_eval.demos.settings import Settings
from so101_eval.episode.policy_notes import AUTO, LATENCY_S
from so101_eval.evaluation import run_folder, watching
from so101_eval.evaluation.cluster import cluster_players
from so101_eval.evaluation.local_jobs import Play, local_players
from so101_eval.evaluation.plan import Plan, parse_cells
from so101_eval.evaluation.policy_specs import check_unseen, parse_policies
from so101_eval.evaluation.records import EPISODES
from so101_eval.evaluation.watching import Watching
from so101_eval.html.progress_page import DISPLAYS, ProgressPage
from so101_eval.palletizing.scene.scenarios import NOMINAL
from so101_eval.report import command as report
from so101_eval.study.crew import Crew, crew_of
from so101_eval.study.design import VARIANTS, Design
from so101_eval.study.hours import Left, hours, in_words, slowness
from so101_eval.study.probing import RELIANCE, probe, probe_all, require_held_out
from so101_eval.study.table import differences, draw, markdown, successes
from so101_eval.study.training import runs_of, train_all
from so101_eval.study.watching import Show, StudyWatching
from so101_policy.command_line.command_flags import Parser, Whole
from so101_policy.command_line.command_shell import OK
from so101_policy.command_line.console import Console

SHIFTED_SEED = 100_000
"""Demonstration seed, counted from the first, of the first shifted demonstration: none of those is trained on."""


class Means(NamedTuple):
    """What a study may use."""

    jobs: int
    """Processes of this machine."""
    cluster: str | None = None
    """Address of a Ray cluster for trainings, probes and episodes; empty: one of this machine; None: no Ray."""
    show: Show | None = None
    """Of the study's page; None: nobody watches."""
    detail: Callable[[str], None] = lambda words: None
    """Is told what is done now within a stage."""

    def crew(self) -> AbstractContextManager[Crew]:
        """For trainings and probes."""
        return crew_of(self.jobs, self.cluster, max(1, (os.cpu_count() or 1) // self.jobs))

    def players(self, plan: Plan) -> AbstractContextManager[Play]:
        """For episodes."""
        if self.cluster is None:
            return local_players(plan, self.jobs)
        return cluster_players(plan, self.cluster or None)


class Place(NamedTuple):
    """A study's folder."""

    folder: Path

    @property
    def demonstrations(self) -> Path:
        return self.folder / "demonstrations" / "nominal"

    def shifted(self, scenario: str) -> Path:
        return self.folder / "demonstrations" / scenario

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation"


EXAMPLES = """
  so101-study --output_dir=outputs/study
  so101-study --output_dir=outputs/quick --variants baseline isolation \\
      --train_seeds 0 --demonstrations=60 --steps=500 --episodes=10
  so101-study --output_dir=outputs/study --until=probes
"""

NOTES = """\
Each stage takes up what is there, so the same command after Ctrl-C, a power
cut or kill -9 goes on where it stopped. The folder says what was asked
(design.json); another question needs another folder."""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises SO101Error, OSError for what cannot be done."""
    options = parser().parse_args(arguments)
    console = Console(stderr=True)
    design = _design(options)
    if options.until not in ("demonstrations", "training"):
        require_held_out(design.demonstrations)
    options.output_dir.parent.mkdir(parents=True, exist_ok=True)
    design.settle(options.output_dir)
    place = Place(options.output_dir.resolve())
    with watching.page(
        options.display,
        "so101-study",
        design.task,
        place.folder,
        lambda text: console.print(text, soft_wrap=True),
    ) as page:
        return _stages(
            design, place, Means(options.num_workers, options.cluster), options.until, console, page
        )


def _stages(
    design: Design, place: Place, means: Means, until: str | None, console: Console, page: ProgressPage | None
) -> int:
    slower = slowness()

    def by_stage() -> Mapping[str, float]:
        return hours(left(design, place), design, means.jobs, slower)

    console.print(in_words(by_stage(), means.jobs), soft_wrap=True)
    names = list(STAGES)[: None if until is None else list(STAGES).index(until) + 1]
    watched = None
    if page is not None:
        watched = StudyWatching(names, by_stage, page.show)
        means = means._replace(show=page.show, detail=watched.detail)
    for name in names:
        console.rule(name, align="left", style="dim")
        if watched is not None:
            watched.enter(name)
        STAGES[name](design, place, means, console)
    if page is not None:
        end = f"its report is in {place.folder / 'report'}" if names[-1] == "report" else f"up to {names[-1]}"
        page.finish((f"The study is done: {end}.",), place.folder)
    return OK


def demonstrate(design: Design, place: Place, means: Means, console: Console) -> None:
    """Nominal demonstrations to learn from, and shifted ones to look at."""
    nominal = Settings(
        design.task,
        design.demonstrations,
        recovery=design.recovery,
        fps=design.demo_fps,
        width=design.image_px,
        height=design.image_px,
    )
    make_dataset(nominal, place.demonstrations, means.jobs, console)
    if scenario := design.shifted_by:
        shifted = replace(
            nominal,
            episodes=design.shifted_demonstrations,
            scenario=scenario,
            level=design.level,
            seed=SHIFTED_SEED,
            recovery=0.0,
        )
        make_dataset(shifted, place.shifted(scenario), means.jobs, console)


def train(design: Design, place: Place, means: Means, console: Console) -> None:
    """Every variant with every seed."""
    shifted = place.shifted(design.shifted_by) if design.shifted_by else None
    with means.crew() as crew:
        train_all(design, place.folder, place.demonstrations, shifted, crew, console, means.detail)


def left(design: Design, place: Place) -> Left:
    """What is still to be done, by the files that are there."""
    runs = runs_of(design, place.folder)
    datasets = ((place.demonstrations, design.demonstrations),)
    if design.shifted_by:
        datasets += ((place.shifted(design.shifted_by), design.shifted_demonstrations),)
    cells, policies = 1 + len(design.scenarios), len(runs)
    records = place.evaluation / EPISODES
    played = records.read_bytes().count(b"\n") if records.is_file() else 0
    return Left(
        sum(count for folder, count in datasets if not folder.exists()),
        sum(max(0, design.steps - run.step()) for run in runs),
        sum(not (run.reliance / RELIANCE).exists() for run in runs),
        max(0, cells * policies * design.episodes - played),
    )


def probe_policies(design: Design, place: Place, means: Means, console: Console) -> None:
    """What each policy relies on; a table and a picture."""
    runs = runs_of(design, place.folder)
    with means.crew() as crew:
        probe_all(runs, place.demonstrations, crew, console)
    findings = [probe(run, place.demonstrations) for run in runs]
    (place.folder / "reliance.md").write_text(markdown(findings))
    draw(findings, place.folder / "reliance.png")
    console.print(f"written: {place.folder / 'reliance.md'} and reliance.png")


def evaluate(design: Design, place: Place, means: Means, console: Console) -> None:
    """Paired episodes of all policies."""
    named = [f"{run.policy}={run.checkpoint}" for run in runs_of(design, place.folder)]
    specs = parse_policies(named, float(design.demo_fps))
    cells = parse_cells(",".join((NOMINAL, *design.scenarios)), design.level)
    plan = Plan(
        design.task,
        cells,
        design.episodes,
        specs,
        design.first_scene,
        LATENCY_S,
        AUTO,
        design.image_px,
        design.image_px,
        engine=AUTO,
    )
    check_unseen(plan.policies, plan.seeds)
    watcher = None if means.show is None else Watching(plan, place.evaluation, means.show)
    run_folder.run(plan, place.evaluation, means.players(plan), console, watcher)


def tell(design: Design, place: Place, means: Means, console: Console) -> None:
    """The page that is read."""
    runs = runs_of(design, place.folder)
    wanted = [
        str(place.evaluation),
        f"--output_dir={place.folder / 'report'}",
        f"--baseline={design.variants[0]}",
    ]
    wanted += ["--reliance", *(str(run.reliance / RELIANCE) for run in runs)]
    wanted += ["--training", *(f"{run.policy}={run.folder}" for run in runs)]
    report.main(wanted)
    data = json.loads((place.folder / "report" / report.DATA).read_text())
    (place.folder / "results.md").write_text(f"{successes(data)}\n{differences(data)}")
    console.print(f"written: {place.folder / 'results.md'}")


STAGES: dict[str, Callable[[Design, Place, Means, Console], None]] = {
    "demonstrations": demonstrate,
    "training": train,
    "probes": probe_policies,
    "evaluation": evaluate,
    "report": tell,
}


def _design(options: argparse.Namespace) -> Design:
    stored = options.output_dir / "design.json"
    given: dict[str, Any] = vars(options)
    fields = {name: given[name] for name in Design.__dataclass_fields__ if given.get(name) is not None}
    fields |= {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    if stored.is_file() and not fields:
        return Design.from_json(stored.read_text())
    return Design(**fields)


def _as_recorded(variant: str) -> str:
    """Folders and records of studies have hyphens; flags and presets have underscores."""
    return variant.replace("_", "-")


def parser() -> Parser:
    """Of the command line."""
    default = Design()
    parser = Parser(
        "so101-study",
        "Does a cure for blindness help? Demonstrations, training, probes, paired\nepisodes, report.",
        EXAMPLES,
        epilog=NOTES,
    )
    add = parser.add_argument
    add(
        "--output_dir",
        type=Path,
        default=Path("outputs/study"),
        help="the study's folder (default: %(default)s)",
    )
    add(
        "--num_workers",
        type=Whole(0, 1024),
        default=os.cpu_count() or 1,
        help="processes (default: one a core)",
    )
    add("--cluster", nargs="?", const="", metavar="ADDRESS",
        help="trainings, probes and episodes on a Ray cluster: at that address, whose machines share --output_dir, or "
        "one of this machine alone")  # fmt: skip
    add(
        "--display",
        choices=DISPLAYS,
        default=DISPLAYS[0],
        help="web: a page of this machine with the stages, the hours left and the table so far (default: off)",
    )
    add("--until", choices=STAGES, help="stop after this stage")
    add("--task", help=f"default: {default.task}")
    add(
        "--variants",
        type=_as_recorded,
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(VARIANTS)} (default: all)",
    )
    add("--train_seeds", nargs="+", type=Whole(), metavar="SEED",
        help=f"default: {' '.join(map(str, default.train_seeds))}")  # fmt: skip
    add("--demonstrations", type=Whole(), help=f"to learn from (default: {default.demonstrations})")
    add("--steps", type=Whole(), help=f"of training (default: {default.steps})")
    add("--batch_size", type=Whole(), help=f"default: {default.batch_size}")
    add(
        "--scenarios",
        nargs="+",
        metavar="NAME",
        help=f"besides nominal (default: {' '.join(default.scenarios)})",
    )
    add("--level", type=Whole(), help=f"of the scenarios (default: {default.level})")
    add("--episodes", type=Whole(), help=f"paired, per policy and scenario (default: {default.episodes})")
    add(
        "--first_scene",
        type=Whole(),
        metavar="SEED",
        help="of the evaluated scenes: another study's findings are confirmed in other scenes "
        f"(default: {default.first_scene})",
    )
    return parser
