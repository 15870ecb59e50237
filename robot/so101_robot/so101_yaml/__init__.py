"""`so101.yaml`: an arm, its leader, its cameras, its limits and its place, written down once and read by every command.

`find` looks for it and says whether it may be trusted, `content` what can be in it, `flags` what it means for a command:
flags that nobody gave.
"""

from so101_robot.so101_yaml.content import Arm, Content, Place, in_yaml, parsed
from so101_robot.so101_yaml.find import NAME, nearest, read
from so101_robot.so101_yaml.flags import OFF, PLACE_SECTIONS, SECTIONS, filled, filled_arguments

__all__ = [
    "NAME",
    "OFF",
    "PLACE_SECTIONS",
    "SECTIONS",
    "Arm",
    "Content",
    "Place",
    "filled",
    "filled_arguments",
    "in_yaml",
    "nearest",
    "parsed",
    "read",
]
