"""The commands of this package: so101-run, so101-teleop, so101-mock, so101-replay. Nothing heavy is imported here."""

from pathlib import Path

from so101_policy.command_line.command_shell import Command

HELP = Path(__file__).parent / "commands" / "help"

BEFORE_THE_ARM = "interrupted before the arm was touched"

OF_LEROBOT = {
    "--duration": "--duration_s",
    "--display_data": "--display",
    "--task": "--record.task",
    "--dataset.repo_id": "--record.repo_id",
    "--dataset.root": "--record.root",
    "--dataset.single_task": "--record.task",
}
"""What lerobot-record and lerobot-rollout call it."""

NOT_TAKEN = {
    "--robot.max_relative_target": "the guard bounds how far a goal moves in one tick; its flags are "
    "--robot.limits.joint_step_deg and --robot.limits.gripper_step_percent",
    "--strategy.type": "there is one way to drive, see --chunks.mode; a leader at --teleop.port takes over",
    "--dataset.num_episodes": "a run is one episode; --record.resume=true adds it to a dataset",
    "--dataset.episode_time_s": "use --duration_s",
    "--dataset.fps": "use --fps",
}

RUN = Command(
    "so101-run",
    "drive an SO-101 arm, real or simulated, with an ACT policy, and see where it looks",
    HELP,
    "so101_robot.commands.run",
    help_from="so101_robot.commands.run_help",
    interrupted=BEFORE_THE_ARM,
    old_names={"--out": "--output_dir", "--health_every": "--robot.health_every", "--rig": "--robot.rig"},
    other_names=OF_LEROBOT,
    not_taken=NOT_TAKEN,
)

MOCK = Command(
    "so101-mock",
    "a virtual SO-101: six servos on a pseudo-terminal, two cameras on a loopback socket",
    HELP,
    "so101_robot.commands.mock",
    help_from="so101_robot.mock.serve.command",
    hidden=("--control_fd",),
)

REPLAY = Command(
    "so101-replay",
    "play the goals of a run once more, and see how far the arm was from it",
    HELP,
    "so101_robot.commands.replay",
    help_from="so101_robot.commands.replay_help",
    interrupted=BEFORE_THE_ARM,
    old_names=RUN.old_names,
    other_names=OF_LEROBOT,
    not_taken=NOT_TAKEN
    | dict.fromkeys(
        ("--teleop.type", "--teleop.port", "--teleop.id"),
        "a replay drives by itself; so101-teleop takes a leader arm",
    ),
    flags_of=(RUN,),
)

TELEOP = Command(
    "so101-teleop",
    "a leader arm drives an SO-101, behind the guard; records demonstrations",
    HELP,
    "so101_robot.commands.teleop",
    help_from="so101_robot.commands.teleop_help",
    interrupted=BEFORE_THE_ARM,
    other_names={
        "--display_data": "--display",
        "--teleop_time_s": "--duration_s",
        "--resume": "--record.resume",
        "--task": "--record.task",
        "--dataset.repo_id": "--record.repo_id",
        "--dataset.root": "--record.root",
        "--dataset.single_task": "--record.task",
        "--dataset.num_episodes": "--record.num_episodes",
        "--dataset.episode_time_s": "--record.episode_time_s",
        "--dataset.reset_time_s": "--record.reset_time_s",
        "--dataset.fps": "--fps",
    },
    not_taken={
        "--robot.max_relative_target": NOT_TAKEN["--robot.max_relative_target"],
        "--dataset.push_to_hub": "nothing is uploaded; `hf upload` does it",
        "--policy.path": "so101-run drives with a policy",
        "--play_sounds": "what happens is said in the terminal",
    },
)

COMMANDS = (RUN, TELEOP, MOCK, REPLAY)
