"""Flags by one name, so that nobody has to know which flags a way to train takes.

A recipe is nothing but flags. Single flags win over it, and a checkpoint's settings name the flags and not the recipe,
so a changed recipe changes no run that was begun.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from so101_policy.errors import TrainError

RECIPES: Mapping[str, Mapping[str, str]] = {
    "stock": {
        "--regularizer.preset": "none",
        "--augmentation.preset": "none",
        "--dataset.image_transforms.enable": "false",
    },
    "recommended": {
        "--model": "small",
        "--regularizer.preset": "none",
        "--augmentation.preset": "none",
        "--batch_size": "16",
        "--steps": "9000",
    },
}
"""Name -> flags. `stock`: ACT as LeRobot trains it, every extra off. `recommended`: what the package's policies were
trained with; no other way to train was shown to be better (docs/study.md)."""

OURS = (
    "--recipe",
    "--model",
    "--regularizer.",
    "--augmentation.",
    "--trackers",
    "--cache.",
    "--shifted.",
    "--fused",
)
"""How the names of flags begin that LeRobot's command does not have."""


def expanded(flags: Mapping[str, str]) -> dict[str, str]:
    """The flags with `--recipe` replaced by what it stands for.

    Raises:
        TrainError: no such recipe, or one for a new policy where there is one already.
    """
    given = dict(flags)
    if (name := given.pop("--recipe", None)) is None:
        return given
    if name not in RECIPES:
        raise TrainError(f"--recipe={name}: possible are {', '.join(RECIPES)}")
    if "--config_path" in given:
        raise TrainError("--recipe with --config_path: the file has the settings already; drop one")
    recipe = dict(RECIPES[name])
    if "--policy.path" in given:
        recipe.pop("--model", None)
    if given.get("--policy.type") == "act":
        recipe = {flag: value for flag, value in recipe.items() if not flag.startswith("--regularizer.")}
        if recipe.get("--model", "default") != "default" and "--model" not in given:
            raise TrainError(
                f"--recipe={name} with --policy.type=act: LeRobot's ACT has no small backbone; "
                "drop --policy.type, or give --model=default"
            )
    return recipe | given


def nearest_of_lerobot(flags: Mapping[str, str]) -> str:
    """What comes nearest with LeRobot's own command, in words and as a line to type.

    Args:
        flags: as given, `--recipe` among them.
    """
    whole = expanded(flags)
    kept = {flag: value for flag, value in whole.items() if not flag.startswith(OURS)}
    if root := kept.get("--dataset.root"):
        kept = {"--dataset.repo_id": f"local/{Path(root).name}"} | kept
    kept = {"--policy.type": "act", "--policy.push_to_hub": "false"} | kept
    line = " ".join(f"{flag}={shlex.quote(value)}" for flag, value in kept.items())
    size = (
        " (LeRobot's ACT has one size, 51.6 M parameters)"
        if whole.get("--model", "default") != "default"
        else ""
    )
    return f"with LeRobot's own command this comes nearest{size}: lerobot-train {line}"
