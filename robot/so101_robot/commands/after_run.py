"""What to type after a run: three commands, chosen by what was run."""

from pathlib import Path

from so101_policy.command_line.next_steps import Step, next_steps
from so101_robot import demo
from so101_robot.commands.run_config import RunConfig

MOCK = "mock"


def steps_after(config: RunConfig, folder: Path) -> list[Step]:
    """As they are typed here.

    Args:
        config: of the run.
        folder: of the run.
    """
    again = Step(f"so101-replay {folder}", "the same goals again, without the policy")
    if config.policy.path.startswith(demo.PREFIX):
        name = config.policy.path.removeprefix(demo.PREFIX)
        other = next(other for other in demo.NAMES if other != name)
        return next_steps(
            Step(
                f"so101-run --policy.path={demo.PREFIX}{other} --display=web",
                "the other small policy, same scene",
            ),
            again,
            Step(
                "so101-demos --task=palletize-1-small --fps=10 --episodes=20 --output_dir=outputs/demos",
                "demonstrations, to train your own",
            ),
        )
    looks = Step(
        f"so101-reliance --policy.path={config.policy.path} --dataset.root=DATASET --episodes=held-out:0.1",
        "does it look, or follow its joints?",
    )
    if config.robot.port == MOCK:
        compare = Step(
            f"so101-eval run --policies mine={config.policy.path} --task=palletize-2 --episodes=50",
            "how often does it succeed?",
        )
        return next_steps(again, looks, compare)
    shown = Step(f"so101-replay {folder} --display=web", "the same goals on the simulated arm")
    compare = Step("so101-bench init studies/first --help", "is another policy better, on your arm?")
    return next_steps(shown, looks, compare)
