"""The screens of so101-bench for docs/compare_on_your_arm.md: the page in a browser, with views of a made-up study.

    python docs/pictures/draw_bench.py [FOLDER]      bench_screens.png, and each screen by itself into FOLDER

Needs chromium. The live pictures are the mock arm's.
"""

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import sync_playwright

from so101_eval.evaluation.policy_specs import PolicySpec
from so101_eval.palletizing.scene.draw import draw
from so101_eval.palletizing.scene.scene import PalletizingScene, lay_out
from so101_eval.palletizing.scene.tasks import load_task
from so101_eval.palletizing.score.record import MILESTONES
from so101_eval.real_study.console.remote import ConsoleOperator
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.measurement.camera import Camera
from so101_eval.real_study.measurement.rendered import lens_of, pose_of
from so101_eval.real_study.session.start_gate import Seen, StartGate
from so101_eval.real_study.session.view import Line, View
from so101_robot.mock.arm import MockArm
from so101_robot.mock.cameras.render import open_renderer
from so101_robot.mock.config import MockConfig
from so101_robot.state import Frame

HERE = Path(__file__).parent
TASK = "palletize-2"
SIZES = {"desktop": (1400, 800), "phone": (390, 844)}
WHERE = {"operator": "anna", "block": 3, "blocks": 20, "trial": 1, "trials": 2}
FINDINGS = (
    Line("ok", "servos: all six answer"),
    Line("ok", "calibration: as in the file"),
    Line("ok", "supply: 12.1 V"),
    Line("warn", "heat: elbow_flex has 51 degrees C; expected: below 50"),
    Line("stop", "cameras: the newest picture of 'wrist' is 2.3 s old - is its cable in?"),
)
SCREENS = {
    "session": View(
        "session", text="Red has to be put right first; then check again.", operator="anna", findings=FINDINGS
    ),
    "reset": View("reset", can_undo=True, **WHERE),
    "trial": View("trial", code="QXTR", limit_s=30.0, running=True, **WHERE),
    "rig": View("rig", code="QXTR", reasons=("cable", "camera", "power", "bumped", "wrong start"), **WHERE),
    "outcome": View(
        "outcome",
        text="What became of the boxes?",
        code="QXTR",
        suggested="time",
        boxes=2,
        stages=MILESTONES,
        **WHERE,
    ),
    "block": View("block", question="Which trial was the new policy?", **(WHERE | {"trial": 2})),
    "over": View("over", text="The study is over: so101-bench unblind", operator="anna", stop=True),
}


def scene() -> tuple[dict[str, NDArray[np.uint8]], Seen]:
    """640x480 of the mock arm's two cameras, and what the start gate makes of them: one box lies 7 mm off."""
    scene = PalletizingScene(TASK)
    arm = MockArm(MockConfig(scene=TASK, width=640, height=480), scene=scene)
    reset = draw(TASK, seed=3)
    lay_out(arm, scene, reset)
    assert arm.world is not None
    model, data = arm.world.model, arm.world.data
    data.joint("box/0").qpos[:2] += (0.005, 0.005)
    mujoco.mj_forward(model, data)
    with open_renderer(model, 640, 480, "auto") as renderer:
        found = {name: renderer.render(arm.world.snapshot(), name) for name in ("front", "wrist")}
    camera = Camera(load_task(TASK), lens_of(model), pose_of(data), None)
    specs = tuple(PolicySpec(name, "hold", name * 64, "0" * 64) for name in "ab")
    study = Study(specs, TASK, (("nominal", 0),), 20, 0.3, (0.0, -57.4, 46.3, 90.0, 0.0, 30.0))
    camera.rig_check(found)
    seen = StartGate(study, reset, camera, hurried=True, trusted=False).look(found, None, 0.0)
    arm.close()
    return found, seen


def main(folder: Path) -> None:
    """Draw them."""
    pictures, seen = scene()
    frames = {name: Frame(image, 0.0, 1, None) for name, image in pictures.items()}
    screens = SCREENS | {
        "reset": replace(
            SCREENS["reset"],
            text=seen.text,
            targets=seen.targets,
            ready=seen.ready,
            can_override=seen.can_override,
        )
    }
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    console = ConsoleOperator(0)
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=arguments)
        for device, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.set_default_timeout(120_000)
                for name, view in screens.items():
                    console.show(view)
                    console.pictures(frames)
                    if name == "session":
                        page.goto(console.address, wait_until="domcontentloaded")
                    page.wait_for_selector(f"body.{view.screen}")
                    for _ in range(4):  # live: a browser may show a picture when the next one has come
                        page.wait_for_timeout(400)
                        console.pictures(frames)
                    page.screenshot(path=folder / f"{name}_{device}_{scheme}.png")
                page.close()
        browser.close()
    console.close()
    sheet(folder).save(HERE / "bench_screens.png", optimize=True)


def sheet(folder: Path) -> Image.Image:
    """Five screens: the desktop in light, the phone in dark."""
    names = ("session", "reset", "trial", "outcome", "block")
    wide, high, narrow = 560, 320, 148
    page = Image.new("RGB", (wide + narrow + 30, (high + 10) * len(names) + 10), "#8a8f94")
    for row, name in enumerate(names):
        top = 10 + row * (high + 10)
        page.paste(Image.open(folder / f"{name}_desktop_light.png").resize((wide, high)), (10, top))
        page.paste(Image.open(folder / f"{name}_phone_dark.png").resize((narrow, high)), (wide + 20, top))
    return page.quantize(128)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]) if sys.argv[1:] else Path(temporary))
