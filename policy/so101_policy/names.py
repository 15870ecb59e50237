"""Names in datasets and checkpoints: the joints of an SO-101 in LeRobot's order, and cameras."""

SO101_JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
GRIPPER = "gripper"
"""Its unit is percent; all others are in degrees."""


def camera_name(key: str) -> str:
    """`observation.images.front` -> `front`."""
    return key.removeprefix("observation.images.")


INTERVENTION = "intervention"
"""LeRobot's column of human-in-the-loop data (`lerobot-rollout --strategy.type=dagger`): a person drove."""
