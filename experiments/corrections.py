"""Whether corrections help more than as many demonstrations: python -m experiments.corrections --folder DIR

For each training seed: a policy is trained on few demonstrations. It plays new scenes; where it has not placed the box
after a while, a scripted person (the expert, late and with an unsteady hand) takes over through `leader.takeover`, as
somebody with a leader would. From the same weights it is trained on, once on these episodes and once on as many plain
demonstrations, and all three play the same scenes.

Every piece is kept; what is there already is not made again, so the same line goes on after Ctrl-C or kill -9. Run it
from a worktree of one commit. One training seed after the other goes the whole way, and the table after each has the
seeds that are whole. --plan=toy: everything as small as it can be, to see that it runs. --plan=small: what was done
(docs/studies/corrections.md); its policies of before come from the study of levers:

    python -m experiments.corrections --folder DIR --plan=small --before=LEVERS/training/stock-s{seed}/checkpoints/last
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from numpy.typing import NDArray

from so101_eval.demos.episode import from_png, to_png
from so101_eval.episode.episode import FPS, Stage, episode_loop_config
from so101_eval.evaluation.records import read_episodes
from so101_eval.evaluation.run_folder import EPISODES
from so101_eval.expert.expert import Expert
from so101_eval.palletizing.scene.draw import DEMO_SEEDS, draw, stream
from so101_eval.palletizing.scene.reset_data import CAMERAS
from so101_eval.palletizing.score.score import Scorer
from so101_eval.statistics.resampling import cluster_bootstrap
from so101_policy.files.whole_files import write_text
from so101_policy.names import INTERVENTION
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.inference import Observation
from so101_robot.commands import compose
from so101_robot.commands.run_config import PolicyFlags, RunConfig
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.leader.config_takeover import TakeoverConfig
from so101_robot.leader.leader import LeaderReading
from so101_robot.leader.source import LeaderSource
from so101_robot.leader.takeover import NEAR, Takeover
from so101_robot.leader.takeover import Stage as Turn
from so101_robot.loop.loop import ControlLoop
from so101_robot.loop.stopping import StopRequests
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.mock.config import MockConfig
from so101_robot.runs.dataset import ROBOT_TYPE, VIDEO_BACKEND, dataset_features

TASK, SIZE, RATE = "palletize-1-small", 96, 10
"""The task, pictures [px], and frames per second of everything that is trained on."""

WATCHES_S = 9.0
"""After so long the person takes over, if the box is not on its slot: the expert takes 6 to 7 s."""
LASTS_S = 40.0
"""Of a corrected episode at most."""
LATE_TICKS = 6
"""The person is 0.2 s behind the expert."""
UNSTEADY_DEG, UNSTEADY_S = 1.0, 0.5
"""Standard deviation and correlation time of the hand's tremor; the trigger has none."""

FIRST_CORRECTED, FIRST_MORE, FIRST_PLAYED = 1_400_000, 1_500_000, 500
"""Seeds of scenes: of corrections and further demonstrations (both among those that are never judged), of judging."""

SAMPLE_S = 0.067 / 16
"""A sample of a training step [s of one core]: 9000 steps of batch 16 took 600 s in the study of levers; that other
batches cost in proportion is assumed."""

VARIANTS = ("before", "corrected", "plain")


class Sizes(NamedTuple):
    """How much of everything."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Training seeds."""
    demonstrations: int = 60
    steps: int = 6000
    """Of the policy before; it has these and the demonstrations of its own only if no `--before` is given."""
    corrected: int = 30
    """Episodes, and as many further demonstrations."""
    more_steps: int = 3000
    """After which the corrected and the plain policy are judged."""
    batch: int = 64
    scenes: int = 100
    scenario: str = "nominal"
    level: int = 0
    """Where corrections, further demonstrations and judged scenes are drawn from."""


PLANS = {
    "full": Sizes(),
    "small": Sizes(
        seeds=(11, 12, 31, 32, 33),
        corrected=10,
        more_steps=800,
        batch=16,
        scenes=40,
        scenario="box-start-edge",
        level=2,
    ),
    "toy": Sizes(seeds=(0,), demonstrations=2, steps=4, corrected=2, more_steps=2, scenes=2),
}

SECONDS = {"demonstration": 2.5, "corrected": 15.0, "episode": 0.6}
"""Of one core: of the study of levers (300 demonstrations 700 s); the corrected are estimated."""


