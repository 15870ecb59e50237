"""One look at a dataset, before a frame is decoded or a step is taken.

    description -> tables -> do they agree? -> numbers -> videos -> statistics

Wrong (`Level.STOP`): no command goes on. Doubtful (`Level.WARN`): it goes on and says so. Values are asked of the
episodes that are used; the rest of a dataset only has to be readable.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from so101_policy.command_line.console import Console
from so101_policy.dataset_check.description import Description, read_description
from so101_policy.dataset_check.numbers import Used, check_motion, check_names, check_units, check_values
from so101_policy.dataset_check.statistics import (
    Statistics,
    Trained,
    check_stored,
    for_training,
    read_stored,
    used_frames,
)
from so101_policy.dataset_check.structure import check_borders, check_places, check_times
from so101_policy.dataset_check.tables import Episodes, read_episodes, read_rows, read_tasks
from so101_policy.dataset_check.videos import check_videos
from so101_policy.errors import DatasetError, first_line, printable
from so101_policy.findings import Finding, Level, in_words
from so101_policy.units import LikelyUnits

TOLERANCE_S = 1e-4
"""By which a frame's time may differ from 1/fps: LeRobot's."""
MOST_LINES = 10
"""Findings that a command shows."""


class Look(NamedTuple):
    """What was found. Parts that could not be read are None."""

    root: Path
    findings: list[Finding]
    about: Description | None = None
    episodes: Episodes | None = None
    frames: Used | None = None
    """Of all episodes."""
    used: Used | None = None
    """Of the episodes that are used."""
    unit: LikelyUnits = LikelyUnits.UNKNOWN
    stored: Statistics | None = None

    @property
    def is_wrong(self) -> bool:
        return any(finding.level is Level.STOP for finding in self.findings)

    @property
    def doubtful(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level is Level.WARN]

    def statistics_of(self, episodes: Sequence[int]) -> Trained:
        """What a training on these episodes scales with. Only for a dataset that is not wrong."""
        assert self.about is not None
        assert self.frames is not None
        is_whole = set(episodes) >= set(range(self.about.episodes))
        has_wrong = any(finding.check == "statistics" for finding in self.findings)
        return for_training(
            self.about, self.stored, used_frames(self.frames, episodes), is_whole, self.unit, has_wrong
        )


def look(root: Path, episodes: Sequence[int] | None = None, tolerance_s: float = TOLERANCE_S) -> Look:
    """Everything that can be asked without decoding a picture.

    Args:
        root: folder of the dataset.
        episodes: those that are used; None: all; empty: nothing is asked of values.
        tolerance_s: by which times may differ from 1/fps.
    """
    seen = Look(root, [])
    try:
        about = read_description(root)
        seen = seen._replace(about=about)
        if about.episodes == 0 or about.frames == 0:
            raise DatasetError(f"{root} has no episode - record one")
        rows, table, tasks = read_rows(about), read_episodes(about), read_tasks(about)
        seen.findings.extend(check_borders(about, table, rows, tasks))
        if seen.is_wrong:
            return seen._replace(episodes=table)
        episode_N = np.repeat(np.arange(about.episodes), table.columns["length"])
        frames = Used(about, rows, table.first, np.arange(len(rows)), episode_N)
        chosen = range(about.episodes) if episodes is None else episodes
        used = used_frames(frames, list(chosen))
        seen = seen._replace(episodes=table, frames=frames, used=used)
        seen.findings.extend([*check_names(about), *check_values(used)])
        seen.findings.extend(check_times(about, table, rows, tolerance_s))
        if seen.is_wrong:
            return seen
        unit = LikelyUnits.UNKNOWN
        if len(used.at_N):
            unit, found = check_units(used)
            seen.findings.extend([*found, *check_motion(used, unit)])
        seen.findings.extend(check_places(about, table))
        seen.findings.extend(check_videos(about, table))
        stored = read_stored(about)
        if len(used.at_N) == len(frames.at_N):  # of some episodes they are computed anyway
            seen.findings.extend(check_stored(about, stored, frames))
        return seen._replace(unit=unit, stored=stored)
    except DatasetError as error:
        seen.findings.append(Finding(Level.STOP, "files", "", str(error)))
        return seen
    except OSError as error:  # a disk that fails, a file that is taken away meanwhile
        said = f"{error.filename or root} cannot be read: {error.strerror or first_line(error)}"
        seen.findings.append(Finding(Level.STOP, "files", "", said))
        return seen


def require(seen: Look) -> None:
    """Raises DatasetError that says what is wrong, at most `MOST_LINES` lines of it."""
    wrong = [printable(in_words(finding)) for finding in seen.findings if finding.level is Level.STOP]
    if wrong:
        more = [f".. and {len(wrong) - MOST_LINES} more: so101-data check {seen.root}"]
        lines = wrong[:MOST_LINES] + (more if len(wrong) > MOST_LINES else [])
        raise DatasetError(f"the dataset {seen.root} cannot be used as it is:\n  - " + "\n  - ".join(lines))


def announce(findings: Sequence[Finding], root: Path, console: Console) -> None:
    """A line for each, at most `MOST_LINES`."""
    for finding in findings[:MOST_LINES]:
        text = printable(f"dataset: {in_words(finding)}").replace("\n", " ")
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    if len(findings) > MOST_LINES:
        console.print(
            f"dataset: .. and {len(findings) - MOST_LINES} more: so101-data check {root}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
