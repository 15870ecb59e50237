"""The page of an evaluation: what it shows, who may see it, and that the evaluation does not need it."""

import dataclasses
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from so101_eval.cli import EVAL
from so101_eval.evaluation import watching
from so101_eval.evaluation.plan import Player
from so101_eval.evaluation.records import EPISODES, EpisodeRecord, Key, read_episodes
from so101_eval.evaluation.run_folder import plan_of
from so101_eval.evaluation.watching import Watching
from so101_eval.html import progress_page
from so101_eval.html.progress_page import PAGE, ProgressPage
from so101_policy.command_line.command_shell import WRONG_INPUT

SOON_S = 60.0
ASKED = ["--policies", "expert", "hold", "--task", "palletize-1", "--episodes", "2", "--num_workers", "1"]


def view(address: str, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The first view of the stream that is as wanted."""
    with urllib.request.urlopen(f"{address}views", timeout=SOON_S) as stream:
        until_s = time.monotonic() + SOON_S / 3
        for line in stream:  # one every five seconds, at least
            assert time.monotonic() < until_s, "it is not shown"
            if line.startswith(b"data: ") and wanted(found := json.loads(line[6:])):
                return found
    raise AssertionError("the stream ended")


def status(address: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=SOON_S
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as problem:
        problem.close()
        return problem.code


def test_the_view_counts_what_was_there_and_tells_a_time_by_this_sitting(finished: Path):
    records = read_episodes(finished / EPISODES)
    shown: list[dict[str, Any]] = []
    clock = iter([100.0, 110.0, 120.0, 130.0, 140.0])
    watched = Watching(plan_of(finished), finished, shown.append, lambda: next(clock))
    watched.begin(records[:2])
    for record in records[2:5]:
        watched.add(record)
    assert [(each["done"], each["total"], each["left_s"]) for each in shown] == [
        (2, 6, None), (3, 6, None), (4, 6, None), (5, 6, pytest.approx(10 / 3)),
    ]  # fmt: skip
    expert, hold, mine = shown[-1]["cells"][0]["policies"]
    assert (expert["good"], expert["known"], round(expert["low"], 2), expert["high"]) == (2, 2, 0.34, 1.0)
    assert (hold["good"], hold["known"]) == (0, 2)
    assert (mine["known"], mine["low"], mine["high"]) == (1, 0.0, pytest.approx(0.793, abs=1e-3))
    assert [each["episode"] for each in shown[-1]["failures"]] == [
        "mine,nominal:0,0", "hold,nominal:0,1", "hold,nominal:0,0",
    ]  # fmt: skip
    json.dumps(shown, allow_nan=False)
    watched.add(records[5])
    assert shown[-1]["left_s"] == 0.0


def test_an_episode_without_a_verdict_is_done_but_not_counted(finished: Path):
    record = read_episodes(finished / EPISODES)[0]
    watched = Watching(plan_of(finished), finished, lambda parts: None)
    watched.begin([dataclasses.replace(record, success=None)])
    now = watched.view()
    assert (now["done"], now["cells"][0]["policies"][0]["known"], now["failures"]) == (1, 0, [])


def test_a_command_shows_its_page_to_this_machine_alone_and_outlives_it(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Episodes come from memory; in the middle of them the page is read, asked for wrongly, and killed."""
    known = {record.key: record for record in read_episodes(finished / EPISODES)}
    pages: list[ProgressPage] = []
    seen: list[Any] = []

    class Page(ProgressPage):
        def __init__(self, command: str, title: str, say: Callable[[str], None]) -> None:
            super().__init__(command, title, say, stay_s=0.0, port=0)
            pages.append(self)

    def play(self: Player, key: Key) -> EpisodeRecord:
        if len(seen) == 0 and key.policy == "hold":
            port = pages[0]._link.wait()  # pyright: ignore[reportPrivateUsage]
            address = f"http://127.0.0.1:{port}/"
            seen.append(view(address, lambda shown: shown.get("done") == 1))
            seen.append((status(address), status(address, Host="evil.example"),
                         status(f"{address}views", Origin="http://evil.example")))  # fmt: skip
            os.kill(pages[0].pid, signal.SIGKILL)
            until_s = time.monotonic() + SOON_S
            while not pages[0]._link.gone and time.monotonic() < until_s:  # pyright: ignore[reportPrivateUsage]
                pages[0].show({})
                time.sleep(0.02)
        return dataclasses.replace(known[key], versions=self_versions)

    self_versions = next(iter(known.values())).versions
    monkeypatch.setattr(Player, "play", play)
    monkeypatch.setattr(watching, "ProgressPage", Page)
    out = tmp_path / "out"
    assert EVAL.main(["run", *ASKED, "--display=web", "--output_dir", str(out)]) == 0
    assert seen[0]["title"] == "palletize-1"
    assert (seen[0]["total"], seen[0]["cells"][0]["policies"][0]["good"]) == (4, 1)
    assert seen[1] == (200, 403, 403)
    said = capsys.readouterr()
    assert "watch it at http://127.0.0.1:" in said.err
    assert "the page's server has ended; so101-eval run goes on without the page" in said.err
    assert f"so101-eval report {out}" in said.out
    assert len(read_episodes(out / EPISODES)) == 4
    pages[0].finish(("said twice",), out)


def test_the_end_is_shown_with_the_line_of_the_report_and_a_broken_one_as_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ends: list[Any] = []

    class Page:
        def __init__(self, *_: Any) -> None: ...
        def finish(self, *told: Any) -> None:
            ends.append(told)

    monkeypatch.setattr(watching, "ProgressPage", Page)
    with pytest.raises(KeyboardInterrupt), watching.page("web", "so101-eval run", "x", tmp_path, print):
        raise KeyboardInterrupt
    assert "ended before it was done" in ends[0][0][0]
    with watching.page("off", "so101-eval run", "x", tmp_path, print) as none:
        assert none is None


def test_without_the_extra_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(watching, "WEB", progress_page.WEB._replace(packages=("starlette", "not_there")))
    out = tmp_path / "out"
    assert EVAL.main(["run", *ASKED, "--display=web", "--output_dir", str(out)]) == WRONG_INPUT
    assert "missing: not_there" in capsys.readouterr().err
    assert not out.exists()


def test_the_page_asks_for_nothing_from_the_network():
    page = PAGE.read_text()
    for part in ("http:", "https:", "@import", "<script src", "innerHTML"):
        assert part not in page
