"""What a service answers, as http.client reads it, and how long tests wait for it."""

import http.client
import json
from typing import Any, NamedTuple

PATIENCE = 60
"""Seconds after which something hangs, on whichever machine."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    """By their names in small letters."""
    content: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.content)

    @property
    def classes(self) -> dict[str, float]:
        """The probabilities of the only image."""
        return {one["class"]: one["probability"] for one in self.json["predictions"]}

    @property
    def error(self) -> tuple[int, str, str]:
        """Of a refusal; all of them have one form."""
        (error,) = self.json.values()
        assert list(self.json) == ["error"]
        assert list(error) == ["status", "reason", "fix"]
        assert error["status"] == self.status
        return error["status"], error["reason"], error["fix"]


def answered(connection: http.client.HTTPConnection) -> Answer:
    """What comes back on a connection whose request was sent."""
    response = connection.getresponse()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
