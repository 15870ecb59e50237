"""Pictures varied in training: what each amount does, that it is drawn anew for every picture, and that nothing is
varied where nothing was asked for."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from so101_policy.cli import TRAIN
from so101_policy.errors import TrainError
from so101_policy.train.augmentation import LIMITS, PRESETS, Augmentation, AugmentationConfig, amounts_of

SIZE = 48


def varied(images: Tensor, seed: int = 0, **amounts: float) -> Tensor:
    torch.manual_seed(seed)
    return Augmentation(AugmentationConfig(**({"share": 1.0} | amounts)))(images)


def a_square(batch: int = 8, left: int = 20, top: int = 20, side: int = 8) -> Tensor:
    """White on black."""
    images = torch.zeros(batch, 3, SIZE, SIZE, dtype=torch.uint8)
    images[:, :, top : top + side, left : left + side] = 255
    return images


def noise(batch: int = 8) -> Tensor:
    torch.manual_seed(9)
    return torch.randint(0, 256, (batch, 3, SIZE, SIZE), dtype=torch.uint8)


def middles(images: Tensor) -> Tensor:
    """(B, 2) x and y [px] of what is white."""
    weight = images.mean(dim=1)
    at = torch.arange(SIZE) + 0.5
    total = weight.sum(dim=(1, 2))
    return torch.stack([(weight.sum(1) * at).sum(1) / total, (weight.sum(2) * at).sum(1) / total], dim=1)


def test_nothing_is_varied_unless_it_was_asked_for():
    augmentation = Augmentation(AugmentationConfig())
    assert not augmentation.active
    pictures, before = noise(), torch.get_rng_state()
    torch.testing.assert_close(augmentation(pictures), pictures.float(), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)  # LeRobot's dropout stays LeRobot's


def test_a_picture_moves_by_up_to_the_shift_and_each_by_its_own():
    moved = middles(varied(a_square(64), shift=0.1)) - middles(a_square(64).float())
    assert moved.abs().max() <= 0.1 * SIZE + 0.05
    assert moved.abs().amax(dim=0).min() > 0.05 * SIZE  # both ways are used
    assert len(torch.unique(moved.round(decimals=3), dim=0)) == 64


def test_a_turn_is_a_turn_also_in_a_picture_that_is_not_square():
    torch.manual_seed(3)
    images = torch.zeros(32, 3, 40, 80)
    images[:, :, 18:22, 10:70] = 255  # a bar, 60 long
    turned = Augmentation(AugmentationConfig(share=1.0, rotation=20.0))(images).mean(dim=1)
    y, x = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(80) - 39.5, indexing="ij")
    far = (turned > 128) & (x.abs() > 5)
    reach = torch.where(far, torch.hypot(x, y), 0).amax(dim=(1, 2))
    assert reach.min() > 27  # half of it, however far it is turned
    assert reach.max() < 33
    angles = torch.stack([(y[f] * x[f]).sum() / (x[f] ** 2).sum() for f in far]).atan().rad2deg()
    assert angles.abs().max() < 21
    assert angles.max() > 10
    assert angles.min() < -10


def test_scale_and_tilt_change_the_size():
    area = a_square(1).float().sum()
    nearer = varied(a_square(64), scale=0.2).sum(dim=(1, 2, 3)) / area
    assert 1 / 1.2**2 - 0.05 < nearer.min() < 0.85
    assert 1.15 < nearer.max() < 1 / 0.8**2 + 0.05
    left, right = a_square(64, left=2), a_square(64, left=38)
    tilted = [varied(x, seed=4, perspective=0.3).sum(dim=(1, 2, 3)) / area for x in (left, right)]
    assert ((tilted[0] > 1.1) & (tilted[1] < 0.95)).any()  # one edge comes nearer, the other goes away


@pytest.mark.parametrize(
    ("name", "amount"), [("brightness", 0.4), ("contrast", 0.5), ("saturation", 0.8), ("hue", 0.1)]
)
def test_colour_keeps_what_it_must_keep(name: str, amount: float):
    images = torch.full((32, 3, 4, 4), 100.0)
    images[:, 0] = 140
    images[:, :, 2:] *= 0.8
    changed = varied(images, **{name: amount})
    assert (changed - images).abs().amax(dim=(1, 2, 3)).median() > 1
    if name == "brightness":
        factor = (changed / images).flatten(1)
        torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
        assert 1 - amount <= factor.min() < factor.max() <= 1 + amount
    if name in ("contrast", "hue"):
        torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)))
    if name in ("saturation", "hue"):
        grey = torch.full((32, 3, 4, 4), 77.0)
        torch.testing.assert_close(varied(grey, **{name: amount}), grey)


def test_values_stay_between_0_and_255():
    strong = {name: limit for name, limit in LIMITS.items() if name in PRESETS["desk"]}
    changed = varied(noise(32), **(strong | {"perspective": 0.3, "scale": 0.5}))
    assert changed.isfinite().all()
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_blur_takes_away_what_is_fine_and_no_light():
    pictures = noise(64)
    changed = varied(pictures, blur=0.05)
    roughness = (changed[..., 1:] - changed[..., :-1]).abs().mean(dim=(1, 2, 3))
    was = (pictures.float()[..., 1:] - pictures.float()[..., :-1]).abs().mean()
    blurred = roughness < 0.8 * was
    assert 0.1 < blurred.float().mean() < 0.5  # seldom
    torch.testing.assert_close(
        changed.mean(dim=(1, 2, 3)), pictures.float().mean(dim=(1, 2, 3)), atol=1.5, rtol=0
    )


def test_something_in_view_hides_a_rectangle_of_up_to_that_size():
    pictures = noise(64)
    hidden = (varied(pictures, cutout=0.5) != pictures.float()).any(dim=1)
    some = hidden[hidden.any(dim=(1, 2))]
    assert 0.1 < len(some) / 64 < 0.5
    for mask in some:
        rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
        assert max(len(rows), len(columns)) <= math.ceil(0.5 * SIZE)
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float().mean() > 0.99


def test_the_rest_is_seen_as_it_was():
    same = (varied(noise(256), share=0.5, brightness=0.5) == noise(256).float()).all(dim=(1, 2, 3))
    assert 0.35 < same.float().mean() < 0.65


def test_the_same_seed_varies_the_same():
    draw: Callable[[int], Tensor] = lambda seed: varied(noise(), seed, **PRESETS["desk"])  # noqa: E731
    torch.testing.assert_close(draw(1), draw(1), rtol=0, atol=0)
    assert not torch.equal(draw(1), draw(2))


def test_single_amounts_win_over_the_preset():
    amounts = amounts_of(AugmentationConfig(preset="camera", rotation=0.0, shift=0.2, share=0.3))
    assert amounts == {"shift": 0.2, "scale": 0.04, "perspective": 0.03, "share": 0.3}


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, 1e308])
@pytest.mark.parametrize("name", sorted(LIMITS))
def test_amounts_that_cannot_be_are_refused(name: str, value: float):
    with pytest.raises(TrainError, match=f"--augmentation.{name}=.*expected 0 to"):
        amounts_of(AugmentationConfig(**{name: value}))


def test_every_amount_has_its_limit_and_every_preset_keeps_it():
    assert {f.name for f in dataclasses.fields(AugmentationConfig)} - {"preset"} == set(LIMITS)
    for name in PRESETS:
        amounts_of(AugmentationConfig(preset=name))


def test_a_preset_that_does_not_exist_is_refused():
    with pytest.raises(
        TrainError, match=r"--augmentation.preset=desc: possible are none, light, camera, desk"
    ):
        amounts_of(AugmentationConfig(preset="desc"))


def test_training_sees_varied_pictures_and_a_resumed_run_the_same_ones(
    train: Callable[..., Path], losses: Callable[[Path], list[float]], tmp_path: Path
):
    flags = ("--augmentation.preset=desk", "--augmentation.share=1")
    whole = losses(train(tmp_path / "varied", "--steps=4", *flags))
    assert whole[:2] != losses(train(tmp_path / "plain", "--steps=2"))
    run = train(tmp_path / "in_two", "--steps=2", *flags)
    assert TRAIN.main([f"--config_path={run}", "--resume=true", "--steps=4"]) == 0
    assert losses(run) == pytest.approx(whole)


def test_a_resumed_run_keeps_its_augmentation(
    train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = train(tmp_path / "run", "--steps=1", "--augmentation.preset=light")
    assert (
        TRAIN.main([f"--config_path={run}", "--resume=true", "--steps=2", "--augmentation.preset=desk"]) == 2
    )
    assert "augmentation.preset: was light, now desk" in capsys.readouterr().err


def test_what_is_held_out_is_seen_as_it_was_recorded(
    train: Callable[..., Path], metrics: Callable[[Path], list[dict[str, float]]], tmp_path: Path
):
    """With a learning rate of 0 nothing but the pictures could tell the two apart."""
    flags = ("--steps=1", "--eval_steps=1", "--policy.optimizer_lr=0", "--policy.optimizer_lr_backbone=0")
    plain = metrics(train(tmp_path / "plain", *flags))[-1]
    varied = metrics(train(tmp_path / "varied", *flags, "--augmentation.preset=desk"))[-1]
    assert varied["heldout_l1"] == plain["heldout_l1"]
