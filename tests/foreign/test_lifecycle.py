"""How the program starts, refuses to start, and ends."""

import json
import re
import socket

import pytest
from websockets.exceptions import ConnectionClosed

from client import Client, open_connection
from server import Server, run

CONFIG_ERROR = 78  # EX_CONFIG of sysexits.h


def test_sigterm_drains_tells_the_clients_and_ends_with_zero():
    server = Server(SHARDS__COUNT="2")
    clients = [Client(server.port) for _ in range(10)]
    clients[0].subscribe("goodbye")
    with open_connection(server.port, "/echo") as echo:
        server.terminate()
        for connection in [client.socket for client in clients] + [echo]:
            if connection is not echo:
                told = json.loads(connection.recv(timeout=10))
                assert told["type"] == "reconnect" and 0 <= told["delay"] <= 5000, told
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=10)
            assert closed.value.rcvd is not None, "cut off without a close frame"
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4200, "draining")
    assert server.exit_code() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_sigterm_ends_a_server_whose_clients_do_not_answer():
    server = Server(SHARDS__COUNT="2")
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(b"GET /ws HTTP/1.1\r\n")
        server.terminate()
        assert server.exit_code() == 0


def test_a_second_start_on_the_same_port_is_refused_with_a_reason():
    server = Server(SHARDS__COUNT="1")
    try:
        second = run(LISTEN__ADDRESS=f"127.0.0.1:{server.port}", SHARDS__COUNT="1")
        assert second.returncode != 0
        assert str(server.port) in second.stderr
    finally:
        server.stop()


FAULTY = """
[listen]
address = "nowhere"

[shards]
count = 0
placement = "by-moon-phase"
"""


@pytest.mark.parametrize("command", [[], ["serve"], ["check-config"]], ids=["default", "serve", "check-config"])
def test_a_config_with_three_faults_is_told_all_three(tmp_path, command):
    file = tmp_path / "faulty.toml"
    file.write_text(FAULTY)
    refused = run(*command, "--config", str(file))
    assert refused.returncode == CONFIG_ERROR, refused
    for key in ("listen.address", "shards.count", "shards.placement"):
        assert key in refused.stderr, refused.stderr


def test_a_good_config_is_confirmed(tmp_path):
    file = tmp_path / "good.toml"
    file.write_text('[listen]\naddress = "127.0.0.1:0"\n')
    assert run("check-config", "--config", str(file)).returncode == 0


def test_version():
    told = run("--version")
    assert told.returncode == 0
    assert re.match(r"^shardwire \d+\.\d+\.\d+", told.stdout)
