"""About how long the rest of a study takes on this machine, stage by stage.

Costs are core-seconds of a quiet core, measured once. How this machine compares is found by one attempt of the expert,
which takes less than a second and is slowed down by whatever else the machine does, as the study will be. So it is a
guide to "an hour or a night", no promise.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from so101_eval.episode.episode import Stage
from so101_eval.episode.scripted import Scripted
from so101_eval.expert.expert import Expert
from so101_eval.palletizing.scene.draw import draw
from so101_eval.study.design import Design

ATTEMPT_TASK = "palletize-1"
ATTEMPT_S = 0.3
"""The expert's attempt, without pictures, by which machines are compared; measured with the costs below."""

DEMONSTRATION_S = 1.0
"""With two cameras of 96x96 at 10 frames a second, encoded."""
STEP_S = 0.067 / 16
"""Of training the small model, for each sample of the batch."""
PROBE_S = 60.0
"""All probes of a policy of the small model."""
EPISODE_S = 0.45
"""Of a trained policy that looks by an engine."""
PIXELS = 96 * 96
"""Of these costs; those with pictures grow with them."""


class Left(NamedTuple):
    """What of a study is still to be done."""

    demonstrations: int
    steps: int
    """Of all trainings together."""
    probes: int
    episodes: int


def slowness() -> float:
    """How many times longer this machine takes than the one of the costs, now [wall time]."""
    with Stage(ATTEMPT_TASK) as stage:
        times_s: list[float] = []
        for seed in (0, 0):  # what is compiled is compiled in the first
            reset = draw(ATTEMPT_TASK, seed=seed)
            started_s = time.perf_counter()
            stage.attempt(reset, lambda stage, reset=reset: Scripted(Expert(stage.world, stage.robot, reset)))
            times_s.append(time.perf_counter() - started_s)
    return times_s[-1] / ATTEMPT_S


def hours(left: Left, design: Design, jobs: int, slower: float) -> Mapping[str, float]:
    """Stage -> hours of `jobs` cores."""
    by_pixels = max(1.0, design.image_px**2 / PIXELS)
    core_s = {
        "demonstrations": DEMONSTRATION_S * by_pixels * left.demonstrations,
        "training": STEP_S * by_pixels * design.batch_size * left.steps,
        "probes": PROBE_S * by_pixels * left.probes,
        "evaluation": EPISODE_S * by_pixels * left.episodes,
    }
    return {stage: slower * cost_s / jobs / 3600 for stage, cost_s in core_s.items()}


def in_words(by_stage: Mapping[str, float], jobs: int) -> str:
    """One line."""
    parts = ", ".join(f"{stage} {told(value)}" for stage, value in by_stage.items())
    cores = "1 core" if jobs == 1 else f"{jobs} cores"
    return f"left on {cores} of this machine, about: {parts}; all {told(sum(by_stage.values()))}"


def told(value: float) -> str:
    """Hours, or minutes, in words."""
    return f"{value:.1f} h" if value >= 1 else f"{60 * value:.0f} min"
