"""Bytes to and from the server, written and read by hand."""

import socket

from client import SECONDS

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def raw(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)


def all_of(stream: socket.socket) -> bytes:
    """Everything until the peer closes."""
    found = b""
    try:
        while piece := stream.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def ask(server, request: str) -> tuple[int, dict[str, str], bytes]:
    """One request that is answered and closed: status, headers (lower case), body."""
    with raw(server) as stream:
        stream.sendall(request.encode())
        head, _, body = all_of(stream).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, body


def upgraded(server, path: str = "/ws") -> socket.socket:
    stream = raw(server)
    stream.sendall(HANDSHAKE.format(path=path).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += stream.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, "the answer to the key of RFC 6455, section 1.3"
    return stream


def masked(first: int, payload: bytes) -> bytes:
    assert len(payload) < 126
    return bytes([first, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def close_code(frames: bytes) -> int:
    """The code of the close frame that `frames` must begin with."""
    assert frames[0] == 0x88, frames
    assert 2 <= frames[1] < 126, frames
    return int.from_bytes(frames[2:4])
