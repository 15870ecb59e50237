"""A checkpoint's JSON: an object of bounded size and depth whose numbers are numbers."""

from pathlib import Path
from typing import Any, cast

from so101_policy.errors import CheckpointError, first_line
from so101_policy.files.plain_data import MOST_BYTES, parse_json


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        CheckpointError: it cannot be read, is no object, is too large or nested too deep, or has a number in it that is
            NaN or infinite.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise CheckpointError(f"{path} is too large: {size} bytes, expected at most {MOST_BYTES}")
        data = parse_json(path.read_text(encoding="utf-8"))
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or cut short: {first_line(error)}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: it holds a {type(data).__name__}, not an object")
    return cast(dict[str, Any], data)
