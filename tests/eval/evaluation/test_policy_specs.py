"""Policies by name: what `--policies` means, what it refuses, and what drives in a policy's place."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_eval.episode.episode import Stage
from so101_eval.episode.scripted import Scripted
from so101_eval.errors import ConfigError
from so101_eval.evaluation.loaded_policies import Acting, hiding, load, mean_of
from so101_eval.evaluation.policy_specs import (
    EPISODES,
    PolicySpec,
    check_unseen,
    parse_policies,
    parse_policy,
    picture_size,
    training_seeds,
)
from so101_eval.palletizing.scene.draw import draw
from so101_policy.errors import CheckpointError
from so101_policy.inference import engine
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.inference.graph import EngineError
from so101_policy.inference.loaded import Prediction
from so101_robot import demo
from so101_robot.chunks.inference import Observation
from so101_robot.mock.config import MockConfig

MakeAct = Callable[..., Path]
MEANS = 10.0, -60.0, 60.0, 50.0, 0.0, 30.0
GREY = 64, 128, 191


def recording(folder: Path, values: Any = ((1.0,) * 6,) * 3) -> Path:
    np.save(folder / "moves.npy", values)
    return folder / "moves.npy"


# What is understood


@pytest.mark.parametrize("kind", ["expert", "hold", "replay"])
def test_what_is_built_in_needs_no_name_and_may_have_one(kind: str):
    plain, named = parse_policies([kind, f"other={kind}"])
    assert (plain.name, plain.kind, plain.path) == (kind, kind, None)
    assert named == dataclasses.replace(plain, name="other")


def test_a_checkpoint_says_what_it_sees_and_how_often_it_acts(act: Path):
    spec = parse_policy(f"mine={act}")
    assert (spec.kind, spec.fps, spec.without) == ("act", 10.0, ())
    assert spec.cameras == {"front": (24, 24), "wrist": (24, 24)}
    assert spec.path == str(act.absolute())
    assert spec.sha256 == ActPolicy.load(act).sha256
    assert spec.train_seed is None
    assert spec.dataset is None


def test_what_comes_with_the_package_is_named_by_its_prefix():
    first, second = demo.NAMES[:2]
    specs = parse_policies([f"demo:{first}", f"mine=demo:{second}@no-state"])
    assert [spec.name for spec in specs] == [first, "mine"]
    assert [spec.path for spec in specs] == [str(demo.demo_policy(name)) for name in (first, second)]
    assert [spec.without for spec in specs] == [(), ("state",)]
    with pytest.raises(ConfigError, match="--policies demo:perfect: expected one of demo:"):
        parse_policy("demo:perfect")


def test_a_rate_from_the_command_line_is_for_checkpoints_that_do_not_say_theirs(
    make: MakeAct, tmp_path: Path
):
    silent, outspoken = make(tmp_path / "silent", fps=None), make(tmp_path / "outspoken")
    texts = [f"silent={silent}", f"outspoken={outspoken}"]
    assert [spec.fps for spec in parse_policies(texts, fps=15.0)] == [15.0, 10.0]
    with pytest.raises(ConfigError, match=r"silent does not say .* Give --fps"):
        parse_policies(texts)
    with pytest.raises(ConfigError, match="at 7 actions per second: the arm has 30"):
        parse_policy(texts[0], fps=7.0)


def test_training_seeds_of_one_arm_share_its_name(act: Path):
    specs = parse_policies([f"mine={act}", f"mine:2={act}"])
    assert [spec.name for spec in specs] == ["mine", "mine:2"]
    assert {spec.variant for spec in specs} == {"mine"}


@pytest.mark.parametrize(
    ("controls", "hidden"),
    [
        ("no-state", ("state",)),
        ("no-images", ("images",)),
        ("no-state,no-images", ("state", "images")),
    ],
)
def test_controls_are_part_of_what_a_policy_is(act: Path, controls: str, hidden: tuple[str, ...]):
    plain, control = parse_policies([f"mine={act}", f"blind={act}@{controls}"])
    assert control.without == hidden
    assert control.path == plain.path
    assert control.identity != plain.identity


def test_a_folder_may_have_an_at_in_its_name(act: Path, tmp_path: Path):
    shutil.copytree(act, tmp_path / "me@home")
    assert parse_policy(f"mine={tmp_path}/me@home").without == ()
    assert parse_policy(f"mine={tmp_path}/me@home@no-state").without == ("state",)


def test_a_recording_is_known_by_its_content(tmp_path: Path):
    spec = parse_policy(f"moves={recording(tmp_path)}")
    assert (spec.kind, spec.cameras) == ("replay", {})
    before = spec.sha256
    assert parse_policy(f"moves={recording(tmp_path, np.zeros((3, 6)))}").sha256 != before


def test_a_policy_comes_back_from_a_run_as_it_was(act: Path):
    spec = parse_policy(f"mine={act}@no-images")
    assert PolicySpec.from_dict(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


def test_a_moved_checkpoint_is_the_same_and_another_processor_is_not(act: Path, tmp_path: Path):
    before = parse_policy(f"mine={act}").identity
    moved = Path(shutil.copytree(act, tmp_path / "moved"))
    assert parse_policy(f"mine={moved}").identity == before
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"n_action_steps": 4}))
    after = parse_policy(f"mine={moved}").identity
    assert {part for part in after if after[part] != before[part]} == {"recipe_sha256"}


# What is refused


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "expected at least one"),
        (["experts"], "a checkpoint needs a name, NAME=PATH; without are expert, hold, replay"),
        (["expert@no-state"], "a checkpoint needs a name"),
        (["=expert"], "'' is no name"),
        (["a b=expert"], "'a b' is no name"),
        (["../x=expert"], r"'\.\./x' is no name"),
        (["a:b:c=expert"], "'a:b:c' is no name"),
        (["a,b=expert"], "'a,b' is no name"),
        (["hold", "a=expert", "hold"], "hold is there twice"),
        (["hold", "hold=expert"], "hold is there twice"),
        (["a="], "expected a checkpoint, NAME=PATH; 'nothing' is none"),
        (["a=@no-state"], "'nothing' is none"),
        (["a=expert@no-state"], "a checkpoint to hide something from, NAME=PATH; 'expert' is none"),
        (["a=moves.npy@no-images"], r"a checkpoint to hide something from, NAME=PATH; 'moves.npy' is none"),
        (["a=x@no-hands"], "@no-hands does not exist; possible are @no-state, @no-images"),
        (["a=x@no-state,images"], "@images does not exist"),
    ],
)
def test_what_is_no_policy_is_refused(texts: list[str], says: str):
    with pytest.raises(ConfigError, match=says):
        parse_policies(texts)


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        parse_policy(f"a={tmp_path}/nothing/here")


@pytest.mark.parametrize(
    "values",
    [
        *(np.zeros(6), np.zeros((3, 5)), np.zeros((0, 6)), np.full((2, 6), np.nan), np.array([["a"] * 6])),
        *(np.zeros((3, 6), complex), np.zeros((3, 6), bool), np.zeros((3, 6), "m8[s]")),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, values: NDArray[Any]):
    with pytest.raises(ConfigError, match="is no recording"):
        parse_policy(f"a={recording(tmp_path, values)}")


def test_files_that_only_look_like_recordings_are_refused(tmp_path: Path):
    path = tmp_path / "moves.npy"
    with pytest.raises(ConfigError, match="is no recording"):
        parse_policy(f"a={path}")
    with path.open("wb") as file:
        np.savez(file, one=np.zeros((2, 6)), other=np.zeros((2, 6)))
    with pytest.raises(ConfigError, match="is no recording"):
        parse_policy(f"a={path}")
    os.mkfifo(pipe := tmp_path / "pipe.npy")
    with pytest.raises(ConfigError, match="is no recording: it is not a file"):
        parse_policy(f"a={pipe}")
    for content in (b"", b"hello", recording(tmp_path).read_bytes()[:-20]):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="is no recording"):
            parse_policy(f"a={path}")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"joints": 5}, "it has 5 joints, the arm has 6"),
        ({"cameras": ("front", "side")}, "it sees through front, side, the scene has .*; side is missing"),
        ({"cameras": ("top",), "joints": 7}, "it has 7 joints.*; it sees through top"),
    ],
)
def test_a_checkpoint_of_another_robot_is_refused(
    make: MakeAct, tmp_path: Path, changes: dict[str, Any], says: str
):
    with pytest.raises(ConfigError, match=says):
        parse_policy(f"a={make(tmp_path / 'it', **changes)}")


# The pictures that all see


def seeing(name: str, **cameras: tuple[int, int]) -> PolicySpec:
    return dataclasses.replace(parse_policy(f"{name}=hold"), cameras=cameras)


def test_pictures_are_as_the_policies_want_them_or_as_asked():
    assert picture_size([parse_policy("hold")], "palletize-1", None) == (96, 96)
    assert picture_size([parse_policy("hold")], "palletize-1", (24, 32)) == (24, 32)
    assert picture_size([parse_policy("hold"), seeing("a", front=(48, 64))], "palletize-1", None) == (48, 64)


@pytest.mark.parametrize(
    ("specs", "asked", "says"),
    [
        ([seeing("a", front=(24, 32)), seeing("b", front=(48, 64))], None,
         "give pictures of 32x24 .as a wants them.; b was trained with front of 64x48"),
        ([seeing("a", front=(24, 24), wrist=(32, 32))], None, "a was trained with wrist of 32x32"),
        ([seeing("a", front=(24, 32))], (24, 24), "of 24x24 .as asked for.; a was trained with front of 32x24"),
    ],
)  # fmt: skip
def test_pictures_of_two_sizes_are_refused(specs: list[PolicySpec], asked: tuple[int, int] | None, says: str):
    with pytest.raises(ConfigError, match=says):
        picture_size(specs, "palletize-1", asked)


def scaling(name: str, recorded: tuple[int, int], **cameras: tuple[int, int]) -> PolicySpec:
    return dataclasses.replace(seeing(name, **cameras), recorded=dict.fromkeys(cameras, recorded))


def test_pictures_are_as_recorded_where_a_policy_scales_them():
    small = scaling("small", (48, 64), front=(24, 24), wrist=(24, 24))
    assert picture_size([small], "palletize-1", None) == (48, 64)
    assert picture_size([small], "palletize-1", (24, 24)) == (24, 24)
    assert picture_size([seeing("full", front=(48, 64)), small], "palletize-1", None) == (48, 64)
    assert picture_size([small, seeing("demo", front=(24, 24))], "palletize-1", None) == (24, 24)
    with pytest.raises(ConfigError, match="small was trained with front of 24x24"):
        picture_size([seeing("other", front=(30, 40)), small], "palletize-1", None)


def test_units_are_part_of_what_a_policy_is_where_they_are_no_degrees(act: Path):
    spec = parse_policy(f"mine={act}")
    assert "units" not in spec.identity
    of_range = parse_policy(f"mine={act}", use_degrees=False)
    assert of_range.identity["units"] == of_range.units == "-100..100"
    assert PolicySpec.from_dict(json.loads(json.dumps(dataclasses.asdict(of_range)))) == of_range


def test_a_policy_of_a_run_of_before_knows_no_units_and_no_recordings(act: Path):
    spec = parse_policy(f"mine={act}")
    data = json.loads(json.dumps(dataclasses.asdict(spec)))
    del data["units"], data["recorded"]
    assert PolicySpec.from_dict(data) == spec


def test_an_evaluation_converts_what_is_in_other_units(act: Path, stage: Stage):
    stage.lay_out(draw("palletize-1", seed=7))
    scale, seen = stage.robot.bus.scale, list[NDArray[np.float64]]()
    loaded = load(parse_policy(f"mine={act}", use_degrees=False))
    assert isinstance(loaded, Acting)

    def predict(state: NDArray[np.float64], images: Any) -> Prediction:
        seen.append(state)
        return Prediction(np.tile(np.float32([50, -50, 50, 50, 50, 50]), (8, 1)), None)

    loaded._predict = predict
    driver, pictures = loaded(stage, draw("palletize-1", seed=7)), {}
    now = np.array([10.0, -60.0, 60.0, 50.0, 0.0, 30.0])
    for tick in range(20):
        planned = driver.next(tick, tick / 30, lambda: Observation(0.0, now, pictures))
    np.testing.assert_allclose(seen[0], scale.to_range(now))
    np.testing.assert_allclose(planned.end, scale.from_range([50, -50, 50, 50, 50, 50]), rtol=1e-6)
    driver.close()


# Scenes that a policy has seen


def trained_on(act: Path, folder: Path, *lines: str, seed: int = 7) -> PolicySpec:
    """The checkpoint with what LeRobot and so101-demos write about its training."""
    checkpoint = Path(shutil.copytree(act, folder / "checkpoint", dirs_exist_ok=True))
    dataset = folder / "dataset"
    (dataset / EPISODES).parent.mkdir(parents=True, exist_ok=True)
    (dataset / EPISODES).write_text("".join(line + "\n" for line in lines))
    train_config = {"seed": seed, "dataset": {"repo_id": "x", "root": str(dataset)}}
    (checkpoint / "train_config.json").write_text(json.dumps(train_config))
    return parse_policy(f"mine={checkpoint}")


def test_scenes_of_the_training_set_are_refused(act: Path, tmp_path: Path):
    spec = trained_on(
        act, tmp_path, *(json.dumps({"seed": seed, "scene": "s"}) for seed in (3, 9, 1_000_000))
    )
    assert spec.train_seed == 7
    assert training_seeds(spec) == {3, 9, 1_000_000}
    assert check_unseen([spec], range(4, 9)) == []
    with pytest.raises(
        ConfigError, match=r"mine was trained on 2 of these scenes .*: seeds 3, 9; asked for are 0 to 19"
    ):
        check_unseen([parse_policy("expert"), spec], range(20))


def test_what_cannot_be_checked_is_named_and_what_never_learned_is_not(act: Path, tmp_path: Path):
    gone = trained_on(act, tmp_path)
    shutil.rmtree(tmp_path / "dataset")
    assert check_unseen([parse_policy("hold"), gone, parse_policy(f"other={act}")], range(9)) == [
        "mine",
        "other",
    ]


@pytest.mark.parametrize("line", ["{", "{}", "[1]", '{"seed": null}', '{"seed": "x"}'])
def test_a_list_of_scenes_that_is_damaged_is_refused(act: Path, tmp_path: Path, line: str):
    with pytest.raises(ConfigError, match="line 1: the scenes that mine was trained on cannot be read"):
        check_unseen([trained_on(act, tmp_path, line)], range(9))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"dataset": null}', '{"dataset": {"root": null}}'])
def test_a_checkpoint_whose_training_left_nothing_legible_is_played_all_the_same(
    act: Path, tmp_path: Path, content: str
):
    checkpoint = Path(shutil.copytree(act, tmp_path / "it"))
    (checkpoint / "train_config.json").write_text(content)
    assert training_seeds(parse_policy(f"a={checkpoint}")) is None


# What is hidden


@pytest.fixture(scope="module")
def policy(act: Path) -> ActPolicy:
    return ActPolicy.load(act)


def look(policy: ActPolicy, seed: int) -> tuple[NDArray[np.float64], Mapping[str, NDArray[np.uint8]]]:
    rng = np.random.default_rng(seed)
    pictures = {name: rng.integers(0, 256, (*size, 3), np.uint8) for name, size in policy.cameras.items()}
    return rng.normal(0, 40, 6), pictures


@pytest.mark.parametrize("without", [(), ("state",), ("images",), ("state", "images")])
def test_a_control_answers_to_nothing_that_is_hidden_and_to_all_else(
    policy: ActPolicy, without: tuple[str, ...]
):
    predict = hiding(policy, without)
    (state, images), (other_state, other_images) = look(policy, 1), look(policy, 2)
    actions = predict(state, images).actions
    assert np.array_equal(actions, predict(other_state, images).actions) == ("state" in without)
    assert np.array_equal(actions, predict(state, other_images).actions) == ("images" in without)


def test_what_is_hidden_is_the_mean_that_normalisation_turns_into_nothing(policy: ActPolicy):
    state, images = look(policy, 1)
    grey = {name: np.full((24, 24, 3), GREY, np.uint8) for name in ("front", "wrist")}
    blind, deaf = hiding(policy, ["images"]), hiding(policy, ["state"])
    np.testing.assert_array_equal(blind(state, images).actions, policy.predict(state, grey).actions)
    np.testing.assert_array_equal(deaf(state, images).actions, policy.predict(MEANS, images).actions)


def test_cameras_that_training_renamed_are_hidden_too(act: Path, tmp_path: Path):
    checkpoint = Path(shutil.copytree(act, tmp_path / "it"))
    steps = json.loads((checkpoint / "policy_preprocessor.json").read_text())
    rename = next(step for step in steps["steps"] if "rename_map" in step.get("config", {}))
    for name, old in (("front", "wrist"), ("wrist", "front")):  # exchanged, so that the scene still has both
        rename["config"]["rename_map"][f"observation.images.{old}"] = f"observation.images.{name}"
    (checkpoint / "policy_preprocessor.json").write_text(json.dumps(steps))
    config = json.loads((checkpoint / "config.json").read_text())
    renamed = ActPolicy.load(checkpoint)
    assert list(config["input_features"])[1:] == ["observation.images.front", "observation.images.wrist"]
    assert list(renamed.cameras) == ["wrist", "front"]
    state, images = look(renamed, 1)
    grey = {name: np.full((24, 24, 3), GREY, np.uint8) for name in images}
    blind = hiding(renamed, ["images"])(state, images).actions
    np.testing.assert_array_equal(blind, renamed.predict(state, grey).actions)


def test_what_has_no_mean_cannot_be_hidden(policy: ActPolicy):
    with pytest.raises(ConfigError, match=r"has no mean of observation\.mood, so it cannot be hidden"):
        mean_of(policy, "observation.mood", 6)


# What drives


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage("palletize-1", MockConfig(width=24, height=24, realtime_factor=0.0)) as stage:
        yield stage


def nothing() -> Observation:
    """What nobody looks at."""
    return Observation(0.0, np.zeros(6), {})


def test_hold_asks_for_the_start_for_ever(stage: Stage):
    reset = draw("palletize-1", seed=3)
    stage.lay_out(reset)
    hold = load(parse_policy("hold"))(stage, reset)
    asked: Any = [hold.next(i, i / 30, nothing).action for i in range(4)]
    assert stage.robot.guard is not None
    np.testing.assert_array_equal(asked, [stage.robot.guard.last_command] * 4)


def test_a_recording_is_repeated_row_by_row_and_then_done(stage: Stage, tmp_path: Path):
    rows = np.arange(18.0).reshape(3, 6)
    play = load(parse_policy(f"a={recording(tmp_path, rows)}"))
    for _ in range(2):  # each attempt begins at the first row
        driver = play(stage, draw("palletize-1", seed=3))
        assert isinstance(driver, Scripted)
        asked: Any = [driver.next(i, i / 30, nothing).action for i in range(3)]
        np.testing.assert_array_equal(asked, rows)
        assert not driver.finished
        np.testing.assert_array_equal(driver.next(3, 0.1, nothing).action, rows[-1])  # it stays
        assert driver.finished


def test_an_evaluations_engine_is_verified_before_the_first_episode(act: Path):
    loaded = load(parse_policy(f"mine={act}"), engine="torch")
    assert isinstance(loaded, Acting)
    assert loaded.policy.engine_name == "torch"
    assert loaded.policy.engine is not None
    assert loaded.policy.engine.verification is not None


def test_a_policy_that_no_engine_can_run_is_played_by_lerobots_own_forward(
    act: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def unknown(model: object) -> None:
        raise EngineError("a model of another kind")

    monkeypatch.setattr(engine, "check_model", unknown)
    loaded = load(parse_policy(f"mine={act}"), engine="torch")
    assert isinstance(loaded, Acting)
    assert loaded.policy.engine_name == "plain"
    assert "is played by LeRobot's own forward: a model of another kind" in caplog.text


def test_weights_that_changed_since_the_run_was_begun_are_refused(act: Path):
    spec = dataclasses.replace(parse_policy(f"mine={act}"), sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"mine: the weights in .* are others than when the run was begun"):
        load(spec)


def test_a_checkpoint_is_played_at_its_own_rate_and_as_asked(act: Path):
    spec = parse_policy(f"mine={act}")
    by_itself, asked = load(spec), load(spec, 0.2, "synchronous")
    assert isinstance(by_itself, Acting)
    assert isinstance(asked, Acting)
    assert (by_itself.playing.fps, by_itself.playing.mode) == (10.0, "asynchronous")
    assert (by_itself.playing.n_action_steps, asked.playing.latency_s) == (8, 0.2)
    assert asked.playing.mode == "synchronous"
