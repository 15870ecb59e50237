"""Writes docs/reference/messages.md: every message that a command can print.

    python docs/reference/make_messages.py [FILE]

Errors, findings, faults and warnings are read from the sources, without running them: where an exception is made, a
`Finding` or a `Symptom`, and where a warning is logged (`source_texts.py` says how a text is read). An error that only
hands on another error's text is left out. Cause and remedy are what the message itself says: by the house style the
remedy follows the last " - ".
"""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from source_texts import (
    PACKAGES,
    Function,
    Module,
    Scope,
    Sources,
    arguments,
    bare,
    constants_of,
    dotted,
    placeholder,
)

FILE = Path(__file__).with_name("messages.md")

WORDS = {
    "so101_robot": "The arm: ports, servos, cameras, guard, runs; `so101-run`, `so101-teleop`, `so101-replay`.",
    "so101_policy": "Datasets, training, checkpoints, inference; `so101-train`, `so101-reliance`, `so101-frames`.",
    "so101_eval": "Simulated tasks, evaluation, studies; `so101-eval`, `so101-demos`, `so101-data`, `so101-bench`.",
    "so101_calibration": "Calibration of servos and cameras; `so101-calibrate`, `so101-doctor`.",
}

STANDARD = (
    "Exception",
    "ValueError",
    "OSError",
    "RuntimeError",
    "TypeError",
    "FileNotFoundError",
    "ArgumentTypeError",
)
"""Exceptions of Python that carry a message of ours, or that one of ours stands on; a command prints most of these
inside a longer message."""

FINDING = ("level", "check", "subject", "found", "asked", "possible")
"""The first fields of a `Finding`."""

LONGEST = 420
"""Characters of a message on the page."""

HEAD = """# Messages

Made by `python docs/reference/make_messages.py` from the sources (`make messages`).

Every message that a command can print as an error, a finding, a fault or a warning: {count} of them, by package and
room (a folder of the sources), with what to do where the message says it. Search this page for the words that do not
change: numbers, names and paths are `{{like this}}`. A symptom without a message is in
[Troubleshooting](../troubleshooting.md).

An error ends the command with exit code 2, unless its name has another one here: {codes}.
A finding "stop" keeps the arm or the training from starting, "warn" does not. A fault is what a run sees on the arm
([faults](faults.md)); a warning is printed, and the command goes on. Names that end in `Error` without being ours
(`ValueError`) are mostly part of a longer message.
"""


class Message(NamedTuple):
    """One line of the page."""

    package: str
    room: str
    file: str
    kind: str
    """The class of the error, `finding, stop`, `fault`, `warning`."""
    text: str
    remedy: str


