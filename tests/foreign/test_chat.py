"""Chat on the wire, contract section 8: every message with exactly the fields it has there, on four shards."""

import re
import time

import pytest

from client import Client
from server import Server


def stamped(message: dict) -> dict:
    """Without the time, which is now."""
    timestamp = message.pop("timestamp")
    assert isinstance(timestamp, int) and abs(timestamp - time.time() * 1000) < 10_000
    return message


def joined(user: str) -> dict:
    return {"type": "user-joined", "userId": user, "username": user}


def left(user: str) -> dict:
    return {"type": "user-left", "userId": user, "username": user}


@pytest.fixture
def room(request):
    """A room of its own for every test."""
    return re.sub(r"\W", "-", request.node.name)


@pytest.fixture
def pair(clients, room):
    """Two members, each of whom has heard of both."""
    ann, bob = clients(2)
    assert stamped(ann.answer("join-room", roomId=room)) == joined("user-0")
    assert stamped(bob.answer("join-room", roomId=room)) == joined("user-1")
    assert stamped(ann.next()) == joined("user-1")
    return ann, bob


def test_c1_c6_who_joins_is_told_to_all_the_joiner_too(pair):
    for member in pair:
        member.quiet(0.05)


def test_c1_d8_joining_elsewhere_is_leaving_here(pair, room):
    ann, bob = pair
    assert stamped(bob.answer("join-room", roomId=f"{room}-other")) == joined("user-1")
    assert stamped(ann.next()) == left("user-1")


def test_c2_c7_leaving_is_told_to_the_others_and_answered_if_it_has_an_id(pair, room):
    ann, bob = pair
    assert bob.answer("leave-room", id=7) == {"type": "room:left", "roomId": room, "id": 7}
    assert stamped(ann.next()) == left("user-1")
    ann.say("leave-room")
    ann.quiet(0.05)


def test_c1_c2_presence_shows_the_room(pair, room):
    ann, bob = pair
    shown = lambda: bob.answer("get-presence", ids=["user-0"])["presence"]["user-0"]
    assert shown() == {"status": "online", "currentRoom": room}
    ann.say("leave-room")
    bob.next()  # user-left
    assert shown() == {"status": "online"}


def test_c3_c8_a_message_goes_to_all_the_sender_too(pair):
    ann, bob = pair
    content = 'Grüße, "Ann" \U0001f98a\n'
    bob.say("send-message", content=content)
    messages = [member.next() for member in pair]
    assert messages[0] == messages[1]
    [message, _] = messages
    assert re.fullmatch("[0-9a-f]{16}-[0-9a-f]+", message.pop("id"))
    assert stamped(message) == {"type": "message", "userId": "user-1", "username": "user-1", "content": content}


def test_c3_messages_of_one_room_come_in_one_order(pair):
    for number in range(50):
        pair[number % 2].say("send-message", content=str(number))
    heard = [[member.next() for _ in range(50)] for member in pair]
    assert heard[0] == heard[1]
    assert len({message["id"] for message in heard[0]}) == 50
    own = [[int(it["content"]) for it in heard[0] if it["userId"] == f"user-{user}"] for user in (0, 1)]
    assert own == [list(range(0, 50, 2)), list(range(1, 50, 2))]


def test_c3_d5_in_no_room_a_message_is_ignored_and_told_so_if_it_has_an_id(clients):
    [client] = clients(1)
    for type in ["send-message", "leave-room", "typing-start", "typing-stop"]:
        client.say(type, content="x")
        client.quiet(0.05)
        error = client.answer(type, content="x", id=type)
        assert error == {"type": "error", "error": "Not joined", "code": 120, "temporary": False, "id": type}


def test_c4_c5_c9_typing_is_told_to_the_others_only(pair):
    ann, bob = pair
    for type in ["typing-start", "typing-stop"]:
        bob.say(type)
        assert ann.next() == {"type": type, "userId": "user-1", "username": "user-1"}
        bob.quiet(0.05)


def test_c7_c11_who_is_cut_off_has_left(pair):
    ann, bob = pair
    bob.close()
    assert stamped(ann.next()) == left("user-1")


def test_c10_a_room_is_a_channel(pair, room, clients):
    ann, bob = pair
    [eve] = clients(1)
    eve.subscribe(f"room:{room}")
    ann.say("send-message", content="x")
    assert eve.next() == ann.next() == bob.next()
    eve.say("publish", channel=f"room:{room}", message="x")
    assert ann.next()["type"] == "broadcast"


def test_who_asks_with_an_id_is_told_who_is_there(pair, room, clients):
    [cid] = clients(1)
    members = [{"userId": f"user-{n}", "username": f"user-{n}"} for n in range(3)]
    answer = cid.answer("join-room", roomId=room, id="who")
    assert answer == {"type": "room:joined", "roomId": room, "members": members, "count": 3, "id": "who"}
    assert stamped(cid.next()) == joined("user-2")


def test_full_rooms_long_messages_and_those_who_never_stop_typing():
    server = Server(CHAT__MAX_MEMBERS="2", CHAT__MAX_CONTENT="8B", CHAT__TYPING_TIMEOUT="1s")
    try:
        ann, bob, cid = (Client(server.port, name) for name in ("ann", "bob", "cid"))
        assert stamped(ann.answer("join-room", roomId="r")) == joined("ann")
        assert stamped(bob.answer("join-room", roomId="r")) == joined("bob")
        assert cid.answer("join-room", roomId="r")["error"] == "Too many members"
        ann.next()
        assert bob.answer("send-message", content="123456789")["error"] == "Message too large"
        bob.say("typing-start")
        assert ann.next()["type"] == "typing-start"
        assert ann.next() == {"type": "typing-stop", "userId": "bob", "username": "bob"}
        for client in (ann, bob, cid):
            client.close()
    finally:
        server.stop()
