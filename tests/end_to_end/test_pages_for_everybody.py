"""Every page of the package, by axe (WCAG 2.1 A and AA) and by the keyboard alone, at two widths, in light and dark.

The pages are those of a run, an evaluation, a study, so101-bench and the report, each with as much on it as there can
be. axe-core comes with a package of the tests; nothing of it is in what is installed at an arm.
"""

import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import report_records as made
from shown_ticks import LIMITS, TITLE, frames, make_tick
from so101_eval.html.progress_page import ProgressPage
from so101_eval.palletizing.score.record import MILESTONES
from so101_eval.real_study.console.remote import ConsoleOperator
from so101_eval.real_study.session.view import Line, Target, View
from so101_eval.report import report_data
from so101_eval.report.media import Filmed, make_media
from so101_eval.report.page import render
from so101_policy.command_line.next_steps import Step
from so101_robot.display.web.run_page import Result, RunPage
from so101_robot.guard.guard import Intervention, Verdict
from so101_robot.message import Message, Severity

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOOKS = [(390, "light"), (390, "dark"), (1400, "light"), (1400, "dark")]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
READY_MS = 120_000
MOST_STOPS = 400
"""Of the Tab key; a video has several."""

WHERE = {"operator": "anna", "block": 3, "blocks": 20, "trial": 1, "trials": 2}
SCREENS = [
    View("session", text="Check again.", operator="anna",
         findings=(Line("ok", "supply: 12.1 V"), Line("warn", "heat: 51 degrees C"), Line("stop", "no picture"))),
    View("reset", text="Put each box on its outline.", can_undo=True, ready=False, can_override=True,
         targets=(Target(0, ((0.4, 0.4), (0.5, 0.4), (0.5, 0.5), (0.4, 0.5)), False, "box 1: 4 mm left"),
                  Target(1, (), None, "box 2: 180 mm ahead"), Target(2, (), True, "box 3: in its place")), **WHERE),
    View("reset", text="All is well.", ready=True, **WHERE),
    View("trial", code="QXTR", limit_s=30.0, running=True, **WHERE),
    View("rig", text="Did the rig fail?", code="QXTR", reasons=("cable", "camera"), **WHERE),
    View("outcome", text="What became of them?", code="QXTR", suggested="time", boxes=2, stages=MILESTONES, **WHERE),
    View("block", question="Which trial was the new policy?", **WHERE),
    View("over", text="The study is over: so101-bench unblind", operator="anna", stop=True),
]  # fmt: skip

