"""Records as one line of JSON each, and back."""

import json
from dataclasses import asdict
from typing import Any

import draccus

from so101_eval.errors import EvalError, RecordError


def to_json(record: Any) -> str:
    """A dataclass as one line; floats to the last bit. Raises `ValueError` for numbers that JSON has not."""
    return json.dumps(asdict(record), allow_nan=False)


def from_json[T](kind: type[T], text: str, what: str) -> T:
    """A dataclass `kind` back from `to_json`. Raises `RecordError` that calls it `what`."""
    try:
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise TypeError(f"{text[:60]!r} has no fields")
        return draccus.decode(kind, fields)
    except (json.JSONDecodeError, draccus.ParsingError, TypeError, ValueError, AttributeError) as error:
        # draccus takes a dictionary for granted where a dataclass is nested: AttributeError
        cause = error.__cause__
        raise RecordError(
            f"this is not {what}: {cause if isinstance(cause, EvalError) else error}"
        ) from error
