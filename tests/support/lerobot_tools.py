"""LeRobot's commands as a person starts them: processes of their own, offline, on the processor."""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def run_lerobot(command: list[str], folder: Path) -> None:
    """Run it in `folder`; what it said is in the error if it fails."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command[0]}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr}"