class Person:
    """The expert as somebody at a leader: the hand holds it where the follower is, then leads, late and unsteadily."""

    def __init__(self, expert: Expert, seed: int) -> None:
        self.expert = expert
        self.position: NDArray[np.float64] = np.zeros(len(JOINTS))
        self.done = False
        self._asked: list[NDArray[np.float64]] = []
        self._rng, self._noise = stream("person", seed), np.zeros(len(JOINTS))

    def lead(self, observation: Observation) -> None:
        """One tick of driving."""
        target = self.expert(observation)
        self.done = target is None
        if target is not None:
            self._asked.append(np.array(target, np.float64))
        keep = np.exp(-1 / (FPS * UNSTEADY_S))
        self._noise = keep * self._noise + np.sqrt(1 - keep**2) * self._rng.standard_normal(len(JOINTS))
        self._noise[GRIPPER] = 0.0
        if self._asked:
            late = self._asked[max(0, len(self._asked) - 1 - LATE_TICKS)]
            self.position = late + UNSTEADY_DEG * self._noise

    def read(self, now_s: float) -> LeaderReading:
        return LeaderReading(now_s, 0.0, self.position.copy())

    def take(self, torque: float, now_s: float) -> NDArray[np.float64]:
        return self.position

    def bring(self, pose: NDArray[np.float64]) -> None:
        self.position = pose

    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.full(len(JOINTS), -180.0), np.full(len(JOINTS), 180.0)

    def let_go(self) -> None: ...


class Corrected:
    """Observer: the person acts, and what a dataset needs is written down, a frame every so many ticks."""

    name = "corrected"

    def __init__(self, scorer: Scorer, person: Person, stop: StopRequests) -> None:
        self._scorer, self._person, self._stop = scorer, person, stop
        self.takeover: Takeover | None = None
        self.keys: list[str] = []
        self._every, self._count = int(FPS) // RATE, 0
        self.rows: dict[str, list[Any]] = {"state": [], "action": [], "drove": []}
        self.pictures: dict[str, list[NDArray[np.uint8]]] = {camera: [] for camera in CAMERAS}

    def on_tick(self, tick: Tick) -> None:
        assert self.takeover is not None  # made before the loop
        if tick.phase != "run" or self._stop.requested:
            return
        time_s, turn = tick.index / FPS, self.takeover.stage
        self._scorer.observe(time_s)
        placed = all(box.milestones["in_tolerance"] is not None for box in self._scorer.result().boxes)
        if turn is Turn.POLICY:
            self._person.position = tick.state.position.copy()
            if time_s >= WATCHES_S and not self.takeover.count:
                self._stop.finish("placed") if placed else self.keys.append("t")
        elif turn is Turn.HANDOVER:
            self.keys.append("t")
        elif turn is Turn.HUMAN:
            self._person.lead(Observation(tick.time_s, tick.state.position, {}))
            if self._person.done:
                self._stop.finish("done")
        self._write(tick)

    def _write(self, tick: Tick) -> None:
        driver = None if tick.planned is None else tick.planned.driver
        if tick.goal is None or driver in ("hold", "handover"):
            return
        if self._count % self._every == 0:
            self.rows["state"].append(tick.state.position.astype(np.float32))
            self.rows["action"].append(tick.goal.astype(np.float32))
            self.rows["drove"].append(driver == "human")
            for camera, frame in tick.frames.items():
                self.pictures[camera].append(to_png(frame.image))
        else:
            self.rows["action"][-1] = tick.goal.astype(np.float32)
        self._count += 1

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...


def correct(checkpoint: Path, seed: int, scenario: str, level: int) -> Corrected | None:
    """One scene, played and taken over; None: the policy placed the box by itself."""
    mock = MockConfig(width=SIZE, height=SIZE, camera_fps=FPS, realtime_factor=0.0)
    with Stage(TASK, mock) as stage:
        reset = draw(TASK, scenario, level, seed)
        stage.lay_out(reset)
        robot = stage.robot
        assert robot.guard is not None  # it is connected
        policy_flags = PolicyFlags(path=str(checkpoint), device="cpu")
        config = RunConfig(policy=policy_flags, robot=SO101Config(port="mock"), fps=FPS)
        policy = compose.make_scheduler(config, robot, compose.load_policy(config))
        stop, person = StopRequests(), Person(Expert(stage.world, robot, reset), seed)
        film = Corrected(Scorer(stage.world, reset), person, stop)

        def pressed() -> list[str]:
            found, film.keys = film.keys, []
            return found

        source = LeaderSource(person, robot.guard, robot.clock, near=NEAR)
        takeover = Takeover(policy, source, person, robot.guard, TakeoverConfig(moved_deg=0), pressed)
        film.takeover = takeover
        loop_config = replace(episode_loop_config(), duration_s=LASTS_S)
        loop = ControlLoop(
            robot, takeover, robot.guard, robot.clock, config=loop_config, observers=[film], stop=stop
        )
        loop.run()
        return film if takeover.count else None


