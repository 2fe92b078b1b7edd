"""What is answered to a request that gets no predictions: a status, why, and what to do."""

import json
from http import HTTPStatus


class Refusal(Exception):
    """Why a request is refused. `status` is HTTP's, `fix` says what to do, `headers` come with the answer."""

    def __init__(self, status: HTTPStatus, reason: str, fix: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.fix, self.headers = status, reason, fix, headers or {}

    def named(self, name: str) -> "Refusal":
        """The same, of the file `name` of a form; itself of an image without a name."""
        if not name:
            return self
        return Refusal(self.status, f"{name}: {self.reason}", self.fix, self.headers)

    def body(self) -> bytes:
        """As JSON: {"error": {"status": 415, "reason": ..., "fix": ...}}."""
        return json.dumps({"error": {"status": int(self.status), "reason": self.reason, "fix": self.fix}}).encode()


def bad_request() -> Refusal:
    """Of what is no HTTP."""
    return Refusal(
        HTTPStatus.BAD_REQUEST, "what came is no request of HTTP/1.1", "send one, e.g. with curl; /docs tells how"
    )


def large_head(most: int) -> Refusal:
    """Of a request whose line and headers have no end."""
    return Refusal(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"the line and headers of a request with more than {most:,} bytes",
        "send fewer and shorter ones; images go into the body",
    )


def too_slow(seconds: float) -> Refusal:
    """Of a request that takes too long to arrive."""
    return Refusal(
        HTTPStatus.REQUEST_TIMEOUT,
        f"the request did not arrive within {seconds:g} seconds",
        "send it at once, or a smaller image",
    )


def stopping() -> Refusal:
    """Of what comes once the service was asked to end."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the service is stopping", "ask another one", {"retry-after": "1"})


def own_fault() -> Refusal:
    """Of an error that is none of the request."""
    return Refusal(
        HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of the service", "whoever runs it finds the error in its log"
    )
