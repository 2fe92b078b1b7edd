"""Takes up connections, no more than the system lets a process have: who has been quiet longest makes room for who comes."""

import asyncio
import os
import socket
from collections.abc import Callable, Collection
from typing import Any

MOST_CONNECTIONS = 4096
"""However many files a process may open: each takes some memory."""
SPARE_FILES = 64
"""That the process may open beside its connections."""
TOGETHER = 64
"""Connections that are taken up before it is somebody else's turn."""
PAUSE_SECONDS = 0.05
"""After which it is looked again whether there is room."""


def most_connections() -> int:
    """How many a process may have: by its limit of open files."""
    files = os.sysconf("SC_OPEN_MAX") if os.name == "posix" else -1
    if files < 0:  # there is no such limit
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, files - min(SPARE_FILES, files // 2)))


class Acceptor:
    """Has the event loop take up the connections that clients make at a socket, and gives each a protocol of `make`.

    asyncio's own would take up 2,048 at a time without a look at how many there are, and beyond the system's limit nobody else
    comes in. `connections` are the protocols of those that are open: with `transport`, `heard`, the time at which bytes came
    last, and `is_awaited`, whether bytes are to come: only such are sent away, the others have a request that is being computed.
    """

    def __init__(
        self, listening: socket.socket, make: Callable[[], asyncio.Protocol], connections: Collection[Any]
    ) -> None:
        self.listening, self.make, self.connections = listening, make, connections
        self.most = most_connections()
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        self._connecting: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """From now on connections are taken up."""
        if not self._is_over:
            self.listening.setblocking(False)
            self._loop.add_reader(self.listening, self._take_up)

    def stop(self) -> None:
        """From now on none is."""
        self._is_over = True
        self._loop.remove_reader(self.listening)

    def _take_up(self) -> None:
        for _ in range(TOGETHER):
            if len(self.connections) + len(self._connecting) >= self.most:
                self._make_room()
                return
            try:
                found = self.listening.accept()[0]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # the process, or the system, has no more files to give
                self._make_room()
                self._pause()
                return
            connecting = self._loop.create_task(self._loop.connect_accepted_socket(self.make, found))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connected)

    def _connected(self, connecting: "asyncio.Task[Any]") -> None:
        self._connecting.discard(connecting)
        if not connecting.cancelled():
            connecting.exception()  # of a client that has gone already

    def _make_room(self) -> None:
        """Send one away, whose place is free in the loop's next turn; wait for a while if all are being answered."""
        waiting = [one for one in self.connections if one.is_awaited and not one.transport.is_closing()]
        if waiting:
            min(waiting, key=lambda one: one.heard).transport.abort()
        else:
            self._pause()

    def _pause(self) -> None:
        self._loop.remove_reader(self.listening)
        self._loop.call_later(PAUSE_SECONDS, self.start)
