"""so101-eval with a policy that is not an ACT."""

import json
from pathlib import Path

import pytest

from any_policies import KINDS, untrained_in, untrained_of
from short_attempts import hurry
from so101_eval.cli import EVAL
from so101_eval.evaluation.policy_specs import parse_policies
from so101_eval.evaluation.records import EPISODES
from so101_policy.checkpoint.types import TYPES
from so101_policy.inference.any_policy import TaskError


@pytest.fixture(scope="module")
def vqbet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_of("vqbet", tmp_path_factory.mktemp("vqbet"))


def test_a_policy_that_is_told_its_task_is_told_the_text_of_the_command(
    vqbet: Path, monkeypatch: pytest.MonkeyPatch
):
    (plain,) = parse_policies([f"mine={vqbet}"], task="lift")
    assert (plain.task, plain.fps, "task" in plain.identity) == ("", 30, False)
    monkeypatch.setitem(TYPES, "vqbet", TYPES["vqbet"]._replace(language=True))
    (told,) = parse_policies([f"mine={vqbet}"], task="lift")
    assert told.identity["task"] == told.task == "lift"
    with pytest.raises(TaskError, match="--task_text"):
        parse_policies([f"mine={vqbet}"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_goes_the_same_way_again_although_the_policy_draws_its_actions(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoint = untrained_in(tmp_path, kind)
    hurry(monkeypatch)

    def play(out: Path) -> list[tuple[str, str | None]]:
        asked = ["--task", "palletize-1", "--episodes", "2", "--num_workers", "1", "--output_dir", str(out)]
        assert EVAL.main(["run", "--policies", f"mine={checkpoint}", "--task_text=lift", *asked]) == 0
        records = [json.loads(line) for line in (out / EPISODES).read_text().splitlines()]
        assert all(each["inferences"] > 3 and each["shares"] is None for each in records)
        return [(each["state_hash"], each["exception"]) for each in records]

    first, second = play(tmp_path / "first"), play(tmp_path / "second")
    assert len({state for state, _ in first}) == 2
    assert {problem for _, problem in first} == {None}
    assert first == second
