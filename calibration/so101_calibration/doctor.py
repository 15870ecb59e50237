"""`so101-doctor`: the state of everything on one page, to be read, and to be pasted into a bug report.

It asks the system and opens nothing: no port, no camera, no arm moves. Nothing personal is in it: no user, machine or
robot by its name, no serial number, and the user's folder is `~`. Exit code 1 where something has to be mended before
an arm can be driven.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from so101_calibration.cli import DOCTOR
from so101_calibration.files import lerobot_folder
from so101_policy.command_line.command_flags import Parser
from so101_policy.command_line.command_shell import FAILED, OK, say
from so101_policy.command_line.command_shell import version as own_version
from so101_policy.files.places import cache_home
from so101_policy.findings import Finding, Level, verdict
from so101_policy.machine import cores as usable_cores
from so101_robot.errors import ConfigError
from so101_robot.mock.cameras.backend import choose_backend
from so101_robot.so101_yaml.content import parsed
from so101_robot.so101_yaml.find import nearest, read, shown

DEV, SYS, PROC = Path("/dev"), Path("/sys"), Path("/proc")

TAKERS = {
    "brltty": "sudo apt remove brltty, if nobody here reads Braille, then plug the arm in again",
    "ModemManager": "sudo systemctl disable --now ModemManager, if this machine has no modem",
}
"""Programs that take serial adapters for something else -> what can be done. brltty takes the CH340 of older adapters
away for good, ModemManager writes to a new port for some seconds."""

PORTS = ("ttyACM*", "ttyUSB*", "cu.usbmodem*", "cu.usbserial*")
"""Of adapters, on Linux and macOS."""

PACKAGES = (
    "lerobot",
    "torch",
    "mujoco",
    "numpy",
    "numba",
    "av",
    "opencv-python-headless",
    "feetech-servo-sdk",
)

EXTRAS = {
    "web": ("starlette", "uvicorn"),
    "bench": ("pynacl", "segno"),
    "train": ("accelerate", "tensorboard"),
    "view": ("rerun-sdk",),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "server": ("grpcio",),
    "cluster": ("ray",),
}
"""Extra -> what shows that it is installed."""

LEAST_FREE = 5e9
"""Bytes: a training with its frames needs some gigabytes."""

USB_2 = 480
"""Mbit/s of a port that two cameras of 640x480 at 30 frames a second share without compression: not enough."""

EXAMPLES = """
  so101-doctor
  so101-doctor > report.txt       # to be pasted into a bug report
"""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    parser().parse_args(arguments)
    findings = [finding for check in CHECKS for finding in check()]
    for line in as_lines(findings):
        say(line)
    return FAILED if verdict(findings) is Level.STOP else OK


def parser() -> Parser:
    """Of the command line."""
    return Parser(DOCTOR.name, "The state of everything on one page, with nothing personal in it.", EXAMPLES)


def as_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The page: plain text, a line for each finding, and one for what can be done."""
    for finding in findings:
        about = f"{finding.subject}: " if finding.subject else ""
        yield impersonal(f"{finding.level:4}  {finding.check:12}  {about}{finding.found}")
        if finding.possible:
            yield impersonal(f"{'':20}-> {finding.possible}")


def impersonal(text: str) -> str:
    """Without the user's folder and name."""
    home = str(Path.home())
    text = text.replace(home, "~") if len(home) > 1 else text
    user = os.environ.get("USER", "")
    return re.sub(rf"\b{re.escape(user)}\b", "USER", text) if len(user) > 2 and user != "root" else text


