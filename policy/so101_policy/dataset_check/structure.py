"""Do the tables agree with each other: borders of episodes, counters, times, and places in videos?

Shapes: N frames of the dataset, E episodes.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from so101_policy.dataset_check.description import Description
from so101_policy.dataset_check.folder import INFO, file_in
from so101_policy.dataset_check.tables import Episodes, Rows
from so101_policy.errors import DatasetError, first_line
from so101_policy.findings import Finding, Level

AGAIN = "the tables were not written together: record, convert or download the dataset again"
HALF_A_FRAME = 0.5
MOST_FILES = 10**6
"""Of a chunk; LeRobot puts a thousand into one."""


def check_borders(about: Description, episodes: Episodes, rows: Rows, tasks: int) -> Iterator[Finding]:
    """Whether episodes follow each other without gaps, and every row says the same as the table of episodes.

    Nothing else can be asked where this finds something.
    """
    table, count = str(episodes.files[0].parent.parent), len(episodes.first)
    length = episodes.columns["length"]
    if count != about.episodes:
        yield _wrong("episodes", table, f"{count} episodes", f"{about.episodes}, as {INFO} says")
        return
    if not np.array_equal(episodes.columns["episode_index"], np.arange(count)):
        yield _wrong("episodes", table, "episode_index is not 0, 1, 2 ..", f"0 to {count - 1} in order")
        return
    expected_first = np.concatenate([[0], episodes.end[:-1]]) if count else np.zeros(0, np.int64)
    wrong = (length < 1) | (episodes.first != expected_first) | (episodes.end != episodes.first + length)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        yield _wrong(
            "episodes",
            f"{table}, episode {at}",
            f"frames {episodes.first[at]} to {episodes.end[at]}, length {length[at]}",
            f"it begins at frame {expected_first[at]}, where the one before ends, and has its length",
        )
        return
    if not len(rows) == about.frames == (episodes.end[-1] if count else 0):
        said = f"{len(rows)} rows in data, {episodes.end[-1] if count else 0} in the table of episodes"
        yield _wrong("frames", str(rows.files[0].parent.parent), said, f"{about.frames}, as {INFO} says")
        return
    episode_N = np.repeat(np.arange(count), length)
    counters = {
        "episode_index": episode_N,
        "frame_index": np.arange(len(rows)) - episodes.first[episode_N],
        "index": np.arange(len(rows)),
    }
    for key, expected_N in counters.items():
        yield from _counter(key, rows, episode_N, expected_N)
    if (bad := (rows.columns["task_index"] < 0) | (rows.columns["task_index"] >= tasks)).any():
        at = int(np.flatnonzero(bad)[0])
        found = f"task {rows.columns['task_index'][at]}"
        yield _wrong("tasks", _place(rows, at, episode_N), found, f"one of the {tasks} in meta/tasks.parquet")
    yield from _files(about, episodes)


def check_times(about: Description, episodes: Episodes, rows: Rows, tolerance_s: float) -> Iterator[Finding]:
    """Whether frames are 1/fps apart, within `tolerance_s`, as far as 32-bit numbers can tell."""
    episode_N = np.repeat(np.arange(len(episodes.first)), episodes.columns["length"])
    expected_N = (np.arange(len(rows)) - episodes.first[episode_N]) / about.fps
    time_N = rows.columns["timestamp"].astype(np.float64)
    with np.errstate(invalid="ignore"):
        off_N = np.abs(time_N - expected_N)
        limit_N = tolerance_s + np.spacing(np.abs(expected_N).astype(np.float32))
        bad = ~(off_N <= limit_N)
    if not bad.any():
        return
    at, worst = int(np.flatnonzero(bad)[0]), float(np.max(np.nan_to_num(off_N, nan=np.inf)))
    rate = _rate(time_N, episode_N)
    if rate and abs(rate / about.fps - 1) > 0.02 and worst > HALF_A_FRAME / about.fps:
        possible = f"the times look like {rate:.4g} frames per second: correct fps in {INFO}, or record again"
    elif worst < HALF_A_FRAME / about.fps:
        possible = (
            f"accept it with --tolerance_s={worst * 1.01:.2g}, or write frame_index / fps into the column"
        )
    else:
        possible = (
            "frames are missing or were late: remove the episode (lerobot-edit-dataset) or record it again"
        )
    found = f"{time_N[at]:.6g} s in the column timestamp ({int(bad.sum())} frames are off, by up to {worst:.3g} s)"
    asked = (
        f"{expected_N[at]:.6g} s, at {about.fps:g} frames per second, within --tolerance_s={tolerance_s:g}"
    )
    yield Finding(Level.STOP, "times", _place(rows, at, episode_N), found, asked, possible, worst, "s")


def check_places(about: Description, episodes: Episodes) -> Iterator[Finding]:
    """Whether every episode's place in a video has its length and begins where the one before ends."""
    length_E = episodes.columns["length"]
    for key in about.videos:
        chunk, file, start_s, end_s = (
            episodes.columns[f"videos/{key}/{what}"]
            for what in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        )
        same = (chunk[1:] == chunk[:-1]) & (file[1:] == file[:-1])
        expected_s = np.concatenate([[0.0], np.where(same, end_s[:-1], 0.0)])
        off = ~(np.abs(start_s - expected_s) * about.fps < HALF_A_FRAME)
        lasts = ~(np.abs((end_s - start_s) * about.fps - length_E) < HALF_A_FRAME)
        for at in np.flatnonzero(off)[:1].tolist():
            yield _wrong(
                "videos",
                f"{_video(about, episodes, key, at)}, episode {at}",
                f"it begins at {start_s[at]:.6g} s (from_timestamp), "
                f"{(start_s[at] - expected_s[at]) * about.fps:+.3g} frames off",
                f"{expected_s[at]:.6g} s, where "
                + (f"episode {at - 1} ends" if at and same[at - 1] else "the file begins"),
                "the policy would be shown neighbouring pictures: convert or download the dataset again",
            )
        earlier = np.diff(chunk) * MOST_FILES + np.diff(file) < 0
        for at in (np.flatnonzero(earlier)[:1] + 1).tolist():
            yield Finding(
                *(Level.WARN, "videos", f"meta/episodes, episode {at}"),
                f"{key} is in chunk {chunk[at]}, file {file[at]}, before that of episode {at - 1}",
                *(
                    "files in the order of the episodes",
                    "look whether the pictures are those of these episodes",
                ),
            )
        for at in np.flatnonzero(lasts & ~off)[:1].tolist():
            yield _wrong(
                "videos",
                f"{_video(about, episodes, key, at)}, episode {at}",
                f"it lasts {end_s[at] - start_s[at]:.6g} s (from_timestamp to to_timestamp)",
                f"{length_E[at] / about.fps:.6g} s: {length_E[at]} frames at {about.fps:g} per second",
                AGAIN,
            )


