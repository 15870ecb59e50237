"""What a page embeds, and under which name it is found. How it is made is told in `media`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from so101_eval.records import Key


@dataclass(frozen=True)
class Clip:
    """Something to embed."""

    uri: str
    """data:..."""
    is_video: bool
    as_recorded: bool
    """The episode went again as its record says, to the last bit."""


def clip_key(*episodes: Mapping[str, Any]) -> str:
    """Of one episode, or of a pair side by side."""
    return "|".join(",".join(str(one[name]) for name in Key._fields) for one in episodes)
