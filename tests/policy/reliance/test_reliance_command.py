"""so101-reliance from the command line: a table, a file and a picture, or one message."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE

from any_policies import untrained_of
from so101_policy.cli import RELIANCE
from so101_policy.names import SO101_JOINTS
from so101_policy.reliance.command import named_paths, parser
from so101_policy.reliance.frames import chosen_episodes, pick_frames
from so101_policy.reliance.intervals import Estimate
from so101_policy.reliance.probed_policy import default_name
from so101_policy.reliance.report import RELIANCE_ROWS, sentences
from so101_policy.train.data import split

NAMES = [f"{joint}.pos" for joint in SO101_JOINTS]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of 24 frames in which the jaws close and open; one camera, as pictures."""
    root, rng = tmp_path_factory.mktemp("data") / "picks", np.random.default_rng(0)
    features = {
        OBS_STATE: {"dtype": "float32", "shape": (6,), "names": NAMES},
        ACTION: {"dtype": "float32", "shape": (6,), "names": NAMES},
        "observation.images.front": {
            "dtype": "image",
            "shape": (32, 32, 3),
            "names": ["height", "width", "channels"],
        },
    }
    dataset = LeRobotDataset.create("picks", 10, features, root=root, use_videos=False)
    for _ in range(4):
        arm = np.cumsum(rng.normal(4, 3, (24, 5)), axis=0)
        jaws = np.r_[np.full(8, 60.0), np.full(8, 10.0), np.full(8, 60.0)]
        for joints in np.c_[arm, jaws].astype(np.float32):
            picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            dataset.add_frame(
                {OBS_STATE: joints, ACTION: joints + 1, "observation.images.front": picture, "task": "pick"}
            )
        dataset.save_episode()
    dataset.finalize()
    return root


def checkpoint(folder: Path, camera: str = "front", joints: int = 6, blind: bool = False) -> Path:
    """A tiny random ACT; a blind one has no weights from its cameras."""
    torch.manual_seed(0)
    config = ACTConfig(
        input_features={
            OBS_STATE: PolicyFeature(FeatureType.STATE, (joints,)),
            f"observation.images.{camera}": PolicyFeature(FeatureType.VISUAL, (3, 32, 32)),
        },
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (joints,))},
        chunk_size=6, n_action_steps=4, dim_model=16, n_heads=2, dim_feedforward=16, n_encoder_layers=1,
        use_vae=False, pretrained_backbone_weights=None, device="cpu",
    )  # fmt: skip
    policy = ACTPolicy(config)
    if blind:
        torch.nn.init.zeros_(policy.model.encoder_img_feat_input_proj.weight)
    policy.save_pretrained(folder)
    features = {**config.input_features, **config.output_features}
    shapes = {
        name: (3, 1, 1) if feature.type is FeatureType.VISUAL else feature.shape
        for name, feature in features.items()
    }
    statistics = {
        name: {"mean": torch.zeros(shape), "std": torch.ones(shape)} for name, shape in shapes.items()
    }
    for processor in make_act_pre_post_processors(config, statistics):
        processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sighted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("sighted"))


