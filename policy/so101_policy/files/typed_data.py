"""Plain data from a file as the dataclass or NamedTuple that it is meant to be: every value of its type, or refused.

Nothing is made to fit: "3" is no number, 1 is no truth value. (3 is a float, as JSON writes it.) Numbers and texts are
bounded, so that nothing that is made of them later can overflow or flood a screen.
"""

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Union, cast, get_args, get_origin, get_type_hints

from so101_policy.errors import printable, shown
from so101_policy.files.plain_data import Plain

LARGEST = 1e15
"""Of a number, either way: 30 million years in seconds, and squares of it are finite."""
LARGEST_INT = 2**63
LONGEST = 10_000
"""Characters of a text."""
NAMES: Mapping[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def typed[T](kind: type[T], value: Plain, name: str = "") -> T:
    """`value` as `kind`: a dataclass, a NamedTuple, or a type that is made of them and of plain ones.

    Args:
        name: what the value is called in messages.

    Raises:
        ValueError: names the field by its path (`boxes[0].good`), what was found, and what is expected. What a
            dataclass raises about its own fields passes as it is.
    """
    return cast(T, _typed(kind, value, name))


def _typed(kind: Any, value: Plain, path: str) -> Any:
    if kind is Any:
        return value
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(parts, value, path)
    if kind in (types.NoneType, None):
        return _expect(value is None, value, path, "null")
    if origin is Literal:
        return _expect(value in parts, value, path, f"one of {', '.join(map(str, parts))}")
    if kind is bool:
        return _expect(isinstance(value, bool), value, path, NAMES[bool])
    if kind is int:
        right = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INT
        return _expect(right, value, path, NAMES[int])
    if kind is float:
        right = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
        return float(_expect(right, value, path, f"{NAMES[float]} of at most {LARGEST:g}"))
    if kind is str:
        return _expect(isinstance(value, str) and len(value) <= LONGEST, value, path, _TEXT)
    if origin in (dict, Mapping) or kind is dict:
        return _mapping(parts[1] if parts else Any, value, path)
    if origin in (list, Sequence):
        return [_typed(parts[0], item, f"{path}[{at}]") for at, item in enumerate(_list(value, path))]
    if origin is tuple:
        return _tuple(parts, value, path)
    return _record(kind, value, path)


_TEXT = f"a text of at most {LONGEST} characters"


def _expect(right: bool, value: Plain, path: str, expected: str) -> Any:
    if not right:
        raise ValueError(f"{path or 'it'} is {shown(value)}, expected {expected}")
    return value


def _one_of(kinds: Sequence[Any], value: Plain, path: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    if len(others) == 1:
        return _typed(others[0], value, path)
    for kind in others:
        try:
            return _typed(kind, value, path)
        except ValueError:
            continue
    return _expect(False, value, path, " or ".join(NAMES.get(kind, str(kind)) for kind in others))


def _mapping(kind: Any, value: Plain, path: str) -> dict[str, Any]:
    _expect(isinstance(value, Mapping), value, path, "names with values")
    data = cast(Mapping[str, Any], value)
    return {
        _typed(str, key, f"a name in {path}"): _typed(kind, of, _inside(path, key))
        for key, of in data.items()
    }


def _list(value: Plain, path: str) -> Sequence[Any]:
    return cast(Sequence[Any], _expect(isinstance(value, list | tuple), value, path, "a list"))


def _tuple(kinds: Sequence[Any], value: Plain, path: str) -> tuple[Any, ...]:
    items = _list(value, path)
    if kinds[-1] is ...:
        kinds = [kinds[0]] * len(items)
    if len(items) != len(kinds):
        raise ValueError(f"{path or 'it'} has {len(items)} values, expected {len(kinds)}")
    return tuple(
        _typed(kind, item, f"{path}[{at}]") for at, (kind, item) in enumerate(zip(kinds, items, strict=True))
    )


def _record(kind: Any, value: Plain, path: str) -> Any:
    wanted = _fields(kind)
    if isinstance(value, list | tuple) and hasattr(kind, "_fields"):  # as JSON writes a NamedTuple
        value = dict(
            zip((field.name for field in wanted), _tuple([Any] * len(wanted), value, path), strict=True)
        )
    _expect(isinstance(value, Mapping), value, path, "names with values")
    data = cast(Mapping[str, Any], value)
    missing = [field.name for field in wanted if field.needed and field.name not in data]
    unknown = [shown(name) for name in data if name not in {field.name for field in wanted}]
    wrong = [
        f"{what}: {', '.join(names[:4])}"
        for what, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    if wrong:
        raise ValueError(f"{path or 'it'} has other fields than expected; {'; '.join(wrong)}")
    there = [field for field in wanted if field.name in data]
    return kind(
        **{field.name: _typed(field.kind, data[field.name], _inside(path, field.name)) for field in there}
    )


class _Field(NamedTuple):
    name: str
    kind: Any
    needed: bool


@lru_cache(maxsize=64)
def _fields(kind: Any) -> tuple[_Field, ...]:
    return tuple(_fields_of(kind))


def _fields_of(kind: Any) -> Iterator[_Field]:
    hints = get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            has_default = not (field.default is field.default_factory is dataclasses.MISSING)
            yield _Field(field.name, hints[field.name], not has_default)
        return
    defaults: Mapping[str, Any] = kind._field_defaults
    for name in kind._fields:
        yield _Field(name, hints[name], name not in defaults)


def _inside(path: str, name: str) -> str:
    text = printable(name)[:60]
    return f"{path}.{text}" if path else text
