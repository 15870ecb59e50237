"""The recipe of docs/first_steps.md, which made the policies of the package, run as it is written at a small size."""

import re
import shlex
from pathlib import Path

import pytest

from experiments.levers.levers import LEVERS, demonstration_flags, training_flags
from short_attempts import hurry
from so101_eval.cli import DEMOS, EVAL
from so101_policy.cli import RELIANCE, TRAIN

PAGE = Path(__file__).parents[2] / "docs" / "first_steps.md"
COMMANDS = {"so101-demos": DEMOS, "so101-train": TRAIN, "so101-reliance": RELIANCE, "so101-eval": EVAL}
SMALL = {
    "so101-demos": {"episodes": "2"},
    "so101-train": {"steps": "2", "batch_size": "2"},
    "so101-reliance": {"episodes": "all"},
    "so101-eval": {"episodes": "1"},
}
"""What is made smaller, by command."""


def recipe() -> list[list[str]]:
    """The commands under "Train, and compare two policies", as words."""
    section = PAGE.read_text().partition("## Train, and compare two policies")[2]
    block = section.partition("```console")[2].partition("```")[0]
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line.strip().removeprefix("$ "), comments=True) for line in lines if line.strip()]


def flags(words: list[str]) -> dict[str, str]:
    """Flag -> value of `--flag value` and `--flag=value`."""
    joined = re.sub(r"(--\S+?)(?:=| )(?!-)", r"\1=", " ".join(words))
    return dict(re.findall(r"--([\w.]+)=(\S+)", joined))


def test_it_is_the_one_that_made_the_policies_of_the_package(tmp_path: Path) -> None:
    made = {"outputs/plain": "plain", "outputs/recovery": "recovery"}
    demos = [flags(words) for words in recipe() if words[0] == "so101-demos"]
    for asked in demos:
        folder = asked.pop("output_dir")
        asked_then = flags(demonstration_flags(made[folder], tmp_path))
        del asked_then["output_dir"]
        assert asked == asked_then
    assert len(demos) == len(made)
    trainings = [flags(words) for words in recipe() if words[0] == "so101-train"]
    for asked in trainings:
        lever = {"outputs/train/stock": "stock", "outputs/train/recommended": "recovery"}[asked["output_dir"]]
        then = flags(training_flags(LEVERS[lever], 11, Path("outputs") / LEVERS[lever].data, tmp_path))
        assert asked.items() - then.items() == {("output_dir", asked["output_dir"])}
        assert set(then) - set(asked) == {"trackers", "save_freq", "eval_steps"}, "these change no weight"
    assert len(trainings) == 2


def test_it_runs_at_a_small_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command, *words in recipe():
        text = " ".join(words)
        if command == "so101-eval":
            hurry(monkeypatch, "palletize-1-small")
        for flag, value in ({} if words[0] == "report" else SMALL[command]).items():
            text, count = re.subn(rf"--{flag}[= ]\S+", f"--{flag}={value}", text)
            assert count == 1, f"{command} has no --{flag}"
        alone = (
            ["--num_workers=1"] if "--episodes" in text and command in ("so101-demos", "so101-eval") else []
        )
        assert COMMANDS[command].main([*text.split(), *alone]) == 0, f"{command} {text}"
    assert list((tmp_path / "outputs" / "eval" / "first").rglob("*.html"))
