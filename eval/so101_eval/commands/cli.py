"""so101-eval: which policy is better.

so101-eval plan --difference 0.2
so101-eval run --policies baseline=outputs/baseline regularized=outputs/regularized --task palletize-2 --episodes 200 \\
               --scenarios nominal,camera-pose,box-start-outside:3 --out outputs/eval/first
so101-eval report outputs/eval/first
so101-eval replay outputs/eval/first baseline,nominal,7
so101-eval compare 17/20 14/20

Every policy meets the same scenes. A run that was interrupted is gone on with by the same command.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from so101_eval.errors import EvalError
from so101_policy.errors import PolicyError
from so101_robot.errors import RobotError

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "plan": ("commands.plan", "how many episodes a difference needs"),
    "run": ("commands.run", "play episodes, or go on with it"),
    "report": ("report.command", "the page that is read"),
    "replay": ("evaluation.replay", "repeat one episode from its record"),
    "compare": ("statistics.compare", "two counts, 17/20 14/20, in one line"),
}
"""Command -> module of this package with `add_arguments(parser)` and `run(options) -> int`, and what it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. One message for what cannot be done."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    try:
        options = _parser(asked).parse_args(arguments)
        return import_module(f"so101_eval.{COMMANDS[options.command][0]}").run(options)
    except KeyboardInterrupt:
        return _complain(
            "interrupted; finished episodes are kept, and the same command again goes on", INTERRUPTED
        )
    except (EvalError, PolicyError, RobotError, OSError) as error:
        return _complain(str(error), WRONG_INPUT)


def _parser(asked: str | None) -> argparse.ArgumentParser:
    """Knows the flags of the command that is asked for; only its module is imported."""
    parser = argparse.ArgumentParser(
        prog="so101-eval",
        description="Which policy is better, by how much, when things shift, and how sure are we?",
        epilog="examples:\n" + "\n\n".join((__doc__ or "").split("\n\n")[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
        if name == asked:
            import_module(f"so101_eval.{module}").add_arguments(command)
    return parser


def _complain(message: str, code: int) -> int:
    print(f"so101-eval: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
