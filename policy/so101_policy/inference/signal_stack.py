"""The stack on which a thread's signals are handled, kept as it was.

Where a processor has AMX, OpenVINO's plugin for processors gives the thread that loads it an alternate signal stack
(sigaltstack(2)) of the smallest size there is, and frees its memory with the model. Python's handlers run on such a
stack, so the next Ctrl-C ends the whole program with a segmentation fault. Without one, signals are handled on the
thread's own stack, which is large enough.
"""

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


DISABLED = 2
"""SS_DISABLE: there is no alternate stack."""


def signal_stack() -> SignalStack:
    """The calling thread's; `flags` are `DISABLED` where there is none. Linux only."""
    found = SignalStack()
    _sigaltstack(None, found)
    return found


def set_signal_stack(stack: SignalStack) -> None:
    """Of the calling thread. Linux only. Raises OSError where it is too small."""
    if _sigaltstack(stack, None) != 0:
        raise OSError(ctypes.get_errno(), "sigaltstack")


@contextmanager
def kept_signal_stack() -> Generator[None]:
    """What is called inside may give the thread another signal stack: afterwards it has its own again."""
    if sys.platform != "linux":
        yield
        return
    before = signal_stack()
    try:
        yield
    finally:
        set_signal_stack(before)


def _sigaltstack(new: SignalStack | None, old: SignalStack | None) -> int:
    pointers = (None if stack is None else ctypes.byref(stack) for stack in (new, old))
    return ctypes.CDLL(None, use_errno=True).sigaltstack(*pointers)
