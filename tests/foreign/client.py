"""A thin layer over the `websockets` client for the JSON protocol: one line per step in the tests."""

import json

from websockets.sync.client import connect

SECONDS = 10  # the longest that any single answer may take


def open_connection(port: int, path: str) -> connect:
    """For `with`: the connection is closed at the end."""
    # No proxy: the tests talk to loopback, whatever the environment says. No bound on what is waiting to be read: a test
    # reads from its connections in turn.
    return connect(f"ws://127.0.0.1:{port}{path}", proxy=None, open_timeout=SECONDS, close_timeout=SECONDS, max_queue=None)


class Client:
    def __init__(self, port: int, user: str | None = None):
        self.opened = open_connection(port, "/ws" if user is None else f"/ws?user={user}")
        self.socket = self.opened.__enter__()

    def say(self, type: str, **fields):
        self.send(json.dumps({"type": type} | fields))

    def send(self, text: str):
        self.socket.send(text)

    def next(self, seconds: float = SECONDS) -> dict:
        """The next message, whatever it is. Raises TimeoutError."""
        return json.loads(self.socket.recv(timeout=seconds))

    def answer(self, type: str, **fields) -> dict:
        """Says it and gives back the next message."""
        self.say(type, **fields)
        return self.next()

    def subscribe(self, channel: str):
        assert self.answer("subscribe", channel=channel) == {"type": "subscribed", "channel": channel}

    def broadcasts(self, channel: str, count: int) -> list:
        """The next `count` messages, which must all be broadcasts of the channel: what was published."""
        found = []
        for _ in range(count):
            message = self.next()
            assert message["type"] == "broadcast" and message["channel"] == channel, message
            assert isinstance(message["timestamp"], int), message
            found.append(message["message"])
        return found

    def quiet(self, seconds: float = 0.3):
        """Nothing arrives, and the connection still answers."""
        pong = self.answer("ping")
        assert pong["type"] == "pong", pong
        try:
            raise AssertionError(f"nothing was due, but got {self.next(seconds)}")
        except TimeoutError:
            pass

    def close(self):
        self.opened.__exit__(None, None, None)
