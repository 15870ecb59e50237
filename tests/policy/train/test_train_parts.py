"""The trainer's parts by themselves: losses that leave, batches, scaling on the device, metrics, flags."""

import json
import logging
import math
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
from lerobot.processor import NormalizerProcessorStep
from torch.distributions import Normal, kl_divergence

from so101_policy.errors import TrainError
from so101_policy.frames.samples import SampleOrder
from so101_policy.model.loss_terms import loss_terms
from so101_policy.train.batches import Batches, BatchPart
from so101_policy.train.data import without_depth
from so101_policy.train.device_batch import DeviceBatch
from so101_policy.train.joint_loss import COLUMNS, joint_loss
from so101_policy.train.metrics import Metrics, MetricsFile
from so101_policy.train.processes import Processes
from so101_policy.train.settings.flags import FLAGS, for_lerobot
from so101_policy.train.validation.divergence import FACTOR, MIN_LOSSES, PATIENCE, DivergenceWatch
from so101_policy.train.validation.heldout import evenly_spaced, executed_error

CPU = torch.device("cpu")


class Rank(Processes):
    """One of several, on paper."""

    def __init__(self, rank: int, count: int):
        super().__init__(CPU)
        self.rank, self.count = rank, count


def drawn(rank: int = 0, count: int = 1, size: int = 4, step: int = 0, steps: int = 7) -> list[list[int]]:
    """Frames of each step that count."""

    def raw(indices: Any) -> dict[str, torch.Tensor]:
        return {
            "index": torch.from_numpy(indices),
            "action_is_pad": torch.zeros(len(indices), 2, dtype=torch.bool),
        }

    order = SampleOrder(np.arange(10, 20), seed=3)
    batches = Batches(order, raw, dict, size, Rank(rank, count), step)
    found = [batches.next()[0] for _ in range(steps)]
    return [batch["index"][~batch["action_is_pad"].all(1)].tolist() for batch in found]


def test_batches_go_on_from_any_step():
    assert drawn(step=3, steps=4) == drawn()[3:]


