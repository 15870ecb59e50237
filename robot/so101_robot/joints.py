"""The six joints of an SO-101, in the order and with the names that LeRobot's recordings use.

Joint values at the robot border are LeRobot's: degrees from the middle of the calibrated range, and 0 (closed) to 100
(open) percent for the gripper. Datasets and checkpoints carry these, so nothing above the bus uses other units.
"""

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
GRIPPER = JOINTS.index("gripper")

SERVO_IDS = (1, 2, 3, 4, 5, 6)
"""Bus ids, joint by joint, as `lerobot-setup-motors` assigns them."""

STEPS_PER_TURN = 4096
"""Encoder counts per turn of the output shaft (12-bit magnetic encoder, STS3215)."""

FULL_TURN_JOINT = "wrist_roll"
"""LeRobot calibrates this joint to the whole turn (0..4095) instead of a recorded range."""

FULL_TURN_STOP_DEG = 160.0
"""About where its printed stops are, to both sides of the middle: SO-101's model and drawings, 320 degrees in all."""


FOLDED = (0.0, -98.0, 92.0, 65.0, 0.0, 5.0)
"""A folded pose from which nothing falls: upper arm back, forearm on it, gripper low and almost closed. LeRobot units.
Released there, the mock arm settles by less than 2 degrees."""


def named_servo(servo_id: int) -> str:
    """A servo as messages name it: `servo 4 (wrist_flex)`; one that no SO-101 has is `servo 9`."""
    return f"servo {servo_id} ({JOINTS[servo_id - 1]})" if servo_id in SERVO_IDS else f"servo {servo_id}"
