"""The page in a browser: every plot drawn, every video plays, no word in the console, no request leaves it."""

import json
import re
import shutil
from collections.abc import Generator, Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import report_records as made
from so101_eval.errors import EvalError
from so101_eval.report import report_data
from so101_eval.report.data.reliance import PROBES
from so101_eval.report.figures import heat, probes
from so101_eval.report.figures.svg import COLOURS, arm_numbers, colour, round_step, spread
from so101_eval.report.media import Clip, Filmed, clip_key, encode, make_media
from so101_eval.report.page import MAIN, RELIANCE, TEMPLATES, render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = 'x<script>alert(1)</script>"&'


def film(episode: Mapping[str, Any]) -> Filmed:
    """Three grey pictures; of the worst policy's the repetition went otherwise."""
    return Filmed(
        [np.full((180, 240, 3), 80 * index, np.uint8) for index in range(3)], episode["arm"] != "baseline"
    )


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    cells = {("nominal", 0): 0.0, ("camera-pose", 1): -0.5, ("camera-pose", 2): -1.0}
    records = made.made_up({"baseline": 0.0, EVIL: 1.5}, 12, (0,), cells)
    return report_data(records, [made.reliance_file(records)])


@pytest.fixture(scope="module")
def clips(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    found, problems = make_media(data["choices"], film, tmp_path_factory.mktemp("media"))
    assert problems == []
    return found


@pytest.fixture(scope="module")
def browser() -> Generator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.timeout(300)
def test_the_page_draws_plays_and_stays_at_home(
    browser: Any, data: dict[str, Any], clips: dict[str, Clip], tmp_path: Path
):
    file = tmp_path / "report.html"
    file.write_text(render(data, clips), encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page.set_default_timeout(120_000)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url[:60]))
    page.goto(file.as_uri())
    videos = page.evaluate(
        """async () => {
            const played = []
            for (const video of document.querySelectorAll('video')) {
                await video.play()
                played.push([video.src, video.videoWidth > 0 && video.duration > 0])
            }
            return played
        }"""
    )
    assert {uri for uri, _ in videos} == {clip.uri for clip in clips.values() if clip.is_video}
    assert all(plays for _, plays in videos)
    assert [url for url in asked if not url.startswith(("data:", file.as_uri()[:60]))] == []
    assert said == []
    for part in (*MAIN, *RELIANCE):  # at this width and at the other one
        assert page.evaluate(f"document.querySelectorAll('#{part.id}').length") == 1
    hidden_marks = (
        "[...document.querySelectorAll('svg')].filter(s => s.checkVisibility() && !s.getBBox().width).length"
    )
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(hidden_marks) == 0
    assert page.evaluate(width) == 390
    narrow = page.evaluate("[...document.querySelectorAll('svg')].filter(s => s.checkVisibility()).length")
    page.set_viewport_size({"width": 1400, "height": 900})
    assert page.evaluate(hidden_marks) == 0
    assert page.evaluate(width) == 1400
    wide = page.evaluate("[...document.querySelectorAll('svg')].filter(s => s.checkVisibility()).length")
    assert narrow == wide > 10
    unnamed = "[...document.querySelectorAll('svg')].filter(s => !s.getAttribute('aria-label')).length"
    assert page.evaluate(unnamed) == 0


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    """Nine arms of three training seeds, each policy probed in a file of its own."""
    arms = {
        name: skill
        for skill, name in enumerate(["baseline", *(f"arm-with-a-long-name-{n}" for n in range(8))])
    }
    records = made.made_up(arms, 3, (0, 1, 2), {("nominal", 0): 0.0, ("camera-pose", 2): -1.0})
    whole = made.reliance_file(records)
    return report_data(records, [{**whole, "policies": [policy]} for policy in whole["policies"]])


def test_nine_arms_have_nine_colours_in_light_and_dark(study: dict[str, Any]):
    numbers = arm_numbers(study).values()
    assert len({colour(number) for number in numbers}) == 9
    style = (TEMPLATES / "style.css").read_text()
    for theme in style.split("prefers-color-scheme: dark"):
        found = dict(re.findall(r"--(c\d+): (#\w+);", theme))
        assert len(set(found.values())) == len(found) == COLOURS


