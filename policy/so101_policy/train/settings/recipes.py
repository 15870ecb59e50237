"""Flags by one name, so that nobody has to know which flags a way to train takes.

A recipe is nothing but flags. Single flags win over it, and a checkpoint's settings name the flags and not the recipe,
so a changed recipe changes no run that was begun.
"""

from collections.abc import Mapping

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
"""Name -> flags. `stock`: ACT as LeRobot trains it, every extra off. `recommended`: what the package's baseline was
trained with; no other way to train was shown to be better (docs/study.md)."""


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
