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
        return json.dumps(
            {"error": {"status": int(self.status), "reason": self.reason, "fix": self.fix}}, ensure_ascii=False
        ).encode()