def test_nine_arms_stand_in_one_table_of_colours_with_a_row_per_scenario(study: dict[str, Any]):
    page = render(study)
    assert page.count('id="glance"') == 1
    assert 'id="severity"' not in page  # no scenario has two of them
    assert str(heat.glance(study)).count("n 3<") == 2 * 8 * 2  # both widths, arms, scenarios


def test_training_seeds_of_an_arm_share_its_name_in_the_probes(study: dict[str, Any]):
    drawn = str(probes.probes(study)).partition("<details>")[0]
    assert drawn.count("</title>baseline</text>") == len(PROBES)
    assert all(drawn.count(f"<title>baseline-s{seed}: ") == len(PROBES) for seed in range(3))


def test_policies_probed_one_by_one_were_shown_the_same_frames(study: dict[str, Any]):
    assert len(study["reliance"]["frames"]) == 27
    assert "on 320 recorded frames" in render(study)


def test_labels_that_touch_move_apart_and_others_stay():
    assert spread([10, 100, 100, 400], 15) == pytest.approx([10, 92.5, 107.5, 400])
    assert spread([3, 1, 2], 10) == pytest.approx([12, -8, 2])
    assert spread([], 10) == []


@given(st.lists(st.floats(-1e3, 1e3), max_size=12))
def test_spread_labels_keep_their_order_and_their_distance(places: list[float]):
    found = spread(places, 15)
    order = sorted(range(len(places)), key=lambda index: places[index])
    assert all(found[b] - found[a] >= 15 - 1e-6 for a, b in pairwise(order))
    assert sum(found) == pytest.approx(sum(places), abs=1e-6)


@pytest.mark.parametrize(("span", "step"), [(15, 5), (30, 10), (45, 10), (60, 20), (1, 0.2), (7, 2)])
def test_axes_have_round_steps(span: float, step: float):
    assert round_step(span) == pytest.approx(step)


def test_names_are_text_and_never_markup(data: dict[str, Any]):
    page = render(data)
    assert EVIL not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_page_is_a_function_of_its_data(data: dict[str, Any]):
    assert render(json.loads(json.dumps(data))) == render(data)


def test_without_videos_the_page_says_so(data: dict[str, Any]):
    page = render(data, None, ["baseline: its checkpoint is gone"])
    assert "made without pictures and videos" in page
    assert "its checkpoint is gone" in page
    assert "<video" not in page


def test_one_arm_with_nothing_known_is_a_page_too():
    records = [made.episode("ours", None, 1000 + scene) for scene in range(2)]
    page = render(report_data(records))
    assert "Nothing is known of ours" in page
    assert "the camera was lost" in page


def test_a_repetition_that_went_otherwise_is_marked(data: dict[str, Any], clips: dict[str, Clip]):
    pair = data["choices"]["pairs"][0]
    assert not clips[clip_key(pair["first"], pair["second"])].as_recorded
    assert "went otherwise than its record says" in render(data, clips)


def test_clips_are_made_once_and_within_their_budget(data: dict[str, Any], tmp_path: Path):
    choices = data["choices"] | {"pairs": [], "failures": []}
    played: list[str] = []

    def count(episode: Mapping[str, Any]) -> Filmed:
        played.append(clip_key(episode))
        return film(episode)

    first, _ = make_media(choices, count, tmp_path)
    again, _ = make_media(choices, count, tmp_path)
    assert first == again
    assert len(played) == len(set(played)) == len(first)
    few, problems = make_media(choices, count, tmp_path, budget=1000)
    assert len(few) + len(problems) == len(first)
    assert "no room left" in problems[0]


def test_an_episode_that_cannot_be_played_again_is_named(data: dict[str, Any], tmp_path: Path):
    def gone(episode: Mapping[str, Any]) -> Filmed:
        raise EvalError(f"{episode['policy']}: its checkpoint has changed")

    found, problems = make_media(data["choices"], gone, tmp_path)
    assert found == {}
    assert "baseline-s0: its checkpoint has changed" in problems


def test_what_is_encoded_is_seen_again():
    import io

    import av

    frames = [np.full((64, 96, 3), level, np.uint8) for level in (30, 200)]
    seen: list[float] = []
    with av.open(io.BytesIO(encode(frames, Fraction(15))), "r") as container:
        seen = [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]
    assert seen == pytest.approx([30, 200], abs=6)
