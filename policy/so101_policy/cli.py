"""The commands of this package: so101-train, so101-frames, so101-reliance, so101-cache. Nothing heavy is imported
here."""

from pathlib import Path

from so101_policy.command_line.command_shell import Command

HELP = Path(__file__).parent / "commands" / "help"

TRAIN = Command(
    "so101-train",
    "train an ACT policy that uses its cameras, on any LeRobotDataset v3",
    HELP,
    "so101_policy.train.command",
    help_from="so101_policy.commands.train_help",
    interrupted="interrupted before the first step",
    any_flag=True,  # every field of LeRobot's ACT and of lerobot-train
)

FRAMES = Command(
    "so101-frames",
    "caches of datasets' decoded frames: show, check, remove",
    HELP,
    "so101_policy.frames.command",
)

RELIANCE = Command(
    "so101-reliance",
    "does a policy look, or does it play back what its joints tell it?",
    HELP,
    "so101_policy.reliance.command",
    interrupted="interrupted; nothing was written",
    old_names={"--out": "--output_dir"},
    other_names={"--dataset.episodes": "--episodes"},
)

CACHE = Command(
    "so101-cache",
    "what is kept to save time: where it is, how large, and away with it",
    HELP,
    "so101_policy.commands.cache",
)

COMMANDS = (TRAIN, FRAMES, RELIANCE, CACHE)
