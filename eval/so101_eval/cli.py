"""The commands of this package: so101-eval, so101-demos, so101-study, so101-data. Nothing heavy is imported here."""

from pathlib import Path

from so101_policy.command_line.command_shell import Command

HELP = Path(__file__).parent / "commands" / "help"

GOES_ON = "interrupted; finished episodes are kept, and the same command again goes on"
OLD_NAMES = {"--out": "--output_dir", "--jobs": "--num_workers"}

EXAMPLES = """
  so101-eval plan --difference=0.2
  so101-eval run --task=palletize-2 --episodes=200 \\
      --output_dir=outputs/eval/first \\
      --policies baseline=outputs/baseline regularized=outputs/regularized \\
      --scenarios=nominal,camera-pose,box-start-outside:3
  so101-eval report outputs/eval/first
  so101-eval replay outputs/eval/first baseline,nominal,7
  so101-eval compare 17/20 14/20

Every policy meets the same scenes. A run that was interrupted is gone on with
by the same command.
"""

EVAL = Command(
    "so101-eval",
    "which policy is better, by how much, when things shift, and how sure that is",
    HELP,
    examples=EXAMPLES,
    parts=(
        Command("so101-eval plan", "how many episodes a difference needs", HELP, "so101_eval.commands.plan"),
        Command(
            "so101-eval run",
            "play episodes, or go on with it",
            HELP,
            "so101_eval.commands.run",
            interrupted=GOES_ON,
            old_names=OLD_NAMES,
            hidden=("--size",),
        ),
        Command(
            "so101-eval report",
            "the page that is read",
            HELP,
            "so101_eval.report.command",
            old_names=OLD_NAMES,
        ),
        Command(
            "so101-eval replay", "repeat one episode from its record", HELP, "so101_eval.evaluation.replay"
        ),
        Command(
            "so101-eval compare",
            "two counts, 17/20 14/20, in one line",
            HELP,
            "so101_eval.statistics.compare",
        ),
    ),
)

DEMOS = Command(
    "so101-demos",
    "demonstrations of a task by the scripted expert, as a LeRobotDataset v3",
    HELP,
    "so101_eval.demos.command",
    interrupted=f"{GOES_ON} from there",
    old_names=OLD_NAMES,
)

STUDY = Command(
    "so101-study",
    "which way of training is better: demonstrations, training, probes, paired episodes, report",
    HELP,
    "so101_eval.study.command",
    interrupted="interrupted; the same command again goes on from there",
    old_names={**OLD_NAMES, "--arms": "--variants"},
)

DATA = Command(
    "so101-data",
    "look at a dataset: is it right, and what does it show",
    HELP,
    examples="""
  so101-data check data/palletize-2 --html=check.html
  so101-data background data/palletize-2 --output_dir=CHECKPOINT
""",
    parts=(
        Command(
            "so101-data check",
            "look at everything that training would take",
            HELP,
            "so101_eval.dataset_report.command",
        ),
        Command(
            "so101-data background",
            "keep what cameras that stand show, by which a moved one is put back",
            HELP,
            "so101_eval.commands.background",
        ),
    ),
)

COMMANDS = (EVAL, DEMOS, STUDY, DATA)
