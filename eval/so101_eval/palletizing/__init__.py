"""Palletizing: bring boxes from a pick area into the slots of a pallet.

`tasks` says what is to be built, `scenarios` what an evaluation changes, `draw` draws how an attempt starts,
`scene` lays it out, `score` judges it, `disturbances` stands between the robot and who drives it, and `expert`
shows that it can be done.
"""

from so101_eval.palletizing.scene.draw import DEMO_SEEDS, EVAL_SEEDS, Reset, check_seed, draw
from so101_eval.palletizing.scene.scenarios import SCENARIOS, load_scenario
from so101_eval.palletizing.scene.scene import PalletizingScene, lay_out
from so101_eval.palletizing.scene.tasks import TASKS, Task, load_task
from so101_eval.palletizing.score.record import Score
from so101_eval.palletizing.score.score import Scorer

__all__ = [
    "DEMO_SEEDS",
    "EVAL_SEEDS",
    "SCENARIOS",
    "TASKS",
    "PalletizingScene",
    "Reset",
    "Score",
    "Scorer",
    "Task",
    "check_seed",
    "draw",
    "lay_out",
    "load_scenario",
    "load_task",
]
