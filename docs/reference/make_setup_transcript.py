"""Writes docs/reference/setup_transcript.md: what `so101-setup --mock` says, from nothing to a recording that is right.

    make pictures

Tables that are drawn again and again while a joint is moved, and what the video encoder says, are left out.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("setup_transcript.md")
HEAD = """\
# The first hour, as a transcript

What `so101-setup --mock` says: two simulated arms, a simulated person, and the commands that a real set-up runs, too.
The tables that are drawn while a joint is moved are left out. This page is made by `make pictures`.

```text
$ so101-setup --mock
"""
LEFT_OUT = re.compile(
    r"^\s*(>|joint  +steps|\[libx264|Map:|\S+ +-?\d+ +-?\d+ +-?\d+ +\d+ of)|^ +\d+\.\d s \| (run|home|over)"
)


def main() -> int:
    """Run it and write the page; returns its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("so101-setup")), "--mock", f"--folder={folder}"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        text = done.stdout.replace(folder, "~/arm")
    programs = re.compile(rf"{re.escape(str(Path(sys.executable).parent))}/|\.venv/bin/")
    lines = [programs.sub("", line.rpartition("\r")[2].rstrip()) for line in text.splitlines()]
    kept = [line for line in lines if not LEFT_OUT.search(line)]
    PAGE.write_text(HEAD + "\n".join(kept) + "\n```\n", encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
