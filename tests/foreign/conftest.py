"""Fixtures: a server with four shards for the whole module, and clients that are closed at the end of a test."""

import pytest

from client import Client
from server import BINARY, Server


def pytest_sessionstart():
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is not built: cargo build, or set SERVER_UNDER_TEST", returncode=2)


@pytest.fixture(scope="module", params=["accept", "user-hash"])
def server(request):
    """Four shards, with each placement that spreads the connections of one address over shards."""
    running = Server(SHARDS__COUNT="4", SHARDS__PLACEMENT=request.param)
    yield running
    running.stop()


@pytest.fixture
def clients(server):
    """`clients(n)` opens n connections, each of a user of its own."""
    opened = []

    def open_them(count: int) -> list[Client]:
        fresh = [Client(server.port, user=f"user-{len(opened) + index}") for index in range(count)]
        opened.extend(fresh)
        return fresh

    yield open_them
    for client in opened:
        client.close()
