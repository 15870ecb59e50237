"""What is compared in the study of levers, as data: demonstrations, ways to train, ways to play, scenes.

Everything is against `stock`: LeRobot's ACT, number for number its losses, on plain demonstrations.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

TASK = "palletize-1-small"
OTHER_TASK = "palletize-1"
"""The one that nothing is chosen on."""
DEMONSTRATIONS = 300
FPS = 10
STEPS = 9000
BATCH = 16

SHIFTS = (
    "calibration-error",
    "box-moved",
    "camera-pose",
    "light-direction",
    "start-anywhere",
    "box-start-edge",
)
"""The realistic shifts, at level 2. The primary measure is the mean of success over them."""
UNSEEN = ("pallet-moved", "camera-bumped", "pallet-yaw")
"""Shifts that no demonstration and no augmentation contains; for the confirmation only."""
CORRECTED = ("nominal", "camera-pose", "camera-bumped")
"""Where the confirmation plays a corrected lever; its other cells are those of the same policies without the
correction, which in the screening changed no attempt of six cells in which no camera had moved."""
LEVEL = 2


class Plan(NamedTuple):
    """What a stage plays. No stage sees the scenes, or the training seeds, of another."""

    scenes: range
    seeds: tuple[int, ...]
    """Training seeds."""
    tasks: tuple[str, ...] = (TASK,)
    """Demonstrations, trainings and episodes are of each of them."""
    apart: tuple[str, ...] = ()
    """Shifts that are played as well and counted apart."""
    corrected: tuple[str, ...] = ()
    """The cells in which corrected levers are played; none: all of them."""


STAGES: Mapping[str, Plan] = {
    "screening": Plan(range(30_000, 30_040), (11, 12)),
    "final": Plan(range(31_000, 31_100), (21, 22, 23, 24)),
    "confirmation": Plan(range(32_000, 32_050), (31, 32, 33, 34), (TASK, OTHER_TASK), UNSEEN, CORRECTED),
}

DATASETS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "recovery": ("--recovery=0.5",),
    "moved": ("--recovery=0.5", "--moved=0.3"),
    "cameras": ("--recovery=0.5", "--scenario=camera-pose", "--level=3"),
    "teleop": ("--teleop",),
    "teleop-recovery": ("--teleop", "--recovery=0.5"),
}
"""Name -> what `so101-demos` is asked for, besides task, number and rate."""

STOCK = "stock"


class Lever(NamedTuple):
    """A variant: what differs from `stock`, and nothing else does."""

    says: str
    data: str = "plain"
    train: tuple[str, ...] = ()
    """Flags for `so101-train`."""
    play: Mapping[str, int | float | None] = {}
    """Fields of the policy's config that say how its chunks are played."""
    correct: bool = False
    """Moved cameras are put back by registration (`so101-eval run --camera_correction=auto`)."""
    of: str = ""
    """A lever that trains nothing plays the policies of this one."""
    steps: int = STEPS


LEVERS: Mapping[str, Lever] = {
    STOCK: Lever("LeRobot's ACT, plain demonstrations"),
    "stock-long": Lever("the same, twice the steps", steps=2 * STEPS),
    "dropout": Lever("state dropout 0.3", train=("--regularizer.preset=phase1",)),
    "isolation-band": Lever("isolated encoder, band", train=("--regularizer.preset=isolation_band",)),
    "isolation-band-dropout": Lever("both", train=("--regularizer.preset=isolation_band_dropout",)),
    "no-state": Lever("never sees the joints", train=("--regularizer.preset=no_state",)),
    "state-noise": Lever("noise on the state", train=("--regularizer.state_noise=0.1",)),
    "light": Lever("augmentation: light", train=("--augmentation.preset=light",)),
    "camera": Lever("augmentation: bumped camera", train=("--augmentation.preset=camera",)),
    "desk": Lever("augmentation: both, something in view", train=("--augmentation.preset=desk",)),
    "fine": Lever("finer tokens (a 16th)", train=("--policy.replace_final_stride_with_dilation=true",)),
    "recovery": Lever("half of the demonstrations recoveries", data="recovery"),
    "recovery-long": Lever("recoveries, twice the steps", data="recovery", steps=2 * STEPS),
    "moved": Lever("and in a third something moves", data="moved"),
    "cameras": Lever("recoveries, cameras set up anew each time", data="cameras"),
    "replan-2": Lever("asked again after 0.2 s", of=STOCK, play={"n_action_steps": 2}),
    "replan-10": Lever("asked again after 1 s", of=STOCK, play={"n_action_steps": 10}),
    "ensembled": Lever("ensembled", of=STOCK, play={"n_action_steps": 1, "temporal_ensemble_coeff": 0.01}),
    "corrected": Lever("moved cameras put back", of=STOCK, correct=True),
    "recovery-corrected": Lever("recoveries, moved cameras put back", of="recovery", correct=True),
}
"""The screening. Every one of them has its own trainings unless it plays those of another."""


def demonstration_flags(data: str, folder: Path, task: str = TASK) -> list[str]:
    """What `so101-demos` is asked for: a dataset of DATASETS, in that folder."""
    flags = [f"--task={task}", f"--episodes={DEMONSTRATIONS}", f"--fps={FPS}"]
    return [*flags, *DATASETS[data], f"--output_dir={folder}"]


def training_flags(lever: Lever, seed: int, data: Path, folder: Path) -> list[str]:
    """What `so101-train` is asked for: a policy of that lever and training seed, from that dataset."""
    return [
        f"--dataset.root={data}",
        "--model=small",
        *lever.train,
        f"--seed={seed}",
        f"--steps={lever.steps}",
        f"--batch_size={BATCH}",
        "--trackers=none",
        f"--save_freq={STEPS // 4}",
        f"--eval_steps={STEPS // 4}",
        f"--output_dir={folder}",
    ]
