"""The weights' file: its tensors by name, kind and size, compared with the model before one byte of them is loaded."""

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from so101_policy.checkpoint.folder import CONFIG
from so101_policy.errors import CheckpointError, first_line, printable

FLOATS = ("F64", "F32", "F16", "BF16")
MOST_NAMED = 4


class Tensor(NamedTuple):
    """What a file says of a tensor, or a model expects of it."""

    shape: tuple[int, ...]
    is_float: bool


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> shape and kind, from the file's header; its size is compared with the header.

    Raises:
        CheckpointError: it is no whole safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            content: Any = file
            slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118  it is no mapping
            return {n: Tensor(tuple(s.get_shape()), s.get_dtype() in FLOATS) for n, s in slices.items()}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged or cut short ({path.stat().st_size} bytes): {printable(first_line(error))}"
        ) from error


def system_error(problem: SafetensorError, path: Path) -> OSError:
    """What the system said when safetensors could not write a file: it passes on the number in its text only."""
    number = re.search(r"(?:os error|code:) (\d+)", str(problem))
    code = int(number[1]) if number else errno.EIO
    return OSError(code, os.strerror(code) if number else first_line(problem), str(path))


def check_tensors(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError, in one message, for tensors that are missing, unknown, or of another size or kind."""
    both = [name for name in expected if name in found]
    objections = {
        "missing": [name for name in expected if name not in found],
        "unknown": [printable(name) for name in found if name not in expected],
        "of another size": [
            f"{name} (found {list(found[name].shape)}, expected {list(expected[name].shape)})"
            for name in both
            if found[name].shape != expected[name].shape
        ],
        "of another kind": [name for name in both if found[name].is_float != expected[name].is_float],
    }
    if texts := list(_told(objections)):
        raise CheckpointError(f"{path} does not fit the {CONFIG} beside it: {'; '.join(texts)}")


def _told(objections: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for what, names in objections.items():
        if names:
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            yield f"{what}: {', '.join(names[:MOST_NAMED])}{more}"