def video_name(about: Description, key: str, chunk: int, file: int) -> str:
    """The path of a video from the dataset's folder."""
    return about.video_path.format(video_key=key, chunk_index=chunk, file_index=file)


def _video(about: Description, episodes: Episodes, key: str, at: int) -> str:
    chunk, file = (int(episodes.columns[f"videos/{key}/{what}_index"][at]) for what in ("chunk", "file"))
    return str(about.root / video_name(about, key, chunk, file))


def _counter(
    key: str, rows: Rows, episode_N: NDArray[np.int64], expected_N: NDArray[np.int64]
) -> Iterator[Finding]:
    bad = rows.columns[key] != expected_N
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        yield _wrong(
            "rows", _place(rows, at, episode_N), f"{key} {rows.columns[key][at]}", f"{expected_N[at]}", AGAIN
        )


def _files(about: Description, episodes: Episodes) -> Iterator[Finding]:
    places = zip(
        *(episodes.columns[f"data/{what}_index"].tolist() for what in ("chunk", "file")), strict=True
    )
    for chunk, file in sorted(set(places)):
        name = about.data_path.format(chunk_index=chunk, file_index=file)
        try:
            file_in(about.root, name)
        except DatasetError as error:
            yield _wrong("files", "", first_line(error), "every file that the table of episodes names", AGAIN)


def _rate(time_N: NDArray[np.float64], episode_N: NDArray[np.int64]) -> float | None:
    step_s = np.diff(time_N)[np.diff(episode_N) == 0]
    step_s = step_s[np.isfinite(step_s) & (step_s > 0)]
    return float(1 / np.median(step_s)) if len(step_s) else None


def _place(rows: Rows, row: int, episode_N: NDArray[np.int64]) -> str:
    episode = int(episode_N[row])
    return f"{rows.file_of(row)}, episode {episode}, frame {row - int(np.searchsorted(episode_N, episode))}"


def _wrong(check: str, subject: str, found: str, asked: str, possible: str = AGAIN) -> Finding:
    return Finding(Level.STOP, check, subject, found, asked, possible)
