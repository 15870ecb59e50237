"""The web application of a page: the page, a stream of views, live pictures, a film, and a place to send actions.

It is given views and pictures, and knows nothing else: no run, no study, no path but the page's own. So the page of a
run and the console of a blinded study are served by the same application. A page asks for nothing that is not here,
which its Content-Security-Policy makes sure of, and no page from elsewhere may show what is here.
"""

import asyncio
import io
import json
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LIVE_S = 1 / 15
"""Between two pictures of a stream, at least."""
ALIVE_S = 5.0
"""A stream of views says something at least this often, so that a phone notices a server that died."""
LARGEST = 20_000
"""Bytes of an action."""
COOKIE = "console"
QUALITY = 80
"""Of JPEG."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer: styles and scripts are in the page itself, and all else comes from here."""

Act = Callable[[str, dict[str, Any]], None]


class Picture:
    """A picture as it came through the pipe; it is encoded when somebody looks at it first.

    Args:
        rows: (height x width x 3) RGB, row by row.
        height, width: [px]
    """

    def __init__(self, rows: bytes, height: int, width: int) -> None:
        self._rows, self._shape = rows, (height, width, 3)
        self._jpeg: bytes | None = None

    @property
    def jpeg(self) -> bytes:
        """As a file."""
        if self._jpeg is None:
            buffer = io.BytesIO()
            image = np.frombuffer(self._rows, np.uint8).reshape(self._shape)
            Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
            self._jpeg, self._rows = buffer.getvalue(), b""
        return self._jpeg


class Shown:
    """What all pages show now; only for the event loop's thread."""

    def __init__(self) -> None:
        self.view: dict[str, Any] = {"screen": "session", "text": "The arm is being connected ..."}
        self.version = 0
        self.pictures: dict[str, Picture] = {}
        self.film: bytes | None = None
        """An MP4 file, once it is over."""
        self.over = False
        """Nothing more will be shown: streams end, too."""
        self._changed = asyncio.Event()

    def show(self, view: dict[str, Any]) -> None:
        """Another screen."""
        self.view, self.version = view, self.version + 1
        self._wake()

    def picture(self, camera: str, picture: Picture) -> None:
        """A newer picture."""
        self.pictures[camera] = picture
        self._wake()

    def end(self) -> None:
        """Nothing more will be shown."""
        self.over = True
        self._wake()

    async def change(self, timeout_s: float) -> None:
        """Returns when something is new, or after that time."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def make_app(
    shown: Shown, act: Act, page: Path, token: str | None = None, hosts: tuple[str, ...] = ()
) -> Starlette:
    """The application.

    Args:
        shown: what is shown.
        act: is told of every action. A ValueError, KeyError or TypeError that it raises is the sender's fault.
        page: the HTML file.
        token: must be in the first address that a browser asks for; None: only this machine is let in anyway.
        hosts: names under which it may be asked for, so that a page from elsewhere cannot pass for it.
    """

    async def index(request: Request) -> Response:
        response = HTMLResponse(page.read_text(encoding="utf-8"))
        if token is not None:
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response

    async def views(request: Request) -> Response:
        return StreamingResponse(
            _views(shown), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def live(request: Request) -> Response:
        return StreamingResponse(
            _live(shown, request.path_params["camera"]),
            media_type="multipart/x-mixed-replace; boundary=picture",
        )

    async def film(request: Request) -> Response:
        if shown.film is None:
            return PlainTextResponse("there is no film", 404)
        return Response(shown.film, media_type="video/mp4", headers={"Cache-Control": "no-store"})

    async def action(request: Request) -> Response:
        body = await request.body()
        if len(body) > LARGEST or request.headers.get("content-type", "").split(";")[0] != "application/json":
            return PlainTextResponse("expected a small JSON object", 400)
        try:
            data = json.loads(body)
            act(str(data["kind"]), dict(data.get("data") or {}))
        except (ValueError, KeyError, TypeError):
            return PlainTextResponse("expected kind and data", 400)
        return JSONResponse({"ok": True})

    routes = [
        Route("/", index),
        Route("/views", views),
        Route("/live/{camera}", live),
        Route("/film", film),
        Route("/action", action, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Doorkeeper, token=token, hosts=hosts)])


class Doorkeeper:
    """Lets in who asks under the right name and, where there is a token, has it."""

    def __init__(self, app: ASGIApp, token: str | None, hosts: tuple[str, ...]) -> None:
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        origin = request.headers.get("origin")
        host = request.headers.get("host", "")
        foreign = origin is not None and origin.partition("://")[2] != host
        if (self._hosts and host.rpartition(":")[0] not in self._hosts) or foreign:
            await PlainTextResponse("not under this name", 403)(scope, receive, send)
            return
        given = request.query_params.get("token") or request.cookies.get(COOKIE) or ""
        if self._token is not None and not secrets.compare_digest(given.encode(), self._token.encode()):
            await PlainTextResponse("the token is missing: scan the QR code", 403)(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, guarded)


async def _views(shown: Shown) -> AsyncIterator[str]:
    version = -1
    while not shown.over:
        if shown.version != version:
            version = shown.version
            yield f"data: {json.dumps(shown.view)}\n\n"
        else:
            yield ": alive\n\n"
        until = asyncio.get_running_loop().time() + ALIVE_S
        while shown.version == version and not shown.over and asyncio.get_running_loop().time() < until:
            await shown.change(until - asyncio.get_running_loop().time())


async def _live(shown: Shown, camera: str) -> AsyncIterator[bytes]:
    last: Picture | None = None
    again = False
    yield b"--picture\r\n"
    while not shown.over:
        picture = shown.pictures.get(camera)
        if picture is not None and (picture is not last or again):
            again, last = picture is not last, picture
            # a browser shows a picture when the line after it has come, and some of them when the next one has
            yield b"Content-Type: image/jpeg\r\n\r\n" + picture.jpeg + b"\r\n--picture\r\n"
        await asyncio.sleep(LIVE_S)
        if shown.pictures.get(camera) is last:
            await shown.change(0.2 if again else 1.0)
