"""Evaluation: episodes per hour and core of `so101-eval run` and of `lerobot-eval`, whole processes, taking turns.

Same environment (LeRobot's side by `--env.type=so101_palletizing`), same policy, same scenes, two 96x96 cameras. Every
process is started anew on one core with one thread; its clock is read when an episode ends, from the end of the
warm-up to the end of the last episode, so what is measured is everything between: laying out, physics, pictures,
inference, scoring, writing. Medians over rounds with the range, and ratios to lerobot-eval within a round. Beside
wall time stands processor time, which says more on a machine that others use too.

What the two do is not the same in three ways, and that is part of the comparison. `so101-eval` renders pictures when
the policy is asked, LeRobot on every step. `so101-eval` plays as on the arm: it asks anew as soon as an answer is
there (LeRobot when its actions are used up), and interpolates a policy of 10 actions a second to 30 ticks (LeRobot
plays an action every tick); the column `asked` has the inferences per episode. `lerobot-eval` films its first ten
episodes; `lerobot-unfilmed` is the same without, `lerobot-batched` also plays --batch scenes side by side with one
forward pass for all. `so101-plain` computes by LeRobot's own forward in place of an engine. `so101-two` are two
processes of `so101` at once, each on a core of its own, and both counted; what it has over `so101` is what a second
core brings.

    python tests/benchmarks/bench_eval.py [--policy CHECKPOINT] [--task palletize-1] [--episodes 5] [--rounds 3]
        [--warm-up 1] [--batch 4] [--variants so101 so101-plain so101-two lerobot lerobot-unfilmed lerobot-batched]

Without --policy it is a regularized_act of size `small` with random weights, whose actions stay near one pose: it
fails, in every scene, when time is up. The last line is JSON.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

VARIANTS = ("so101", "lerobot", "lerobot-unfilmed", "so101-plain", "so101-two", "lerobot-batched")
OURS = ("so101", "so101-plain", "so101-two")
BASE = "lerobot"
FIRST_SCENE = 1000
FPS = 30
POSE = (10.0, -60.0, 60.0, 50.0, 0.0, 30.0)
"""Middle of the built-in policy's actions: above the table, to the side."""
PX = 96


class Found(NamedTuple):
    """One process, without its warm-up."""

    episodes: int
    ticks: int
    inferences: int
    wall_s: float
    cpu_s: float


def make_policy(folder: Path) -> Path:
    """A small ACT with random weights, 30 actions a second."""
    import torch
    from bench_step import config_of
    from lerobot.policies.act.processor_act import make_act_pre_post_processors

    from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy

    config = config_of("small", fps=float(FPS))
    numbers = {"mean": torch.tensor(POSE), "std": torch.full((6,), 5.0)}
    pictures = {"mean": torch.full((3, 1, 1), 0.5), "std": torch.full((3, 1, 1), 0.25)}
    shown = {
        name: pictures if "images" in name else numbers
        for name in (*config.input_features, *config.output_features)
    }
    torch.manual_seed(0)
    RegularizedACTPolicy(config).save_pretrained(folder)
    for processor in make_act_pre_post_processors(config, shown):
        processor.save_pretrained(folder)
    return folder


# In a process of its own


def child(variant: str, warm_up: int, episodes: int, result: str, arguments: list[str]) -> None:
    """Run one evaluation in this process and write what it took from the end of episode `warm_up` to the last."""
    import torch
    from lerobot.policies.act.modeling_act import ACTPolicy

    from so101_policy.inference.act_policy import ActPolicy

    ended, asked = [0, 0], 0
    begun: tuple[int, int, int, float, float] | None = None
    predict = ACTPolicy.predict_action_chunk

    def counted(*values: Any, **named: Any) -> Any:
        nonlocal asked
        asked += 1
        return predict(*values, **named)

    def note(count: int, ticks: int) -> None:
        nonlocal begun
        ended[:] = ended[0] + count, ended[1] + ticks
        now = (*ended, asked, time.perf_counter(), time.process_time())
        if begun is None and ended[0] >= warm_up:
            begun = now
        elif begun is not None and ended[0] >= warm_up + episodes:
            found = [after - before for after, before in zip(now, begun, strict=True)]
            Path(result).write_text(json.dumps(found))

    torch.set_num_threads(1)
    if variant in OURS:
        answer = ActPolicy.predict

        def answered(*values: Any, **named: Any) -> Any:
            nonlocal asked
            asked += 1
            return answer(*values, **named)

        ActPolicy.predict = answered
        run_ours(arguments, note)
    else:
        ACTPolicy.predict_action_chunk = counted
        run_lerobots(arguments, note, films=variant == "lerobot")


