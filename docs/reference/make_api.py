"""The pages of the Python API, from the docstrings of the names that the packages export.

Nothing is imported: what `__all__` of a package lists is looked up in the sources. The site is built with these pages
(`site_hooks.py`); they are not kept as files.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from source_texts import PACKAGES, ROOT

SECTIONS = ("Args", "Returns", "Raises", "Yields", "Example", "Examples")

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def pages() -> dict[str, str]:
    """Package -> its page."""
    return {package: page(package, ROOT / folder) for package, folder in PACKAGES.items()}


def page(package: str, folder: Path) -> str:
    """What a package exports, in the order of `__all__`."""
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    homes = dict(_homes(tree, package))
    lines = [f"# {package}", "", _prose(ast.get_docstring(tree) or "")]
    for name in _exported(tree):
        source = _source(homes.get(name, package))
        found = _definition(ast.parse(source.read_text(encoding="utf-8")), name)
        where = source.relative_to(ROOT)
        lines += ["", f"## {name}", "", f"`from {package} import {name}`, made in `{where}`", ""]
        lines += list(_described(found)) if found is not None else ["A constant."]
    return "\n".join(lines) + "\n"


def _exported(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if not name.startswith("_")]
    return []


def _homes(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    """Name -> module, from the imports and from the table of names that are imported late."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((alias.asname or alias.name, node.module) for alias in node.names)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES":
            for name, module in ast.literal_eval(node.value).items():
                yield name, module if module.startswith(package) else f"{package}.{module}"


def _source(module: str) -> Path:
    """The file of a module of any package."""
    file = (ROOT / PACKAGES[module.partition(".")[0]]).parent.joinpath(*module.split("."))
    return file.with_suffix(".py") if file.with_suffix(".py").is_file() else file / "__init__.py"


def _definition(tree: ast.Module, name: str) -> Definition | None:
    return next((node for node in tree.body if isinstance(node, Definition) and node.name == name), None)


def _described(node: Definition) -> Iterator[str]:
    """A class with its fields and public methods, or a function."""
    if not isinstance(node, ast.ClassDef):
        yield from ["```python", _signature(node), "```", "", _prose(ast.get_docstring(node) or "")]
        return
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield from ["```python", f"class {node.name}({bases})" if bases else f"class {node.name}", "```", ""]
    yield _prose(ast.get_docstring(node) or "")
    if fields := list(_fields(node)):
        yield from ["", "Fields:", "", *fields]
    for part in node.body:
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and _is_public(part):
            called = f"{node.name}()" if part.name == "__init__" else f"{node.name}.{part.name}"
            yield from ["", f"### {called}", "", "```python", _signature(part), "```", ""]
            yield _prose(ast.get_docstring(part) or "")


def _is_public(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    named = function.name == "__init__" or not function.name.startswith("_")
    return named and (ast.get_docstring(function) is not None or function.name == "__init__")


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """Of a data class, with the docstrings below them."""
    for part, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            if part.target.id.startswith("_"):
                continue
            default = f" = {ast.unparse(part.value)}" if part.value is not None else ""
            told = below.value if isinstance(below, ast.Expr) else None
            words = told.value if isinstance(told, ast.Constant) and isinstance(told.value, str) else ""
            line = f"- `{part.target.id}: {ast.unparse(part.annotation)}{default}`"
            yield f"{line}: {_inline(words)}" if words else line


def _signature(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returns = f" -> {ast.unparse(function.returns)}" if function.returns is not None else ""
    text = f"{function.name}({ast.unparse(function.args)}){returns}"
    if len(text) <= 100:
        return text
    parts = re.split(r", (?![^\[(]*[\])])", ast.unparse(function.args))
    return f"{function.name}(\n    " + ",\n    ".join(parts) + f",\n){returns}"


def _inline(text: str) -> str:
    return _safe(" ".join(text.split()))


def _safe(text: str) -> str:
    """Without what a page would take for HTML, except in code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in pieces)


def _prose(docstring: str) -> str:
    """A docstring as Markdown: sections of Google's style become lists, indented examples code."""
    out: list[str] = []
    section = ""
    for line in docstring.splitlines():
        word = line.strip().removesuffix(":")
        if line.endswith(":") and word in SECTIONS and not line.startswith(" "):
            section = word
            out += ["", f"**{word}**", ""]
        elif section and line.startswith("    ") and not line.startswith("     "):
            out.append(f"- {_safe(line.strip())}")
        elif section and line.startswith("      "):
            out[-1] += f" {_safe(line.strip())}"
        else:
            section = section if not line.strip() else ""
            out.append(line if line.startswith("    ") else _safe(line))
    return "\n".join(out).strip()
