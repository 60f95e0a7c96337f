"""Inboxes by other hands: the transcripts of the protocol's page, and what three devices of a user know."""

import json
import re
import urllib.request

import pytest

from client import Client
from documents import blocks
from server import Server

KEY = "an-example-key-for-this-page"
TRANSCRIPTS = blocks("docs/reference/protocol.md", "wire-inbox")


@pytest.fixture
def inboxes():
    running = Server(
        NOTIFICATIONS__ENABLED="true", SHARDS__COUNT="2", ADMIN__ADDRESS="127.0.0.1:0", ADMIN__KEY=KEY
    )
    running.wait_for_line(2)
    running.admin = int(re.fullmatch(r"shardwire admin on 127\.0\.0\.1:(\d+)", running.printed[1])[1])
    yield running
    running.kill()


def post(server: Server, user: str, body: str) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.admin}/v1/users/{user}/notifications",
        data=body.encode(),
        headers={"Authorization": f"Bearer {KEY}"},
    )
    # No proxy, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return json.load(answer)


class Names:
    """What a page calls its notifications, and what this run does: `…-1` is the first that was sent, whatever its number here."""

    def __init__(self):
        self.real: dict[str, str] = {}

    def note(self, id: str):
        self.real[f"5f0c1d9a7e3b2846-{len(self.real) + 1}"] = id

    def here(self, text: str) -> str:
        return re.sub(r"5f0c1d9a7e3b2846-\d+", lambda match: self.real.get(match[0], match[0]), text)


def timeless(value):
    if isinstance(value, dict):
        return {key: 0 if key == "timestamp" else timeless(inner) for key, inner in value.items()}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("block", TRANSCRIPTS, ids=str)
def test_a_transcript_of_an_inbox_is_what_happens(inboxes, block):
    client, names = None, Names()
    for line in block.text.splitlines():
        if body := re.fullmatch(r"POST (.*)", line):
            names.note(post(inboxes, "ann", body[1])["id"])
            continue
        client = client or Client(inboxes.port, user="ann")
        direction, text = re.fullmatch(r"ann ([→←]) (.*)", line).groups()
        if direction == "→":
            client.send(names.here(text))
            continue
        heard = client.next()
        # One after the other, so that the line of the page shows the order of the fields, too.
        assert timeless(heard) == timeless(json.loads(names.here(text))), line
        assert list(heard) == list(json.loads(text)), line
    client.quiet(0.05)
    client.close()


def test_there_are_transcripts():
    assert len(TRANSCRIPTS) >= 3


def test_three_devices_know_the_same(inboxes):
    devices = [Client(inboxes.port, user="ann") for _ in range(3)]
    stranger = Client(inboxes.port, user="bob")
    for device in [*devices, stranger]:
        assert device.answer("ping")["type"] == "pong"
    ids = []
    for number in range(1, 4):
        sent = post(inboxes, "ann", json.dumps({"title": f"number {number}"}))
        assert sent["connections"] == 3
        ids.append(sent["id"])
        for device in devices:
            heard = device.next()
            assert heard == {
                "type": "notification",
                "id": sent["id"],
                "title": f"number {number}",
                "timestamp": heard["timestamp"],
                "read": False,
                "delivered": False,
            }
            assert device.next() == {"type": "unread-count", "unread": number}
    devices[1].say("mark-read", notificationIds=ids[:2], id="r")
    for device in devices:
        assert device.next() == {"type": "unread-count", "unread": 1}
    assert devices[1].next() == {"type": "marked-read", "count": 2, "unread": 1, "id": "r"}
    listed = devices[2].answer("get-notifications", limit=2, offset=1)
    assert [(one["id"], one["read"]) for one in listed["notifications"]] == [(ids[1], True), (ids[0], True)]
    for device in [*devices, stranger]:
        device.quiet(0.05)


def test_what_is_wrong_is_told(inboxes):
    ann, nobody = Client(inboxes.port, user="ann"), Client(inboxes.port)
    wrong = {"type": "error", "error": "Invalid message", "code": 112, "temporary": False, "id": 1}
    assert ann.answer("mark-read", id=1) == wrong
    assert ann.answer("ack-notification", notificationIds=[7], id=1) == wrong
    assert ann.answer("get-notifications", cursor="nonsense", id=1) == wrong
    assert ann.answer("get-notifications", limit="all", id=1) == wrong
    assert nobody.answer("get-notifications")["code"] == 115
