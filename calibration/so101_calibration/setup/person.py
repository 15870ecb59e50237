"""Questions to the person who sets up an arm, and their answers."""

import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import Protocol

from so101_calibration.errors import InputEndedError
from so101_policy.command_line.command_shell import say
from so101_policy.command_line.console import Console


def in_width(text: str) -> str:
    """Lines that are broken between words where a terminal would break them within one; a pipe gets them whole."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


class Person(Protocol):
    """Somebody, or the simulated one of `--mock`."""

    def ask(self, question: str, default: str, problem: Callable[[str], str] = lambda answer: "") -> str:
        """A line of text.

        Args:
            question: without a question mark at its end where it is none.
            default: what an empty answer means.
            problem: what is wrong with an answer, empty if nothing is; then it is asked again.
        """
        ...

    def yes(self, question: str, default: bool) -> bool:
        """Yes or no."""
        ...

    def wait(self, request: str) -> None:
        """Until something is done."""
        ...


class AtTerminal:
    """On standard input: Enter takes what is in brackets."""

    def ask(self, question: str, default: str, problem: Callable[[str], str] = lambda answer: "") -> str:
        while True:
            answer = self._line(f"{question} [{default}]") or default
            if not (wrong := problem(answer)):
                return answer
            say(f"  {wrong}")

    def yes(self, question: str, default: bool) -> bool:
        possible = ("y", "yes", "n", "no")
        answer = self.ask(
            f"{question} y or n?",
            "y" if default else "n",
            lambda said: "" if said.lower() in possible else f"found {said!r}, expected y or n",
        )
        return answer.lower().startswith("y")

    def wait(self, request: str) -> None:
        self._line(f"{request} - then press Enter")

    @staticmethod
    def _line(prompt: str) -> str:
        Console().print(f"{in_width(prompt)} ", end="", soft_wrap=True, markup=False, highlight=False)
        line = sys.stdin.readline()
        if not line:
            raise InputEndedError("input ended; so101-setup goes on from here when it is called again")
        return line.strip()


class Simulated:
    """Answers as everybody would who has nothing special in mind, and shows it."""

    def ask(self, question: str, default: str, problem: Callable[[str], str] = lambda answer: "") -> str:
        if wrong := problem(default):
            raise InputEndedError(f"{question}: {wrong}")
        say(in_width(f"{question} [{default}] {default}"))
        return default

    def yes(self, question: str, default: bool) -> bool:
        return self.ask(f"{question} y or n?", "y" if default else "n") == "y"

    def wait(self, request: str) -> None:
        say(f"{request} - then press Enter")
