"""The page of an evaluation: so101-eval run in two scenarios, and a browser that looks at it.

    python docs/pictures/draw_eval_page.py FOLDER      all sizes and modes, at work and over

Needs chromium.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from draw_run_page import MODES, SIZES, open_page
from playwright.sync_api import sync_playwright

EVALUATION = [
    str(Path(sys.executable).parent / "so101-eval"), "run", "--display=web", "--task=palletize-1", "--episodes=3",
    "--num_workers=1", "--scenarios=nominal,pallet-shift", "--policies", "expert", "hold", "--width=24", "--height=24",
]  # fmt: skip
ENOUGH = 6
"""Episodes after which the page is looked at."""


def main(folder: Path) -> None:
    """Draw."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        command = [*EVALUATION, f"--output_dir={place}/run"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as evaluation:
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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
