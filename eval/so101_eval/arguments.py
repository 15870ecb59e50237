"""Kinds of numbers on a command line; argparse tells in one message what is wrong with one."""

import argparse
import math


def count(text: str) -> int:
    """A whole number from 1 on. Raises ArgumentTypeError, ValueError."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: needed is 1 or more")
    return value


def amount(text: str) -> float:
    """A finite number above 0. Raises ArgumentTypeError, ValueError."""
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{value:g}: needed is a number above 0")
    return value
