"""The dashboard of a run in terminals of two sizes, as the terminal gets it.

    python docs/pictures/draw_terminal.py [FOLDER]     terminal_160x50.svg and terminal_80x24.svg into FOLDER

A pseudo-terminal of that size runs so101-run on the mock arm; drawn is the last screen in which the policy drives.
"""

import sys
import tempfile
from io import StringIO
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
SIZES = ((160, 50), (80, 24))
"""Columns and rows."""
HOME = "\x1b[H"
"""Every screen begins with it."""
RUN = ["--robot.mock.seed=3", "--dashboard=live", "--duration_s=9", "--ending.home=false", "--clip=false"]
LONGEST_S = 600
DRIVING = "running"


def screen(columns: int, rows: int, folder: str) -> str:
    """The last one with its escape sequences."""
    command = str(Path(sys.executable).parent / "so101-run")
    size = (rows, columns)
    child = pexpect.spawn(
        command,
        [*RUN, f"--output_dir={folder}/run"],
        dimensions=size,
        encoding="utf-8",
        timeout=LONGEST_S,
        env={"PATH": "/usr/bin:/bin", "HOME": folder, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    shown = child.read()
    child.close()
    return [part for part in shown.split(HOME)[:-1] if DRIVING in part][-1]


def main(folder: Path) -> None:
    """Draw."""
    for columns, rows in SIZES:
        with tempfile.TemporaryDirectory() as place:
            lines = screen(columns, rows, place).replace("\r", "").split("\n")[:rows]
        console = Console(width=columns, height=rows, record=True, file=StringIO(), force_terminal=True)
        console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
        name = f"terminal_{columns}x{rows}"
        console.save_svg(str(folder / f"{name}.svg"), title=f"so101-run, {columns}x{rows}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
