"""JSON from strangers: an object of bounded size and depth whose numbers are numbers.

Python's parser takes `NaN` and `1e999`, and ends in a `RecursionError` where brackets are nested a thousand deep. Both
are refused here, with the name of the file.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn, cast

from so101_policy.errors import CheckpointError, first_line

MOST_BYTES = 4_000_000
"""A thousand times what LeRobot's longest file of settings has."""
MOST_DEPTH = 32
"""LeRobot's own go 6 deep."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        CheckpointError: it cannot be read, is no object, is too large or nested too deep, or has a number in it that is
            NaN or infinite.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise CheckpointError(f"{path} is too large: {size} bytes, expected at most {MOST_BYTES}")
        data = parse_json(path.read_text(encoding="utf-8"))
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or cut short: {first_line(error)}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: it holds a {type(data).__name__}, not an object")
    return cast(dict[str, Any], data)


def parse_json(text: str) -> Any:
    """Raises ValueError for what is no JSON, is nested too deep, or has NaN or infinity in it."""
    if (depth := depth_of(text)) > MOST_DEPTH:
        raise ValueError(f"nested {depth} deep, expected at most {MOST_DEPTH}")
    return json.loads(text, parse_float=_finite, parse_constant=_refuse)


def depth_of(text: str) -> int:
    """How deep brackets are nested, those in strings not counted."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        _refuse(text)
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")
