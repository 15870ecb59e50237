"""The process of a page: views, pictures and a film come in on standard input, actions go out on standard output.

    {"view": {...}}\\n
    {"picture": "front", "height": 480, "width": 640, "bytes": 921600}\\n<that many bytes, RGB>
    {"film": "mp4", "bytes": 12345}\\n<that many bytes>

It is started with an empty environment in the root folder. When its input ends it ends too, or stays for a while
(`--stay_s`; then no action is handed on) for somebody who opens the page late, until a page says that it has seen the
end.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import uvicorn

from so101_robot.display.web.app import Picture, Shown, make_app

LOOPBACK = ("127.0.0.1", "localhost")
READY = "ready"
SEEN = "seen"
"""The action of a page that has shown the end, and needs its server no more."""


def main(arguments: Sequence[str]) -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--or_any_port", action="store_true")
    parser.add_argument("--host", default=LOOPBACK[0])
    parser.add_argument("--token")
    parser.add_argument("--stay_s", type=float, default=0.0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    try:
        listening = _listen(options.host, options.port, options.or_any_port)
    except OSError:
        return 1  # it never says that it is ready; whoever started it knows the port
    with listening:
        asyncio.run(_serve(listening, options.host, options.page, options.token, options.stay_s))
    return 0


def _listen(host: str, port: int, or_any: bool) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError:
        if not or_any:
            raise
    return socket.create_server((host, 0))


async def _serve(listening: socket.socket, host: str, page: Path, token: str | None, stay_s: float) -> None:
    shown, out = Shown(), threading.Lock()
    over, seen = asyncio.Event(), asyncio.Event()

    def tell(message: dict[str, Any]) -> None:
        with out, contextlib.suppress(OSError):  # whoever started it is gone
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    def act(kind: str, data: dict[str, Any]) -> None:
        if kind == SEEN:
            seen.set()
        else:
            tell({"kind": kind, "data": data})

    hosts = LOOPBACK if host == LOOPBACK[0] else ()  # a phone comes by an address, and has the token
    app = make_app(shown, act, page, token, hosts)
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off",
                            timeout_graceful_shutdown=1)  # fmt: skip
    server = uvicorn.Server(config)
    soon = asyncio.get_running_loop().call_soon_threadsafe
    threading.Thread(target=read_input, args=(sys.stdin.buffer, shown, soon, over.set), daemon=True).start()
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if server.started:
        tell({"kind": READY, "data": {"port": listening.getsockname()[1]}})
        if stay_s:
            _let_go(sys.stdout, sys.stderr)
    ending = asyncio.create_task(_end(server, shown, over, seen, stay_s))
    await serving
    ending.cancel()


def _let_go(*outputs: TextIO) -> None:
    """Who started it may end before this does, and nobody has to wait for what it says (a pipe, `| tail`)."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in outputs:
        os.dup2(nothing, output.fileno())
    os.close(nothing)


async def _end(
    server: uvicorn.Server, shown: Shown, over: asyncio.Event, seen: asyncio.Event, stay_s: float
) -> None:
    await over.wait()
    if stay_s:
        shown.show({**shown.view, "gone": True})
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(seen.wait(), stay_s)
    shown.end()  # a stream that is cut off instead would be an error in the person's terminal
    logging.getLogger("uvicorn.error").setLevel(
        logging.CRITICAL
    )  # and so would a browser that is slow to let go
    server.should_exit = True


def read_input(source: BinaryIO, shown: Shown, soon: Callable[..., object], end: Callable[[], None]) -> None:
    """Until it ends."""
    try:
        while line := source.readline():
            message: dict[str, Any] = json.loads(line)
            if "view" in message:
                soon(shown.show, message["view"])
                continue
            data = source.read(int(message["bytes"]))
            if "picture" in message:
                picture = Picture(data, int(message["height"]), int(message["width"]))
                soon(shown.picture, str(message["picture"]), picture)
            else:
                soon(setattr, shown, "film", data)
    finally:
        soon(end)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
