"""The names of an SO-101's joints in datasets and checkpoints, in LeRobot's order."""

SO101_JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
GRIPPER = "gripper"
"""Its unit is percent; all others are in degrees."""
