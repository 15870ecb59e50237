"""Palletizing: bring boxes from a pick area into the slots of a pallet.

`tasks` says what is to be built, `scenarios` what an evaluation changes, `reset` draws how an attempt starts,
`scene` lays it out, `score` judges it, `disturbances` stands between the robot and who drives it, and `expert`
shows that it can be done.
"""

from so101_eval.palletizing.record import Score
from so101_eval.palletizing.reset import DEMO_SEEDS, EVAL_SEEDS, Reset, check_seed, draw
from so101_eval.palletizing.scenarios import SCENARIOS, load_scenario
from so101_eval.palletizing.scene import PalletizingScene, lay_out
from so101_eval.palletizing.score import Scorer
from so101_eval.palletizing.tasks import TASKS, Task, load_task

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
