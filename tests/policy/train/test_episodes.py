"""Episodes while it trains: the checkpoint that wins most is the best one, and nothing else depends on them."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from so101_policy.cli import TRAIN
from so101_policy.errors import TrainError
from so101_policy.train.checkpoints import read_progress
from so101_policy.train.settings.settings_file import OURS, read_settings
from so101_policy.train.validation import episodes

Flags = Callable[..., list[str]]
TASK = "--eval.task=palletize-1-small"


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`simulator({2: 1, 4: 3})`: episodes won by the checkpoints of these steps; gives a file of the words that it got.
    A step that is not there cannot be played."""
    program, told, won = tmp_path / "so101-eval", tmp_path / "told.jsonl", tmp_path / "won.json"
    program.write_text(
        "#!/usr/bin/env python3\n"
        "import json, pathlib, sys\n"
        f"open({str(told)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "flags = dict(w[2:].split('=', 1) for w in sys.argv if w.startswith('--') and '=' in w)\n"
        "policy = pathlib.Path(next(w for w in sys.argv if w.startswith('trained=')).split('=', 1)[1])\n"
        "assert (policy / 'config.json').is_file(), 'no checkpoint'\n"
        f"won = json.load(open({str(won)!r})).get(str(int(policy.parent.name)))\n"
        "if won is None: sys.exit('the renderer has fallen over')\n"
        "out = pathlib.Path(flags['output_dir']); out.mkdir(parents=True)\n"
        "lines = [json.dumps({'success': i < won}) for i in range(int(flags['episodes']))]\n"
        "(out / 'episodes.jsonl').write_text('\\n'.join(lines) + '\\n')\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(episodes, "_command", lambda: str(program))

    def make(wins: dict[int, int]) -> Path:
        won.write_text(json.dumps(wins))
        return told

    return make


def best(out: Path) -> str:
    return (out / "checkpoints" / "best").resolve().name


def test_the_best_checkpoint_is_the_one_that_wins_most_and_of_two_the_later(
    tmp_path: Path, train: Callable[..., Path], simulator: Callable[..., Path], metrics: Callable[..., Any]
):
    told = simulator({2: 1, 4: 3, 6: 2})
    out = train(tmp_path / "run", TASK, "--eval.n_episodes=4", "--save_freq=2", "--eval_steps=1")
    assert best(out) == "000004"
    words = [json.loads(line) for line in told.read_text().splitlines()]
    assert len(words) == 3
    assert words[0][0] == "run"
    assert {"--task=palletize-1-small", "--episodes=4", f"--first_seed={episodes.FIRST_SCENE}"} <= set(
        words[0]
    )
    won = [(line["step"], line["episodes_won"]) for line in metrics(out) if "episodes_won" in line]
    assert won == [(2, 1), (4, 3), (6, 2)]

    simulator({2: 3, 4: 3, 6: 0})
    assert best(train(tmp_path / "tie", TASK, "--save_freq=2")) == "000004"


def test_how_often_is_env_eval_freq_and_a_checkpoint_is_there_to_play(
    tmp_path: Path, train: Callable[..., Path], simulator: Callable[..., Path]
):
    told = simulator({3: 1, 6: 0})
    out = train(tmp_path / "run", TASK, "--env_eval_freq=3", "--save_freq=0")
    assert len(told.read_text().splitlines()) == 2
    assert best(out) == "000003"


def test_a_resumed_run_knows_what_was_won_before(
    tmp_path: Path, train: Callable[..., Path], flags: Flags, simulator: Callable[..., Path]
):
    simulator({2: 3, 4: 1, 6: 2})
    out = train(tmp_path / "run", TASK, "--steps=4", "--save_freq=2")
    last = out / "checkpoints" / "last"
    assert read_progress(out / "checkpoints" / "000002").best_successes == 3
    config = last / "pretrained_model" / "train_config.json"
    assert TRAIN.main([f"--config_path={config}", "--resume=true", "--steps=6"]) == 0
    assert best(out) == "000002"
    assert read_progress(out / "checkpoints" / "000006").best_successes == 3


def test_playing_changes_nothing_of_what_is_learned(
    tmp_path: Path, train: Callable[..., Path], simulator: Callable[..., Path], losses: Callable[..., Any]
):
    simulator({2: 1, 4: 1, 6: 1})
    played = [
        loss for loss in losses_of(train(tmp_path / "played", TASK, "--save_freq=2")) if loss is not None
    ]
    assert played == losses(train(tmp_path / "alone", "--save_freq=2"))


def losses_of(out: Path) -> list[float | None]:
    return [json.loads(line).get("loss") for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_episodes_that_cannot_be_played_are_told_and_the_training_goes_on(
    tmp_path: Path,
    train: Callable[..., Path],
    simulator: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
):
    simulator({4: 1, 6: 0})
    out = train(tmp_path / "run", TASK, "--save_freq=2")
    said = " ".join(capsys.readouterr().out.split())
    assert "the episodes of 000002 could not be played: the renderer has fallen over" in said
    assert f"best: step 4, 1 of {episodes.EPISODES} episodes" in said
    assert best(out) == "000004"


def test_a_command_that_is_not_there_ends_no_training(
    tmp_path: Path,
    train: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(episodes, "_command", lambda: str(tmp_path / "nowhere"))
    out = train(tmp_path / "run", TASK, "--steps=2")
    said = " ".join(capsys.readouterr().out.split())
    assert f"could not be played: {tmp_path / 'nowhere'}: No such file or directory. The training" in said
    assert (out / "checkpoints" / "last").exists()


def test_a_task_that_does_not_exist_is_refused_before_anything_is_written(
    tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]
):
    assert TRAIN.main(flags(tmp_path / "run", "--eval.task=palletize-99")) == 2
    assert "palletize-99: there is no such task; possible are palletize-1," in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert TRAIN.main(flags(tmp_path / "run", TASK, "--save_checkpoint=false")) == 2


def test_lerobots_file_has_no_task_and_ours_gives_it_back(
    tmp_path: Path, train: Callable[..., Path], simulator: Callable[..., Path]
):
    simulator({6: 1})
    out = train(tmp_path / "run", TASK, "--eval.n_episodes=7")
    folder = out / "checkpoints" / "last" / "pretrained_model"
    assert "task" not in json.loads((folder / "train_config.json").read_text())["eval"]
    assert json.loads((folder / OURS).read_text())["eval"] == {"task": "palletize-1-small"}
    settings = read_settings(folder / "train_config.json")["eval"]
    assert (settings["task"], settings["n_episodes"]) == ("palletize-1-small", 7)


def test_records_that_are_cut_short_are_named(tmp_path: Path):
    (tmp_path / "episodes.jsonl").write_text('{"success": true}\n{"succ')
    with pytest.raises(TrainError, match=r"the episodes in .* cannot be read"):
        episodes.read_successes(tmp_path)
