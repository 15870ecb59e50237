"""The SO-101 as LeRobot's Robot: its configuration, its cameras, slow motion."""
