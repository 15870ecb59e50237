"""What a policy server answers is read, and runs nothing."""

import os
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.async_inference.helpers import TimedAction

from so101_policy.inference.server import answer
from so101_policy.inference.server.address import ServerError, check_reach, read_address
from so101_policy.inference.server.answer import AnswerError, read_answer


def chunk(first: int = 7, count: int = 5, size: int = 6, dtype: torch.dtype = torch.float32) -> list[Any]:
    numbers = torch.arange(count * size, dtype=dtype).reshape(count, size)
    return [TimedAction(1.5 + i, first + i, row) for i, row in enumerate(numbers)]


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_numbers_are_those_that_lerobot_would_read(protocol: int, dtype: torch.dtype):
    for chunk_of in (chunk(dtype=dtype), [TimedAction(0.0, 3, torch.full((6,), torch.nan, dtype=dtype))]):
        read = read_answer(pickle.dumps(chunk_of, protocol), 6)
        assert read.first == chunk_of[0].timestep
        assert read.actions.dtype == np.float32
        np.testing.assert_array_equal(read.actions, np.stack([each.action.numpy() for each in chunk_of]))


class Runs:
    """Pickles as a call of `call` with `arguments`."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


class Sets:
    """Pickles as what sets attributes of something that may be named."""

    def __init__(self, what: Any, **fields: Any) -> None:
        self.what, self.fields = what, fields

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.what, "x"), (None, self.fields)


def hostile() -> dict[str, bytes]:
    """Answers of somebody who means harm."""
    inner = pickle.dumps(Runs(os.mkdir, "harm"))
    action = TimedAction(0.0, 1, torch.zeros(6))
    action.action = Runs(torch.storage._load_from_bytes, inner)  # pyright: ignore[reportPrivateUsage]
    set_slots = b"clerobot.async_inference.helpers\nTimedAction\n(N}X\x0b\x00\x00\x00__setstate__I1\nstb."
    set_named = b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x08\x00\x00\x00__call__I1\nstb."
    return {
        "a call": pickle.dumps(Runs(os.mkdir, "harm")),
        "a call in a list": pickle.dumps([*chunk(), Runs(os.mkdir, "harm")]),
        "a call in a field": pickle.dumps([TimedAction(0.0, 1, Runs(os.mkdir, "harm"))]),  # pyright: ignore[reportArgumentType]
        "a call in a tensor's bytes": pickle.dumps([action]),
        "eval": b'cbuiltins\neval\n(S\'open("harm", "w")\'\ntR.',
        "an old class": b"(S'harm'\nios\nmkdir\n.",
        "a class that is changed": set_slots,
        "a function that is changed": set_named,
        "much memory": b"\x80\x02]r\xff\xff\xff\x7f.",
        "much memory in a tensor": pickle.dumps(
            Runs(torch.storage._load_from_bytes, b"\x80\x02]r\xff\xff\xff\x7f.")
        ),  # pyright: ignore[reportPrivateUsage]
        "an extension": b"\x80\x02\x82\x01.",
    }


def wrong() -> dict[str, bytes]:
    """Answers that are none."""
    reordered, other = chunk(), chunk()
    reordered[2].timestep = 99
    other[1].action = other[1].action[:3]
    good = pickle.dumps(chunk())
    return {
        "nothing": b"",
        "no pickle": b"HTTP/1.1 200 OK\r\n\r\n",
        "cut off": good[: len(good) // 2],
        "a number": pickle.dumps(3),
        "no actions": pickle.dumps([]),
        "numbers": pickle.dumps([1, 2]),
        "five joints": pickle.dumps(chunk(size=5)),
        "a joint too few in one": pickle.dumps(other),
        "another order": pickle.dumps(reordered),
        "whole numbers": pickle.dumps([TimedAction(0.0, 1, torch.zeros(6, dtype=torch.int64))]),
        "a matrix": pickle.dumps([TimedAction(0.0, 1, torch.zeros(6, 6))]),
        "apart": pickle.dumps([TimedAction(0.0, 1, torch.zeros(12)[::2])]),
        "no tensor": pickle.dumps([TimedAction(0.0, 1, OrderedDict())]),  # pyright: ignore[reportArgumentType]
        "too long": b"\x00" * (answer.MOST_BYTES + 1),
    }


@pytest.mark.parametrize(("what", "data"), [*hostile().items(), *wrong().items()])
def test_what_is_no_list_of_actions_is_refused_and_does_nothing(
    what: str, data: bytes, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AnswerError, match="more memory" if what.startswith("much memory") else "."):
        read_answer(data, 6)
    assert list(tmp_path.iterdir()) == []
    assert read_answer(pickle.dumps(chunk()), 6).first == 7, "and nothing of it stays"


def test_a_view_out_of_its_storage_is_refused():
    """As bytes, because torch does not make one."""
    good = pickle.dumps(chunk(count=1))
    moved = good.replace(b"K\x00K\x06\x85", b"K\x03K\x06\x85")
    assert moved != good
    with pytest.raises(AnswerError, match="no row of numbers"):
        read_answer(moved, 6)


def test_an_address_says_whether_it_is_this_machine():
    for text in ("localhost:8080", "127.0.0.1:1", "[::1]:65535"):
        assert read_address(text).loopback
    for text in ("192.168.1.7:8080", "localhost.example:8080", "gpu:8080", "0.0.0.0:8080"):
        address = read_address(text)
        assert not address.loopback
        check_reach(address, elsewhere=True)
        with pytest.raises(ServerError, match="Open a tunnel"):
            check_reach(address, elsewhere=False)
    for text in (
        "",
        "localhost",
        ":8080",
        "localhost:",
        "localhost:0",
        "localhost:70000",
        "a/b:80",
        "::1:80",
    ):
        with pytest.raises(ServerError, match="expected host:port"):
            read_address(text)
