"""What the texts in our sources may read as, found without running them.

`Sources.texts` turns an expression into sentences: constants are filled in, a value that is only known in a run is its
name in braces, and a function that puts a text together is followed, with what it was given.
"""

import ast
import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

PACKAGES = {
    "so101_robot": "robot/so101_robot",
    "so101_policy": "policy/so101_policy",
    "so101_eval": "eval/so101_eval",
    "so101_calibration": "calibration/so101_calibration",
}

MOST_WAYS, DEEPEST = 6, 5
"""Of a text that differs by case, and functions that are followed."""

FIRST_ARGUMENT = (
    *("join", "str", "repr", "len", "list", "sorted", "tuple", "set"),
    *("float", "int", "max", "min", "round", "shown"),
)
"""Functions whose value is best called by what they are given."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Scope(NamedTuple):
    """Where a name in a text is looked up."""

    module: "Module"
    function: Function | None
    given: Mapping[str, tuple[str, ...]]
    """What the parameters are, where a function was followed into: name -> its possible texts."""
    depth: int = 0


class Module:
    """One source file: its tree, its constants and its functions by name."""

    def __init__(self, package: str, path: Path) -> None:
        self.package, self.path = package, path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.constants = dict(constants_of(self.tree.body))
        self.functions: dict[str, Function] = {}
        self.classes: list[ast.ClassDef] = []
        self.calls: list[tuple[ast.Call, Function | None]] = []
        """With the innermost function around each."""
        self._look(self.tree, None)

    def _look(self, node: ast.AST, function: Function | None) -> None:
        """Once through the tree."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                self.calls.append((child, function))
            elif isinstance(child, Function):
                self.functions[child.name] = child
            elif isinstance(child, ast.ClassDef):
                self.classes.append(child)
            elif isinstance(child, ast.Name | ast.Constant | ast.expr_context | ast.operator):
                continue
            self._look(child, child if isinstance(child, Function) else function)


