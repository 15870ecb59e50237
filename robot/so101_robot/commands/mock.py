"""`so101-mock`: the mock arm as a program, and the page that shows it, if one is asked for."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from so101_policy.command_line.command_shell import say
from so101_robot.commands.watching import WEB
from so101_robot.display.web.mock_page import MockPage
from so101_robot.errors import ConfigError
from so101_robot.mock.serve import command
from so101_robot.mock.serve.server import MockServer


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises RobotError."""
    return command.main(arguments, watched)


@contextmanager
def watched(engine: MockServer) -> Generator[Callable[[], None]]:
    """Gives what the arm's loop is to call. Raises ConfigError where what the page needs is not installed."""
    if missing := WEB.missing:
        raise ConfigError(f"--display=web {WEB.complaint(missing)}; --display=off does without")
    with MockPage(engine, say) as page:
        yield page.look
