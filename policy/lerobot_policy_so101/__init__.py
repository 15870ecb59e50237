"""LeRobot finds this package by its name; importing it registers what this project adds to LeRobot.

Nothing is re-exported: the code lives in `so101_robot` and `so101_policy`. A room that is not installed is
left out.
"""

from importlib import import_module
from importlib.util import find_spec

REGISTERS = (
    "so101_robot.arm.config_arm",
    "so101_eval.episode.config_env",
    "so101_policy.model.configuration_regularized_act",
    "so101_policy.registration.processor_step",
)
"""Modules whose import registers something; each imports configurations and LeRobot only, no MuJoCo and no numba."""


def _is_there(module: str) -> bool:
    package = module.partition(".")[0]
    return find_spec(package) is not None and find_spec(module) is not None


for _module in REGISTERS:
    if _is_there(_module):
        import_module(_module)
