"""The commands of this package: so101-eval, so101-demos, so101-study, so101-data, so101-bench. Nothing heavy is
imported here."""

from pathlib import Path

from so101_policy.command_line.command_shell import Command
from so101_robot.cli import RUN

HELP = Path(__file__).parent / "commands" / "help"

GOES_ON = "interrupted; finished episodes are kept, and the same command again goes on"

NOT_TAKEN = {
    "--policy.server": "an episode has to end twice the same, from weights that are known by their hash and with "
    "answers that are late by --latency; a server has neither. Evaluate the checkpoint itself, on the server's machine "
    "too, with --policies NAME=CHECKPOINT; so101-run takes --policy.server",
    "--policy.rtc.enabled": "the cross-fade is played, as so101-run does without this flag; how real-time chunking "
    "does is seen with so101-run",
}
"""Flags of so101-run that an evaluation does not have."""

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
            not_taken=NOT_TAKEN,
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
            one_thread=True,
        ),
        Command(
            "so101-data background",
            "keep what cameras that stand show, by which a moved one is put back",
            HELP,
            "so101_eval.commands.background",
        ),
    ),
)

BENCH_EXAMPLES = """
  so101-bench init studies/looks --task=palletize-2 --difference=30 \\
      --policies stock=outputs/stock looks=outputs/looks
  so101-bench mat studies/looks
  so101-bench lock studies/looks
  so101-bench rehearse studies/looks
  so101-bench run studies/looks --config_path=my_arm.yaml
  so101-bench unblind studies/looks
  so101-eval report studies/looks
"""
GOES_ON_THERE = "interrupted; the same command goes on from there"

BENCH = Command(
    "so101-bench",
    "which policy is better on your own arm: a blinded, randomised study",
    HELP,
    examples=BENCH_EXAMPLES,
    parts=(
        Command("so101-bench init", "write study.yaml", HELP, "so101_eval.real_study.commands.init"),
        Command(
            "so101-bench mat",
            "the mat to print: tags, pallet corners, slots",
            HELP,
            "so101_eval.real_study.commands.mat",
        ),
        Command(
            "so101-bench lock",
            "hash it, draw and seal the order",
            HELP,
            "so101_eval.real_study.commands.lock",
        ),
        Command(
            "so101-bench run",
            "one sitting at the arm",
            HELP,
            "so101_eval.real_study.commands.run",
            interrupted=GOES_ON_THERE,
            flags_of=(RUN,),
            old_names=RUN.old_names,
            other_names=RUN.other_names,
            ends_on_signals=True,
        ),
        Command(
            "so101-bench rehearse",
            "the same study on the mock arm",
            HELP,
            "so101_eval.real_study.commands.rehearse",
            interrupted=GOES_ON_THERE,
            old_names=OLD_NAMES,
            ends_on_signals=True,
        ),
        Command("so101-bench score", "second rater, blind", HELP, "so101_eval.real_study.commands.score"),
        Command(
            "so101-bench unblind", "names for codes, once", HELP, "so101_eval.real_study.commands.unblind"
        ),
    ),
)

COMMANDS = (EVAL, DEMOS, STUDY, DATA, BENCH)
