"""What a well-behaved client never sends, written byte by byte: answered as documented, the others untouched."""

import socket
import time

import pytest

from client import Client
from raw import HANDSHAKE, all_of, ask, close_code, masked, raw, upgraded
from server import Server

@pytest.fixture
def bystander(server):
    """Somebody else, who must notice nothing."""
    client = Client(server.port)
    yield client
    client.quiet(0.05)
    client.close()


def test_a_request_without_upgrade_is_told_so(server, bystander):
    status, headers, body = ask(server, "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert (status, body) == (400, b"Expected WebSocket")
    assert headers["content-length"] == str(len(body))


def test_the_page_is_served_and_loads_nothing_from_elsewhere(server, bystander):
    status, headers, body = ask(server, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert b"<title>shardwire</title>" in body
    for outside in (b'src="http', b'href="http', b"@import", b"url(http"):
        assert outside not in body


def test_an_unknown_path_is_not_found(server, bystander):
    assert ask(server, "GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")[0] == 404


def test_attack_wrong_version(server, bystander):
    status, headers, _ = ask(server, HANDSHAKE.format(path="/ws").replace("Version: 13", "Version: 12"))
    assert status == 426
    assert headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("connection", ["Connection: Upgrade", "Connection: keep-alive, Upgrade"])
def test_attack_upgrade_over_http_1_0(server, bystander, connection):
    old = HANDSHAKE.format(path="/ws").replace("HTTP/1.1", "HTTP/1.0").replace("Connection: Upgrade", connection)
    assert ask(server, old)[0] == 400


@pytest.mark.parametrize(
    "request_text",
    [
        HANDSHAKE.format(path="/ws").replace("Host: 127.0.0.1\r\n", ""),
        HANDSHAKE.format(path="/ws").replace("Host:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nHost:"),
        HANDSHAKE.format(path="/ws").replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        HANDSHAKE.format(path="/ws").replace("Host:", "Content-Length: 5\r\nHost:"),
        "complete nonsense\r\n\r\n",
        "GET /ws HTTP/1.1\r\n" + "".join(f"X-{index}: 1\r\n" for index in range(500)) + "\r\n",
    ],
    ids=["no host", "two keys", "short key", "a body", "nonsense", "500 headers"],
)
def test_a_bad_handshake_is_refused(server, bystander, request_text):
    status, _, _ = ask(server, request_text)
    assert 400 <= status < 500


@pytest.mark.parametrize("path", ["/ws", "/echo"])
def test_attack_unmasked_client_frame(server, bystander, path):
    with upgraded(server, path) as stream:
        stream.sendall(b"\x81\x02hi")
        assert close_code(all_of(stream)) == 1002


@pytest.mark.parametrize(
    "frame, code",
    [
        (masked(0xC1, b"hi"), 1002),
        (masked(0x83, b"hi"), 1002),
        (masked(0x80, b"hi"), 1002),
        (masked(0x09, b"hi"), 1002),
        (masked(0x88, b"\x03"), 1002),
        (masked(0x88, b"\x03\xed"), 1002),
        (masked(0x81, b"\xff"), 1007),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 1009),
        (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", 1002),
    ],
    ids=["reserved bit", "reserved opcode", "stray continuation", "fragmented ping", "close of one byte", "close code 1005",
         "bad UTF-8", "huge length", "negative length"],
)
def test_a_broken_frame_is_answered_with_its_code(server, bystander, frame, code):
    with upgraded(server, "/echo") as stream:
        stream.sendall(frame)
        assert close_code(all_of(stream)) == code


def test_attack_bytes_pipelined_behind_the_handshake(server, bystander):
    with raw(server) as stream:
        stream.sendall(HANDSHAKE.format(path="/echo").encode() + masked(0x81, b"early") + masked(0x88, b"\x03\xe8"))
        _, _, frames = all_of(stream).partition(b"\r\n\r\n")
    assert frames == b"\x81\x05early\x88\x02\x03\xe8"


def test_a_request_byte_by_byte_is_understood(server, bystander):
    with raw(server) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in HANDSHAKE.format(path="/echo").encode() + masked(0x88, b"\x03\xe8"):
            stream.sendall(bytes([byte]))
        answer = all_of(stream)
    assert answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(b"\x88\x02\x03\xe8")


def test_an_abrupt_end_harms_nobody(server, bystander):
    for message in [b"", b"GET /ws HT", HANDSHAKE.format(path="/ws").encode(), HANDSHAKE.format(path="/ws").encode() + b"\x81\xfe"]:
        with raw(server) as stream:
            # Linger of zero seconds: the kernel sends a reset instead of an orderly end.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            stream.sendall(message)


@pytest.mark.parametrize("sent", ["", "GET /ws HTTP/1.1\r\nHost: 127.0"], ids=["nothing", "half a handshake"])
def test_attack_slow_handshake(sent):
    server = Server(SHARDS__COUNT="2", CONNECTIONS__CONNECTION_TIMEOUT="1s")
    try:
        bystander = Client(server.port)
        with raw(server) as stream:
            started = time.monotonic()
            stream.sendall(sent.encode())
            all_of(stream)
            assert 0.8 < time.monotonic() - started < 4
        bystander.quiet()
        bystander.close()
    finally:
        server.stop()


def test_attack_slow_handshake_in_a_trickle():
    server = Server(SHARDS__COUNT="2", CONNECTIONS__CONNECTION_TIMEOUT="1s")
    try:
        with raw(server) as stream:
            started = time.monotonic()
            for byte in HANDSHAKE.format(path="/ws").encode():
                try:
                    stream.sendall(bytes([byte]))
                except (BrokenPipeError, ConnectionResetError):
                    break
                time.sleep(0.05)
            assert time.monotonic() - started < 4, "the whole request takes 9 s at this pace"
    finally:
        server.stop()
