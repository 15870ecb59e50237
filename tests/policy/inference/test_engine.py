"""An engine gives LeRobot's actions and shares, for every ACT that there can be, or is not used."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType
from lerobot.policies.act.modeling_act import ACT
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from torch import Tensor

from engines import STOCK, VARIANTS, Make, Plain, engine_graph, normalise, observe
from so101_policy import ActPolicy
from so101_policy.attention.shares import AttentionProbe
from so101_policy.command_line import extras
from so101_policy.inference import exported_files as files_module
from so101_policy.inference.engine import (
    RUNTIMES,
    Engine,
    PolicyInputs,
    PolicyOutputs,
    _backend,
    check_engine,
    make_engine,
)
from so101_policy.inference.graph import ActGraph, EngineError
from so101_policy.regularizer.config import RegularizerConfig


def numbers(shares: Any) -> dict[str, Any]:
    """Every figure of shares, by name."""
    found = shares.as_dict()
    nested = {name: found.pop(name) for name in ("cameras", "uniform", "heads")}
    return found | {f"{part}/{name}": x for part, inner in nested.items() for name, x in inner.items()}


def assert_same(got: PolicyOutputs, wanted: PolicyOutputs) -> None:
    np.testing.assert_allclose(got.actions_TA.numpy(), wanted.actions_TA.numpy(), atol=4e-6)
    expected = numbers(wanted.shares)
    found = numbers(got.shares)
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_actions_and_shares_are_those_of_lerobots_forward(make_policy: Make, variant: dict[str, Any]):
    policy = make_policy(**variant)
    engine = make_engine("torch", policy, normalise, per_head=True)
    assert engine is not None
    first, second = observe(policy, seed=1), observe(policy, seed=2)
    answers = [engine(x, Plain(policy, x)) for x in (first, second)]
    assert engine.name == "torch"  # it passed
    for answer, observation in zip(answers, (first, second), strict=True):
        assert_same(answer, Plain(policy, observation)())
    assert (answers[0].actions_TA - answers[1].actions_TA).abs().max() > 1e-3


def test_cameras_of_different_sizes_keep_their_order_and_their_scaling(make_policy: Make):
    policy = make_policy(cameras=3)
    features: Any = policy.config.input_features
    features["observation.images.wrist"].shape = (3, 64, 32)
    scaled = {f"observation.images.{name}": k for k, name in enumerate(("front", "wrist", "side"))}

    def per_camera(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: x * (1 + scaled.get(key, 0)) for key, x in normalise(raw).items()}

    engine = make_engine("torch", policy, per_camera, per_head=True)
    assert engine is not None
    observation = observe(policy)
    pictures = {key: (x / 255).permute(2, 0, 1) for key, x in observation.images.items()}
    with AttentionProbe(policy, per_head=True) as probe, torch.no_grad():
        actions_BTA = policy.predict_action_chunk(per_camera(pictures | observation.vectors))
        wanted = PolicyOutputs(actions_BTA[0], probe.shares)
    assert_same(engine(observation, lambda: wanted), wanted)
    assert engine.name == "torch"


def test_what_a_control_never_sees_is_not_even_taken(make_policy: Make):
    policy = make_policy(**VARIANTS["never sees the state"])
    engine = make_engine("torch", policy, normalise, per_head=True)
    observation = observe(policy)
    blind = PolicyInputs({}, observation.images)
    assert engine is not None
    answers = [engine(x, Plain(policy, observation)) for x in (observation, blind)]
    assert torch.equal(answers[0].actions_TA, answers[1].actions_TA)


def test_making_an_engine_leaves_the_policy_as_it_was(make_policy: Make):
    policy = make_policy(**STOCK)
    before = {name: (x.clone(), x.stride()) for name, x in policy.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in policy.modules()]
    make_engine("torch", policy, normalise)
    after = policy.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(x, after[name]) and s == after[name].stride() for name, (x, s) in before.items())
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in policy.modules()]
    assert all(p.requires_grad for p in policy.parameters())


def test_lerobots_forward_is_asked_once_and_the_verified_engine_answers_from_the_first(make_policy: Make):
    policy = make_policy()
    observation = observe(policy)
    engine, plain = make_engine("torch", policy, normalise, per_head=True), Plain(policy, observation)
    assert engine is not None
    answers = [engine(observation, plain) for _ in range(3)]
    assert plain.calls == 1
    assert all(torch.equal(answer.actions_TA, answers[0].actions_TA) for answer in answers)
    assert engine.verification is not None
    about = engine.about()
    assert about["engine"] == "torch"
    assert 0 < about["action_difference"] < 1e-5
    assert about["share_difference"] < 1e-5


def off_by(error: float) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda outputs: [outputs[0] + error * (torch.arange(3) == 1), *outputs[1:]]


def fail(outputs: list[Tensor]) -> list[Tensor]:
    raise RuntimeError("out of memory")


FAULTS = {
    "an action is off": (off_by(3e-5), "allowed are 1e-05 and 1e-04"),
    "an action is not a number": (off_by(float("nan")), "actions differ by nan"),
    "attention is on the wrong tokens": (lambda x: [x[0], x[1].flip(-1)], "from LeRobot's"),
    "steps are missing": (lambda x: [x[0][:-1], *x[1:]], "actions differ by nan"),
    "the backend fails": (fail, "it failed (out of memory)"),
}


@pytest.mark.parametrize(("fault", "told"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_engine_is_dismissed_before_it_is_used(
    make_policy: Make,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[list[Tensor]], list[Tensor]],
    told: str,
):
    policy = make_policy()
    engine = make_engine("torch", policy, normalise, per_head=True)
    assert engine is not None
    right: Any = engine._backend

    class Wrong:
        name = "torch"

        def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
            return fault(list(right(inputs)))

    engine._backend = Wrong()
    for seed in (1, 2):
        observation = observe(policy, seed)
        wanted = Plain(policy, observation)()
        with caplog.at_level(logging.WARNING):
            answer = engine(observation, lambda wanted=wanted: wanted)
        assert answer is wanted
    assert engine.name == engine.about()["engine"] == "plain"
    (message,) = [record.getMessage() for record in caplog.records]
    assert told in message
    assert "engine torch is not used" in message


def test_a_difference_within_rounding_is_tolerated(make_policy: Make):
    policy = make_policy()
    engine = make_engine("torch", policy, normalise, per_head=True)
    observation = observe(policy)
    assert engine is not None
    wanted = Plain(policy, observation)()
    engine(observation, lambda: wanted._replace(actions_TA=wanted.actions_TA + 5e-6))
    assert engine.name == "torch"


def test_shares_that_one_side_lacks_are_a_difference(make_policy: Make):
    policy = make_policy()
    engine = make_engine("torch", policy, normalise)
    observation = observe(policy)
    assert engine is not None
    engine(observation, Plain(policy, observation))  # which gives those of every head too
    assert engine.name == "plain"


class Surprising(ACT):
    def forward(self, batch: Any) -> Any:
        actions, latent = super().forward(batch)
        return actions + 1, latent


def test_a_model_whose_forward_is_not_known_keeps_it(make_policy: Make, caplog: pytest.LogCaptureFixture):
    policy = make_policy(**STOCK)
    policy.model = Surprising(policy.config)
    with pytest.raises(EngineError, match=r"not for Surprising; possible: engine plain"):
        make_engine("torch", policy, normalise)
    assert make_engine("auto", policy, normalise) is None
    assert "Surprising" in caplog.text


def test_a_preprocessor_that_resizes_is_refused(make_policy: Make):
    policy = make_policy()
    with pytest.raises(EngineError, match=r"turns pictures of \(3, 32, 64\) into \(3, 16, 64\)"):
        make_engine("torch", policy, lambda raw: {key: x[:, ::2][None] for key, x in raw.items()})


def test_an_unknown_engine_is_told_what_there_is():
    with pytest.raises(
        EngineError, match=r"no engine 'tensorrt'; possible: auto, torch, onnx, openvino, plain"
    ):
        check_engine("tensorrt")


def test_without_its_package_onnx_says_what_to_install_and_auto_takes_torch(
    make_policy: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    policy = make_policy()
    there = lambda name: None if name in ("onnxruntime", "openvino") else object()  # noqa: E731
    monkeypatch.setattr(extras, "find_spec", there)
    for name, package in (("onnx", "onnxruntime"), ("openvino", "openvino")):
        with pytest.raises(EngineError, match=rf"missing: {package}. .*pip install .*\[{name}\]'"):
            make_engine(name, policy, normalise)
    engine = make_engine("auto", policy, normalise)
    assert isinstance(engine, Engine)
    assert engine.name == "torch"
    assert not caplog.records  # an extra that is not installed is no event


ONNX = {
    "isolated": VARIANTS["isolated"] | {"n_decoder_layers": 2, "cameras": 3},
    "stock": STOCK | {"pre_norm": True},
    "never sees a picture": VARIANTS["never sees a picture"],
    "never sees the state": VARIANTS["never sees the state"],
}
EXPORTING_S = 600
"""Time-out: the exporter takes 5 s of a free core."""


@pytest.fixture(scope="module")
def engines_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def _with_onnx(engines_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := [*extras.ONNX.missing, *extras.OPENVINO.missing]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    monkeypatch.delenv("SO101_CACHE", raising=False)  # it would win
    monkeypatch.setenv("XDG_CACHE_HOME", str(engines_folder))


@pytest.mark.usefixtures("_with_onnx")
@pytest.mark.timeout(EXPORTING_S)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if number else ()) for number, name in enumerate(ONNX)]
)
def test_the_runtimes_give_the_same_actions_and_shares(make_policy: Make, name: str):
    policy = make_policy(**ONNX[name])
    answers: list[Tensor] = []
    for runtime in RUNTIMES:
        engine = make_engine(runtime, policy, normalise, per_head=True)
        assert engine is not None
        for seed in (1, 2):
            observation = observe(policy, seed)
            plain = Plain(policy, observation)
            assert_same(engine(observation, plain), plain())
        assert engine.name == runtime
        answers.append(engine(observe(policy, 1), plain).actions_TA)
        kept = answers[-1].clone()
        engine(observe(policy, 2), plain)
        assert torch.equal(answers[-1], kept)  # an answer is not overwritten by the next
    make_engine("auto", policy, normalise)


@pytest.mark.usefixtures("_with_onnx")
@pytest.mark.timeout(EXPORTING_S)
def test_an_exported_policy_is_kept_and_made_anew_where_it_is_damaged_or_another(
    make_policy: Make, engines_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    exports: list[Any] = []
    models: list[bytes] = []
    onnx_module = extras.ONNX.load()
    right = onnx_module.export

    def export(
        graph: ActGraph,
    ) -> bytes:  # the exporter is slow: it works once, the second model is the first
        exports.append(graph)
        models.append(models[0] if models else right(graph))
        return models[0]

    monkeypatch.setattr(onnx_module, "export", export)
    monkeypatch.setattr(files_module, "MAX_BYTES", 0)  # the latest alone
    policy = make_policy(cameras=1)
    kept = engines_folder / "so101" / "engines"

    make_engine("onnx", policy, normalise)
    make_engine("onnx", policy, normalise)
    assert len(exports) == 1
    (path,) = kept.glob("*.onnx")
    assert path.name == files_module.name_of(exports[0])

    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    observation = observe(policy)
    engine = make_engine("onnx", policy, normalise, per_head=True)
    assert len(exports) == 2
    assert path.stat().st_size == len(whole)
    assert engine is not None
    assert_same(engine(observation, Plain(policy, observation)), Plain(policy, observation)())

    with torch.no_grad():
        policy.model.action_head.bias[0] += 1e-6
    assert files_module.name_of(engine_graph(policy)) != path.name
    regularizer = RegularizerConfig(isolation=True)  # the same weights, another graph
    isolated = make_policy(cameras=1, regularizer=regularizer)
    names = {files_module.name_of(engine_graph(x)) for x in (make_policy(cameras=1), isolated)}
    assert len(names) == 2


def test_only_the_latest_exported_policies_are_kept(
    make_policy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(files_module, "MAX_BYTES", 10)
    graph = engine_graph(make_policy(cameras=1))
    for age_s in range(1, 6):
        old = tmp_path / f"{age_s}.onnx"
        old.write_bytes(b"old")
        os.utime(old, (1e9 - age_s, 1e9 - age_s))
    path = files_module.stored(graph, lambda _: b"new", tmp_path)
    assert isinstance(path, Path)
    assert path.read_bytes() == b"new"
    assert {x.name for x in tmp_path.iterdir()} == {path.name, "1.onnx", "2.onnx"}
    large = files_module.stored(
        engine_graph(make_policy(cameras=2)), lambda _: b"more than there is room for", tmp_path
    )
    assert isinstance(large, Path)
    assert list(tmp_path.iterdir()) == [large]


def test_where_nothing_can_be_written_the_exported_policy_is_used_from_memory(
    make_policy: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    graph = engine_graph(make_policy(cameras=1))
    (tmp_path / "file").touch()
    assert files_module.stored(graph, lambda _: b"model", tmp_path / "file" / "engines") == b"model"
    assert "could not be saved in" in caplog.text


@pytest.mark.usefixtures("_with_onnx")
@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_refuses_a_policy_on_another_device(make_policy: Make, name: str):
    graph = engine_graph(make_policy(cameras=1)).to("meta")
    with pytest.raises(
        EngineError, match=f"engine {name} runs on the cpu, the policy on meta; possible: torch, plain"
    ):
        _backend(name, graph)


@pytest.mark.usefixtures("_with_onnx")
def test_importing_openvino_reports_nothing_to_anybody():
    code = "from so101_policy.command_line.extras import OPENVINO\n"
    code += "OPENVINO.load()\nimport sys\nassert sys.modules['openvino_telemetry'] is None"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def saved(make_policy: Make, tmp_path: Path) -> Path:
    """A checkpoint whose preprocessor renames a camera, with statistics far from 0 and 1."""
    policy = make_policy(cameras=2)
    policy.save_pretrained(tmp_path)
    features = (policy.config.input_features or {}) | (policy.config.output_features or {})
    statistics: dict[str, Any] = {}
    for number, (key, feature) in enumerate(features.items()):
        shape = (3, 1, 1) if feature.type is FeatureType.VISUAL else feature.shape
        scale = 0.1 if feature.type is FeatureType.VISUAL else 30.0
        statistics[key] = {"mean": torch.full(shape, 3 * scale + number), "std": torch.full(shape, scale)}
    before, after = make_act_pre_post_processors(policy.config, statistics)
    renaming: Any = before.steps[0]
    renaming.rename_map = {"observation.images.top": "observation.images.front"}
    before.save_pretrained(tmp_path)
    after.save_pretrained(tmp_path)
    return tmp_path


def test_a_checkpoint_is_loaded_with_an_engine_and_predicts_the_same_in_the_robots_units(saved: Path):
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (32, 64, 3), dtype=np.uint8) for name in ("top", "wrist")}
    state = rng.uniform(-90, 90, 5)
    plain, fast = (ActPolicy.load(saved, per_head=True, engine=name) for name in ("plain", "torch"))
    assert plain.engine is None
    assert fast.engine is not None
    for _ in range(2):
        wanted, got = plain.predict(state, images), fast.predict(state, images)
        assert got.actions.dtype == np.float32
        np.testing.assert_allclose(got.actions, wanted.actions, atol=30 * 1e-5)
        assert wanted.shares is not None
        assert got.shares is not None
        assert list(got.shares.cameras) == list(wanted.shares.cameras)
        assert got.shares.state == pytest.approx(wanted.shares.state, abs=2e-6)
        assert got.shares.heads is not None
    assert fast.engine.name == "torch"
    assert np.ptp(got.actions) > 1  # degrees, not normalised


def test_an_unknown_engine_is_refused_before_anything_is_read(tmp_path: Path):
    with pytest.raises(EngineError, match="no engine 'fast'"):
        ActPolicy.load(tmp_path, engine="fast")
