"""The same episodes on many machines, through Ray (the extra `cluster`).

Every machine has this package, in the same version; checkpoints and recordings travel with the work, so no folder
has to be shared. A worker that dies, or a machine that goes away, costs the episodes it was playing: Ray gives them
to another. Records come back to the machine that asked, which alone writes the run folder.

Without an address Ray is started on this machine alone, and listens on the loopback only.
"""

import atexit
import contextlib
import dataclasses
import os
import shutil
import socket
import tempfile
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from so101_eval.errors import ConfigError, EvalError
from so101_eval.evaluation.plan import Plan, Player
from so101_eval.evaluation.players import Play
from so101_eval.evaluation.records import EpisodeRecord, Key
from so101_eval.pool import as_they_end, one_thread

RETRIES = 5
"""How often an episode is begun anew because its worker died; a policy that kills five workers is at fault."""
LOOPBACK = "127.0.0.1"
CONNECT_S = 10.0
"""How long an address may take to answer. Ray itself knocks without end, or ends the process after a minute."""
GCS_PORT = 6379
CLIENT_PORT = 10001
"""Ray's own, of an address without one; the second for `ray://`."""
CURRENT = Path("ray") / "ray_current_cluster"
"""Where `ray start` leaves the address that `auto` is, in Ray's folder for temporary files."""

type Files = dict[str, dict[str, bytes]]
"""Policy -> file -> content."""


@contextmanager
def cluster_players(plan: Plan, address: str | None = None) -> Generator[Play]:
    """Plays on the cluster at `address`, as Ray writes it (`auto`, `host:port`, `ray://...`); None: on this machine.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers within `CONNECT_S`.
        EvalError: an episode cannot be played, or the cluster went away.
    """
    ray = _ray()
    errors: Any = ray.exceptions
    try:
        _connect(address)
        play = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(_play)
        files = ray.put(pack(plan))

        def submit(key: Key) -> Future[str]:
            # in a list, so that the worker fetches it once and not for every episode
            return play.remote(plan.to_dict(), [files], tuple(key)).future()

        def play_all(keys: Iterable[Key]) -> Generator[EpisodeRecord]:
            most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
            for text in as_they_end(keys, submit, most):
                yield EpisodeRecord.from_json(text)

        yield play_all
    except (errors.RayError, ConnectionError) as error:
        if isinstance(error, EvalError):  # Ray passes on what a worker raised, as both
            raise EvalError(str(getattr(error, "cause", error))) from error
        first = str(error).strip().splitlines()[0]
        raise EvalError(f"the Ray cluster failed: {first}; the same command again goes on") from error
    finally:
        ray.shutdown()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's new way, else it warns
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "--cluster needs Ray, which is not installed: pip install 'lerobot_policy_so101[cluster]'; "
            "without --cluster the episodes are played by --num_workers processes of this machine"
        ) from error
    return ray


def _connect(address: str | None) -> None:
    ray = _ray()
    if address:
        _knock(address)
    here = (
        {"address": address}
        if address
        else {
            "_node_ip_address": LOOPBACK,
            "include_dashboard": False,
            "num_cpus": len(os.sched_getaffinity(0)),
        }
    )
    try:
        ray.init(**here, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConfigError(f"--cluster {address or ''}: there is no Ray cluster: {error}") from error


def _knock(address: str) -> None:
    """Whether anybody listens there. Raises `ConfigError` within `CONNECT_S` per address of the host if not."""
    name = address
    if address == "auto":
        name = os.environ.get("RAY_ADDRESS", "")
        with contextlib.suppress(OSError):
            name = name or (Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / CURRENT).read_text()
    scheme, _, rest = name.strip().rpartition("://")
    if not rest or rest in ("auto", "local"):
        return  # Ray knows at once that there is none
    host, colon, port = rest.partition("?")[0].rpartition(":")
    host, port = (host, port) if colon else (port, str(CLIENT_PORT if scheme else GCS_PORT))
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"--cluster {address}: nobody answers at {host}:{port} ({error}); expected the address of a running "
            "Ray cluster, host:port or ray://host:port; `ray start --head` begins one, and --cluster alone plays on "
            "this machine"
        ) from error


# What travels


def pack(plan: Plan) -> Files:
    """Everything that the policies of `plan` read."""
    files: Files = {}
    for spec in plan.policies:
        if spec.path is not None:
            path = Path(spec.path)
            content = [path] if path.is_file() else [each for each in path.iterdir() if each.is_file()]
            files[spec.name] = {each.name: each.read_bytes() for each in content}
    return files


def unpack(plan: Plan, files: Files, folder: Path) -> Plan:
    """The plan with its policies in `folder`."""
    specs = list(plan.policies)
    for index, spec in enumerate(specs):
        if spec.name in files:
            place = folder / str(index)
            place.mkdir()
            for name, content in files[spec.name].items():
                (place / name).write_bytes(content)
            path = place / next(iter(files[spec.name])) if spec.kind == "replay" else place
            specs[index] = dataclasses.replace(spec, path=str(path))
    return dataclasses.replace(plan, policies=tuple(specs))


# On a worker

_players: dict[str, Player] = {}
"""Of this process, by plan; Ray keeps processes from episode to episode."""


def _play(plan: dict[str, Any], files: list[Any], key: tuple[str, str, str, int, int]) -> str:
    wanted = Plan.from_dict(plan)
    if wanted.sha256 not in _players:
        one_thread()
        for player in _players.values():
            player.close()
        _players.clear()
        folder = Path(tempfile.mkdtemp(prefix="so101-eval-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _players[wanted.sha256] = Player(unpack(wanted, cast(Files, _ray().get(files[0])), folder))
    return _players[wanted.sha256].play(Key(*key)).to_json()
