"""The console's web application: one page, a stream of views, live pictures, and a place to send actions.

It is given views and pictures, and knows nothing else: no study, no path, no name of a policy. The views and pictures
are nothing of a study's, so a page for another command can be served by the same application.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

PAGE = Path(__file__).with_name("page.html")
LIVE_S = 1 / 15
"""Between two pictures of a stream, at least."""
ALIVE_S = 5.0
"""A stream of views says something at least this often, so that a phone notices a console that died."""
LARGEST = 20_000
"""Bytes of an action."""
COOKIE = "console"

Act = Callable[[str, dict[str, Any]], None]


class Shown:
    """What all pages show now; only for the event loop's thread."""

    def __init__(self) -> None:
        self.view: dict[str, Any] = {"screen": "session", "text": "The arm is being connected ..."}
        self.version = 0
        self.pictures: dict[str, bytes] = {}
        self.over = False
        """The sitting has ended: streams end, too."""
        self._changed = asyncio.Event()

    def show(self, view: dict[str, Any]) -> None:
        """Another screen."""
        self.view, self.version = view, self.version + 1
        self._wake()

    def picture(self, camera: str, jpeg: bytes) -> None:
        """A newer picture."""
        self.pictures[camera] = jpeg
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


def make_app(shown: Shown, act: Act, token: str | None = None, hosts: tuple[str, ...] = ()) -> Starlette:
    """The application.

    Args:
        shown: what is shown.
        act: is told of every action.
        token: must be in the first address that a browser asks for; None: only this machine is let in anyway.
        hosts: names under which it may be asked for, so that a page from elsewhere cannot pass for it.
    """

    async def page(request: Request) -> Response:
        response = HTMLResponse(PAGE.read_text(encoding="utf-8"))
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
        Route("/", page),
        Route("/views", views),
        Route("/live/{camera}", live),
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
        await self._app(scope, receive, send)


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
    last: bytes | None = None
    yield b"--picture\r\n"
    while not shown.over:
        jpeg = shown.pictures.get(camera)
        if jpeg is not None and jpeg is not last:
            last = jpeg
            # a browser shows a picture when the line after it has come
            yield b"Content-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n--picture\r\n"
        await asyncio.sleep(LIVE_S)
        if shown.pictures.get(camera) is last:
            await shown.change(1.0)
