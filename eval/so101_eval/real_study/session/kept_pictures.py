"""Pictures of reset and end in a trial's folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from so101_eval.real_study.measurement.protocol import Pictures
from so101_eval.real_study.measurement.rendered import FRONT
from so101_eval.real_study.measurement.shown import drawn_over

MEASURED = "measured.jpg"
"""What was measured, drawn over the picture at the end: from the unblinding on, when nobody has to judge any more."""


def save(pictures: Pictures, folder: Path, name: str) -> None:
    """One file a camera."""
    for camera, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{name}_{camera}.png")


def load(folder: Path, name: str) -> Pictures:
    """What `save` wrote; nothing of a camera that gave no picture."""
    return {
        path.stem.removeprefix(f"{name}_"): np.asarray(Image.open(path).convert("RGB"))
        for path in sorted(folder.glob(f"{name}_*.png"))
    }


def save_measured(folder: Path, measured: Mapping[str, Any], names: Sequence[str], path: Path) -> bool:
    """The end of the trial in `folder` with what was measured, into the file `path`; False: there is no picture."""
    front = folder / f"end_{FRONT}.png"
    if not front.is_file():
        return False
    picture = np.asarray(Image.open(front).convert("RGB"))
    Image.fromarray(drawn_over(picture, measured, names)).save(path, quality=88)
    return True
