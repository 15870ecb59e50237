"""Pictures of reset and end in a trial's folder."""

from pathlib import Path

import numpy as np
from PIL import Image

from so101_eval.real_study.measurement.protocol import Pictures


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
