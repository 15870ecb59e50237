"""Records as one line of JSON each, and back."""

import json
from dataclasses import Field, asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

from so101_eval.errors import RecordError
from so101_policy.files.plain_data import MOST_BYTES, parse_json
from so101_policy.files.typed_data import typed


class Dataclass(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def to_json(record: Dataclass) -> str:
    """A dataclass as one line; floats to the last bit. Raises `ValueError` for numbers that JSON has not."""
    return json.dumps(asdict(record), allow_nan=False)


def parse_line(text: str) -> Any:
    """What a line holds. Raises ValueError for what is no JSON, is too long or nested too deep, or has NaN in it."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"{len(text)} characters, expected at most {MOST_BYTES}")
    return parse_json(text)


def from_json[T](kind: type[T], text: str, what: str) -> T:
    """A dataclass `kind` back from `to_json`. Raises `RecordError` that calls it `what`."""
    try:
        return typed(kind, parse_line(text))
    except (ValueError, RecordError) as error:
        raise RecordError(f"this is not {what}: {error}") from error


def read_figures(path: Path) -> list[dict[str, float]]:
    """The numbers of each line of a `metrics.jsonl` of so101-train. A last line that is still being written does not
    count.

    Raises:
        RecordError: names the line that is damaged.
    """
    found, number = list[dict[str, float]](), 0
    try:
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            number += 1
            figures = typed(dict[str, Any], parse_line(line))
            found.append(
                {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
            )
    except (ValueError, OverflowError) as error:
        raise RecordError(f"{path}, line {number} is not what so101-train logs: {error}") from error
    return found
