"""Demonstrations of a task by the scripted expert, as a LeRobotDataset v3: the command `so101-demos`.

`settings` says what is asked for, `recovery` leads an episode off the nominal path, `episode` plays one, `staging`
keeps it as a file, `jobs` plays until there are enough, `folder` tells whose folder it is, `dataset` makes
LeRobot's dataset of what is staged, and `command` puts them together.
"""

from so101_eval.demos.command import make_dataset
from so101_eval.demos.episode import Episode, open_stage, play
from so101_eval.demos.settings import Settings

__all__ = ["Episode", "Settings", "make_dataset", "open_stage", "play"]
