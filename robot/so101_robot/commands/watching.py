"""What a person watches, and keeps to watch again: the page of a run and its film."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from so101_policy.command_line.command_shell import say
from so101_policy.command_line.extras import Extra
from so101_robot.commands.run_config import RunConfig
from so101_robot.display.web.run_page import Result, RunPage
from so101_robot.errors import ConfigError
from so101_robot.loop.tick import Observer
from so101_robot.message import Message
from so101_robot.runs.clip import CLIP, HEIGHTS, LONGEST_S, Film

WEB = Extra("so101_robot.display.web.process", ("starlette", "uvicorn"), "lerobot_policy_so101[web]")
"""The page's server, a process of its own."""

UNTOLD = Result(("The run did not begin, or ended early; the terminal says why.",))


@contextlib.contextmanager
def page(config: RunConfig, cameras: Sequence[str]) -> Generator[RunPage | None]:
    """The run's page, if one is asked for; its address is printed as soon as somebody answers there. However the run
    ends, the page is told.

    Raises:
        ConfigError: what it needs is not installed.
    """
    if config.display != "web":
        yield None
        return
    if missing := WEB.missing:
        raise ConfigError(f"--display=web {WEB.complaint(missing)}; --display=off does without")
    shown = RunPage(cameras, lambda address: say(f"watch it at {address} (this machine only)"))
    try:
        yield shown
    finally:
        shown.finish(UNTOLD)


def film(config: RunConfig, folder: Path) -> list[Observer]:
    """What keeps a film of the run, unless there is to be none."""
    if not config.clip:
        return []
    return [Film(folder / CLIP, config.ticks_per_s, longest_s=LONGEST_S, heights=HEIGHTS)]


def tell_all(observers: Sequence[Observer]) -> Callable[[Message], None]:
    """A word to all that are in the list when it is said. One that fails is dropped by the loop, with its next tick."""

    def tell(message: Message) -> None:
        for observer in observers:
            with contextlib.suppress(Exception):
                observer.on_message(message)

    return tell
