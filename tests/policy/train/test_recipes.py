"""--recipe: only flags that exist, single flags win, and what it cannot be joined with is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from so101_policy.cli import TRAIN
from so101_policy.errors import TrainError
from so101_policy.train.settings.flags import FLAGS, for_lerobot, parse
from so101_policy.train.settings.recipes import RECIPES, nearest_of_lerobot

RECOMMENDED = "--recipe=recommended"


def spelled(*arguments: str) -> dict[str, str]:
    return dict(flag.split("=", 1) for flag in for_lerobot(arguments))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_nothing_but_flags(name: str, dataset: Path, tmp_path: Path):
    assert set(RECIPES[name]) <= set(FLAGS)
    config = parse([f"--recipe={name}", f"--dataset.root={dataset}", f"--output_dir={tmp_path / 'out'}"])
    assert "recipe" not in config.to_dict()
    for flag, value in RECIPES[name].items():
        if flag in ("--steps", "--batch_size"):
            assert getattr(config, flag.removeprefix("--")) == int(value)
    assert config.act.dim_model == (128 if name == "recommended" else 512)


def test_what_comes_nearest_with_lerobots_command_has_only_its_flags():
    given = {"--recipe": "recommended", "--dataset.root": "my demos", "--steps": "7", "--trackers": "none"}
    said, _, line = nearest_of_lerobot(given).partition(": ")
    assert "51.6 M" in said
    assert line == (
        "lerobot-train --policy.type=act --policy.push_to_hub=false "
        "--dataset.repo_id='local/my demos' --batch_size=16 --steps=7 --dataset.root='my demos'"
    )
    assert "51.6" not in nearest_of_lerobot({"--recipe": "stock"})


def test_single_flags_win():
    flags = spelled(RECOMMENDED, "--steps=7", "--policy.dim_model=64")
    assert flags["--steps"] == "7"
    assert flags["--batch_size"] == "16"
    assert flags["--policy.dim_model"] == "64"
    assert flags["--policy.vision_backbone"] == "resnet_thin_gn"
    assert "--recipe" not in flags


def test_a_checkpoint_keeps_its_size():
    flags = spelled(RECOMMENDED, "--policy.path=somewhere")
    assert flags["--steps"] == "9000"
    assert "--model" not in flags


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe=recomended"], "--recipe=recomended: possible are stock, recommended"),
        ([RECOMMENDED, "--config_path=x"], "the file has the settings already"),
        ([RECOMMENDED, "--policy.type=act"], "LeRobot's ACT has no small backbone"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], said: str):
    with pytest.raises(TrainError, match=said):
        for_lerobot(arguments)


def test_stock_goes_with_lerobots_own_act():
    flags = spelled("--recipe=stock", "--policy.type=act")
    assert flags["--policy.type"] == "act"
    assert not [flag for flag in flags if "regularizer" in flag]


def test_the_command_takes_it(train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = train(tmp_path / "run", "--recipe=stock", "--steps=1")
    assert (run / "checkpoints" / "last").exists()
    assert "this comes nearest: lerobot-train --policy.type=act" in capsys.readouterr().err
    assert TRAIN.main(["--recipe=best", "--dataset.root=x"]) == 2
    assert "--recipe=best: possible are" in capsys.readouterr().err