def software() -> Iterator[Finding]:
    """Versions, without importing anything."""
    yield _ok("software", f"lerobot_policy_so101 {own_version()}, Python {platform.python_version()}")
    yield _ok("software", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    there = [extra for extra, names in EXTRAS.items() if all(_version(name) != "missing" for name in names)]
    lacking = [extra for extra in EXTRAS if extra not in there]
    yield _ok(
        "software", f"extras: {', '.join(there) or 'none'}; not installed: {', '.join(lacking) or 'none'}"
    )


def machine() -> Iterator[Finding]:
    """Processor, memory, GPU, and what draws the simulated arm's pictures."""
    cores = usable_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield _ok(
        "machine",
        f"{platform.system()} {platform.release()} {platform.machine()}, {cores} cores, {memory:.0f} GB",
    )
    yield _ok("gpu", _gpu() or "none that nvidia-smi knows; torch computes on the processor")
    try:
        drawn, how = choose_backend("auto"), ""
    except ConfigError as problem:
        drawn, how = str(problem), "apt install libegl1 libgl1"
    slow = "apt install libegl1 libgl1 makes drawing about five times faster" if drawn == "ray" else how
    yield _ok("simulation", f"pictures are drawn by {drawn}", slow)


def own_file() -> Iterator[Finding]:
    """The so101.yaml that commands in this folder use."""
    path = nearest()
    if path is None:
        yield _ok("so101.yaml", "none in this folder or above it; so101-run --help says what it is for")
        return
    try:
        content = parsed(read(path))
    except ConfigError as problem:
        yield Finding(Level.WARN, "so101.yaml", "", str(problem))
        return
    parts = {
        "arm": content.arm.port,
        "leader": content.leader,
        "cameras": content.cameras,
        "limits": content.own_limits,
    }
    there = [name for name, value in parts.items() if value]
    yield _ok("so101.yaml", f"{shown(path)}: {', '.join(there) or 'nothing'}")


def ports() -> Iterator[Finding]:
    """Serial ports that an arm may be on, and whether this user may open them."""
    found = sorted(path for pattern in PORTS for path in DEV.glob(pattern))
    if not found:
        yield _ok("ports", "no serial port: no arm is plugged in, or its supply is off")
    for path in found:
        names = [
            _masked(link.name) for link in (DEV / "serial" / "by-id").glob("*") if link.resolve() == path
        ]
        what = f" ({', '.join(names)})" if names else ""
        if os.access(path, os.R_OK | os.W_OK):
            yield _ok("ports", f"{path}{what} can be opened")
        else:
            fix = f"sudo usermod -aG {_group(path)} $USER, then log out and in again"
            yield Finding(
                Level.STOP, "ports", "", f"{path}{what} may not be opened by this user", possible=fix
            )


def takers() -> Iterator[Finding]:
    """Programs that run and take serial ports away. (Without /proc nothing is known, and nothing said.)"""
    running = {_read(path) for path in PROC.glob("[0-9]*/comm")}
    for name, fix in TAKERS.items():
        if name in running:
            yield Finding(
                Level.WARN, "ports", "", f"{name} runs, and may take the arm's serial port", possible=fix
            )


def cameras() -> Iterator[Finding]:
    """Video devices that deliver pictures, and which of them share a USB 2 port of the machine."""
    devices = video_devices()
    if not devices:
        yield _ok("cameras", "no video device")
    shared: dict[str, list[str]] = {}
    for device in devices:
        node = SYS / "class" / "video4linux" / device.name
        usb = (node / "device").resolve().parent
        speed = _read(usb / "speed")
        bus = usb.name.partition(".")[0] if speed else ""
        at = f", USB {usb.name} at {speed} Mbit/s" if speed else ""
        if os.access(device, os.R_OK | os.W_OK):
            yield _ok("cameras", f"{device} {_read(node / 'name') or 'without a name'}{at}")
        else:
            fix = f"sudo usermod -aG {_group(device)} $USER, then log out and in again"
            yield Finding(Level.STOP, "cameras", "", f"{device} may not be opened by this user", possible=fix)
        if speed and float(speed) <= USB_2:
            shared.setdefault(bus, []).append(str(device))
    for bus, devices in shared.items():
        if len(devices) > 1:
            yield Finding(
                Level.WARN, "cameras", "", f"{' and '.join(devices)} share one USB 2 port ({bus})",
                possible="fourcc: MJPG in --robot.cameras, or plug one into another port of the machine",
            )  # fmt: skip


def video_devices() -> list[Path]:
    """Those that deliver pictures; cameras have others beside them."""
    nodes = sorted((SYS / "class" / "video4linux").glob("video*"))
    return [DEV / node.name for node in nodes if _read(node / "index") in ("0", "")]


def calibrations() -> Iterator[Finding]:
    """How many there are; their names are the user's."""
    folder = lerobot_folder()
    kinds = {"followers": folder, "leaders": folder.parents[1] / "teleoperators" / "so_leader"}
    counts = ", ".join(f"{len(list(place.glob('*.json')))} of {kind}" for kind, place in kinds.items())
    none = (
        ""
        if list(folder.glob("*.json"))
        else "an arm needs one: so101-calibrate servos (the simulated arm brings its own)"
    )
    yield _ok("calibration", f"{counts}, in {folder}", none)


def disk() -> Iterator[Finding]:
    """Room where recordings and caches go."""
    for what, place in (("here", Path.cwd()), ("caches", cache_home())):
        there = next(path for path in (place, *place.parents) if path.exists())
        free = shutil.disk_usage(there).free
        used = (
            sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
            if what == "caches"
            else None
        )
        found = f"{what}: {free / 1e9:.0f} GB free" + (
            f", {used / 1e6:.0f} MB used, in {place}" if used is not None else ""
        )
        if free < LEAST_FREE:
            yield Finding(
                Level.WARN, "disk", "", found, possible="make room; so101-cache clean removes caches"
            )
        else:
            yield _ok("disk", found)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    software,
    machine,
    own_file,
    ports,
    takers,
    cameras,
    calibrations,
    disk,
)


def _ok(check: str, found: str, possible: str = "") -> Finding:
    return Finding(Level.OK, check, "", found, possible=possible)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _gpu() -> str:
    if (command := shutil.which("nvidia-smi")) is None:
        return ""
    asked = [command, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        return "; ".join(
            subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.split("\n")
        ).strip("; ")
    except (OSError, subprocess.SubprocessError):
        return "nvidia-smi does not answer: the driver is not loaded, or does not fit"


def _group(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):
        return "dialout"


def _masked(name: str) -> str:
    """A link's name without the serial number of the adapter."""
    return re.sub(r"(?<=[_-])(?=\w*\d)[0-9A-Za-z]{6,}(?=-if|-port|$)", "SERIAL", name)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(DOCTOR.main())
