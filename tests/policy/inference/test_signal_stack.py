"""Ctrl-C after an engine was loaded: handled, whatever the engine has done to the thread's signal stack."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import Make, engine_graph
from so101_policy.inference.signal_stack import (
    DISABLED,
    SignalStack,
    kept_signal_stack,
    set_signal_stack,
    signal_stack,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there are no such stacks elsewhere")

KEPT: list[ctypes.Array[ctypes.c_char]] = []
"""Memory that a thread's signal stack is made of must not go before the stack does."""


def another() -> SignalStack:
    KEPT.append(ctypes.create_string_buffer(1 << 18))
    return SignalStack(ctypes.addressof(KEPT[-1]), 0, len(KEPT[-1]))


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = signal_stack()
    yield
    set_signal_stack(before)


@pytest.mark.parametrize("has_one", [False, True])
def test_what_somebody_else_sets_is_taken_back(has_one: bool):
    set_signal_stack(another() if has_one else SignalStack(None, DISABLED, 0))
    before = signal_stack()
    with kept_signal_stack():
        set_signal_stack(another())
        assert signal_stack().address not in (None, before.address)
    after = signal_stack()
    assert (after.address, after.flags, after.size) == (before.address, before.flags, before.size)


def test_a_thread_that_loads_openvino_keeps_its_own_stack(make_policy: Make, tmp_path: Path):
    """It had none. (Where the processor has no AMX, or this process has loaded OpenVINO before, nobody sets one.)"""
    backend = pytest.importorskip("so101_policy.inference.openvino").OpenVinoBackend
    set_signal_stack(SignalStack(None, DISABLED, 0))
    compiled = backend(engine_graph(make_policy(cameras=1)), folder=tmp_path)
    assert signal_stack().flags & DISABLED
    del compiled
    assert signal_stack().flags & DISABLED
