"""Which engine `auto` takes: the fastest of those that are right, measured once for a machine and a policy."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from torch import Tensor

from engines import Make, engine_graph, normalise
from so101_policy.command_line import extras
from so101_policy.inference import choice, engine
from so101_policy.inference.backend import TorchBackend
from so101_policy.inference.choice import fastest
from so101_policy.inference.engine import installed_engine, make_engine
from so101_policy.inference.graph import ActGraph, EngineError


class Timed(TorchBackend):
    """Torch, later or otherwise."""

    made = 0

    def __init__(self, graph: ActGraph, name: str, late_s: float = 0.0, off: float = 0.0):
        super().__init__(graph)
        self.name, self._late_s, self._off = name, late_s, off
        Timed.made += 1

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        time.sleep(self._late_s)
        actions_TA, *weights = super().__call__(inputs)
        return [actions_TA + self._off, *weights]


def failing(graph: ActGraph) -> TorchBackend:
    raise EngineError("no such thing")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "MEASURE_S", 0.05)


def test_the_fastest_is_taken_and_remembered(make_policy: Make, tmp_path: Path):
    graph = engine_graph(make_policy(cameras=1))
    candidates = {
        "slow": partial(Timed, graph, "slow", 0.05),
        "fast": partial(Timed, graph, "fast"),
    }
    Timed.made = 0
    found = fastest(graph, candidates, 1e-5, tmp_path)
    assert found is not None
    assert (found.name, Timed.made) == ("fast", 2)
    again = fastest(graph, candidates, 1e-5, tmp_path)
    assert again is not None
    assert (again.name, Timed.made) == ("fast", 3)  # the other one is not even made
    other = engine_graph(make_policy(cameras=2))
    candidates = {name: partial(Timed, other, name) for name in candidates}
    fastest(other, candidates, 1e-5, tmp_path)
    assert Timed.made == 5  # what holds for one policy is not said of another


def test_what_is_wrong_or_cannot_be_made_is_not_taken(
    make_policy: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    graph = engine_graph(make_policy(cameras=1))
    candidates = {
        "wrong": partial(Timed, graph, "wrong", 0.0, 1e-3),
        "missing": partial(failing, graph),
        "right": partial(Timed, graph, "right", 0.02),
    }
    with caplog.at_level(logging.WARNING):
        found = fastest(graph, candidates, 1e-5, tmp_path)
    assert found is not None
    assert found.name == "right"
    assert "engine wrong is not used: its actions differ by" in caplog.text
    assert "engine missing is not used: no such thing" in caplog.text
    assert fastest(graph, {"missing": partial(failing, graph)}, 1e-5, tmp_path) is None


@pytest.mark.parametrize("content", ["", "[1]", "no json", '{"a": {}}'])
def test_a_damaged_memory_is_measured_again(make_policy: Make, tmp_path: Path, content: str):
    graph = engine_graph(make_policy(cameras=1))
    (tmp_path / choice.REMEMBERED).write_text(content)
    candidates = {"a": partial(Timed, graph, "a"), "b": partial(Timed, graph, "b", 0.02)}
    found = fastest(graph, candidates, 1e-5, tmp_path)
    assert found is not None
    assert found.name == "a"


def test_auto_asks_for_the_fastest_and_an_evaluations_engine_depends_on_nothing_but_the_packages(
    make_policy: Make, monkeypatch: pytest.MonkeyPatch
):
    policy, asked = make_policy(cameras=1), list[list[str]]()

    def first(graph: ActGraph, candidates: dict[str, choice.Make], tolerance: float) -> TorchBackend:
        asked.append(list(candidates))
        return TorchBackend(graph)

    monkeypatch.setattr(engine, "fastest", first)
    made = make_engine("auto", policy, normalise)
    assert made is not None
    assert made.name == "torch"
    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    assert installed_engine() == "openvino"
    make_engine("auto", policy, normalise)
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "openvino" else object())
    assert installed_engine() == "onnx"
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert installed_engine() == "torch"
    make_engine("auto", policy, normalise)
    assert asked[1:] == [["openvino", "onnx", "torch"], ["torch"]]
