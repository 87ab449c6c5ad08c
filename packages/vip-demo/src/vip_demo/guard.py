"""Refuses requests before Gradio reads them: bodies that are too large, and such as would have it fetch an address.

Gradio takes an object of the kind `gradio.FileData` anywhere in a request for a file, and downloads it where its path is an
address. Nothing here wants that.
"""

import json
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 6_000_000
"""Bytes of a request that is no upload; uploads have a limit of their own."""


class Guard:
    """ASGI middleware.

    Args:
        app: what answers requests that are let through.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body of a POST, and hands it on or refuses it."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/").endswith("/upload"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > LARGEST_BODY:
                answer = JSONResponse({"detail": f"The request is larger than {LARGEST_BODY:,} bytes."}, status_code=413)
                await answer(scope, receive, send)
                return
        if names_an_address(bytes(body)):
            refused = JSONResponse({"detail": "Files are uploaded here and not fetched from an address."}, status_code=400)
            await refused(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, again, send)


def names_an_address(body: bytes) -> bool:
    """Whether JSON holds an object whose `path` is an address of the web."""
    try:
        left: list[Any] = [json.loads(body)]
    except (ValueError, RecursionError):
        return False
    while left:
        value = left.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and path.strip().lower().startswith(("http:", "https:")):
                return True
            left += value.values()
        elif isinstance(value, list):
            left += value
    return False
