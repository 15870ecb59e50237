"""Policies that are not ACT: the actions of LeRobot's own rollout, and one message for what cannot be played.

VQ-BeT needs nothing beyond what is installed for all tests. Diffusion and SmolVLA need LeRobot's extras, whose import
takes every process 17 s, so they are tested in an environment of their own: `make test-policies`.
"""

import json
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.policies.utils import prepare_observation_for_inference

from any_policies import KINDS, PX, untrained_in, untrained_of
from checkpoints import thin
from so101_policy import CheckpointError, PolicyError, load_policy
from so101_policy.checkpoint.folder import CONFIG, PROCESSORS
from so101_policy.checkpoint.types import TYPES, played
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.inference.any_policy import AnyPolicy, TaskError
from so101_policy.inference.seen import Ahead, Seen

TASK = "put the box on the pallet"


@pytest.fixture(scope="module", params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_in(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def vqbet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_of("vqbet", tmp_path_factory.mktemp("vqbet"))


@pytest.fixture
def copy(vqbet: Path, tmp_path: Path) -> Path:
    return shutil.copytree(vqbet, tmp_path / "copy")


def moments(count: int) -> list[Seen]:
    rng = np.random.default_rng(1)
    return [
        Seen(rng.uniform(-60, 60, 6), {"front": rng.integers(0, 256, (PX, PX, 3), dtype=np.uint8)})
        for _ in range(count)
    ]


def rollout(folder: Path, seen: Sequence[Seen], every: int) -> np.ndarray:
    """(n, 6) LeRobot's own: its factory, its processors, `select_action` on every tick, torch seeded anew by the tick
    wherever its queue of actions is empty."""
    config = PreTrainedConfig.from_pretrained(folder, local_files_only=True)
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    preprocess, postprocess = make_pre_post_processors(config, str(folder))
    policy.reset()
    actions = []
    for tick, (state, images) in enumerate(seen):
        frame = {"observation.state": state.astype(np.float32)}
        frame |= {f"observation.images.{name}": image for name, image in images.items()}
        if tick % every == 0:
            torch.manual_seed(tick)
        with torch.inference_mode():
            batch = preprocess(prepare_observation_for_inference(frame, torch.device("cpu"), TASK))
            actions.append(postprocess(policy.select_action(batch))[0].numpy())
    return np.stack(actions)


def test_the_actions_are_those_of_lerobots_own_rollout(saved: Path):
    policy = load_policy(saved, task=TASK)
    every = policy.n_action_steps
    seen = moments(every + 3)
    expected = rollout(saved, seen, every)

    torch.manual_seed(0)
    first = policy.predict(*seen[0]).actions
    torch.manual_seed(every)
    second = policy.predict(*seen[every], before=seen[:every]).actions
    assert first.shape == (policy.chunk_size, 6)
    got = np.concatenate([first[:every], second[:3]])
    assert np.abs(got - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    assert np.ptp(expected) > 1  # statistics were applied, so these are degrees


def test_what_was_seen_before_decides_and_what_was_predicted_before_does_not(vqbet: Path):
    policy, (first, second, third) = load_policy(vqbet), moments(3)

    def answer(*before: Seen) -> np.ndarray:
        torch.manual_seed(0)
        return policy.predict(*third, before=before).actions

    wanted = answer(first, second)
    assert not np.array_equal(answer(second, first), wanted)
    assert np.array_equal(answer(first, second), wanted)


@pytest.mark.parametrize("kind", [KINDS[2]])
def test_a_chunk_that_is_guided_goes_on_as_the_one_before(kind: str, tmp_path: Path):
    """Untrained, so that one answer has nothing to do with the next unless it is guided."""
    policy = load_policy(untrained_in(tmp_path, kind), task=TASK)
    assert isinstance(policy, AnyPolicy)
    first, second = moments(2)
    policy.be_guided(Ahead(np.ones((4, 6), np.float32), 3))
    assert policy.predict(*first).raw is None, "not until it is asked for"
    steps = policy.policy.config.num_steps
    policy.use_rtc(RTCConfig(execution_horizon=6, max_guidance_weight=steps))
    assert policy.guided

    def answer(seen: Seen, ahead: Ahead | None = None) -> np.ndarray:
        torch.manual_seed(seen is second)
        policy.be_guided(ahead)
        raw = policy.predict(*seen).raw
        assert raw is not None
        return raw

    before = answer(first)
    rest = before[2:]
    free, guided = answer(second), answer(second, Ahead(rest, 3))
    off_free, off_guided = (np.abs(chunk[: len(rest)] - rest).mean(axis=1) for chunk in (free, guided))
    assert off_guided[:3].max() < 0.05 * off_free[:3].min(), "what will be played is that of the plan"
    assert off_guided[3:5].mean() < 0.9 * off_free[3:5].mean(), "then it fades"
    np.testing.assert_array_equal(answer(second), free)  # for one prediction alone


def test_a_policy_that_is_not_of_flow_matching_is_not_guided(vqbet: Path):
    policy = load_policy(vqbet)
    assert isinstance(policy, AnyPolicy)
    policy.use_rtc(RTCConfig())
    policy.be_guided(Ahead(np.zeros((4, 6), np.float32), 1))
    assert not policy.guided
    assert policy.predict(*moments(1)[0]).raw is None


def test_samples_tell_how_far_they_are_apart(vqbet: Path):
    one, many = load_policy(vqbet), load_policy(vqbet, samples=8)
    (seen,) = moments(1)
    assert one.predict(*seen).spread is None
    answer = many.predict(*seen)
    assert answer.actions.shape == (8, 6)
    assert answer.spread is not None
    assert answer.spread > 0
    assert answer.shares is None
    assert "vqbet" in many.no_shares


def test_a_policy_says_what_robot_it_is_for(vqbet: Path):
    policy = load_policy(vqbet, engine="auto")
    assert isinstance(policy, AnyPolicy)
    assert (policy.type, policy.fps, policy.n_obs_steps, policy.cameras) == (
        "vqbet",
        30,
        3,
        {"front": (PX, PX)},
    )
    policy.check_robot(policy.joints, {"front": (PX, PX)})
    with pytest.raises(PolicyError, match="front is missing"):
        policy.check_robot(policy.joints, {})


# One message each


def change(path: Path, **fields: Any) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | fields))


def refused(folder: Path, **how: Any) -> str:
    with pytest.raises(PolicyError) as caught:
        load_policy(folder, **how)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 800
    return message


def test_a_type_without_its_extra_names_the_line_to_type(copy: Path, monkeypatch: pytest.MonkeyPatch):
    found = find_spec
    monkeypatch.setattr(
        "so101_policy.checkpoint.types.find_spec",
        lambda name: None if name in ("transformers", "diffusers") else found(name),
    )
    for kind, line in (("smolvla", "'lerobot[smolvla]'"), ("diffusion", "'lerobot[diffusion]'")):
        change(copy / CONFIG, type=kind)
        message = refused(copy, task=TASK)
        assert kind in message
        assert f"pip install {line}" in message


def test_a_type_that_nobody_knows_lists_those_that_are_known(copy: Path):
    change(copy / CONFIG, type="magic")
    message = refused(copy)
    assert "'magic'" in message
    assert "diffusion, vqbet" in message


@pytest.mark.parametrize("kind", [name for name, about in TYPES.items() if about.refused])
def test_a_type_that_is_not_played_says_why(copy: Path, kind: str):
    change(copy / CONFIG, type=kind)
    assert TYPES[kind].refused in refused(copy, task=TASK)
    assert kind not in played()


def test_the_list_has_every_type_of_the_installed_lerobot():
    register = PreTrainedConfig.get_known_choices()
    ours = {name for name, about in register.items() if not about.__module__.startswith("lerobot.")}
    assert set(register) - ours == set(TYPES)


def test_a_policy_that_is_told_its_task_asks_for_one(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(TYPES, "vqbet", TYPES["vqbet"]._replace(language=True))
    with pytest.raises(TaskError, match="--task="):
        load_policy(copy)
    assert "500" in refused(copy, task="x" * 501)
    assert load_policy(copy, task=TASK).predict(*moments(1)[0]).actions.shape == (8, 6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_obs_steps": 0}, "n_obs_steps is 0"),
        ({"gpt_n_layer": 10**9}, "gpt_n_layer"),
        ({"gpt_input_dim": "wide"}, "gpt_input_dim"),
        ({"output_features": {}}, "no output 'action'"),
        ({"use_peft": True}, "adapter"),
        ({"gpt_input_dim": 64}, "does not fit"),
    ],
)
def test_a_configuration_that_cannot_be(copy: Path, fields: dict[str, Any], message: str):
    change(copy / CONFIG, **fields)
    assert message in refused(copy)


def test_a_step_of_another_type_is_not_built(copy: Path):
    path = copy / PROCESSORS[0]
    data = json.loads(path.read_text())
    data["steps"].insert(0, {"registry_name": "tokenizer_processor", "config": {"tokenizer_name": "x/y"}})
    path.write_text(json.dumps(data))
    assert "tokenizer_processor" in refused(copy)


def test_an_engine_of_act_is_refused_for_another_type(copy: Path):
    assert "computes an ACT" in refused(copy, engine="onnx")


def test_another_dimension_of_actions_is_one_message(copy: Path):
    policy = load_policy(copy)
    with pytest.raises(PolicyError, match="6 joint targets") as caught:
        policy.check_robot(("a", "b", "c", "d", "e", "f", "g"), {"front": (PX, PX)})
    assert "7 joints" in str(caught.value)


def test_act_still_is_an_act_policy(tmp_path: Path):
    assert isinstance(load_policy(thin(tmp_path), task=TASK), ActPolicy)
    with pytest.raises(CheckpointError, match="not of ACT"):
        ActPolicy.load(untrained_of("vqbet", tmp_path / "vqbet"))
