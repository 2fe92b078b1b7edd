"""The body of a request: read once, up to some size and for some time."""

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from gpucnn.serve.options import ServeOptions
from gpucnn.serve.refusal import Refusal, too_slow

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

LINGER_SECONDS = 5
"""How long the rest of a body is read and dropped after a refusal: a client that still sends would not see the answer."""
HELD, HELD_BYTES = 25, 256_000_000
"""Largest requests that are kept in memory at one time, or so many bytes where these are more."""


class ClientGone(Exception):
    """A client that went away: nobody is to be answered."""


class Held:
    """The `bytes` of all requests that are in memory."""

    bytes = 0


class Body:
    """The body of a request, which is read once, in some time and up to some size."""

    def __init__(self, scope: "Scope", receive: "Receive", held: "Held", options: ServeOptions) -> None:
        self.receive, self.held, self.options = receive, held, options
        self.promised = self.size = 0
        self.kind = ""
        for name, value in scope["headers"]:
            if name == b"content-length":
                self.promised = int(value) if value.isdigit() else 0
            elif name == b"content-type":
                self.kind = value.decode("latin-1")
        self.is_read = False

    async def read(self) -> bytes:
        """All of it. Refusal if it is too large, or too slow; ClientGone."""
        if self.promised > self.options.max_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self.options.read_seconds):
                while not self.is_read:
                    parts.append(await self._next())
                    self._hold(len(parts[-1]))
        except TimeoutError:
            raise too_slow(self.options.read_seconds) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def forget(self) -> None:
        """It is no longer held."""
        self.held.bytes -= self.size
        self.size = 0

    async def drop(self) -> None:
        """Read what is still to come, for some time, and forget it."""
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not self.is_read:
                    await self._next()
        except (TimeoutError, ClientGone):
            return

    async def _next(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.is_read = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    def _hold(self, size: int) -> None:
        self.size += size
        self.held.bytes += size
        if self.size > self.options.max_bytes:
            raise self._too_large()
        if self.held.bytes > max(HELD * self.options.max_bytes, HELD_BYTES):
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many large requests came together", "come again in a moment",
                {"retry-after": "1"},
            )  # fmt: skip

    def _too_large(self) -> Refusal:
        return Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"a request of more than {self.options.max_bytes:,} bytes",
            "make the image smaller, or send fewer at one time",
        )
