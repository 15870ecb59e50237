"""The page of an evaluation for docs/evaluation.md: so101-eval run in two scenarios, and a browser that looks at it.

    python docs/pictures/draw_eval_page.py [FOLDER]    eval_page.png; all sizes and modes into FOLDER

Needs chromium.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from draw_run_page import MODES, SIZES, open_page
from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
EVALUATION = [
    "so101-eval", "run", "--display=web", "--task=palletize-1", "--episodes=3",
    "--num_workers=1", "--scenarios=nominal,pallet-shift", "--policies", "expert", "hold", "--width=24", "--height=24",
]  # fmt: skip
ENOUGH = 6
"""Episodes after which the page is looked at."""
HEIGHT_PX = 580
"""Of the picture in the documents: below is nothing yet."""


def main(folder: Path) -> None:
    """Draw."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        (Path(place) / "outputs").mkdir()
        command = [*EVALUATION, "--output_dir=outputs/eval"]
        found_first = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=place, env=found_first
        ) as evaluation:
            assert evaluation.stderr is not None
            lines = iter(evaluation.stderr.readline, "")
            address = next(found[1] for line in lines if (found := re.search(r"(http\S+/)", line)))
            pages = {
                (size, mode): open_page(browser, address, SIZES[size], mode)
                for size in SIZES
                for mode in MODES
            }
            for ready, name in ((f"view && view.done >= {ENOUGH}", "eval"), ("seen", "eval_over")):
                for (size, mode), page in pages.items():
                    page.wait_for_function(ready, timeout=300_000)
                    page.screenshot(path=folder / f"{name}_{size}_{mode}.png", full_page=True)
            evaluation.stderr.read()
        browser.close()
    page = Image.open(folder / "eval_desktop_light.png")
    page.crop((0, 0, page.width, HEIGHT_PX)).quantize(64).save(HERE / "eval_page.png", optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary))
