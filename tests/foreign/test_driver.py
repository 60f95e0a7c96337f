"""Where io_uring is denied, as in many containers, the server runs on epoll and says so."""

import ctypes
import platform
import struct

import pytest

from client import Client, open_connection
from server import DIRECT, DRIVER, Server, run

IO_URING_SETUP = 425  # on every architecture
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
PR_SET_NO_NEW_PRIVS = 38
ALLOW, ERRNO_EPERM = 0x7FFF0000, 0x00050001

# struct sock_filter: load the number of the system call; refuse that one, allow the others.
FILTER = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, IO_URING_SETUP),
        (0x06, 0, 0, ERRNO_EPERM),
        (0x06, 0, 0, ALLOW),
    ]
)


def deny_io_uring():
    """What a container's default profile does: io_uring_setup(2) answers EPERM."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = ctypes.create_string_buffer(FILTER, len(FILTER))
    # struct sock_fprog: the number of instructions, and where they are.
    header = struct.pack("@HP", len(FILTER) // 8, ctypes.addressof(program))
    filtered = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header) == 0
    if not filtered:
        raise OSError(ctypes.get_errno(), "the filter was not installed")


@pytest.mark.skipif(platform.system() != "Linux", reason="seccomp is Linux's")
def test_without_io_uring_the_server_runs_on_epoll_and_says_why(monkeypatch):
    for setting in (DRIVER, DIRECT):
        monkeypatch.delenv(setting, raising=False)
    server = Server(before=deny_io_uring, SHARDS__COUNT="2", SHARDS__PLACEMENT="user-hash")
    try:
        assert "shards run on epoll, because io_uring is denied to this process" in server.said()
        assert "--security-opt seccomp" in server.said(), "the remedy is missing"
        listener, talker = Client(server.port, user="ann"), Client(server.port, user="bob")
        listener.subscribe("news")
        talker.say("publish", channel="news", message="over epoll")
        assert listener.broadcasts("news", 1) == ["over epoll"]
        with open_connection(server.port, "/echo") as echo:
            echo.send(b"x" * 60_000)
            assert echo.recv(timeout=10) == b"x" * 60_000
    finally:
        server.terminate()
    assert server.exit_code() == 0


def test_an_unknown_driver_is_refused_with_those_there_are():
    refused = run("check-config", SHARDS__DRIVER="kqueue")
    assert refused.returncode == 78
    for word in ["shards.driver", "auto", "io-uring", "epoll"]:
        assert word in refused.stderr


@pytest.mark.skipif(platform.system() != "Linux", reason="seccomp is Linux's")
def test_direct_descriptors_that_are_demanded_need_io_uring(monkeypatch):
    monkeypatch.delenv(DRIVER, raising=False)
    refused = run(before=deny_io_uring, SHARDS__DIRECT_DESCRIPTORS="on")
    assert refused.returncode != 0
    assert "direct_descriptors" in refused.stderr and "needs io_uring" in refused.stderr


def test_epoll_and_direct_descriptors_are_refused_together():
    refused = run("check-config", SHARDS__DIRECT_DESCRIPTORS="on", SHARDS__DRIVER="epoll")
    assert refused.returncode == 78
    assert "shards.direct_descriptors" in refused.stderr and "epoll" in refused.stderr
