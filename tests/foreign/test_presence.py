"""Presence, held to by a client that keeps its list as the documents say."""

import pytest

from client import Client
from server import Server

GRACE = 0.5


@pytest.fixture(scope="module")
def server():
    running = Server(
        SHARDS__COUNT="4",
        SHARDS__PLACEMENT="user-hash",
        PRESENCE__CHANNELS="room:*",
        PRESENCE__GRACE_PERIOD="500ms",
        PRESENCE__BATCH_INTERVAL="100ms",
        PRESENCE__BUDGET="4KiB",
        CONNECTIONS__MAX_CONNECTIONS_PER_IP="1000",
    )
    yield running
    running.stop()


class Watcher(Client):
    """Knows who is in a channel, from a state and every change since."""

    def __init__(self, port: int, channel: str, user: str):
        super().__init__(port, user)
        told_in = f"$presence:{channel}"
        assert self.answer("subscribe", channel=told_in) == {"type": "subscribed", "channel": told_in}
        self.members: set[str] | None = None
        self.count = self.version = -1
        self.hear()
        assert self.version >= 0, "a state comes first"

    def hear(self) -> dict:
        message = self.next()
        if message["type"] == "presence-state":
            self.members = set(message["members"]) if "members" in message else None
        else:
            assert message["type"] == "presence-diff", message
            assert message["version"] == self.version + 1, (self.version, message)
            if "joins" in message:
                self.members = (self.members | set(message["joins"])) - set(message["leaves"])
            else:
                self.members = None
        self.version, self.count = message["version"], message["count"]
        if self.members is not None:
            assert len(self.members) == self.count, message
        return message

    def until(self, count: int, named: bool):
        while self.count != count or (self.members is not None) != named:
            self.hear()


def test_members_come_and_go_and_every_watcher_knows(server):
    watchers = [Watcher(server.port, "room:1", f"watcher-{n}") for n in range(4)]
    members = [Client(server.port, user=f"user-{n}") for n in range(20)]
    for member in members:
        member.subscribe("room:1")
    everybody = {f"user-{n}" for n in range(20)}
    for watcher in watchers:
        watcher.until(20, named=True)
        assert watcher.members == everybody
    # Another connection of a user is nobody new, and its end is nobody's leave.
    again = Client(server.port, user="user-0")
    again.subscribe("room:1")
    members[0].close()
    for member in members[10:]:
        member.close()
    for watcher in watchers:
        watcher.until(10, named=True)
        assert watcher.members == {f"user-{n}" for n in range(10)}
    for client in [again, *members[1:10]]:
        client.close()
    for watcher in watchers:
        watcher.until(0, named=True)
        watcher.quiet()
        watcher.close()


def test_a_flap_is_not_told(server):
    watcher = Watcher(server.port, "room:2", "watcher")
    ann = Client(server.port, user="ann")
    ann.subscribe("room:2")
    watcher.until(1, named=True)
    for _ in range(3):
        assert ann.answer("unsubscribe", channel="room:2")["type"] == "unsubscribed"
        ann.subscribe("room:2")
    watcher.quiet(3 * GRACE)
    ann.close()
    watcher.until(0, named=True)
    watcher.close()


def test_a_crowd_is_a_number_and_what_is_left_of_it_has_names_again(server):
    watcher = Watcher(server.port, "room:3", "watcher")
    members = [Client(server.port, user=f"somebody-with-a-long-name-{n}") for n in range(100)]
    for member in members:
        member.subscribe("room:3")
    watcher.until(100, named=False)
    late = Watcher(server.port, "room:3", "late")
    assert (late.count, late.members) == (100, None)
    for member in members[3:]:
        member.close()
    for each in (watcher, late):
        each.until(3, named=True)
        assert each.members == {f"somebody-with-a-long-name-{n}" for n in range(3)}
        each.close()
    for member in members[:3]:
        member.close()


def test_what_a_user_says_of_itself_is_found_until_it_has_gone(server):
    ann, bob = Client(server.port, user="ann2"), Client(server.port, user="bob2")
    said = ann.answer("set-presence", presence={"status": "busy", "metadata": {"device": "phone"}}, id=1)
    assert said == {"type": "presence-update", "presence": {"ann2": {"status": "busy", "metadata": {"device": "phone"}}}, "id": 1}
    ask = lambda: bob.answer("get-presence", ids=["ann2", "nobody"])["presence"]  # noqa: E731
    assert ask() == {"ann2": {"status": "busy", "metadata": {"device": "phone"}}, "nobody": {"status": "offline"}}
    ann.close()
    while (found := ask()["ann2"])["status"] == "busy":
        bob.quiet(0.05)
    assert found["status"] == "offline" and found["lastSeen"] > 1_600_000_000_000
    bob.close()
