"""The page in a browser: every plot drawn, every video plays, no word in the console, no request leaves it."""

import json
import re
import shutil
from collections.abc import Generator, Mapping
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import report_records as made
from so101_eval.errors import EvalError
from so101_eval.html import STYLE
from so101_eval.report import report_data
from so101_eval.report.data.reliance import PROBES
from so101_eval.report.figures import curves, heat, probes
from so101_eval.report.figures.svg import (
    COLOURS,
    INK,
    NAME,
    NARROW,
    css_colour,
    drawn,
    number_of,
    shortened,
    tip,
)
from so101_eval.report.media import HEIGHT, INSET, WIDTH, Clip, Filmed, clip_key, encode, inlaid, make_media
from so101_eval.report.page import MAIN, RELIANCE, available, render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = 'x<script>alert(1)</script>"&'


def film(episode: Mapping[str, Any]) -> Filmed:
    """Three grey pictures; of the worst policy's the repetition went otherwise."""
    return Filmed(
        [np.full((180, 240, 3), 80 * index, np.uint8) for index in range(3)], episode["variant"] != "baseline"
    )


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    cells = {
        ("nominal", 0): 0.0,
        ("camera-pose", 1): -0.5,
        ("camera-pose", 2): -1.0,
        ("box-everywhere", 1): 0.0,
    }
    records = made.made_up({"baseline": 0.0, EVIL: 1.5}, 12, (0,), cells)
    return report_data(records, [made.reliance_file(records)])


@pytest.fixture(scope="module")
def page(data: dict[str, Any]) -> str:
    return render(data)


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
    there = available(data)
    for part in (part for part in (*MAIN, *RELIANCE) if there[part.id]):  # at this width and at the other one
        assert page.evaluate(f"document.querySelectorAll('#{part.id}').length") == 1
    dim = """[...document.querySelectorAll('svg text')].filter(text => {
        const levels = getComputedStyle(text).fill.match(/[0-9.]+/g).map(Number)
        return text.checkVisibility() && Math.max(...levels.slice(0, 3)) < 120
    }).map(text => text.textContent)"""
    assert page.evaluate(dim) == []  # dark letters on the dark page
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
    """Nine variants of three training seeds, each policy probed in a file of its own."""
    variants = {
        name: skill
        for skill, name in enumerate(["baseline", *(f"way-with-a-long-name-{n}" for n in range(8))])
    }
    records = made.made_up(variants, 3, (0, 1, 2), {("nominal", 0): 0.0, ("camera-pose", 2): -1.0})
    whole = made.reliance_file(records)
    return report_data(records, [{**whole, "policies": [policy]} for policy in whole["policies"]])


@pytest.fixture(scope="module")
def study_page(study: dict[str, Any]) -> str:
    return render(study)


def test_nine_variants_have_nine_colours_in_light_and_dark(study: dict[str, Any]):
    assert len({css_colour(number) for number in number_of(study).values()}) == 9
    style = STYLE
    for theme in style.split("prefers-color-scheme: dark"):
        found = dict(re.findall(r"--(c\d+): (#\w+);", theme))
        assert len(set(found.values())) == len(found) == COLOURS


def test_nine_variants_stand_in_one_table_of_colours_with_a_row_per_scenario(
    study: dict[str, Any], study_page: str
):
    assert study_page.count('id="glance"') == 1
    assert 'id="severity"' not in study_page  # no scenario has two of them
    assert str(heat.glance(study)).count("n 3<") == 2 * 8 * 2  # both widths, variants, scenarios


def test_training_seeds_of_an_variant_share_its_name_in_the_probes(study: dict[str, Any]):
    shown = str(probes.probes(study)).partition("<details>")[0]
    assert shown.count(">baseline</text>") == len(PROBES)
    assert all(shown.count(f"<title>baseline-s{seed}: ") == len(PROBES) for seed in range(3))


