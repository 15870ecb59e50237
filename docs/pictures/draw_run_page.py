"""The page of a run for docs/first_steps.md: so101-run on the mock arm, and a browser that looks at it.

    python docs/pictures/draw_run_page.py [FOLDER]      run_page.png, and all sizes and modes into FOLDER

Needs chromium.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
RUN = [str(Path(sys.executable).parent / "so101-run"), "--display=web", "--dashboard=off"]
SIZES = {"desktop": (1400, 900), "phone": (390, 844)}
MODES = ("light", "dark")
DRIVING_S = 4.0
"""Into the policy's time, on the page's clock: the hand is at the box."""


def main(folder: Path) -> None:
    """Draw."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        command = [*RUN, f"--output_dir={place}/run"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            lines = iter(run.stdout.readline, "")
            address = next(found[1] for line in lines if (found := re.search(r"(http\S+)", line)))
            pages = {
                (size, mode): open_page(browser, address, SIZES[size], mode)
                for size in SIZES
                for mode in MODES
            }
            for page in pages.values():
                page.wait_for_function("document.querySelectorAll('.share').length > 0", timeout=300_000)
            for page in pages.values():
                page.wait_for_function(f"parseFloat(clock.textContent) > {5 + DRIVING_S}", timeout=300_000)
            for (size, mode), page in pages.items():
                page.screenshot(path=folder / f"run_{size}_{mode}.png", full_page=True)
            for (size, mode), page in pages.items():
                page.wait_for_selector("#result:not([hidden])", timeout=300_000)
                page.wait_for_timeout(1500)
                page.screenshot(path=folder / f"over_{size}_{mode}.png", full_page=True)
            print(run.stdout.read())
        browser.close()
    shutil.copy(folder / "run_desktop_light.png", HERE / "run_page.png")


def open_page(browser: Any, address: str, size: tuple[int, int], mode: str) -> Any:
    """A page of that size [px] in that mode."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]}, color_scheme=mode, bypass_csp=True
    )
    page.goto(address, wait_until="domcontentloaded", timeout=120_000)
    return page


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary))
