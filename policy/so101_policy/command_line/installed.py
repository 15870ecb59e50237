"""How this package was installed, and the line to type that installs something more beside it.

A wheel from a file, `uv tool`, and a clone each need another line; a package index is named only where the package came
from one. What was installed is read from what installers leave behind: `direct_url.json` (PEP 610), and uv's receipt of
a tool. Nothing is installed here.
"""

import json
import shlex
import shutil
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from so101_policy.files.plain_data import Plain

NAME = "lerobot_policy_so101"

EXTRA_OF = {
    module: f"{NAME}[{extra}]"
    for extra, modules in {
        "train": ("accelerate", "tensorboard"),
        "cluster": ("ray",),
        "onnx": ("onnx", "onnxruntime", "onnxscript"),
        "openvino": ("openvino",),
        "server": ("grpc",),
        "web": ("starlette", "uvicorn"),
        "bench": ("nacl", "segno"),
        "view": ("rerun",),
    }.items()
    for module in modules
}
"""Module that may be missing -> the extra of this package that brings it."""

TOOL_RECEIPT = "uv-receipt.toml"
"""uv leaves it in the environment of a tool."""


class Installed(NamedTuple):
    """Where this package came from, and what its environment offers."""

    source: str
    """`file:///...whl` of a wheel, `file:///...` of a folder, empty: a package index."""
    editable: bool
    """A clone, whose sources are used as they are."""
    prefix: Path
    """Of the environment."""
    extras: tuple[str, ...] = ()
    """That were asked for; known of a tool alone."""

    @property
    def is_tool(self) -> bool:
        """By `uv tool install`: an environment that uv makes anew as a whole."""
        return (self.prefix / TOOL_RECEIPT).is_file()

    @property
    def folder(self) -> Path:
        """Of the clone, or the wheel's file."""
        return Path(unquote(urlsplit(self.source).path))


def installed() -> Installed:
    """How this package was installed into the environment that runs."""
    prefix = Path(sys.prefix)
    try:
        text = distribution(NAME).read_text("direct_url.json")
    except PackageNotFoundError:  # the sources are on the path, and nothing was installed
        text = None
    source, editable = _direct_url(json.loads(text)) if text else ("", False)
    return Installed(source, editable, prefix, _extras_of_tool(prefix / TOOL_RECEIPT))


def line_to_install(requirement: str, how: Installed | None = None) -> str:
    """What to type to get `requirement` as well, for a shell.

    Args:
        requirement: `lerobot_policy_so101[web]` for an extra of this package, or another package: `lerobot[smolvla]`.
        how: for tests; else as the environment that runs says.
    """
    how = how or installed()
    own = requirement.partition("[")[0] == NAME
    extra = requirement.partition("[")[2].rstrip("]") if own else ""
    if how.is_tool:
        extras = ",".join(sorted({*how.extras, extra} - {""}))
        ours = f"{NAME}[{extras}]" if extras else NAME
        more = "" if own else f" --with {_quoted(requirement)}"
        return f"uv tool install --force {_quoted(_from(ours, how))}{more}"
    if own and how.editable:
        what = f"--editable {_quoted(f'{how.folder}[{extra}]')}"
    else:
        what = _quoted(_from(requirement, how) if own else requirement)
    if find_spec("pip") is not None:
        return f"{_quoted(sys.executable)} -m pip install {what}"
    return f"{_uv(how)} pip install {what} --python {_quoted(str(how.prefix))}"


def _from(requirement: str, how: Installed) -> str:
    """With the place that this package came from."""
    return f"{requirement} @ {how.source}" if how.source else requirement


def _uv(how: Installed) -> str:
    """uv, or the one that `make` put into a clone."""
    own = how.folder / ".tools" / "bin" / "uv"
    return _quoted(str(own)) if how.editable and own.is_file() and shutil.which("uv") is None else "uv"


def _quoted(word: str) -> str:
    """For a shell; brackets always in quotes, since zsh would take them for a pattern."""
    return shlex.quote(word)


def _direct_url(content: "Plain") -> tuple[str, bool]:
    """Address and whether it is editable; PEP 610."""
    match content:
        case {"url": str(url), "dir_info": {"editable": True}}:
            return url, True
        case {"url": str(url)}:
            return url, False
        case _:
            return "", False


def _extras_of_tool(receipt: Path) -> tuple[str, ...]:
    """Which extras the tool was installed with."""
    if not receipt.is_file():
        return ()
    match tomllib.loads(receipt.read_text(encoding="utf-8")):
        case {"tool": {"requirements": [{"extras": list(extras)}, *_]}}:
            return tuple(str(extra) for extra in extras)
        case _:
            return ()
