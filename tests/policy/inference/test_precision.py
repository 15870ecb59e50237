"""bf16 drives only where its error was measured before, in degrees; and observations that nobody made."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from checkpoints import POSE, untrained
from so101_policy import ActPolicy
from so101_policy.command_line import extras
from so101_policy.inference import engine
from so101_policy.inference.backend import TorchBackend
from so101_policy.inference.engine import PolicyInputs, check_engine
from so101_policy.inference.graph import ActGraph, EngineError

STD = 5.0
"""Of an action of `untrained` [degrees]."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("act"), px=32)


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By how much the backend of bf16 is off, normalised; it is asked for by its name."""
    by = [0.0]

    class Rounding(TorchBackend):
        name = "openvino"

        def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
            actions_TA, *weights = super().__call__(inputs)
            return [actions_TA + by[0], *weights]

    def backend(name: str, graph: ActGraph, precision: str = "f32") -> TorchBackend:
        assert (name, precision) == ("openvino", "bf16")
        return Rounding(graph)

    monkeypatch.setattr(engine, "_backend", backend)
    return by


def test_what_bf16_costs_is_said_in_degrees(saved: Path, off: list[float], caplog: pytest.LogCaptureFixture):
    off[0] = 0.05
    with caplog.at_level(logging.WARNING):
        policy = ActPolicy.load(saved, engine="auto", precision="bf16")
    assert policy.engine_name == "openvino"
    assert f"off by up to {0.05 * STD:.2g} degrees" in caplog.text


@pytest.mark.parametrize("error", [0.5, float("nan")])
def test_bf16_that_is_far_off_is_refused(saved: Path, off: list[float], error: float):
    off[0] = error
    with pytest.raises(EngineError, match="failed its verification; possible: f32"):
        ActPolicy.load(saved, engine="openvino", precision="bf16")


def test_bf16_is_refused_above_a_degree(saved: Path, off: list[float], monkeypatch: pytest.MonkeyPatch):
    off[0] = 0.05
    monkeypatch.setattr("so101_policy.inference.precision.BOUND", 0.2)
    with pytest.raises(EngineError, match=r"off by up to 0\.25 degrees .* allowed is 0\.2; possible: f32"):
        ActPolicy.load(saved, engine="openvino", precision="bf16")


def test_bf16_is_of_one_engine_and_one_kind_of_processor(saved: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("plain", "torch", "onnx"):
        with pytest.raises(EngineError, match=f"engine {name} computes in f32; bf16 is of engine openvino"):
            ActPolicy.load(saved, engine=name, precision="bf16")
    with pytest.raises(EngineError, match="there is no precision 'f16'; possible: f32, bf16"):
        check_engine("auto", "f16")
    if extras.OPENVINO.missing:
        pytest.skip("OpenVINO is not installed")
    module = extras.OPENVINO.load()

    class Old:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(module.openvino, "Core", Old)
    with pytest.raises(EngineError, match=r"this processor has no bf16 .* possible: f32"):
        ActPolicy.load(saved, engine="auto", precision="bf16")


def test_a_made_up_observation_is_like_the_recordings_and_always_the_same(saved: Path):
    policy = ActPolicy.load(saved)
    first, again, other = policy.made_up(), policy.made_up(), policy.made_up(1)
    assert list(first.images) == ["observation.images.front", "observation.images.wrist"]
    for key, picture in first.images.items():
        assert (picture.dtype, tuple(picture.shape)) == (torch.uint8, (32, 32, 3))
        assert torch.equal(picture, again.images[key])
        assert not torch.equal(picture, other.images[key])
        assert 20 < float(picture.float().std()) < 120
    (state,) = first.vectors.values()
    assert torch.equal(state, again.vectors["observation.state"])
    assert float((state - torch.tensor(POSE)).abs().max()) < 5 * STD


def test_an_engine_that_is_verified_before_the_first_episode_is_not_verified_in_it(
    saved: Path, monkeypatch: pytest.MonkeyPatch
):
    policy = ActPolicy.load(saved, engine="torch")
    policy.verify_engine()
    assert policy.engine_name == "torch"
    assert policy.engine is not None
    assert policy.engine.verification is not None

    def never(observation: PolicyInputs) -> None:
        raise AssertionError("verified again")

    monkeypatch.setattr(policy, "_plain", never)
    observation = policy.made_up(3)
    images = {key.rpartition(".")[2]: x.numpy() for key, x in observation.images.items()}
    assert policy.predict(observation.vectors["observation.state"].numpy(), images).actions.shape == (20, 6)
