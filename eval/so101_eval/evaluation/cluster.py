"""The same episodes on many machines, through Ray (the extra `cluster`).

Every machine has this package, in the same version; checkpoints and recordings travel with the work, so no folder
has to be shared. A worker that dies, or a machine that goes away, costs the episodes it was playing: Ray gives them
to another. Records come back to the machine that asked, which alone writes the run folder.

Nothing stays behind: a worker has a policy's files on its disk only while it loads it. Without an address Ray is
started on this machine alone and listens on the loopback only; its own files go when it ends.
"""

import contextlib
import dataclasses
import os
import socket
import tempfile
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil

from so101_eval.errors import ConfigError, EvalError
from so101_eval.evaluation.loaded_policies import Loaded
from so101_eval.evaluation.local_jobs import Play
from so101_eval.evaluation.plan import Plan, Player
from so101_eval.evaluation.policy_specs import PolicySpec
from so101_eval.evaluation.records import EpisodeRecord, Key
from so101_eval.pool import as_they_end, one_thread
from so101_policy.command_line.installed import line_to_install
from so101_policy.machine import cores as usable_cores

EXTRA = "lerobot_policy_so101[cluster]"

RETRIES = 5
"""How often an episode is begun anew because its worker died; a policy that kills five workers is at fault."""
LOOPBACK = "127.0.0.1"
CONNECT_S = 10.0
"""How long an address may take to answer. Ray itself knocks without end, or ends the process after a minute."""
LEAVE_S = 10.0
"""How long the processes of a Ray of our own may take to end."""
GCS_PORT = 6379
CLIENT_PORT = 10001
"""Ray's own, of an address without one; the second for `ray://`."""
MOST_PATH, SHORT = 24, "/tmp"
"""Characters of the folder for temporary files, with which the names of Ray's sockets are not too long for Linux (107);
and what is taken for a longer one."""
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
    with connected(address) as (ray, scratch):
        play = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(_play)
        files = ray.put(pack(plan))

        def submit(key: Key) -> Future[str]:
            # in a list, so that the worker fetches it once and not for every episode
            return play.remote(plan.to_dict(), [files], tuple(key), scratch).future()

        def play_all(keys: Iterable[Key]) -> Generator[EpisodeRecord]:
            most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
            for text in as_they_end(keys, submit, most):
                yield EpisodeRecord.from_json(text)

        yield play_all


@contextmanager
def connected(address: str | None) -> Generator[tuple[Any, str | None]]:
    """Ray itself, connected to the cluster at `address` (None: one of this machine, begun now), and the folder for the
    files of a Ray of our own. Raises as `cluster_players`."""
    ray = _ray()
    errors: Any = ray.exceptions
    with _scratch(address) as scratch:
        try:
            _connect(address, scratch)
            yield ray, scratch
        except (errors.RayError, ConnectionError) as error:
            if isinstance(error, EvalError):  # Ray passes on what a worker raised, as both
                raise EvalError(str(getattr(error, "cause", error))) from error
            first = str(error).strip().splitlines()[0]
            raise EvalError(f"the Ray cluster failed: {first}; the same command again goes on") from error
        finally:
            ours = [] if address else _processes_of_ray()
            ray.shutdown()
            _see_them_end(ours)


def _processes_of_ray() -> list[psutil.Process]:
    """Those that this process has started, and that they have started."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # gone meanwhile
            if process.name().startswith(("ray", "gcs_server")):
                found.append(process)
    return found


def _see_them_end(processes: list[psutil.Process]) -> None:
    """Ray does not wait for its workers: what has not ended by itself after `LEAVE_S` is ended here."""
    for process in psutil.wait_procs(processes, timeout=LEAVE_S)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


@contextmanager
def _scratch(address: str | None) -> Generator[str | None]:
    """Where a Ray of our own keeps its files, and its workers theirs; None: it is somebody else's."""
    if address:
        yield None
        return
    usual = tempfile.gettempdir()
    place = usual if len(usual) <= MOST_PATH else SHORT
    with tempfile.TemporaryDirectory(prefix="so101-ray-", dir=place, ignore_cleanup_errors=True) as folder:
        yield folder


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's new way, else it warns
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"--cluster needs Ray, which is not installed: {line_to_install(EXTRA)}; "
            "without --cluster the episodes are played by --num_workers processes of this machine"
        ) from error
    return ray


def _connect(address: str | None, scratch: str | None = None) -> None:
    ray = _ray()
    if address:
        _knock(address)
    here = (
        {"address": address}
        if address
        else {
            "_node_ip_address": LOOPBACK,
            "_temp_dir": scratch,
            "include_dashboard": False,
            "num_cpus": usable_cores(),
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


def unpacked(spec: PolicySpec, files: Files, folder: Path) -> PolicySpec:
    """The policy with its files in `folder`."""
    if spec.name not in files:
        return spec
    for name, content in files[spec.name].items():
        (folder / name).write_bytes(content)
    path = folder / next(iter(files[spec.name])) if spec.kind == "replay" else folder
    return dataclasses.replace(spec, path=str(path))


# On a worker


class TravelledPlayer(Player):
    """Plays policies whose files came with the work; they are on the disk only while a policy is loaded.

    Args:
        scratch: where, until then; None: the usual place.
    """

    def __init__(self, plan: Plan, files: Files, scratch: str | None = None) -> None:
        super().__init__(plan)
        self._files, self._scratch = files, scratch

    def load(self, spec: PolicySpec) -> Loaded:
        with tempfile.TemporaryDirectory(prefix="so101-eval-", dir=self._scratch) as folder:
            return super().load(unpacked(spec, self._files, Path(folder)))


_players: dict[str, TravelledPlayer] = {}
"""Of this process, by plan; Ray keeps processes from episode to episode."""


def _play(
    plan: dict[str, Any], files: list[Any], key: tuple[str, str, str, int, int], scratch: str | None
) -> str:
    wanted = Plan.from_dict(plan)
    if wanted.sha256 not in _players:
        one_thread()
        for player in _players.values():
            player.close()
        _players.clear()
        _players[wanted.sha256] = TravelledPlayer(wanted, cast(Files, _ray().get(files[0])), scratch)
    return _players[wanted.sha256].play(Key(*key)).to_json()