def test_policies_are_compared_and_a_blind_one_is_found_out_whatever_its_attention(
    recordings: Path, sighted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    blind = checkpoint(tmp_path / "blind", blind=True)
    policies = ["--policy.path", f"sighted={sighted}", "--policy.path", f"blind={blind}"]
    assert (
        RELIANCE.main(
            [
                *policies,
                "--dataset.root",
                str(recordings),
                "--frames",
                "16",
                "--output_dir",
                str(tmp_path / "o"),
            ]
        )
        == 0
    )
    report = json.loads((tmp_path / "o" / "reliance.json").read_text())
    first, second = report["policies"]
    assert second["reliance"]["any"]["executed"]["value"] == 1.0
    assert second["cue_conflict"]["executed"]["value"] == pytest.approx(0.0, abs=1e-5)
    assert second["attention"]["shares"]["vision"] > 0.1
    assert 0 < first["reliance"]["any"]["executed"]["value"] < 1
    assert "diagnostic" in first["attention"]["note"]
    assert report["study"]["frames"] == 16
    assert set(report["study"]["phases"]) >= {"approach", "return"}
    assert (tmp_path / "o" / "reliance.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "o").glob("*.part"))
    printed = capsys.readouterr().out
    assert "sighted" in printed
    assert "1.00 [1.00, 1.00]" in printed


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert RELIANCE.main([*arguments, "--no_picture"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    return printed.err


@pytest.mark.parametrize(
    ("episodes", "says"),
    [
        ("0:1", "expected 2 or more"),
        ("0:9", "no episode 4"),
        ("some", "possible: all"),
        ("1", "expected 2 or more"),
    ],
)
def test_episodes_that_are_not_there_are_one_message(
    recordings: Path, sighted: Path, capsys: pytest.CaptureFixture[str], episodes: str, says: str
):
    flags = ["--policy.path", str(sighted), "--dataset.root", str(recordings), "--episodes", episodes]
    assert says in complaint(flags, capsys)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("all", list(range(30))),
        ("held-out:0.1", [18, 19, 29]),
        ("last:3", [27, 28, 29]),
        ("5:8", [5, 6, 7]),
        ("8,3", [3, 8]),
    ],
)
def test_episodes_can_be_asked_for_in_five_ways(asked: str, chosen: list[int]):
    tasks = [["first"]] * 20 + [["second"]] * 10  # what so101-train holds out is the last of every task
    meta = SimpleNamespace(total_episodes=30, episodes={"tasks": tasks})
    assert chosen_episodes(asked, meta) == chosen
    if asked == "held-out:0.1":
        assert split(meta, None, 0.1)[1] == chosen


def test_misfits_are_one_message(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = ["--dataset.root", str(recordings)]
    top = checkpoint(tmp_path / "top", camera="top")
    said = complaint(["--policy.path", str(top), *data], capsys)
    assert "missing camera top" in said
    assert "the dataset has front" in said
    seven = checkpoint(tmp_path / "seven", joints=7)
    assert "another robot" in complaint(["--policy.path", str(seven), *data], capsys)


def test_what_is_not_there_is_one_message_and_nothing_is_made(
    recordings: Path, sighted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    missing = tmp_path / "missing"
    said = complaint(["--policy.path", str(missing), "--dataset.root", str(recordings)], capsys)
    assert "there is no checkpoint" in said
    assert "there is no dataset folder" in complaint(
        ["--policy.path", str(sighted), "--dataset.root", str(missing)], capsys
    )
    assert "no dataset is named" in complaint(["--policy.path", str(sighted)], capsys)
    assert not missing.exists()


def test_policies_are_named_by_their_run_or_as_asked():
    assert named_paths(["a=runs/x", "runs/y/checkpoints/last/pretrained_model"]) == {
        "a": "runs/x",
        "y": "runs/y/checkpoints/last/pretrained_model",
    }
    assert default_name("runs/y/checkpoints/000500/pretrained_model", ["y"]) == "y (2)"


def test_help_has_examples():
    assert "Examples:" in parser().format_help()


def test_frames_are_spread_over_episodes_and_over_their_length():
    episode = np.repeat([3, 5, 9], [40, 100, 4])
    picked = pick_frames(episode, 30, np.random.default_rng(0))
    assert len(set(picked)) == len(picked) == 24  # the last episode has four
    for number, count in ((3, 10), (5, 10), (9, 4)):
        inside = picked[episode[picked] == number]
        assert len(inside) == count
        assert np.diff(np.sort(inside)).max() < 2 * np.sum(episode == number) / count


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (
            0.98,
            0.95,
            0.99,
            "stock follows its joint state, and looks little: reliance on its joints 0.98 [0.95, 0.99]",
        ),
        (0.15, 0.08, 0.28, "stock follows its cameras: "),
        (0.75, 0.6, 0.9, "stock uses both its joint state and its cameras: "),
        (0.98, None, None, "stock: reliance on its joints 0.98, without an interval: too few episodes"),
        (None, None, None, "stock: undefined"),
    ],
)
def test_the_answer_comes_first_in_a_sentence_that_its_interval_bears(
    value: float | None, low: float | None, high: float | None, said: str
):
    figure: Any = SimpleNamespace(estimate=lambda: Estimate(value, low, high, 10, 5))
    policy: Any = SimpleNamespace(name="stock", figures={RELIANCE_ROWS[0].path: figure})
    (line,) = sentences([policy])
    assert line.startswith(said)


def test_a_policy_without_attention_is_probed_all_the_same(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    vqbet = untrained_of("vqbet", tmp_path / "vqbet")
    out = tmp_path / "o"
    asked = ["--policy.path", f"vqbet={vqbet}", "--dataset.root", str(recordings), "--frames=8"]
    assert RELIANCE.main([*asked, f"--output_dir={out}"]) == 0
    report = json.loads((out / "reliance.json").read_text())["policies"][0]
    assert 0 <= report["reliance"]["any"]["executed"]["value"] <= 1
    assert "shares" not in report["attention"]
    assert "no shares of attention" in capsys.readouterr().out