class Study:
    """All of it in one folder.

    Args:
        folder: of everything that is made.
        sizes: how much of everything.
        jobs: processes at a time.
        before: a checkpoint's folder with `{seed}` in its name, one for each training seed; none: they are trained.
    """

    def __init__(self, folder: Path, sizes: Sizes, jobs: int, before: str | None = None) -> None:
        self.folder, self.sizes, self.jobs = folder.resolve(), sizes, jobs
        self.before = before

    def run(self) -> None:
        """One training seed after the other, and the table of those that are whole."""
        print(self.forecast(), flush=True)
        sizes = self.sizes
        where = [f"--scenario={sizes.scenario}", f"--level={sizes.level}"]
        if self.before is None:
            self._demonstrate("few", sizes.demonstrations, [])
        self._demonstrate("more", sizes.corrected, [*where, f"--seed={FIRST_MORE - DEMO_SEEDS.start}"])
        for seed in sizes.seeds:
            if self.before is None:
                self._train(f"before-s{seed}", self.folder / "few", seed, sizes.steps, ["--model=small"])
            self._correct(seed)
            start = f"--policy.path={self.checkpoint('before', seed)}"
            more = [start, "--corrections.use=weighted"]
            self._train(
                f"corrected-s{seed}", self.folder / f"corrected-s{seed}", seed, sizes.more_steps, more
            )
            self._train(f"plain-s{seed}", self.folder / "more", seed, sizes.more_steps, [start])
            self._play(seed)
            print(self.table(), flush=True)

    def forecast(self) -> str:
        """How many core-hours all of it takes, from nothing."""
        sizes, seeds = self.sizes, len(self.sizes.seeds)
        first = self.before is None
        parts = {
            "demonstrations": (first * sizes.demonstrations + sizes.corrected) * SECONDS["demonstration"],
            "corrections": seeds * sizes.corrected * SECONDS["corrected"],
            "training": seeds * (first * sizes.steps + 2 * sizes.more_steps) * sizes.batch * SAMPLE_S,
            "episodes": len(VARIANTS) * seeds * sizes.scenes * SECONDS["episode"],
        }
        told = ", ".join(f"{part} {seconds / 3600:.2f}" for part, seconds in parts.items())
        return f"core-hours from nothing: {told}; in all {sum(parts.values()) / 3600:.1f}"

    def checkpoint(self, variant: str, seed: int) -> Path:
        """Of a variant and a training seed, whether it is there or not."""
        if variant == "before" and self.before is not None:
            return Path(self.before.format(seed=seed)).resolve() / "pretrained_model"
        return self.folder / "training" / f"{variant}-s{seed}" / "checkpoints" / "last" / "pretrained_model"

    def table(self) -> str:
        """Successes of each variant, and the differences with intervals over training seeds and scenes."""
        sizes = self.sizes
        scenes = range(FIRST_PLAYED, FIRST_PLAYED + sizes.scenes)
        won = {
            (record.policy, record.seed): float(bool(record.success))
            for seed in sizes.seeds
            if (file := self.folder / f"evaluation-s{seed}" / EPISODES).exists()
            for record in read_episodes(file)
        }
        whole = [
            seed
            for seed in sizes.seeds
            if all((f"{variant}:{seed}", scene) in won for variant in VARIANTS for scene in scenes)
        ]
        found = {
            variant: np.array([[won[f"{variant}:{seed}", scene] for scene in scenes] for seed in whole])
            for variant in VARIANTS
        }
        each = [f"seed {seed}" for seed in whole]
        lines = [f"| variant | {' | '.join([*each, 'success', 'against before', 'against plain'])} |"]
        lines += ["|---|" + "---:|" * (len(each) + 3)]
        for variant, won_SN in found.items():
            cells = [f"{int(won_N.sum())}/{won_N.size}" for won_N in won_SN]
            cells += [f"{int(won_SN.sum())}/{won_SN.size}"]
            cells += [_gap(won_SN, found[other], len(whole)) for other in ("before", "plain")]
            lines.append(f"| {variant} | {' | '.join(cells)} |")
        text = "\n".join(lines) + "\n"
        write_text(self.folder / "corrections.md", text)
        return text

    def _demonstrate(self, name: str, count: int, more: Sequence[str]) -> None:
        if (self.folder / name / "meta" / "info.json").exists():
            return
        flags = [f"--task={TASK}", f"--episodes={count}", f"--fps={RATE}", f"--num_workers={self.jobs}"]
        _command("so101-demos", [*flags, *more, f"--output_dir={self.folder / name}"])

    def _train(self, name: str, data: Path, seed: int, steps: int, more: Sequence[str]) -> None:
        out = self.folder / "training" / name
        if (out / "whole").exists():
            return
        shutil.rmtree(out, ignore_errors=True)
        flags = [f"--dataset.root={data}", *more, f"--seed={seed}", f"--steps={steps}"]
        flags += [f"--batch_size={self.sizes.batch}", "--trackers=none", "--save_freq=0", "--eval_steps=0"]
        _command("so101-train", [*flags, "--held_out=0", f"--output_dir={out}"])
        (out / "whole").touch()

    def _correct(self, seed: int) -> None:
        """The corrected episodes of that training seed as a dataset; they wait in a folder until there are enough."""
        out = self.folder / f"corrected-s{seed}"
        if out.exists():
            return
        staged = self.folder / f"corrected-s{seed}.staged"
        staged.mkdir(parents=True, exist_ok=True)
        scene = FIRST_CORRECTED
        while len(list(staged.glob("*.npz"))) < self.sizes.corrected:
            if not (file := staged / f"{scene}.npz").exists() and not file.with_suffix(".alone").exists():
                where = self.sizes.scenario, self.sizes.level
                film = correct(self.checkpoint("before", seed), scene, *where)
                if film is None:
                    file.with_suffix(".alone").touch()
                else:
                    _store(film, file)
                print(f"scene {scene}: {'placed by itself' if film is None else 'taken over'}", flush=True)
            scene += 1
        _assemble(sorted(staged.glob("*.npz")), out)

    def _play(self, seed: int) -> None:
        policies = [f"{variant}:{seed}={self.checkpoint(variant, seed)}" for variant in VARIANTS]
        flags = ["--policies", *policies, f"--task={TASK}", f"--scenarios={self.sizes.scenario}"]
        flags += [f"--level={self.sizes.level}"] if self.sizes.level else []
        flags += [f"--episodes={self.sizes.scenes}", f"--first_seed={FIRST_PLAYED}"]
        flags += [f"--num_workers={self.jobs}", f"--output_dir={self.folder / f'evaluation-s{seed}'}"]
        _command("so101-eval", ["run", *flags])


