"""The command that plays what a run played, in other scenes."""

import shlex
from pathlib import Path

from so101_eval.evaluation.plan import Plan
from so101_eval.evaluation.policy_specs import PolicySpec, picture_size
from so101_eval.palletizing.scene.scenarios import NOMINAL


def another_run(plan: Plan, scenes: int, first_seed: int, folder: Path) -> str:
    """A line to type.

    Args:
        plan: of the run that is there.
        scenes: episodes per scenario and policy.
        first_seed: the first of the scenes.
        folder: where the new run goes.
    """
    usual = Plan(plan.task, plan.cells, scenes, plan.policies)
    cells = ",".join(name if name == NOMINAL else f"{name}:{level}" for name, level in plan.cells)
    words = ["--policies", *map(_word, plan.policies), f"--task={plan.task}", f"--scenarios={cells}"]
    words += [f"--episodes={scenes}", f"--first_seed={first_seed}"]
    for flag, asked, by_default in (
        ("latency", plan.latency_s, usual.latency_s),
        ("chunks", plan.chunks, usual.chunks),
        ("camera_correction", plan.camera_correction, usual.camera_correction),
    ):
        words += [] if asked == by_default else [f"--{flag}={asked}"]
    if (plan.height, plan.width) != picture_size(plan.policies, plan.task, None):
        words += [f"--width={plan.width}", f"--height={plan.height}"]
    return f"so101-eval run {shlex.join([*words, f'--output_dir={folder}'])}"


def _word(spec: PolicySpec) -> str:
    hidden = ",".join(f"no-{what}" for what in spec.without)
    value = f"{spec.path or spec.kind}{'@' if hidden else ''}{hidden}"
    return spec.name if value == spec.name else f"{spec.name}={value}"