def test_an_epoch_sees_every_sample_once():
    assert sorted(chain(*drawn(steps=3))) == list(range(10, 20))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_processes_share_what_one_process_would_take(count: int):
    together = [drawn(rank, count, size=12 // count, steps=3) for rank in range(count)]
    for step, joint in enumerate(drawn(size=12, steps=3)):
        assert list(chain(*(of_rank[step] for of_rank in together))) == joint


def test_a_process_without_a_sample_keeps_pace_with_one_that_does_not_count():
    joint, third = drawn(size=9, steps=2), drawn(2, 3, size=3, steps=2)
    assert (len(joint[0]), len(joint[1])) == (9, 1)
    assert third[1] == []


class Part(Rank):
    """One of several, whose counts of values add up to `valid_count`."""

    def __init__(self, rank: int, count: int, valid_count: int):
        super().__init__(rank, count)
        self._valid_count = valid_count

    def total(self, value: torch.Tensor) -> torch.Tensor:
        return torch.full_like(value, self._valid_count)


def test_parts_of_a_batch_add_up_to_the_loss_of_the_whole_one_whatever_their_size_and_padding():
    """The reference is written out: mean over values that count, torch's own KL, mean over samples."""
    torch.manual_seed(0)
    samples, steps, joints, latent, kl_weight = 5, 4, 3, 2, 10.0
    predicted, mean, log_variance, attention = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((samples, steps, joints), (samples, latent), (samples, latent), (samples,))
    )
    action = torch.randn(samples, steps, joints, dtype=torch.float64)
    is_pad = torch.arange(steps) >= torch.tensor([4, 4, 1, 2, 3])[:, None]
    leaves = (predicted, mean, log_variance, attention)

    error = (action - predicted).abs()[~is_pad]
    posterior, prior = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
    divergence = kl_divergence(posterior, prior).sum(1).mean()
    whole = error.mean() + kl_weight * divergence + attention.mean()
    wanted = torch.autograd.grad(whole, leaves, retain_graph=True)

    parts = [slice(0, 3), slice(3, 5)]  # 3 samples with 9 valid steps, 2 with 5
    columns, losses = torch.zeros(len(COLUMNS)), list[torch.Tensor]()
    for rank, rows in enumerate(parts):
        batch = {"action": action[rows], "action_is_pad": is_pad[rows]}
        terms = loss_terms(batch, predicted[rows], mean[rows], log_variance[rows], attention[rows].mean(), {})
        share = BatchPart(np.arange(samples)[rows], samples, begins_epoch=False)
        loss, part = joint_loss(terms, kl_weight, share, Part(rank, len(parts), error.numel()))
        losses.append(loss)
        columns += part
    found = torch.autograd.grad(
        torch.stack(losses).mean(), leaves
    )  # as gradients are averaged over processes

    torch.testing.assert_close(found, wanted)
    expected = torch.stack([whole, error.mean(), divergence, attention.mean()])
    torch.testing.assert_close(columns, expected.float())


def test_one_process_has_the_whole_loss_and_padding_takes_no_part_in_the_divergence():
    mean, log_variance = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
    batch = {"action": torch.ones(2, 2, 1), "action_is_pad": torch.tensor([[False, False], [True, True]])}
    terms = loss_terms(batch, torch.zeros(2, 2, 1), mean, log_variance)
    loss, columns = joint_loss(terms, 10.0, BatchPart(np.arange(2), 2, begins_epoch=False), Processes(CPU))
    assert columns.tolist() == [1 + 10 * 2.5, 1, 2.5, 0]  # KL of N(m, 1) is m^2 / 2: (0.5 + 4.5) / 2
    assert loss.item() == terms.loss(10.0).item() == 26


@pytest.mark.parametrize("bad", [math.nan, math.inf, 2.1 * FACTOR])
def test_a_loss_that_leaves_is_told_with_its_first_step(bad: float):
    watch = DivergenceWatch()
    assert not any(watch.see(step, 2.0) for step in range(MIN_LOSSES))
    told = [watch.see(step, bad) for step in range(100, 100 + PATIENCE)]
    assert told[:-1] == [None] * (PATIENCE - 1)
    assert told[-1] is not None
    assert told[-1].step == 100
    assert "step 100" in str(told[-1])


def test_a_single_bad_batch_is_forgiven():
    watch = DivergenceWatch([1.0] * MIN_LOSSES)
    for step in range(50):
        assert watch.see(step, math.nan if step % PATIENCE else 1.0) is None


def test_a_large_loss_at_the_beginning_is_no_divergence():
    watch = DivergenceWatch()
    assert not any(watch.see(step, loss) for step, loss in enumerate([1e-6] * 3 + [1.0] * 100))


NORMALISED = tuple(mode for mode in NormalizationMode)


@pytest.mark.parametrize("mode", NORMALISED)
def test_images_are_scaled_as_lerobot_scales_them(mode: NormalizationMode):
    generator = torch.Generator().manual_seed(0)
    features = {
        "observation.images.front": PolicyFeature(FeatureType.VISUAL, (3, 4, 5)),
        "observation.state": PolicyFeature(FeatureType.STATE, (2,)),
        "action": PolicyFeature(FeatureType.ACTION, (2,)),
    }
    names = ("mean", "std", "min", "max", "q01", "q99", "q10", "q90")
    statistics: dict[str, dict[str, Any]] = {
        key: {
            name: (
                torch.rand((3, 1, 1) if f.type is FeatureType.VISUAL else (2,), generator=generator)
                + 0.1
                + at
            )
            for at, name in enumerate(names)
        }
        for key, f in features.items()
    }
    step = NormalizerProcessorStep(features, dict.fromkeys(FeatureType, mode), statistics)
    pipeline = type("Pipeline", (), {"steps": [step]})()
    raw = {
        "observation.images.front": torch.randint(
            0, 256, (2, 3, 4, 5), dtype=torch.uint8, generator=generator
        ),
        "observation.state": torch.randn(2, 2, generator=generator),
        "action": torch.randn(2, 7, 2, generator=generator),
        "action_is_pad": torch.zeros(2, 7, dtype=torch.bool),
        "timestamp": torch.zeros(2),
    }
    fast, exact = (DeviceBatch(pipeline, CPU, exact=exact)(raw) for exact in (False, True))
    assert fast.keys() == exact.keys() == features.keys() | {"action_is_pad"}
    for key in features:
        assert torch.allclose(fast[key], exact[key], rtol=1e-5, atol=1e-5)


def test_only_executed_and_real_actions_count():
    actions_BTA = torch.zeros(2, 4, 3)
    wanted = torch.ones(2, 4, 3)
    wanted[:, 2:] = 100
    wanted[1, 1] = 50
    padded_BT = torch.tensor([[False] * 4, [False, True, True, True]])
    total, count = executed_error(actions_BTA, {"action": wanted, "action_is_pad": padded_BT}, 2)
    assert (total.item(), count.item()) == (9, 9)


def test_held_out_frames_are_spread():
    assert evenly_spaced(5, 0).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(101, 3).tolist() == [0, 50, 100]


def test_metrics_of_a_run_that_is_gone_back_on_end_where_it_goes_on(tmp_path: Path):
    file = MetricsFile(tmp_path)
    for step in (1, 2, 3):
        file.log(step, {"loss": step / 3})
    file.close()
    with file.path.open("a") as cut_off:
        cut_off.write('{"step": 4, "lo')
    file = MetricsFile(tmp_path, from_step=2)
    file.log(3, {"loss": 9})
    file.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.333333333), (2, 0.666666667), (3, 9)]


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    class Broken:
        calls = 0

        def log(self, step: int, figures: Any) -> None:
            self.calls += 1
            raise ConnectionError("no network")

        def close(self) -> None: ...

    broken = Broken()
    metrics = Metrics([MetricsFile(tmp_path), broken])
    metrics.log(1, {"loss": 1})
    metrics.log(2, {"loss": 1})
    metrics.close()
    assert broken.calls == 1
    assert "no network" in caplog.text
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_short_names_are_spelled_out():
    spelled = for_lerobot(["--regularizer.preset=phase1", "--policy.fused", "false", "--resume"])
    assert spelled == [
        "--policy.regularizer.preset=phase1",
        "--fused=false",
        "--resume=true",
        "--policy.type=regularized_act",
    ]


