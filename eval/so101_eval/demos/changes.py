"""Which episodes of a dataset are different, and something that is moved in them."""

import dataclasses

from so101_eval.palletizing.scene.draw import Reset, stream
from so101_eval.palletizing.scene.moves import draw_moves
from so101_eval.palletizing.scene.scenarios import load_scenario
from so101_eval.palletizing.scene.tasks import load_task

MOVE_LEVEL = 2
"""As far as `box-moved` and `pallet-moved` do at this level."""


def chosen(share: float, what: str, seed: int) -> bool:
    """Whether that seed's episode is one of the `share` of which `what` is true.

    It follows from the seed alone; a seed that is chosen at some share is at every larger one.
    """
    return bool(stream(what, seed).uniform() < share)


def with_a_move(reset: Reset) -> Reset:
    """The same scene, in which a box or the pallet is moved while the hand comes near."""
    rng = stream("demonstrated moves", reset.seed)
    scenario = load_scenario("box-moved" if rng.uniform() < 0.5 else "pallet-moved")
    moves = draw_moves(load_task(reset.task), scenario.knobs(MOVE_LEVEL), reset.boxes, reset.pallet, rng)
    return dataclasses.replace(reset, moves=moves)
