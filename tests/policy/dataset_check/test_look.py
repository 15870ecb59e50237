"""What is wrong with a dataset stops, what is doubtful is said, and both name file, episode, frame and column."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from so101_dataset import (
    DATA,
    FRAMES,
    TABLE,
    edit_json,
    edit_table,
    motion,
    set_joint,
)
from so101_policy.dataset_check.look import announce, look, require
from so101_policy.errors import DatasetError
from so101_policy.findings import Finding, Level
from so101_policy.units import LikelyUnits, likely_units

VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"
INFO = "meta/info.json"

type Damage = Callable[[Path], object]


def column(key: str, row: int, value: Any, name: str = DATA) -> Damage:
    return lambda root: edit_table(root, name, lambda columns: columns[key].__setitem__(row, value))


def info(key: str, value: Any) -> Damage:
    return lambda root: edit_json(root, INFO, lambda data: data.__setitem__(key, value))


def feature(key: str, field: str, value: Any) -> Damage:
    return lambda root: edit_json(root, INFO, lambda data: data["features"][key].__setitem__(field, value))


def cut(name: str, share: float) -> Damage:
    def damage(root: Path) -> None:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: int(len(content) * share)])

    return damage


def linked_out(name: str) -> Damage:
    def damage(root: Path) -> None:
        outside = root.parent / "outside"
        shutil.move(root / name, outside)
        (root / name).symlink_to(outside)

    return damage


def swapped_joints(root: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        for key in ("action", "observation.state"):
            names = data["features"][key]["names"]
            names[0], names[1] = names[1], names[0]

    edit_json(root, INFO, change)


def radians(root: Path) -> None:
    edit_table(
        root,
        DATA,
        lambda columns: columns.__setitem__("action", np.radians(np.array(columns["action"])).tolist()),
    )


def stamped(step_s: float) -> Damage:
    times = [float(np.float32(k * step_s)) for _ in range(3) for k in range(FRAMES)]
    return lambda root: edit_table(root, DATA, lambda columns: columns.__setitem__("timestamp", times))


def drifting(key: str) -> Damage:
    """Every episode begins a third of a frame after the end of the one before it."""

    def change(columns: dict[str, Any]) -> None:
        for episode in (0, 1, 2):
            start_s = 1.23 * episode
            columns[f"videos/{key}/from_timestamp"][episode] = start_s
            columns[f"videos/{key}/to_timestamp"][episode] = start_s + 1.2

    return lambda root: edit_table(root, TABLE, change)


WRONG: dict[str, tuple[Damage, str, tuple[str, ...]]] = {
    # what is done -> (damage, check, what the message has)
    "NaN": (
        lambda r: set_joint(r, "action", {(14, 2): np.nan}),
        "values",
        (DATA, "episode 1, frame 2", "elbow_flex", "nan"),
    ),
    "infinite": (
        lambda r: set_joint(r, "observation.state", {(0, 5): -np.inf}),
        "values",
        ("episode 0", "gripper", "-inf"),
    ),
    "huge": (
        lambda r: set_joint(r, "action", {(35, 0): 1e5}),
        "values",
        ("episode 2, frame 11", "100000", "--dataset.episodes"),
    ),
    "no number": (
        column("action", 3, [1.0, 2.0, None, 4.0, 5.0, 6.0]),
        "files",
        (DATA, "action", "no number"),
    ),
    "too few numbers": (column("action", 3, [1.0, 2.0]), "files", (DATA, "row 3", "expected 6 numbers")),
    "words for numbers": (
        lambda r: edit_table(r, DATA, lambda c: c.__setitem__("timestamp", ["x"] * 36)),
        "files",
        ("timestamp", "expected numbers"),
    ),
    "a column is gone": (
        lambda r: edit_table(r, DATA, lambda c: c.pop("action")),
        "files",
        (DATA, "'action'"),
    ),
    "a column too many": (
        lambda r: edit_table(r, DATA, lambda c: c.__setitem__("more", [0] * 36)),
        "files",
        (DATA, "'more'"),
    ),
    "rows are gone": (
        lambda r: edit_table(r, DATA, lambda c: [v.pop() for v in c.values()]),
        "frames",
        ("35 rows", "36"),
    ),
    "rows in another order": (
        lambda r: edit_table(r, DATA, lambda c: [v.reverse() for v in c.values()]),
        "rows",
        ("frame_index",),
    ),
    "index": (column("index", 7, 99), "rows", ("episode 0, frame 7", "index 99", "expected: 7")),
    "task": (column("task_index", 7, 5), "tasks", ("task 5",)),
    "one time": (
        column("timestamp", 14, 0.25),
        "times",
        ("episode 1, frame 2", "0.25 s", "0.2 s", "--tolerance_s=0.05"),
    ),
    "time is NaN": (column("timestamp", 14, float("nan")), "times", ("episode 1, frame 2",)),
    "another rate": (stamped(1 / 15), "times", ("look like 15 frames per second", INFO)),
    "border": (
        column("dataset_to_index", 0, 13, TABLE),
        "episodes",
        (r"meta/episodes", "episode 0", "length 12"),
    ),
    "episode_index": (column("episode_index", 1, 2, TABLE), "episodes", ("episode_index",)),
    "video a frame early": (
        column("videos/observation.images.front/from_timestamp", 1, 1.1, TABLE),
        "videos",
        (VIDEO, "episode 1", "-1 frames off", "episode 0 ends"),
    ),
    "places in a video that drift": (
        drifting("observation.images.front"),
        "videos",
        (
            VIDEO,
            "episode 2, frame 0",
            "picture 25 of the file",
            "picture 24: 24 are of the episodes before it",
        ),
    ),
    "video too long": (
        column("videos/observation.images.front/to_timestamp", 2, 3.7, TABLE),
        "videos",
        ("episode 2", "1.3 s", "1.2 s"),
    ),
    "data file by another number": (
        column("data/file_index", 1, 7, TABLE),
        "files",
        ("file-007.parquet", "missing"),
    ),
    "video by another number": (
        column("videos/observation.images.front/file_index", 2, 7, TABLE),
        "videos",
        ("file-007.mp4",),
    ),
    "empty table": (cut(DATA, 0), "files", (DATA, "it is empty")),
    "cut table": (cut(DATA, 0.5), "files", (DATA, "cut short")),
    "table of episodes is gone": (lambda r: (r / TABLE).unlink(), "files", ("meta/episodes", "no table")),
    "cut table of episodes": (cut(TABLE, 0.9), "files", (TABLE, "cut short")),
    "tasks are gone": (
        lambda r: (r / "meta/tasks.parquet").unlink(),
        "files",
        ("meta/tasks.parquet is missing",),
    ),
    "video is gone": (lambda r: (r / VIDEO).unlink(), "files", (VIDEO, "missing")),
    "empty video": (cut(VIDEO, 0), "files", (VIDEO, "it is empty")),
    "cut video": (cut(VIDEO, 0.9), "videos", (VIDEO, "cut short")),
    "video of another size": (
        feature("observation.images.front", "shape", [48, 32, 3]),
        "videos",
        (VIDEO, "48x32 pixels", "32x48"),
    ),
    "video of another rate": (info("fps", 20), "times", ("look like 10 frames per second",)),
    "more episodes promised": (info("total_episodes", 4), "episodes", ("3 episodes", "4")),
    "no fps": (info("fps", 0), "files", (INFO, "fps is 0")),
    "version 2.1": (
        info("codebase_version", "v2.1"),
        "files",
        ("convert_dataset_v21_to_v30 --repo-id=local/small --root=", "--push-to-hub=false"),
    ),
    "version 4": (info("codebase_version", "v4.0"), "files", ("newer LeRobot",)),
    "path out of the folder": (info("data_path", "../../etc/{file_index}"), "files", (INFO, "data_path")),
    "path that looks around": (
        info("video_path", "{video_key.__class__}/{file_index}"),
        "files",
        (INFO, "video_path"),
    ),
    "a name that is a path": (
        lambda r: edit_json(r, INFO, lambda d: d["features"].__setitem__("../x", {"dtype": "video"})),
        "files",
        ("'../x'",),
    ),
    "shape": (feature("action", "shape", [7]), "files", ("7 entries and 6 names",)),
    "a joint twice": (feature("action", "names", ["a"] * 6), "files", ("a name twice",)),
    "kind": (feature("action", "dtype", "float99"), "files", ("float99",)),
    "joints in another order": (
        swapped_joints,
        "joints",
        ("shoulder_lift, shoulder_pan", "an arm would move other joints"),
    ),
    "state and action in two units": (
        radians,
        "units",
        ("action looks like radians", "observation.state looks like degrees"),
    ),
    "deep": (lambda r: (r / INFO).write_text("[" * 5000), "files", (INFO, "nested 5000 deep")),
    "statistics that are no numbers": (
        lambda r: edit_json(r, "meta/stats.json", lambda d: d.__setitem__("action", {"mean": "x"})),
        "files",
        ("meta/stats.json", "remove the file"),
    ),
    "data linked out": (linked_out("data"), "files", (DATA, "leads out")),
    "video linked out": (linked_out(VIDEO), "files", (VIDEO, "leads out")),
    "a circle": (lambda r: [(r / INFO).unlink(), (r / INFO).symlink_to("info.json")], "files", (INFO,)),
}


def test_a_valid_dataset_is_right(valid: Path):
    seen = look(valid)
    assert seen.findings == []
    assert seen.unit is LikelyUnits.DEGREES


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_stops_with_one_message_that_names_it(copy: Path, name: str):
    damage, check, told = WRONG[name]
    damage(copy)
    seen = look(copy)
    stops = [finding for finding in seen.findings if finding.level is Level.STOP]
    assert [finding.check for finding in stops][:1] == [check], seen.findings
    with pytest.raises(DatasetError) as problem:
        require(seen)
    message = str(problem.value)
    assert [words for words in told if words not in message] == [], message
    assert str(copy) in message
    assert "Traceback" not in message
    assert message.replace("\n", "").isprintable()


def linked_in(root: Path) -> None:
    shutil.move(root / "data", root / "elsewhere")
    (root / "data").symlink_to(root / "elsewhere")


def test_a_link_within_the_folder_and_a_link_to_the_folder_are_followed(copy: Path, tmp_path: Path):
    linked_in(copy)
    (tmp_path / "link").symlink_to(copy)
    assert look(tmp_path / "link").findings == []


def test_links_into_the_blobs_of_the_hubs_cache_are_followed(valid: Path, tmp_path: Path):
    snapshot = tmp_path / "datasets--me--x" / "snapshots" / "abc"
    blobs = tmp_path / "datasets--me--x" / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(path for path in valid.rglob("*") if path.is_file()):
        shutil.copy(path, blobs / str(number))
        (snapshot / path.relative_to(valid)).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / path.relative_to(valid)).symlink_to(blobs / str(number))
    assert look(snapshot).findings == []


def test_values_are_asked_of_the_episodes_that_are_used_alone(copy: Path):
    set_joint(copy, "action", {(35, 0): 1e5, (30, 2): np.nan})
    assert not look(copy, [0, 1]).is_wrong
    assert look(copy, [0, 2]).is_wrong
    assert not look(copy, []).is_wrong


def test_times_that_are_off_are_taken_within_the_tolerance(copy: Path):
    rng = np.random.default_rng(0)

    def jitter(columns: dict[str, Any]) -> None:
        late_s = rng.uniform(0, 0.02, len(columns["timestamp"]))
        columns["timestamp"] = (np.array(columns["timestamp"]) + late_s).tolist()

    edit_table(copy, DATA, jitter)
    (found,) = look(copy).findings
    assert "--tolerance_s=0.0001" in found.text
    assert "accept it with --tolerance_s=0.02" in found.text
    assert look(copy, tolerance_s=0.05).findings == []


def still(joint: int, jitter: float) -> Damage:
    rng = np.random.default_rng(1)

    def change(columns: dict[str, Any]) -> None:
        for key in ("action", "observation.state"):
            rows = np.array(columns[key])
            rows[:, joint] = 3.0 + rng.choice([0, jitter], len(rows))
            columns[key] = rows.tolist()

    return lambda root: edit_table(root, DATA, change)


def everywhere(change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Damage:
    def damage(columns: dict[str, Any]) -> None:
        for key in ("action", "observation.state"):
            columns[key] = change(np.array(columns[key])).tolist()

    return lambda root: edit_table(root, DATA, damage)


def normalised(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    low, high = rows.min(axis=0), rows.max(axis=0)
    scaled = (rows - low) / (high - low) * 200 - 100
    scaled[:, 5] = rows[:, 5]
    return scaled


def repeated(columns: dict[str, Any]) -> None:
    for key in ("action", "observation.state"):
        columns[key][FRAMES : 2 * FRAMES] = columns[key][:FRAMES]


def pushing(rows: list[list[float]]) -> None:
    for row in rows[:11]:
        row[1] = -99.0


DOUBTFUL: dict[str, tuple[Damage, str, tuple[str, ...]]] = {
    "radians": (everywhere(np.radians), "units", ("look like radians",)),
    "normalised": (everywhere(normalised), "units", ("look like -100..100",)),
    "copies": (lambda r: edit_table(r, DATA, repeated), "copies", ("episode 1 is 0",)),
    "the action is the state": (
        lambda r: edit_table(r, DATA, lambda c: c.__setitem__("action", c["observation.state"])),
        "actions",
        ("is the state of the same frame",),
    ),
    "pushing on a stop": (
        lambda r: edit_table(r, DATA, lambda c: pushing(c["action"])),
        "actions",
        ("shoulder_lift", "-99", "for 1.1 s"),
    ),
    "a jump": (
        lambda r: set_joint(r, "observation.state", {(18, 3): 359.0}),
        "jumps",
        ("episode 1, frame 6", "wrist_flex", "359"),
    ),
    "no statistics": (
        lambda r: (r / "meta/stats.json").unlink(),
        "statistics",
        ("missing", "so101-train computes them"),
    ),
    "statistics without the action": (
        lambda r: edit_json(r, "meta/stats.json", lambda d: d.pop("action")),
        "statistics",
        ("action is missing",),
    ),
    "statistics in radians": (
        lambda r: edit_json(r, "meta/stats.json", lambda d: d["action"].__setitem__("std", [0.2] * 6)),
        "statistics",
        ("std of action shoulder_pan.pos is 0.2",),
    ),
    "statistics of other sizes": (
        lambda r: edit_json(r, "meta/stats.json", lambda d: d["action"].__setitem__("std", [0.2])),
        "statistics",
        ("shape (1,)",),
    ),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_is_doubtful_is_said(copy: Path, name: str):
    damage, check, told = DOUBTFUL[name]
    damage(copy)
    seen = look(copy)
    assert not seen.is_wrong
    texts = [finding.text for finding in seen.doubtful if finding.check == check]
    assert len(texts) == 1, seen.findings
    assert [words for words in told if words not in texts[0]] == [], texts


def test_files_in_another_order_than_the_episodes_are_doubtful(copy: Path):
    def change(columns: dict[str, Any]) -> None:
        columns["videos/observation.images.front/file_index"][0] = 1
        for episode in (1, 2):
            for end in ("from", "to"):
                columns[f"videos/observation.images.front/{end}_timestamp"][episode] -= 1.2

    edit_table(copy, TABLE, change)
    shutil.copy(copy / VIDEO, copy / VIDEO.replace("file-000", "file-001"))
    said = [finding.text for finding in look(copy).doubtful]
    assert any("file 0, before that of episode 0" in text for text in said), said


def test_pauses_are_doubtful(copy: Path):
    def change(columns: dict[str, Any]) -> None:
        for key in ("action", "observation.state"):
            columns[key] = [columns[key][0]] * FRAMES + columns[key][FRAMES:]

    edit_table(copy, DATA, change)
    edit_json(copy, INFO, lambda data: data.__setitem__("fps", 5))
    edit_table(copy, DATA, lambda c: c.__setitem__("timestamp", [t * 2 for t in c["timestamp"]]))
    found = [finding for finding in look(copy).findings if finding.check == "idle"]
    assert "33% of all frames" in found[0].text
    assert "episode 0 (100%)" in found[0].text


def test_statistics_are_those_of_the_episodes_that_are_trained_on(copy: Path):
    set_joint(copy, "action", {(35, 0): 1e5})
    trained = look(copy, [0, 1]).statistics_of([0, 1])
    rows = np.vstack([motion(e, FRAMES + 1)[1:] for e in (0, 1)])
    np.testing.assert_allclose(trained.statistics["action"]["std"], rows.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(trained.statistics["action"]["max"], rows.max(axis=0), rtol=1e-5)
    assert trained.statistics["observation.images.front"]["mean"].shape == (3, 1, 1)
    assert (
        trained.statistics["observation.images.front"]["count"]
        < look(copy, []).stored["observation.images.front"]["count"]
    )
    assert trained.notes == []


def test_stored_statistics_that_are_right_are_taken_to_the_last_bit(valid: Path):
    seen = look(valid)
    trained = seen.statistics_of(range(3))
    assert seen.stored is not None
    for key, values in seen.stored.items():
        for name, value in values.items():
            assert np.array_equal(trained.statistics[key][name], value), (key, name)


@pytest.mark.parametrize("jitter", [0.0, 360 / 4096])
def test_a_joint_that_hardly_moves_is_scaled_by_a_degree(copy: Path, jitter: float):
    still(4, jitter)(copy)
    trained = look(copy).statistics_of(range(3))
    for key in ("action", "observation.state"):
        values = trained.statistics[key]
        assert values["std"][4] == 1.0
        assert values["max"][4] - values["min"][4] == pytest.approx(2.0)
        assert values["std"][0] > 10
    assert ["wrist_roll" in note.text for note in trained.notes] == [True, True]


def test_findings_are_announced_in_ten_lines_and_the_way_to_the_rest(capsys: pytest.CaptureFixture[str]):
    from rich.console import Console

    findings = [Finding(Level.WARN, "idle", f"episode {k}\x1b[2J", "[red]still[/]") for k in range(13)]
    announce(findings, Path("sets/x"), Console(stderr=True))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0] == "dataset: idle, episode 0\\x1b[2J: [red]still[/]"
    assert lines[-1] == "dataset: .. and 3 more: so101-data check sets/x"


def test_units_are_told_apart_by_their_numbers():
    folded = np.array([[0, -98, 92, 65, 0], [40, 10, -20, 80, -150]])
    assert likely_units(folded) is LikelyUnits.DEGREES
    assert likely_units(np.radians(folded)) is LikelyUnits.RADIANS
    # https://github.com/huggingface/lerobot/issues/2968: statistics of a recording from before February 2026
    bench = np.array([[-58.2, -99.7, -24.6, -6.3, -61.0], [61.4, 38.5, 99.5, 99.2, 54.1]])
    assert likely_units(bench) is LikelyUnits.RANGE
    assert likely_units(np.zeros((4, 5))) is LikelyUnits.UNKNOWN