class Sources:
    """All modules, and what they share by name."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.modules = [
            Module(package, path)
            for package, folder in PACKAGES.items()
            for path in sorted((root / folder).rglob("*.py"))
        ]
        self.functions: dict[str, list[tuple[Module, Function]]] = {}
        self.constants: dict[str, list[ast.expr]] = {}
        for module in self.modules:
            for name, function in module.functions.items():
                self.functions.setdefault(name, []).append((module, function))
            for name, value in module.constants.items():
                self.constants.setdefault(name, []).append(value)

    def function(self, name: str, module: Module) -> tuple[Module, Function] | None:
        """The function of that name: of the module, else the only one there is."""
        if name in module.functions:
            return module, module.functions[name]
        found = self.functions.get(name, [])
        return found[0] if len(found) == 1 else None

    def constant(self, name: str, module: Module) -> ast.expr | None:
        """Likewise for a constant."""
        found = self.constants.get(name, [])
        return module.constants.get(name) or (found[0] if len(found) == 1 else None)

    # texts -----

    def texts(self, node: ast.expr | None, scope: Scope) -> tuple[str, ...]:
        """What an expression may read as; unknown values are `{names}`."""
        if scope.depth > DEEPEST:
            return (placeholder(node),)
        match node:
            case None:
                return ("",)
            case ast.Constant(value=value):
                return ("" if value is None else str(value),)
            case ast.JoinedStr(values=values):
                return _joined([self.texts(value, scope) for value in values])
            case ast.FormattedValue(value=value):
                return self._value(value, scope)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _joined([self.texts(left, scope), self.texts(right, scope)])
            case ast.IfExp(body=body, orelse=other):
                return _first((*self.texts(body, scope), *self.texts(other, scope)))
            case ast.BoolOp(values=values):
                return _first(text for value in values for text in self.texts(value, scope))
            case ast.Name(id=name):
                return self._name(name, scope)
            case ast.Call(
                func=ast.Attribute(value=ast.Constant(value=str(glue)), attr="join"), args=[listed]
            ):
                return self._list(glue, listed, scope)
            case ast.Call(func=func):
                return self._call(node, func, scope)
            case _:
                return (placeholder(node),)

    def _value(self, value: ast.expr, scope: Scope) -> tuple[str, ...]:
        """Of a replacement field: a constant of ours is filled in, other values stay in braces."""
        if isinstance(value, ast.Name):
            return self._name(value.id, scope)
        if isinstance(value, ast.IfExp | ast.BoolOp | ast.JoinedStr | ast.Constant | ast.Call):
            return self.texts(value, scope)
        return (placeholder(value),)

    def _name(self, name: str, scope: Scope) -> tuple[str, ...]:
        if name in scope.given:
            return scope.given[name]
        deeper = scope._replace(depth=scope.depth + 1)
        if scope.function is not None and (values := _assigned(scope.function, name)):
            return _first(text for value in values for text in self.texts(value, deeper))
        constant = self.constant(name, scope.module) if name.isupper() or name.lstrip("_").isupper() else None
        if isinstance(constant, ast.Constant | ast.JoinedStr | ast.BinOp):
            texts = self.texts(constant, deeper._replace(function=None))
            return texts if all("{" not in text for text in texts) else (f"{{{name.lower()}}}",)
        return (f"{{{name}}}",)

    def _list(self, glue: str, listed: ast.expr, scope: Scope) -> tuple[str, ...]:
        if isinstance(listed, ast.List | ast.Tuple):
            return _joined([self.texts(item, scope) for item in listed.elts], glue)
        return (placeholder(listed),)

    def _call(self, node: ast.Call, func: ast.expr, scope: Scope) -> tuple[str, ...]:
        """The texts that a function of ours returns, with its parameters filled in."""
        name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
        found = None if name in FIRST_ARGUMENT else self.function(name, scope.module)
        returned = _returned(found[1]) if found is not None else []
        if found is None or not returned:
            return (placeholder(node),)
        module, function = found
        inner = Scope(module, function, self.given(node, function, scope), scope.depth + 1)
        texts = _first(text for value in returned for text in self.texts(value, inner))
        return texts if any(len(bare(text)) > 8 for text in texts) else (placeholder(node),)

    def given(self, call: ast.Call, function: Function, scope: Scope) -> dict[str, tuple[str, ...]]:
        """The parameters of a function, as a call gives them."""
        names = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
        names = names[1:] if names[:1] in (["self"], ["cls"]) else names
        defaults = dict(zip(reversed(names), reversed(function.args.defaults), strict=False))
        named = dict(zip(names, arguments(call), strict=False))
        named |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
        return {
            name: self.texts(value, scope)
            for name, value in (defaults | named).items()
            if not isinstance(value, ast.Lambda)
        }


# the tree -----


def constants_of(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                yield from ((n.id, v) for n, v in zip(names, values, strict=False) if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case _:
                pass


def _assigned(function: Function, name: str) -> list[ast.expr]:
    """What a local name is set to; empty where any of that is not a text."""
    values = [value for found, value in _assignments(function) if found == name]
    return values if all(_may_be_text(value) for value in values) else []


@functools.cache
def _assignments(function: Function) -> list[tuple[str, ast.expr]]:
    """Of local names."""
    return [
        pair
        for node in ast.walk(function)
        if isinstance(node, ast.Assign | ast.NamedExpr)
        for pair in (constants_of([node]) if isinstance(node, ast.Assign) else [(node.target.id, node.value)])
    ]


def _may_be_text(value: ast.expr) -> bool:
    match value:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.IfExp(body=body, orelse=other):
            return _may_be_text(body) and _may_be_text(other)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _may_be_text(left) or _may_be_text(right)
        case _:
            return False


@functools.cache
def _returned(function: Function) -> list[ast.expr]:
    """What a function returns, where all of it may be text."""
    values = [
        node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None
    ]
    texts = [value for value in values if _may_be_text(value) or isinstance(value, ast.Call)]
    return texts if any(_may_be_text(value) for value in texts) else []


def dotted(called: ast.expr) -> tuple[str, str]:
    """Of what is called: the name before the last dot, if it is one, and the last."""
    match called:
        case ast.Name(id=name):
            return "", name
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return owner, name
        case ast.Attribute(attr=name):
            return "", name
        case _:
            return "", ""


def arguments(call: ast.Call) -> list[ast.expr]:
    """The positional ones; `*(a, b)` is two of them."""
    return [
        item
        for argument in call.args
        for item in (
            argument.value.elts
            if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.Tuple)
            else [argument]
        )
    ]


# texts -----


def placeholder(node: ast.AST | None) -> str:
    """A value's name in braces."""
    return f"{{{_called(node) or '...'}}}"


def _called(node: ast.AST | None) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name, value=value):
            owner = _called(value)
            return name if owner in ("", "self", "config", "options") else f"{owner} {name}"
        case ast.Call(func=func, args=[first, *_]) if _called(func).split(" ")[-1] in FIRST_ARGUMENT:
            return _called(first)
        case ast.Call(func=func):
            return _called(func)
        case ast.Subscript(value=value):
            return _called(value)
        case ast.Starred(value=value) | ast.FormattedValue(value=value) | ast.Await(value=value):
            return _called(value)
        case ast.GeneratorExp(elt=part) | ast.ListComp(elt=part):
            return _called(part)
        case ast.JoinedStr():
            return "list"
        case ast.BinOp(left=left, right=right):
            return _called(left) or _called(right)
        case _:
            return ""


def _joined(parts: Sequence[Sequence[str]], glue: str = "") -> tuple[str, ...]:
    return _first(glue.join(chosen) for chosen in product(*parts))


def _first(texts: "Iterator[str] | Sequence[str]") -> tuple[str, ...]:
    return tuple(dict.fromkeys(islice(iter(texts), MOST_WAYS)))


def bare(text: str) -> str:
    """Without what is only known in a run."""
    inside, kept = 0, ""
    for letter in text:
        inside += (letter == "{") - (letter == "}")
        kept += letter if not inside and letter.isalnum() else ""
    return kept
