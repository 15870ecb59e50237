"""Where a run comes from: versions, commit, machine, command line. Written beside every run."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from so101_policy.files.plain_data import Plain

PACKAGES = (
    *("lerobot_policy_so101", "lerobot", "torch", "onnxruntime", "openvino", "numpy", "mujoco"),
    *("feetech-servo-sdk", "pyserial"),
)
"""Packages whose versions decide what a run does."""


def about_run(argv: Sequence[str], config: Mapping[str, Any], **facts: Plain) -> dict[str, Any]:
    """What `run.json` holds: when, where, with which versions, how configured, and `facts` of the caller."""
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "argv": list(argv),
        "config": dict(config),
        **facts,
        "versions": {"python": platform.python_version(), **versions()},
        "git": git_commit(Path.cwd()),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "executable": sys.executable},
    }


def versions() -> dict[str, str | None]:
    """Installed versions of the packages that decide what a run does."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_commit(folder: Path) -> dict[str, Any] | None:
    """Commit of the working tree around `folder` and whether it differs from it; None outside of one."""
    try:
        status = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    commit = next((line.split()[-1] for line in status if line.startswith("# branch.oid")), None)
    return {"commit": commit, "modified": any(not line.startswith("#") for line in status)}


def sha256_of_file(path: Path) -> str | None:
    """Digest of a file, None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