def _gap(won_SN: NDArray[np.float64], than_SN: NDArray[np.float64], seeds: int) -> str:
    if won_SN is than_SN or seeds < 2:
        return ""
    gap = cluster_bootstrap(won_SN, than_SN)
    return f"{100 * gap.difference:+.0f} [{100 * gap.interval.low:+.0f}, {100 * gap.interval.high:+.0f}]"


def _store(film: Corrected, file: Path) -> None:
    arrays: dict[str, Any] = {name: np.array(rows) for name, rows in film.rows.items()}
    for camera, pngs in film.pictures.items():
        arrays |= {f"{camera}_{k}": png for k, png in enumerate(pngs)}
    making = file.with_suffix(".making")
    with making.open("wb") as whole:
        np.savez(whole, **arrays)
    making.rename(file)


def _assemble(files: Sequence[Path], out: Path) -> None:
    """A LeRobotDataset with the column `intervention`, in its place when it is whole."""
    making = out.with_name(f".{out.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    features = dataset_features(dict.fromkeys(CAMERAS, (SIZE, SIZE)), with_intervention=True)
    dataset = LeRobotDataset.create(
        "local/corrected", RATE, features, root=making, robot_type=ROBOT_TYPE, video_backend=VIDEO_BACKEND
    )
    for file in files:
        with np.load(file) as rows:
            for k in range(len(rows["state"])):
                frame = {"observation.state": rows["state"][k], "action": rows["action"][k], "task": TASK}
                frame |= {
                    f"observation.images.{camera}": from_png(rows[f"{camera}_{k}"]) for camera in CAMERAS
                }
                dataset.add_frame(frame | {INTERVENTION: np.array([bool(rows["drove"][k])])})
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()
    making.rename(out)


def _command(name: str, flags: Sequence[str]) -> None:
    print(f"$ {name} {' '.join(flags)}", flush=True)
    subprocess.run([str(Path(sys.executable).with_name(name)), *flags], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--plan", choices=sorted(PLANS), default="full", help="how much of everything")
    parser.add_argument("--before", help="folder of checkpoints that are there, with {seed} in its name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--hours", action="store_true", help="say how long it takes, and nothing else")
    options = parser.parse_args()
    study = Study(options.folder, PLANS[options.plan], options.jobs, options.before)
    print(study.forecast()) if options.hours else study.run()


if __name__ == "__main__":
    main()