REACHABLE = (
    "a[href], button:not([disabled]), input, select, textarea, summary, video[controls], [tabindex='0']"
)
FOCUS = """() => {
    const at = document.activeElement, style = getComputedStyle(at)
    const words = at.innerText || at.textContent || at.ariaLabel || at.labels?.[0]?.innerText || at.title || ''
    const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0
    at.dataset.reached = 'yes'
    return [at.tagName, words.trim().slice(0, 40), seen]
}"""
MISSED = f"""() => [...document.querySelectorAll("{REACHABLE}")].filter(
    each => each.checkVisibility({{visibilityProperty: true}}) && !each.dataset.reached && each.type !== 'radio'
        && each.tabIndex >= 0
).map(each => each.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def browser() -> Generator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """The script."""
    package = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    return str(package.Axe().axe_script)


def looked_at(browser: Any, address: str, ready: str) -> Iterator[Any]:
    """The page in every width and mode, once `ready` (JavaScript) is true."""
    for width, mode in LOOKS:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=mode, bypass_csp=True
        )
        page = context.new_page()
        page.set_default_timeout(READY_MS)
        page.goto(address, wait_until="domcontentloaded")
        page.wait_for_function(ready)
        yield page
        context.close()


def faults(page: Any, axe: str) -> list[str]:
    """What axe finds, each with the element, and a page that is wider than the window."""
    page.evaluate(axe)
    found = page.evaluate("rules => axe.run(document, rules)", RULES)
    said = [
        f"{fault['id']}: {node['target']} {node['html'][:150]} - {node['failureSummary']}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    mode = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    return [f"{mode}: {each}" for each in (*said, *([f"{wide} px too wide"] if wide > 0 else []))]


def unreached(page: Any) -> list[str]:
    """What the Tab key does not reach, and what it reaches without a name or a ring to be seen."""
    page.evaluate("document.activeElement.blur()")
    bad: list[str] = []
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        tag, words, ring = page.evaluate(FOCUS)
        if tag == "BODY":  # once round
            break
        if not words or not (ring or tag == "VIDEO"):  # the browser's own controls have their own ring
            bad.append(f"{tag} {words!r}: {'no ring' if words else 'no name'}")
    return bad + [f"not reached: {each}" for each in page.evaluate(MISSED)]


def wrong(browser: Any, axe: str, address: str, ready: str) -> list[str]:
    """All of it, at every width and in every mode."""
    return [
        f"{page.viewport_size['width']} px: {fault}"
        for page in looked_at(browser, address, ready)
        for fault in (*faults(page, axe), *unreached(page))
    ]


@pytest.fixture
def run_page() -> Generator[Callable[[], tuple[RunPage, str]]]:
    pages: list[RunPage] = []

    def begin() -> tuple[RunPage, str]:
        clock = iter(range(10**6))
        page = RunPage(("front", "wrist"), lambda address: None, stay_s=60, port=0, now_s=lambda: next(clock))
        pages.append(page)
        address = page.wait()
        page.begin(TITLE, LIMITS)
        changes = (Intervention("speed", "elbow_flex", 30.0, 20.0),)
        for index in range(12):
            page.on_tick(
                make_tick(index, pictures=frames(index), verdict=Verdict(make_tick().goal, changes, None))
            )
        for severity in Severity:
            page.on_message(Message(f"a message: {severity.name}", severity))
        page.on_tick(make_tick(13, pictures=frames(13)))
        return page, address

    yield begin
    for page in pages:
        page.finish(Result(("over",)))


def test_the_page_of_a_run(browser: Any, axe: str, run_page: Callable[[], tuple[RunPage, str]]):
    page, address = run_page()
    assert not (found := wrong(browser, axe, address, "document.querySelectorAll('.share').length > 0")), (
        "\n".join(found)
    )
    page.finish(Result(("box placed: 2 mm off",), True, "outputs/run", [("so101-replay x", "once more")]))
    # it answers until somebody has seen the end, so one look is all
    _, first = next(enumerate(looked_at(browser, address, "!document.getElementById('result').hidden")))
    assert faults(first, axe) == []
    assert unreached(first) == []
    first.context.close()


@pytest.mark.parametrize("command", ["so101-eval", "so101-study"])
def test_the_page_of_a_long_command(browser: Any, axe: str, command: str):
    rates = [{"name": "policy-with-a-rather-long-name", "good": 3, "known": 5, "low": 0.2, "high": 0.9},
             {"name": "other", "good": 0, "known": 0, "low": 0.0, "high": 1.0}]  # fmt: skip
    failed = {"policy": "other", "cell": "nominal:0", "seed": 3, "kind": "box lost", "phase": "carry", "time_s": 3.2,
              "episode": "other,nominal:0,3"}  # fmt: skip
    stages = [
        {"name": f"stage {state}", "state": state, "words": "2 of 5"} for state in ("done", "now", "later")
    ]
    addresses: list[str] = []
    page = ProgressPage(command, "palletize-1", addresses.append, stay_s=60, port=0)
    parts: Mapping[str, Any] = {
        "unit": "episodes", "done": 5, "total": 9, "left_s": 90.0, "folder": "outputs/evaluation", "stages": stages,
        "cells": [{"name": "nominal:0", "policies": rates}], "failures": [failed], "again": "so101-eval replay x",
    }  # fmt: skip
    page.show(parts)
    try:
        port = page._link.wait()
        address = f"http://127.0.0.1:{port}/"
        assert not (found := wrong(browser, axe, address, "view && view.done === 5")), "\n".join(found)
    finally:
        page.finish(("All is done.",), Path("outputs"), [Step("so101-eval report x", "the report")])
    over = next(looked_at(browser, address, "!document.getElementById('result').hidden"))
    assert faults(over, axe) + unreached(over) == []
    over.context.close()


def test_the_screens_of_a_study_on_the_arm(browser: Any, axe: str):
    console, found = ConsoleOperator(0), list[str]()
    try:
        for view in SCREENS:
            console.show(view)
            console.pictures(frames(0))
            ready = f"document.body.classList.contains('{view.screen}')"
            found += [f"{view.screen}, {fault}" for fault in wrong(browser, axe, console.address, ready)]
    finally:
        console.close()
    assert not found, "\n".join(found)


def film(episode: Mapping[str, Any]) -> Filmed:
    """Three grey pictures."""
    return Filmed([np.full((180, 240, 3), 80 * index, np.uint8) for index in range(3)], True)


def test_the_report(browser: Any, axe: str, tmp_path: Path):
    cells = {("nominal", 0): 0.0, ("camera-pose", 1): -0.5, ("camera-pose", 2): -1.0}
    records = made.made_up({"baseline": 0.0, "regularized": 1.5}, 12, (0,), cells)
    data = report_data(records, [made.reliance_file(records)])
    data["sentence"]["reach"].append(
        f"Next: so101-eval run a={'/a_long_folder' * 9} --task=palletize-1-small."
    )
    clips, _ = make_media(data["choices"], film, tmp_path)
    file = tmp_path / "report.html"
    file.write_text(render(data, clips), encoding="utf-8")
    assert not (found := wrong(browser, axe, file.as_uri(), "document.readyState === 'complete'")), "\n".join(
        found
    )
