"""Data of a file as the record that it is meant to be: its types, or a message that names the place."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so101_policy.files.typed_data import typed


class Point(NamedTuple):
    x: float
    y: float = 0.0


@dataclasses.dataclass(frozen=True)
class Thing:
    name: str
    count: int
    share: float | None
    good: bool
    path: tuple[Point, ...] = ()
    size: tuple[int, int] = (1, 2)
    kind: Literal["a", "b"] = "a"
    notes: dict[str, str | None] = dataclasses.field(default_factory=dict[str, str | None])


RIGHT: Mapping[str, Any] = {
    "name": "é", "count": 3, "share": None, "good": True, "path": [{"x": 1}, [2.5, -1]], "size": [3, 4],
    "kind": "b",
    "notes": {"a": "b", "c": None},
}  # fmt: skip


def test_a_file_comes_back_as_its_record():
    expected = Thing("é", 3, None, True, (Point(1.0), Point(2.5, -1.0)), (3, 4), "b", {"a": "b", "c": None})
    found = typed(Thing, json.loads(json.dumps(RIGHT)))
    assert found == expected
    assert isinstance(found.path[0].x, float)
    assert typed(Thing, {key: RIGHT[key] for key in ("name", "count", "share", "good")}).size == (1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name is 3, expected a text"),
        ({"name": "x" * 10_001}, "name is 'xxx"),
        ({"count": 3.0}, "count is 3.0, expected a whole number"),
        ({"count": True}, "count is True"),
        ({"count": 10**40}, "count is 1000"),
        ({"count": "3"}, "count is '3'"),
        ({"share": "0.5"}, "share is '0.5', expected a number"),
        ({"share": True}, "share is True"),
        ({"share": 1e308}, r"share is 1e\+308, expected a number of at most 1e\+15"),
        ({"share": float("nan")}, "share is nan"),
        ({"good": 1}, "good is 1, expected true or false"),
        ({"path": {"x": 1}}, r"path is {'x': 1}, expected a list"),
        ({"path": [{"x": 1}, {"x": None}]}, r"path\[1\]\.x is None, expected a number"),
        ({"path": [{"y": 1}]}, r"path\[0\] has other fields than expected; missing: x"),
        ({"path": [{"x": 1, "\x1b[2J": 1}]}, r"unknown: '\\x1b\[2J'"),
        ({"path": [[1]]}, r"path\[0\] has 1 values, expected 2"),
        ({"size": [1, 2, 3]}, "size has 3 values, expected 2"),
        ({"notes": {"a": []}}, r"notes\.a is \[\]"),
        ({"kind": "c"}, "kind is 'c', expected one of a, b"),
        ({"kind": ["a"]}, r"kind is \['a'\], expected one of a, b"),
        ({"notes": []}, r"notes is \[\], expected names with values"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        typed(Thing, {**RIGHT, **change})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("data", [None, [], 3, "x", {}])
def test_what_is_no_record_at_all_is_refused(data: Any):
    with pytest.raises(ValueError, match="expected"):
        typed(Thing, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RIGHT, "x", "y"]), inner, max_size=8)
    ),
)


@given(data=JSON)
def test_whatever_a_file_holds_is_a_record_or_a_value_error(data: Any):
    try:
        typed(Thing, data)
    except ValueError:
        return
    assert isinstance(data, dict)
