"""The console's process: views and pictures come in on standard input, actions go out on standard output.

    {"view": {...}}\\n
    {"picture": "front", "bytes": 12345}\\n<that many bytes>

It is started with an empty environment in the root folder, and ends when its input does.
"""

import argparse
import asyncio
import json
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import uvicorn

from so101_eval.real_study.console.app import Shown, make_app

LOOPBACK = ("127.0.0.1", "localhost")
READY = "ready"


def main(arguments: Sequence[str]) -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=LOOPBACK[0])
    parser.add_argument("--token")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_serve(options.host, options.port, options.token))
    return 0


async def _serve(host: str, port: int, token: str | None) -> None:
    shown, out = Shown(), threading.Lock()

    def tell(message: dict[str, Any]) -> None:
        with out:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    hosts = LOOPBACK if host == LOOPBACK[0] else ()  # a phone comes by an address, and has the token
    app = make_app(shown, lambda kind, data: tell({"kind": kind, "data": data}), token, hosts)
    config = uvicorn.Config(app, host=host, port=port, log_level="error", access_log=False, lifespan="off",
                            timeout_graceful_shutdown=1)  # fmt: skip
    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()

    def end() -> None:
        shown.end()  # a stream that is cut off instead would be an error in the operator's terminal
        logging.getLogger("uvicorn.error").setLevel(
            logging.CRITICAL
        )  # and so would a browser that is slow to let go
        server.should_exit = True

    reader = threading.Thread(
        target=read_input, args=(sys.stdin.buffer, shown, loop.call_soon_threadsafe, end), daemon=True
    )
    reader.start()
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if server.started:
        where = server.servers[0].sockets[0].getsockname()
        tell({"kind": READY, "data": {"port": where[1]}})
    await serving


def read_input(source: BinaryIO, shown: Shown, soon: Callable[..., object], end: Callable[[], None]) -> None:
    """Until it ends."""
    try:
        while line := source.readline():
            message: dict[str, Any] = json.loads(line)
            if "view" in message:
                soon(shown.show, message["view"])
            else:
                soon(shown.picture, str(message["picture"]), source.read(int(message["bytes"])))
    finally:
        soon(end)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
