"""A JSON document, damaged at random: something is dropped, retyped, made huge or NaN, reordered, nested, or added."""

import json
import random
from collections.abc import Iterator
from typing import Any

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 10**6, 10**30, 0.5, -0.5, 1e308, -1e308, float("nan"), float("inf")),
    *(
        "",
        "x",
        "nominal",
        "\x1b[2J",
        "<script>",
        "../..",
        "x" * 20_000,
        [],
        {},
        [[]],
        [1, 2],
        {"a": 1},
        ["x"],
    ),
)


def damaged(text: str, rng: random.Random) -> str:
    """The document with one change; may be no JSON any more."""
    if rng.random() < 0.1:
        return text[: rng.randrange(len(text))]
    data = json.loads(text)
    holder, key = rng.choice(list(_places(data)))
    match rng.choice(("drop", "junk", "junk", "junk", "junk", "shuffle", "deep", "huge", "add")):
        case "drop":
            del holder[key]
        case "shuffle" if isinstance(holder, list):
            rng.shuffle(holder)
        case "deep":
            nest: Any = 1
            for _ in range(rng.choice((5, 40, 400))):
                nest = [nest] if rng.random() < 0.5 else {"a": nest}
            holder[key] = nest
        case "huge":
            holder[key] = [0] * 100_000
        case "add" if isinstance(holder, dict):
            holder["added"] = rng.choice(JUNK)
        case _:
            holder[key] = rng.choice(JUNK)
    return json.dumps(data)


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(items):
        yield data, key
        yield from _places(value)
