"""What a study compares, as data: variants, demonstrations, training and evaluation.

A study is described by one `Design`, stored as JSON in its folder before anything is made. A folder belongs to its
design: a study that is asked for with another one is refused, since its numbers would not be comparable.

A variant is a way to train; its policies, one per training seed, differ in nothing else: same demonstrations, size,
number of steps, order of samples.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from so101_eval.errors import ConfigError
from so101_eval.json_lines import from_json, to_json
from so101_eval.palletizing.scene.draw import EVAL_SEEDS, check_seed
from so101_eval.palletizing.scene.scenarios import load_scenario
from so101_eval.palletizing.scene.tasks import load_task
from so101_policy.files.whole_files import is_partial, write_text

DESIGN = "design.json"


class Variant(NamedTuple):
    """A way to train."""

    flags: tuple[str, ...]
    """For `so101-train`."""
    says: str
    """For tables and pictures."""


VARIANTS: Mapping[str, Variant] = {
    "baseline": Variant(("--regularizer.preset=none",), "ACT as it is"),
    "phase1": Variant(("--regularizer.preset=phase1",), "state dropout 0.3"),
    "phase2": Variant(("--regularizer.preset=phase2",), "the basic loss on cross-attention"),
    "phase3": Variant(("--regularizer.preset=phase3",), "that loss with a floor"),
    "isolation": Variant(("--regularizer.preset=isolation",), "isolated encoder"),
    "isolation-ceiling": Variant(("--regularizer.preset=isolation_ceiling",), "isolation, ceiling 0.2"),
    "isolation-band": Variant(("--regularizer.preset=isolation_band",), "isolation, band 0.05 to 0.2"),
    "isolation-band-dropout": Variant(
        ("--regularizer.preset=isolation_band_dropout",), "isolation, band, state dropout 0.3"
    ),
    "no-state": Variant(("--regularizer.preset=no_state",), "control: never sees the joints"),
    "no-images": Variant(("--regularizer.preset=no_images",), "control: never sees a picture"),
}
"""The variants by name. The first one is what the others are compared with."""


@dataclass(frozen=True)
class Design:
    """Everything that a study's numbers depend on."""

    task: str = "palletize-1"
    variants: tuple[str, ...] = tuple(VARIANTS)
    train_seeds: tuple[int, ...] = (0, 1, 2)

    demonstrations: int = 300
    demo_fps: int = 10
    """Frames per second of the demonstrations, and so the policy's rate: fewer labels, each of them a longer step."""
    recovery: float = 0.5
    """Share of the demonstrations that start off the nominal path and are pushed off it."""
    image_px: int = 96
    """Height and width of both cameras."""

    model: str = "small"
    steps: int = 9000
    """Ten minutes of a core for the small model. After 3000 the training seed decides more than the variant."""
    batch_size: int = 16

    scenarios: tuple[str, ...] = ("box-start-outside", "home-pose")
    """Evaluated besides the nominal one."""
    level: int = 2
    shifted_by: str = "box-start-outside"
    """Scenario of the demonstrations on which the loss under shift is measured; empty: none."""
    shifted_demonstrations: int = 30
    """Of those; never trained on."""
    episodes: int = 200
    """Paired episodes per cell of the evaluation."""
    first_scene: int = EVAL_SEEDS.start
    """Seed of the first evaluated scene. What one study suggests, another confirms in other scenes."""

    def __post_init__(self) -> None:
        load_task(self.task)
        for name in filter(None, (*self.scenarios, self.shifted_by)):
            load_scenario(name).knobs(self.level)
        if unknown := [name for name in self.variants if name not in VARIANTS]:
            raise ConfigError(f"there is no variant {unknown[0]!r}; possible: {', '.join(VARIANTS)}")
        if not self.variants or not self.train_seeds:
            raise ConfigError("a study needs at least one variant and one training seed")
        if min(self.demonstrations, self.steps, self.batch_size, self.episodes) < 1:
            raise ConfigError("demonstrations, steps, batch size and episodes are 1 or more each")
        for scene in (self.first_scene, self.first_scene + self.episodes - 1):
            check_seed(scene, "eval")

    def to_json(self) -> str:
        """One line."""
        return to_json(self)

    @staticmethod
    def from_json(text: str) -> "Design":
        """Back from `to_json`. Raises RecordError for anything else."""
        as_named = text.replace('"arms":', '"variants":')  # as version 0.1.0 called them
        return from_json(Design, as_named, "a stored design of a study")

    def settle(self, folder: Path) -> None:
        """Make `folder` this study's, or see that it is.

        Raises:
            ConfigError: it is another study's, or holds something else.
        """
        file = folder / DESIGN
        if file.exists():
            self._check_same(file)
            return
        if folder.exists() and not all(map(is_partial, folder.iterdir())):
            raise ConfigError(f"{folder} is not empty and holds no study; give a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, self.to_json() + "\n")

    def _check_same(self, file: Path) -> None:
        found = Design.from_json(file.read_text())
        if changed := [
            x.name for x in dataclasses.fields(self) if getattr(self, x.name) != getattr(found, x.name)
        ]:
            differences = ", ".join(
                f"{x}: {getattr(found, x)} there, {getattr(self, x)} asked" for x in changed
            )
            raise ConfigError(
                f"{file.parent} holds another study ({differences}); give the same settings or a new folder"
            )
