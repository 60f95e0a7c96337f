"""Echo, ping and the four errors, word for word."""

import time

import pytest

from client import Client


def near_now(timestamp: int) -> bool:
    """Unix milliseconds."""
    return abs(timestamp - time.time() * 1000) < 10_000


def test_echo_gives_the_data_back(clients):
    [client] = clients(1)
    for data in ["hello", {"nested": [1, {"x": None}]}, 1.5e10, True]:
        answer = client.answer("echo", data=data)
        assert near_now(answer.pop("timestamp"))
        assert answer == {"type": "echo", "data": data}


def test_ping_is_answered_with_the_time(clients):
    [client] = clients(1)
    answer = client.answer("ping")
    assert near_now(answer.pop("timestamp"))
    assert answer == {"type": "pong"}


@pytest.mark.parametrize("id", [7, "seven"])
def test_an_id_comes_back_with_the_answer(clients, id):
    [client] = clients(1)
    assert client.answer("ping", id=id)["id"] == id
    assert client.answer("echo", data=1, id=id)["id"] == id
    assert client.answer("subscribe", channel="ids", id=id)["id"] == id
    assert client.answer("unsubscribe", channel="ids", id=id)["id"] == id
    assert client.answer("no such type", id=id)["id"] == id


@pytest.mark.parametrize(
    "text, error",
    [
        ('{"channel":"lobby"}', "Missing message type"),
        ("{}", "Missing message type"),
        ('{"type":"no such type"}', "Unknown message type"),
        ('{"type":""}', "Unknown message type"),
        ("not json", "Invalid message format"),
        ('{"type":"ping"', "Invalid message format"),
        ('{"type":"ping"} and more', "Invalid message format"),
        ("[]", "Invalid message format"),
        ('"ping"', "Invalid message format"),
        ("", "Invalid message format"),
        ('{"type":5}', "Invalid message type"),
        ('{"type":null}', "Missing message type"),
        ('{"type":["ping"]}', "Invalid message type"),
    ],
)
def test_an_error_says_what_is_wrong_and_the_connection_lives(clients, text, error):
    sender, other = clients(2)
    other.subscribe("untouched")
    sender.send(text)
    answer = sender.next()
    assert answer["type"] == "error"
    assert answer["error"] == error
    sender.say("publish", channel="untouched", message="still here")
    assert other.broadcasts("untouched", 1) == ["still here"]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "subscribe"},
        {"type": "unsubscribe"},
        {"type": "publish", "message": 1},
        {"type": "publish", "channel": "no-message"},
        {"type": "subscribe", "channel": ""},
        {"type": "subscribe", "channel": 5},
        {"type": "subscribe", "channel": "x" * 10_000},
    ],
)
def test_a_message_without_what_it_needs_is_an_error(clients, fields):
    [client] = clients(1)
    answer = client.answer(**fields)
    assert answer["type"] == "error", answer
    client.quiet(0.05)


def test_what_is_said_right_behind_the_handshake_is_heard(server):
    """A connection whose user is counted on another shard is open a moment later than its client thinks."""
    for index in range(200):
        client = Client(server.port, user=f"hasty-{index % 3}")
        client.say("subscribe", channel="haste")
        client.say("ping")
        assert {client.next()["type"], client.next()["type"]} == {"subscribed", "pong"}
        client.close()


def test_every_request_is_answered_even_if_the_next_one_takes_it_back(clients):
    [client] = clients(1)
    for index in range(50):
        channel = f"fickle-{index}"
        client.say("subscribe", channel=channel, id=1)
        client.say("unsubscribe", channel=channel, id=2)
        assert [client.next()["id"], client.next()["id"]] == [1, 2]
