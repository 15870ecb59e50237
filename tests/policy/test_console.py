"""What is printed has names from outside in it: none of them gives a terminal orders, wherever it stands."""

import ast
import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from so101_policy.command_line import command_shell
from so101_policy.command_line.command_shell import MOST_SAID, complain, say
from so101_policy.command_line.console import Console
from so101_policy.errors import one_line, printable, shown

ROOT = Path(__file__).parents[2]
PACKAGES = ("robot", "policy", "eval", "calibration")
EVIL = (
    "\x1b[2J\x1b[31m",  # colours, and an empty screen
    "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",  # OSC 8: a link
    "\x1b]52;c;aGVsbG8=\x07",  # OSC 52: the clipboard
    "\x9b31m\x9d52;c;aA==\x9c",  # the same in one byte each
    "all is well\r",
    "\u202edlrow\u202c\u2066x\u2069",  # right to left
    "a\u2028b\u2029c\x85d",  # line ends that are none in a terminal
    "\x00\x07\x08\x7f",
    "\udc9b",  # a byte that was no UTF-8
    "[red]x[/red] [link=http://evil.example]y[/link] [bold]z",
    "[/]",
    ":skull:",
    "\U000e0041\u200b\ufeff",  # not to be seen at all
)


def printed(*renderables: object) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    for renderable in renderables:
        console.print(renderable)
    return stream.getvalue()


@pytest.mark.parametrize("name", EVIL)
def test_a_name_is_text_wherever_it_stands(name: str):
    table = Table(title=name, caption=name)
    table.add_column(name)
    table.add_row(name)
    for what in (name, Text(name), Panel(name, title=Text(name)), table):
        said = printed(what)
        assert all(c.isprintable() or c == "\n" for c in said)
        assert (
            printable(re.sub("[\x07\x08\r]", "", name))[:12] in said
        )  # and it is there (rich leaves these three out)


def test_a_name_in_a_bar_is_text_too():
    stream = io.StringIO()
    with Progress(
        TextColumn("{task.description}", markup=False), console=Console(file=stream, width=900)
    ) as bar:
        bar.add_task("[red]x[/red]" + "".join(EVIL))
    assert all(c.isprintable() or c == "\n" for c in stream.getvalue())
    assert stream.getvalue().startswith("[red]x[/red]\\x1b[2J")


def test_colours_of_our_own_are_kept():
    console = Console(file=(stream := io.StringIO()), record=True)
    console.print(Text("x\x1b[31my", style="bold"))
    assert "\x1b[1mx\\x1b[31my\x1b[0m" in stream.getvalue()


def test_a_picture_of_the_dashboard_has_no_steering_character():
    console = Console(file=io.StringIO(), record=True)
    console.print("a\x1b[31m<script>")
    svg = console.export_svg()
    assert "\x1b" not in svg
    assert "<script>" not in svg


@given(text=st.text())
def test_what_is_printable_is_left_as_it_is_and_all_else_is_spelled(text: str):
    said = printable(text)
    assert all(c.isprintable() or c in "\n\t" for c in said)
    assert printable(said) == said
    assert one_line(text, 10_000).isprintable()
    assert shown(text).isprintable()


def test_a_megabyte_of_somebody_elses_text_does_not_flood_the_terminal(
    capsys: pytest.CaptureFixture[str],
):
    assert complain("so101-run", "x\x1b" * 500_000, 2) == 2
    said = capsys.readouterr().err
    assert len(said) < 4 * MOST_SAID
    assert said.endswith(f" ... ({1_000_000 - MOST_SAID} more characters)\n")
    assert len(one_line("y" * 1_000_000)) < 210
    assert one_line("a\nb\tc") == r"a\nb\tc"
    assert len(shown("z" * 1_000_000)) < 80


def test_lines_that_are_said_and_logged_are_text(capsys: pytest.CaptureFixture[str]):
    say("run folder: a\x1b[2Jb\n")
    formatter = command_shell._Printable("%(name)s: %(message)s")
    record = logging.LogRecord("so101\x1b[2J", 40, "", 0, "camera %s", ("front\x1b]52;c;aA==\x07",), None)
    assert formatter.format(record) == r"so101\x1b[2J: camera front\x1b]52;c;aA==\x07"
    assert capsys.readouterr().out == "run folder: a\\x1b[2Jb\n\n"


def test_a_log_line_of_a_command_passes_the_formatter():
    """At the level of the shell: what a command's module logs."""
    program = (
        "import logging, sys, types\n"
        "from pathlib import Path\n"
        "from so101_policy.command_line.command_shell import Command\n"
        "work = types.ModuleType('work')\n"
        "work.main = lambda arguments: logging.getLogger('x').error('a\\x1b[2Jb') or 0\n"
        "sys.modules['work'] = work\n"
        "sys.exit(Command('so101-x', '', Path('.'), 'work', any_flag=True).main([]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "x: a\\x1b[2Jb\n"


MAY_PRINT = {
    "command_shell.py",  # the border to a person
    "registers.py",  # writes docs/reference/registers.md
    "publish.py",  # JSON, to the process that started it
    "rig.py",
}


def test_nothing_is_printed_past_the_border():
    """`say`, `complain` and our console are the ways out; JSON is text by itself."""
    past: list[str] = []
    for path in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^from rich.console import .*\bConsole\b", text, re.MULTILINE):
            past.append(f"{path} imports rich's Console")
        if path.name in MAY_PRINT or "print(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                first = node.args[0] if node.args else None
                if not (isinstance(first, ast.Call) and ast.unparse(first.func) == "json.dumps"):
                    past.append(f"{path}:{node.lineno} prints")
    assert past == []