def run_ours(arguments: list[str], note: Callable[[int, int], None]) -> None:
    from so101_eval.cli import EVAL
    from so101_eval.evaluation.plan import Player

    play = Player.play

    def noted(self: Player, *values: Any) -> Any:
        record = play(self, *values)
        note(1, record.ticks)
        return record

    Player.play = noted
    sys.exit(EVAL.main(arguments))


def run_lerobots(arguments: list[str], note: Callable[[int, int], None], films: bool) -> None:
    from lerobot.scripts import lerobot_eval

    lerobots: Any = lerobot_eval
    rollout, evaluate = lerobots.rollout, lerobots.eval_policy_all

    def noted(*values: Any, **named: Any) -> Any:
        found = rollout(*values, **named)
        done = found["done"].int()
        steps = int((done.argmax(dim=1) + 1).sum())
        # the environment goes at the policy's rate, so a step is several ticks
        rate = lerobots_rate(values[0] if values else named["env"])
        note(len(done), round(steps * FPS / rate))
        return found

    def unfilmed(*values: Any, **named: Any) -> Any:
        return evaluate(*values, **(named if films else named | {"max_episodes_rendered": 0}))

    lerobots.rollout, lerobots.eval_policy_all = noted, unfilmed
    sys.argv = ["lerobot-eval", *arguments]
    lerobots.main()


def lerobots_rate(environments: Any) -> float:
    """Steps a second."""
    rate = environments.metadata.get("render_fps")
    return float(rate or environments.envs[0].unwrapped.metadata["render_fps"])


# The parent