def test_policies_probed_one_by_one_were_shown_the_same_frames(study: dict[str, Any], study_page: str):
    assert len(study["reliance"]["frames"]) == 27
    assert "on 320 recorded frames" in study_page


def test_the_legend_of_curves_has_every_variant_at_both_widths(study: dict[str, Any]):
    shown = str(curves.success_curves(study)).partition("<details>")[0]
    for name in number_of(study):
        assert shown.count(f">{shortened(name, NAME)}</text>") == 2


@pytest.mark.parametrize(("limit", "step"), [(15, 5), (30, 10), (45, 10), (60, 20), (1, 0.2), (7, 2)])
def test_axes_have_round_steps(study: dict[str, Any], limit: float, step: float):
    at_limit = study | {"task": study["task"] | {"time_limit_s": limit}}
    narrow = str(curves.success_curves(at_limit)).partition('class="narrow"')[2].partition("seconds from")[0]
    ticks = [float(text) for text in re.findall(r">([\d.]+)</text>", narrow)]
    assert np.diff(ticks) == pytest.approx(step)
    assert ticks[0] == 0
    assert limit - step < ticks[-1] <= limit


def test_what_a_figure_refers_to_has_a_name_of_its_own(page: str):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)


def test_all_colours_of_figures_come_from_the_style_sheet(page: str):
    svgs = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(svgs) > 10
    style = STYLE
    used = {name for svg in svgs for name in re.findall(r"var\((--[\w-]+)\)", svg)}
    assert used
    assert all(f"{name}:" in style for name in used)
    assert [code for svg in svgs for code in re.findall(r"#[0-9a-f]{6}\b", svg)] == []


class Text(HTMLParser):
    """Tags and text of a page, as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.said = set[str](), ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.said += data


@pytest.mark.parametrize(
    "name", [EVIL, "$x^2$", "a\\frac{", "\N{GRINNING FACE} 箱", INK, "tip:x", "bell\x07", "]]>", "a--b"]
)
def test_whatever_a_name_is_a_figure_says_it_as_text(name: str):
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        tip(axes.text(0, 0.2, name), f"about {name}")
        axes.set_title(name)

    text = Text(str(drawn(NARROW, 100, name, draw)))
    shown = name.replace("\x07", "\N{REPLACEMENT CHARACTER}")
    assert text.said.count(shown) == 3
    assert f"about {shown}" in text.said
    assert text.tags <= {"svg", "g", "path", "text", "title", "defs", "style", "use", "clippath", "rect"}


def test_names_are_text_and_never_markup(page: str):
    assert EVIL not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_page_is_a_function_of_its_data(data: dict[str, Any], page: str):
    assert render(json.loads(json.dumps(data))) == page


def test_without_videos_the_page_says_so(data: dict[str, Any]):
    page = render(data, None, ["baseline: its checkpoint is gone"])
    assert "made without pictures and videos" in page
    assert "its checkpoint is gone" in page
    assert "<video" not in page


def test_one_variant_with_nothing_known_is_a_page_too():
    records = [made.episode("ours", None, 1000 + scene) for scene in range(2)]
    page = render(report_data(records))
    assert "Nothing is known of ours" in page
    assert "the camera was lost" in page


def test_every_video_has_its_last_picture_before_it_is_played(data: dict[str, Any], clips: dict[str, Clip]):
    shown = render(data, clips)
    assert shown.count("<video") == shown.count('poster="data:image/jpeg;base64,') > 0


def test_the_policys_view_is_small_in_a_corner_of_the_whole_arm():
    row = np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8)
    row[:, WIDTH:] = 90
    whole = inlaid(row)
    assert whole.shape == (HEIGHT, WIDTH, 3)
    assert (whole[: HEIGHT // INSET, : WIDTH // INSET] == 90).all()
    assert whole[HEIGHT // 2 :].max() == 0
    assert (inlaid(row[:, WIDTH:]) == 90).all()  # a scene without a view of the whole arm


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