def test_a_size_gives_way_to_single_flags():
    spelled = dict(flag.split("=") for flag in for_lerobot(["--model=small", "--policy.dim_model=64"]))
    assert spelled["--policy.dim_model"] == "64"
    assert spelled["--policy.use_vae"] == "false"
    assert spelled["--policy.pretrained_backbone_weights"] == "null"


@pytest.mark.parametrize(
    ("given", "played"),
    [
        (["--policy.chunk_size=8"], "8"),
        (["--policy.chunk_size=200"], None),
        (["--policy.chunk_size=8", "--policy.n_action_steps=2"], "2"),
        (["--model=small", "--policy.chunk_size=3"], "3"),
        (["--model=small", "--policy.chunk_size=40"], "5"),
        (["--policy.chunk_size=8", "--policy.path=x"], None),
    ],
)
def test_actions_that_are_played_follow_a_shorter_chunk(given: list[str], played: str | None):
    spelled = dict(flag.split("=") for flag in for_lerobot(given))
    assert spelled.get("--policy.n_action_steps") == played


def test_weights_follow_the_backbone_and_the_name_of_a_dataset_its_folder():
    spelled = dict(
        flag.split("=")
        for flag in for_lerobot(["--policy.vision_backbone=resnet50", "--dataset.root=d/boxes"])
    )
    assert spelled["--policy.pretrained_backbone_weights"] == "ResNet50_Weights.IMAGENET1K_V1"
    assert spelled["--dataset.repo_id"] == "local/boxes"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["steps=3"], "what does 'steps' belong to"),
        (["--steps"], "needs a value"),
        (["--model=huge"], "small"),
        (["--model=small", "--policy.path=x"], "the checkpoint has its size"),
        (["--policy.type=act", "--regularizer.preset=phase1"], "--policy.type=regularized_act"),
    ],
)
def test_flags_that_make_no_sense_are_refused(arguments: list[str], told: str):
    with pytest.raises(TrainError, match=told):
        for_lerobot(arguments)


def test_the_help_names_what_this_trainer_adds():
    assert {"--regularizer.preset", "--model", "--fused", "--held_out", "--cache.size", "--export"} <= set(
        FLAGS
    )


def test_depth_cameras_are_named_and_not_trained_on(caplog: pytest.LogCaptureFixture):
    features = {"observation.images.front": {}, "observation.images.deep": {}, "action": {}}
    meta = SimpleNamespace(features=features, depth_keys=["observation.images.deep"])
    with caplog.at_level(logging.WARNING):
        assert list(without_depth(meta)) == ["observation.images.front", "action"]
    assert "depth cameras are not trained on: observation.images.deep" in caplog.text
    caplog.clear()
    assert without_depth(SimpleNamespace(features=features, depth_keys=[])) == features
    assert not caplog.text
