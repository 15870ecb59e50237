"""Files damaged at random, and what a reader of them may not do: for the tests of checkpoints, datasets, records, arms.

`damage` changes plain data (of JSON or YAML), `damage_bytes` a file: the same seed does the same. `WATCH` sees every
process, shell, connection and file opened for writing while it is armed, by an audit hook of the interpreter.
"""

import json
import os
import random
import sys
from collections.abc import Iterator, MutableMapping, MutableSequence, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase

SEEDED: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "phases": (Phase.explicit, Phase.generate),  # a seed cannot be made smaller in a useful way
    "suppress_health_check": list(HealthCheck),
}
"""Settings of hypothesis for a test that gets a seed."""

NUMBERS: tuple[Any, ...] = (0, 1, -1, 7, 10**6, 10**30, 0.5, 1e308, -1e308, float("nan"), float("inf"))
TEXTS: tuple[Any, ...] = ("", "x", "../x", "/etc/passwd", "\x1b[2J", "<script>", "x" * 5000)
SHAPES: tuple[Any, ...] = ([], {}, [[]], [1, 2], ["x"], {"a": 1})
JUNK: tuple[Any, ...] = (None, True, False, *NUMBERS, *TEXTS, *SHAPES)
"""What no field expects, and what some do."""

ACTS = ("drop", "junk", "junk", "junk", "reorder", "deep", "huge", "add")


def damage(
    data: Any,
    rng: random.Random,
    *,
    junk: Sequence[Any] = JUNK,
    acts: Sequence[str] = ACTS,
    depths: Sequence[int] = (5, 40, 900),
    lengths: Sequence[int] = (100_000,),
    added: Sequence[str] = ("added",),
) -> str:
    """Change one place of plain data; returns its key. Where the act does not fit the place, nothing is changed.

    Args:
        data: tables and lists, changed in place.
        junk: what is put in for a value.
        acts: drop a field; junk, deep nesting or a huge list in its place; reorder a list; add a field; scale a number.
            One that is there twice is twice as likely.
        depths, lengths: of the nesting, of the list.
        added: names of new fields.
    """
    holder, key = rng.choice(list(_places(data)) or [({"": 0}, "")])
    act = rng.choice(acts)
    if act == "drop" and key in (holder if isinstance(holder, MutableMapping) else range(len(holder))):
        del holder[key]
    elif act == "junk":
        holder[key] = rng.choice(junk)
    elif act == "reorder" and isinstance(holder, MutableSequence):
        rng.shuffle(holder)
    elif act == "deep":
        nest: Any = 1
        for _ in range(_one_of(depths, rng)):
            nest = rng.choice(([nest], {"a": nest}))
        holder[key] = nest
    elif act == "huge":
        holder[key] = [0] * _one_of(lengths, rng)
    elif act == "add" and isinstance(holder, MutableMapping):
        key = _one_of(added, rng)
        holder[key] = rng.choice(junk)
    elif act == "scale" and isinstance(holder[key], int | float):
        holder[key] = holder[key] * rng.choice((-1, 1000, 1e-9, 1e300))
    return str(key)


def damage_text(text: str, rng: random.Random, **options: Any) -> str:
    """A JSON document with one change; in one of ten, cut short."""
    if rng.random() < 0.1:
        return text[: rng.randrange(len(text))]
    data = json.loads(text)
    damage(data, rng, **options)
    return json.dumps(data)


IN_PLACE = ("cut", "empty", "overwrite", "head", "tail")
INSTEAD = ("link", "folder", "pipe", "gone", "circle")


def damage_bytes(path: Path, rng: random.Random, outside: Path) -> str:
    """Cut or overwrite a file, or put a link, a folder, a pipe or nothing in its place; returns what was done.

    Args:
        outside: folder for what a link leads to.
    """
    data = bytearray(path.read_bytes())
    act = rng.choice((*IN_PLACE, *INSTEAD))
    if act in ("cut", "empty"):
        path.write_bytes(data[: 0 if act == "empty" else rng.randrange(len(data))])
    elif act in IN_PLACE:
        first = max(0, len(data) - 64) if act == "tail" else 0
        last = min(64, len(data)) if act == "head" else len(data)
        for _ in range(8):
            data[rng.randrange(first, last)] = rng.randrange(256)
        path.write_bytes(data)
    else:
        path.unlink()
    if act == "link":
        outside.mkdir(exist_ok=True)
        (outside / path.name).write_bytes(data)
        path.symlink_to(outside / path.name)
    elif act == "folder":
        path.mkdir()
    elif act == "pipe":
        os.mkfifo(path)
    elif act == "circle":
        path.symlink_to(path.name)
    return act


def listing(folder: Path) -> list[str]:
    """All files, with size and time of the last change."""
    return sorted(f"{p} {p.lstat().st_size} {p.lstat().st_mtime_ns}" for p in folder.rglob("*"))


class Watch:
    """What the interpreter is asked to do while it is armed."""

    def __init__(self) -> None:
        self.armed, self.seen, self.allowed = False, list[str](), tuple[str, ...]()
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        runs = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect")
        if event in runs:
            self.seen.append(f"{event} {arguments}")
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            path = str(arguments[0])
            bytecode = (
                os.sep + "__pycache__" + os.sep in path
            )  # of a module that is imported for the first time
            opened = isinstance(arguments[0], int)  # a file that is open already was seen when it was opened
            if not opened and not bytecode and path != os.devnull and not path.startswith(self.allowed):
                self.seen.append(f"open {arguments}")

    @contextmanager
    def __call__(self, *allowed: str) -> Iterator[None]:
        """Watch. `allowed`: beginnings of paths that may be written to."""
        self.armed, self.seen, self.allowed = True, [], allowed
        try:
            yield
        finally:
            self.armed = False


WATCH = Watch()
"""One for the process: an audit hook cannot be taken off again."""


def _one_of[T](options: Sequence[T], rng: random.Random) -> T:
    return options[0] if len(options) == 1 else rng.choice(options)


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key in plain data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(items):
        yield data, key
        yield from _places(value)