class Catalogue:
    """The messages of all sources."""

    def __init__(self) -> None:
        self.sources = Sources()
        self.texts = self.sources.texts
        self.exit_codes = error_classes(self.sources.modules)

    def messages(self) -> list[Message]:
        """All of them, in the order of the page."""
        found = [message for module in self.sources.modules for message in self._of(module)]
        return sorted(set(found))

    def _of(self, module: Module) -> Iterator[Message]:
        for node, function in module.calls:
            owner, last = dotted(node.func)
            scope = Scope(module, function, {})
            if last in self.exit_codes:
                yield from self._made(module, last, self._error(node, scope))
            elif last == "Finding":
                yield from self._findings(module, node, function)
            elif last == "Symptom" and len(node.args) == 3:
                yield from self._made(module, "fault", self.texts(node.args[2], scope))
            elif last in ("warning", "error") and "log" in owner and node.args:
                yield from self._made(module, "warning", self._logged(node, scope))
            elif last == "complain" and len(node.args) > 1:
                yield from self._made(module, "message", self.texts(node.args[1], scope))

    def _error(self, node: ast.Call, scope: Scope) -> tuple[str, ...]:
        return self.texts(node.args[0], scope) if node.args else ()

    def _logged(self, node: ast.Call, scope: Scope) -> tuple[str, ...]:
        """Of a log line, whose values are filled into %s."""
        texts = self.texts(node.args[0], scope)
        for value in node.args[1:]:
            texts = tuple(_filled(text, placeholder(value)) for text in texts)
        return texts

    def _findings(self, module: Module, node: ast.Call, function: Function | None) -> Iterator[Message]:
        """Of one `Finding(...)`; where it stands in a helper function, of each call of that function."""
        fields = dict(zip(FINDING, arguments(node), strict=False))
        fields |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg in FINDING}
        for scope in self._callers(module, function, fields):
            level, found, asked, possible = (
                self.texts(fields.get(name), scope) for name in ("level", "found", "asked", "possible")
            )
            levels = {text.strip("{}").rpartition(" ")[2].lower() for text in level} - {"ok"}
            if not levels:
                continue
            check = self.texts(fields.get("check"), scope)[0]
            kind = f"finding, {' or '.join(sorted(levels))}" + ("" if "{" in check else f", {check}")
            for text in found:
                expected = f"; expected: {asked[0]}" if asked[0] else ""
                yield from self._made(module, kind, (text + expected,), possible[0])

    def _callers(
        self, module: Module, function: Function | None, fields: Mapping[str, ast.expr]
    ) -> Iterator[Scope]:
        """The scope of a finding, or one for each call of the helper that its fields are parameters of."""
        parameters = {parameter.arg for parameter in function.args.args} if function is not None else set()
        found = fields.get("found")
        if function is None or not isinstance(found, ast.Name) or found.id not in parameters:
            yield Scope(module, function, {})
            return
        for node, around in module.calls:
            if isinstance(node.func, ast.Name) and node.func.id == function.name:
                yield Scope(module, function, self.sources.given(node, function, Scope(module, around, {})))

    def _made(self, module: Module, kind: str, texts: Sequence[str], remedy: str = "") -> Iterator[Message]:
        relative = module.path.relative_to(self.sources.root / PACKAGES[module.package])
        room = relative.parts[0].removesuffix(".py")
        for text in texts:
            said = " ".join(text.split())
            if len(bare(said)) <= 8:  # it hands on another text
                continue
            cause, dash, advice = said.rpartition(" - ")
            cause, advice = (cause, advice) if dash and not remedy else (said, remedy)
            yield Message(module.package, room, str(relative), kind, _shortened(cause), _shortened(advice))


def error_classes(modules: Sequence[Module]) -> dict[str, int]:
    """Exceptions -> exit code of a command that ends with one."""
    bases: dict[str, list[str]] = {}
    codes: dict[str, int] = {"SO101Error": 2, **dict.fromkeys(STANDARD, 2)}
    for module in modules:
        for node in module.classes:
            bases[node.name] = [dotted(base)[1] for base in node.bases]
            for name, value in constants_of(node.body):
                if name == "exit_code" and isinstance(value, ast.Constant) and isinstance(value.value, int):
                    codes[node.name] = value.value
    waiting = dict(bases)
    while known := [name for name, above in waiting.items() if any(base in codes for base in above)]:
        for name in known:
            codes.setdefault(name, next(codes[base] for base in waiting.pop(name) if base in codes))
    return codes


def _filled(text: str, value: str) -> str:
    before, percent, after = text.partition("%")
    return f"{before}{value}{after.lstrip('.0123456789')[1:]}" if percent else text


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rpartition(' ')[0]} ..."


# the page -----


def as_markdown(catalogue: "Catalogue") -> str:
    """The page."""
    messages = catalogue.messages()
    codes = ", ".join(f"`{name}` {code}" for name, code in sorted(catalogue.exit_codes.items()) if code != 2)
    lines = [HEAD.format(count=len(messages), codes=codes).rstrip()]
    for package in PACKAGES:
        lines += ["", f"## {package}", "", WORDS[package]]
        of_package = [message for message in messages if message.package == package]
        for room in dict.fromkeys(message.room for message in of_package):
            lines += ["", f"### {package}.{room}"]
            of_room = [message for message in of_package if message.room == room]
            for file in dict.fromkeys(message.file for message in of_room):
                lines += ["", f"**{file}**", ""]
                lines += _lines([message for message in of_room if message.file == file])
    return "\n".join(lines) + "\n"


def _lines(messages: Sequence[Message]) -> Iterator[str]:
    """A line for each text; it may have several remedies, by case."""
    for text, kind in dict.fromkeys((message.text, message.kind) for message in messages):
        remedies = [m.remedy for m in messages if (m.text, m.kind) == (text, kind) and m.remedy]
        advice = f"<br>**Do:** {' or '.join(map(_code, remedies))}" if remedies else ""
        yield f"- {_code(text)} ({kind}){advice}"


def _code(text: str) -> str:
    """As code, whatever is in it."""
    fence = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


if __name__ == "__main__":
    (Path(sys.argv[1]) if sys.argv[1:] else FILE).write_text(as_markdown(Catalogue()), encoding="utf-8")
