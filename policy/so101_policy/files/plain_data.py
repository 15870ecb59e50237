"""What a JSON or YAML file from a stranger can hold, and its bounded readers.

Python's JSON parser takes `NaN` and `1e999`, and ends in a `RecursionError` where brackets are nested a thousand deep.
YAML has one more trap: a page of aliases that each repeat the one before stands for gigabytes. All of it is refused
here before anything is built from the text, as a ValueError in one line; whoever reads the file adds its name.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from so101_policy.errors import printable

type Plain = bool | int | float | str | Sequence["Plain"] | Mapping[str, "Plain"] | None
"""Unchecked content of a file, or what shall be written into one."""

MOST_BYTES = 4_000_000
"""A thousand times what LeRobot's longest file of settings has."""
MOST_DEPTH = 32
"""LeRobot's own settings go 6 deep, the limits of a rig 3."""
MOST_YAML = 500_000
"""Characters. PyYAML reads a hundred thousand a second; the limits of a rig are two thousand."""
MOST_NODES = 20_000
"""Values in a YAML file, each alias counted with all that it repeats."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def read_text(path: Path) -> str:
    """The text of a file of settings.

    Raises:
        ValueError: it is too large, no file, or no UTF-8. OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a file")  # a pipe would be waited for without end
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"it is too large: {size} bytes, expected at most {MOST_BYTES}")
    return path.read_text(encoding="utf-8")


def parse_json(text: str) -> Any:
    """Raises ValueError for what is no JSON, is nested too deep, or has NaN or infinity in it."""
    _require_depth(depth_of(text))
    return json.loads(text, parse_float=_finite, parse_constant=_refuse)


def parse_yaml(text: str, finite: bool = True) -> Any:
    """Plain data: no object of Python's is ever built.

    Args:
        text: of the file.
        finite: whether NaN and infinity are refused here; False for a caller that checks every number itself.

    Raises:
        ValueError: it is no YAML, is nested too deep, repeats itself too often by aliases, or has a value in it that
            JSON could not hold, with the place of that value.
    """
    if len(text) > MOST_YAML:
        raise ValueError(f"it is too large: {len(text)} characters, expected at most {MOST_YAML}")
    try:
        _require_bounded(yaml.parse(text, Loader=yaml.SafeLoader))
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {_yaml_words(error)}") from error
    except (TypeError, AttributeError, OverflowError, LookupError) as error:  # a tag does not fit its value
        raise ValueError(f"it is not YAML: {type(error).__name__}: {error}") from error
    _require_plain(data, finite)
    return data


def depth_of(text: str) -> int:
    """How deep brackets of JSON are nested, those in strings not counted."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


class _Open:
    """A list or table of a YAML text that has begun."""

    def __init__(self, anchor: str | None) -> None:
        self.anchor, self.nodes, self.height = anchor, 1, 0
        """All values in it, aliases written out, and how deep they are nested."""

    def take(self, nodes: int, height: int) -> None:
        self.nodes += nodes
        self.height = max(self.height, height)


def _require_bounded(events: Iterator[yaml.Event]) -> None:
    """Stops at the first event that is too deep or one too many, so a hostile text costs no more than a long one."""
    anchors: dict[str, tuple[int, int]] = {}
    opened: list[_Open] = [_Open(None)]
    for event in events:
        if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            opened.append(_Open(event.anchor))
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            ended = opened.pop()
            if ended.anchor is not None:
                anchors[ended.anchor] = ended.nodes, ended.height + 1
            opened[-1].take(ended.nodes, ended.height + 1)
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                anchors[event.anchor] = 1, 0
            opened[-1].take(1, 0)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise ValueError(f"alias *{event.anchor} repeats something that has not ended before it")
            opened[-1].take(*anchors[event.anchor])
        _require_depth(len(opened) - 1 + opened[-1].height)
        nodes = sum(part.nodes for part in opened)
        if nodes > MOST_NODES:
            raise ValueError(f"it has more than {MOST_NODES} values, aliases written out")


def _require_plain(data: Any, finite: bool) -> None:
    """No dates, sets or bytes; a part that is repeated by an alias is looked at once."""
    seen: set[int] = set()
    waiting = [("", data)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict | list):
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, dict):
                waiting += [(place, key) for key in value]
            items = value.items() if isinstance(value, dict) else enumerate(value, start=1)
            waiting += [(f"{place}.{key}" if place else str(key), item) for key, item in items]
        elif not (value is None or isinstance(value, bool | int | float | str)):
            what = f"{str(value)[:40]!r} is a {type(value).__name__}"
            raise ValueError(f"{printable(place[:100])}: {what}, not a number, text, list or table")
        elif finite and isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{printable(place[:100])}: {value} is not a finite number")


def _require_depth(depth: int) -> None:
    if depth > MOST_DEPTH:
        raise ValueError(f"nested {depth} deep, expected at most {MOST_DEPTH}")


def _yaml_words(error: yaml.YAMLError) -> str:
    """PyYAML's reason and place in one line, without its picture of the text."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem is not None:
        mark = error.problem_mark or error.context_mark
        return error.problem + (f" (line {mark.line + 1}, column {mark.column + 1})" if mark else "")
    return " ".join(str(error).split())[:300]


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        _refuse(text)
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")
