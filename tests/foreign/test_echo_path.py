"""/echo gives every message back as it came, up to the size limit."""

import pytest
from websockets.exceptions import ConnectionClosedError

from client import SECONDS, open_connection

LIMIT = 64 * 1024


@pytest.fixture
def echo(server):
    with open_connection(server.port, "/echo") as socket:
        yield socket


def back(socket):
    return socket.recv(timeout=SECONDS)


@pytest.mark.parametrize("message", ["", "hello", "ünïcode ☂ 🦀" * 100, b"", b"\x00\xff" * 3000], ids=["empty text", "text", "wide text", "empty binary", "binary"])
def test_a_message_comes_back_as_it_came(echo, message):
    for _ in range(3):
        echo.send(message)
        assert back(echo) == message


def test_fragments_come_back_as_one_message(echo):
    echo.send(["in ", "three ", "pieces ☂"])
    assert back(echo) == "in three pieces ☂"
    echo.send([bytes([index % 256]) for index in range(1000)])
    assert back(echo) == bytes(index % 256 for index in range(1000))


def test_many_messages_in_flight_keep_their_order(echo):
    sent = [f"{index}:" + "x" * (index * 37 % 2000) for index in range(500)]
    for message in sent:
        echo.send(message)
    assert [back(echo) for _ in sent] == sent


def test_a_ping_is_answered(echo):
    assert echo.ping(b"payload").wait(SECONDS)


@pytest.mark.parametrize("length", [125, 126, 65535, LIMIT])
def test_every_length_up_to_the_limit_passes(echo, length):
    message = bytes(index % 251 for index in range(length))
    echo.send(message)
    assert back(echo) == message


@pytest.mark.parametrize("pieces", [1, 3], ids=["one frame", "fragments"])
def test_above_the_limit_the_close_names_it(server, pieces):
    with open_connection(server.port, "/echo") as other, open_connection(server.port, "/echo") as echo:
        whole = b"x" * (LIMIT + 1)
        step = -(-len(whole) // pieces)
        with pytest.raises(ConnectionClosedError) as refused:
            # The close may arrive before the last piece is sent: the limit is checked at each frame's header.
            echo.send([whole[at : at + step] for at in range(0, len(whole), step)] if pieces > 1 else whole)
            back(echo)
        assert refused.value.rcvd.code == 1009
        assert str(LIMIT) in refused.value.rcvd.reason
        other.send("untouched")
        assert back(other) == "untouched"


def test_a_close_is_answered_with_its_code(server):
    with open_connection(server.port, "/echo") as echo:
        echo.close(1000, "done")
        assert echo.protocol.close_rcvd.code == 1000