def measure(variant: str, policy: Path, out: Path, options: argparse.Namespace) -> Found:
    """One process of one variant, or two at once. The measured scenes are the same in all."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    if variant != "so101-two":
        return wait_for(variant, *start(variant, policy, out, options, cores[-1]))
    if len(cores) < 2:
        sys.exit("so101-two needs two cores")
    begun = [
        start(variant, policy, out.with_name(f"{out.name}-{core}"), options, core) for core in cores[-2:]
    ]
    one, other = (wait_for(variant, *each) for each in begun)
    wall_s = (one.wall_s + other.wall_s) / 2
    return Found(*(a + b for a, b in zip(one[:3], other[:3], strict=True)), wall_s, one.cpu_s + other.cpu_s)


def start(
    variant: str, policy: Path, out: Path, options: argparse.Namespace, core: int
) -> tuple[subprocess.Popen[str], Path]:
    """A process on that core, and where it writes what it found."""
    batch = options.batch if variant == "lerobot-batched" else 1
    warm_up = batch * math.ceil(options.warm_up / batch)
    first, count = FIRST_SCENE - warm_up, warm_up + options.episodes
    if variant in OURS:
        arguments = ["run", "--policies", f"it={policy}", f"--task={options.task}", f"--episodes={count}"]
        arguments += [f"--engine={'plain' if variant == 'so101-plain' else 'auto'}"]
        arguments += [
            f"--first_seed={first}",
            "--num_workers=1",
            f"--width={PX}",
            f"--height={PX}",
            f"--output_dir={out}",
        ]
    else:
        arguments = [f"--policy.path={policy}", "--policy.device=cpu", "--env.type=so101_palletizing"]
        arguments += [f"--env.task={options.task}", f"--eval.n_episodes={count}", f"--seed={first}"]
        arguments += [f"--eval.batch_size={batch}", "--eval.use_async_envs=false", f"--output_dir={out}"]
    result = out.with_suffix(".json")
    command = [sys.executable, __file__, "--child", variant, str(warm_up), str(options.episodes), str(result)]

    def stay() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})

    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=stay,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    return process, result


def wait_for(variant: str, process: subprocess.Popen[str], result: Path) -> Found:
    said, _ = process.communicate()
    if process.returncode or not result.exists():
        sys.exit(f"{variant} failed:\n{said[-4000:]}")
    return Found(*json.loads(result.read_text()))


def summary(found: dict[str, list[Found]]) -> dict[str, dict[str, Any]]:
    """Medians by variant; ratios are of simulated time, so episodes of other lengths do not tilt them."""
    rows: dict[str, dict[str, Any]] = {}
    for variant, turns in found.items():
        hourly = [3600 * one.episodes / one.wall_s for one in turns]
        speed = [one.ticks / FPS / one.wall_s for one in turns]
        cpu_speed = [one.ticks / FPS / one.cpu_s for one in turns]
        rows[variant] = {
            "episodes_per_hour_and_core": statistics.median(hourly),
            "range": [min(hourly), max(hourly)],
            "episodes_per_cpu_hour": statistics.median(3600 * one.episodes / one.cpu_s for one in turns),
            "simulated_s_per_episode": statistics.median(one.ticks / FPS / one.episodes for one in turns),
            "inferences_per_episode": statistics.median(one.inferences / one.episodes for one in turns),
            "times_real_time": statistics.median(speed),
            "times_real_time_cpu": statistics.median(cpu_speed),
        }
        for name, of in (("wall", speed), ("cpu", cpu_speed)):
            pairs = zip(of, found.get(BASE, []), strict=False)
            ratios = [mine * getattr(base, f"{name}_s") / (base.ticks / FPS) for mine, base in pairs]
            rows[variant][f"times_{BASE}_{name}"] = statistics.median(ratios) if ratios else None
    return rows


def show(rows: dict[str, dict[str, Any]]) -> None:
    print(f"{'':18}{'episodes/h':>11}{'range':>16}{'per cpu-h':>11}{'s/episode':>11}{'asked':>7}"
          f"{'x real time':>13}{'x lerobot':>11}{'by cpu':>8}")  # fmt: skip
    for variant, row in rows.items():
        spread = "{:.0f}..{:.0f}".format(*row["range"])
        wall, cpu = (row[f"times_{BASE}_{name}"] for name in ("wall", "cpu"))
        print(
            f"{variant:18}{row['episodes_per_hour_and_core']:11.0f}{spread:>16}{row['episodes_per_cpu_hour']:11.0f}"
            f"{row['simulated_s_per_episode']:11.1f}{row['inferences_per_episode']:7.0f}"
            f"{row['times_real_time']:13.1f}{wall or math.nan:11.2f}{cpu or math.nan:8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--task", default="palletize-1")
    parser.add_argument("--episodes", type=int, default=5, help="measured, per process")
    parser.add_argument("--warm-up", type=int, default=1, help="episodes before the clock starts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4, help="scenes side by side of lerobot-batched")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS[:3]))
    options = parser.parse_args()
    found: dict[str, list[Found]] = {variant: [] for variant in options.variants}
    with tempfile.TemporaryDirectory() as folder:
        policy = options.policy or make_policy(Path(folder) / "policy")
        for turn in range(options.rounds):
            for variant in options.variants if turn % 2 == 0 else reversed(options.variants):
                found[variant].append(measure(variant, policy, Path(folder) / f"{variant}-{turn}", options))
    what = (
        str(options.policy) if options.policy else "a small ACT with random weights (it fails in every scene)"
    )
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(
        f"{options.task}, two {PX}x{PX} cameras, {what}; {options.rounds} rounds of {options.episodes} episodes after "
        f"{options.warm_up}, one core each; load of the machine {load}"
    )
    rows = summary(found)
    show(rows)
    asked = {name: getattr(options, name) for name in ("task", "episodes", "warm_up", "rounds")}
    print(json.dumps({"bench": "eval", **asked, "policy": what, "load": load, "variants": rows}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6:])
    else:
        main()
