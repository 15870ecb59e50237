"""LeRobot's commands as a person starts them: processes of their own, offline, on the processor."""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


PATIENT = Path(__file__).with_name("patient_lerobot.py")


def run_lerobot(command: list[str], folder: Path, patient: bool = False) -> None:
    """Run it in `folder`; what it said is in the error if it fails.

    Args:
        command: with its flags.
        folder: where it runs.
        patient: servos may take longer than 50 ms to answer, as on a busy machine.
    """
    start = [sys.executable, str(PATIENT), command[0]] if patient else [str(BIN / command[0])]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [*start, *command[1:]],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command[0]}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr}"
