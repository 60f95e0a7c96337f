"""Attacks on the program as a whole: its memory, its descriptors, its time. Which there are: docs/reference/attacks.md."""

import signal
import socket
import time
import zlib
from pathlib import Path

import pytest

from raw import HANDSHAKE, all_of, close_code, masked, raw, upgraded
from server import Server

MIB = 1024 * 1024


@pytest.fixture
def start():
    """`start(**settings)`: a server of the test's own."""
    started = []

    def start(**settings: str) -> Server:
        started.append(Server(SHARDS__COUNT="1", **settings))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def status(server: Server, name: str) -> int:
    """A figure of the process in bytes, such as VmRSS or VmHWM (the peak of VmRSS)."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024


def own_memory(server: Server) -> int:
    """Resident bytes of the process, counted page by page. Without those of the program's file, which come in steps of 64 KiB the first
    time that something in them runs."""
    lines = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Anonymous:")).split()[1]) * 1024


def forget_peak(server: Server):
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def frame(first: int, payload: bytes) -> bytes:
    """A client's frame of 126 to 65535 bytes."""
    return bytes([first, 0xFE]) + len(payload).to_bytes(2) + bytes(4) + payload


def deflated(message: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def compressing(server: Server) -> socket.socket:
    stream = raw(server)
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    stream.sendall(HANDSHAKE.format(path="/echo").removesuffix("\r\n").encode() + offer.encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += stream.recv(1)
    assert b"permessage-deflate" in head, head
    return stream


def refuse_at_its_header(server: Server):
    """A compressing connection opens, announces too much, and is closed with 1009: what that costs the first time is nobody else's."""
    with compressing(server) as stream:
        stream.sendall(b"\xc2\xff" + (1 << 40).to_bytes(8) + bytes(4))
        assert close_code(all_of(stream)) == 1009


@pytest.mark.parametrize("limit", [64 * 1024, MIB, 8 * MIB], ids=["64KiB", "1MiB", "8MiB"])
def test_attack_deflate_bomb_and_the_memory_of_the_program(start, limit):
    """64 MiB of zeros, ten times: closed with 1009, and no more is resident than before and the limit.

    Two figures tell. Freed buffers below 128 KiB stay with the program, so at a limit of 64 KiB what is resident just after, counted
    page by page, is what was resident at the most. Larger ones go back at once, and only the kernel's peak shows them; it is counted
    in steps of up to 128 KiB per core, which is little beside the larger limits.
    """
    server = start(CONNECTIONS__MAX_MESSAGE_SIZE=f"{limit // 1024}KiB", CONNECTIONS__OUTBOX_HARD_LIMIT="16MiB")
    bomb = deflated(bytes(64 * MIB))
    assert len(bomb) < 66_000
    # What the first compressed message costs is not the bomb's.
    with compressing(server) as stream:
        text = "".join(f"{number * number} is the square of {number}, " for number in range(100))
        stream.sendall(frame(0xC1, deflated(text.encode())))
        assert stream.recv(1)
    refuse_at_its_header(server)
    before, resident = own_memory(server), status(server, "VmRSS")
    forget_peak(server)
    for _ in range(10):
        with compressing(server) as stream:
            stream.sendall(frame(0xC2, bomb))
            assert close_code(all_of(stream)) == 1009
    grown, peak = own_memory(server) - before, status(server, "VmHWM") - resident
    print(f"limit {limit}: grew by {grown} bytes, by {peak} at its peak")
    assert grown <= limit
    if limit >= MIB:
        assert peak <= limit


def test_attack_big_length_announced_nothing_sent(start):
    """300 peers announce messages of 64 MiB, and send ten bytes of them: nothing is kept ready for the rest."""
    server = start(CONNECTIONS__MAX_MESSAGE_SIZE="64MiB", CONNECTIONS__OUTBOX_HARD_LIMIT="128MiB")
    streams = [upgraded(server, "/echo") for _ in range(300)]
    before = status(server, "VmRSS")
    forget_peak(server)
    for stream in streams:
        stream.sendall(b"\x82\xff" + (64 * MIB).to_bytes(8) + bytes(4) + b"ten bytes.")
    # Whoever comes behind them is answered: they have been read.
    with upgraded(server, "/echo") as last:
        last.sendall(masked(0x81, b"there"))
        assert last.recv(7) == b"\x81\x05there"
    assert status(server, "VmHWM") - before < MIB
    for stream in streams:
        stream.close()


def test_attack_answers_that_nobody_reads(start):
    """Whoever asks, is answered, and neither reads nor leaves: the socket is closed all the same."""
    server = start(CONNECTIONS__CONNECTION_TIMEOUT="10s")
    base = open_files(server)
    requests = ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET /no HTTP/1.1\r\nHost: h\r\n\r\n", "nonsense\r\n\r\n", HANDSHAKE.format(path="/ws").replace("13", "12")]
    streams = [raw(server) for _ in range(25) for _ in requests]
    for stream, request in zip(streams, requests * 25):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        stream.sendall(request.encode())
    until = time.monotonic() + 8
    while open_files(server) > base and time.monotonic() < until:
        time.sleep(0.1)
    assert open_files(server) <= base
    for stream in streams:
        stream.close()


def test_attack_all_connections_time_out_together_after_a_stall(start):
    """The process stands still for longer than interval and timeout together. Its peers have answered meanwhile: all of them stay."""
    server = start(CONNECTIONS__HEARTBEAT_INTERVAL="1s", CONNECTIONS__HEARTBEAT_TIMEOUT="1s")
    streams = [upgraded(server, "/ws") for _ in range(600)]
    # Each has its ping, so that each is waited for.
    for stream in streams:
        assert stream.recv(2) == b"\x89\x00"
    server.process.send_signal(signal.SIGSTOP)
    try:
        for stream in streams:
            stream.sendall(masked(0x8A, b""))
        time.sleep(3)
    finally:
        server.process.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    closed = 0
    for stream in streams:
        stream.setblocking(False)
        try:
            closed += b"\x88" in stream.recv(1000)
        except BlockingIOError:
            pass
        stream.close()
    assert closed == 0, f"{closed} of {len(streams)} were given up"
