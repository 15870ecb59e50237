"""Which policy is better, by how much, and how sure that is. What is exported here is the package's public interface.

    scenes    draw, Reset              how an episode starts: a pure function of task, scenario, level and seed
    episodes  Stage, attempt, Attempt  the simulated arm of a task, and one run of the control loop on it
              Scripted                 plays a script in a policy's place
              PalletizingEnv           the same as a gymnasium environment
    scores    Score                    what became of each box, and why it failed
    records   EpisodeRecord, read_episodes, read_runs    what `so101-eval run` stores
    errors    EvalError, ConfigError   everything that is raised on purpose

    from so101_eval import Scripted, Stage, draw

    with Stage("palletize-1") as stage:
        score = stage.attempt(draw("palletize-1", seed=7), lambda stage: Scripted(my_script)).score

Joint values are LeRobot's: degrees, the gripper in percent. Lengths end in `_m` or `_mm`, times in `_s`. Names are
imported when they are first used: MuJoCo takes a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from so101_eval.errors import ConfigError, EvalError

if TYPE_CHECKING:
    from so101_eval.episode.env import PalletizingEnv
    from so101_eval.episode.episode import Attempt, Stage, attempt
    from so101_eval.episode.scripted import Scripted
    from so101_eval.evaluation.records import EpisodeRecord, read_episodes, read_runs
    from so101_eval.palletizing.scene.draw import draw
    from so101_eval.palletizing.scene.reset_data import Reset
    from so101_eval.palletizing.score.score import Score

__all__ = [
    "Attempt",
    "ConfigError",
    "EpisodeRecord",
    "EvalError",
    "PalletizingEnv",
    "Reset",
    "Score",
    "Scripted",
    "Stage",
    "attempt",
    "draw",
    "read_episodes",
    "read_runs",
]

_HOMES = {
    "Attempt": "episode.episode",
    "EpisodeRecord": "evaluation.records",
    "PalletizingEnv": "episode.env",
    "Reset": "palletizing.scene.reset_data",
    "Score": "palletizing.score.score",
    "Scripted": "episode.scripted",
    "Stage": "episode.episode",
    "attempt": "episode.episode",
    "draw": "palletizing.scene.draw",
    "read_episodes": "evaluation.records",
    "read_runs": "evaluation.records",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"so101_eval.{_HOMES[name]}"), name)
