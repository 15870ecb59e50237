"""The type of what a JSON or YAML file can hold."""

from collections.abc import Mapping, Sequence

type Plain = bool | int | float | str | Sequence["Plain"] | Mapping[str, "Plain"] | None
"""Unchecked content of a file, or what shall be written into one."""
