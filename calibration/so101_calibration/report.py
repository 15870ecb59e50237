"""What a check found, item by item, and how it is printed."""

from typing import Any, NamedTuple

PASS, WARN, FAIL = "pass", "warn", "fail"


class Item(NamedTuple):
    """One line of the report."""

    name: str
    verdict: str
    text: str
    value: float | None = None
    unit: str = ""


def verdict(items: list[Item]) -> str:
    """The worst of all."""
    found = {item.verdict for item in items}
    return FAIL if FAIL in found else WARN if WARN in found else PASS


def report(items: list[Item]) -> dict[str, Any]:
    """For programs: `{"verdict": .., "items": [{"name", "verdict", "text", "value", "unit"}, ..]}`."""
    return {"verdict": verdict(items), "items": [item._asdict() for item in items]}


def graded(name: str, value: float, unit: str, warn: float, fail: float, what: str) -> Item:
    """An item that is worse the larger its value."""
    grade = FAIL if value > fail else WARN if value > warn else PASS
    return Item(name, grade, f"{what} {value:.2f} {unit}", round(value, 4), unit)
