"""permessage-deflate with Python's `websockets`: negotiated, of use, and the same messages as without."""

import json

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.sync.client import connect

from client import SECONDS
from server import Server

LONG = "ein Wort gibt das andere, " * 1000

OFFERS = {
    "default": ClientPerMessageDeflateFactory(client_max_window_bits=True),
    "no contexts": ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True),
    "small windows": ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9),
}


@pytest.fixture(scope="module", params=["false", "true"], ids=["server without contexts", "server with contexts"])
def compressing_server(request):
    running = Server(SHARDS__COUNT="4", SHARDS__PLACEMENT="user-hash", COMPRESSION__CONTEXT_TAKEOVER=request.param)
    yield running
    running.stop()


def opened(server: Server, path: str, offer: ClientPerMessageDeflateFactory):
    return connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None, compression=None, extensions=[offer], open_timeout=SECONDS, max_queue=None)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_compressed_messages_come_back_as_they_came(compressing_server, offer):
    with opened(compressing_server, "/echo?user=ann", offer) as socket:
        [extension] = socket.protocol.extensions
        assert isinstance(extension, PerMessageDeflate)
        for message in [LONG, "", "short", LONG.encode(), LONG[::-1], LONG]:
            socket.send(message)
            assert socket.recv(timeout=SECONDS) == message
        # In fragments, compressed as a whole.
        socket.send(LONG[at : at + 777] for at in range(0, len(LONG), 777))
        assert socket.recv(timeout=SECONDS) == LONG


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_broadcast_reaches_every_kind_of_subscriber(compressing_server, offer):
    plain = connect(f"ws://127.0.0.1:{compressing_server.port}/ws?user=bob", proxy=None, compression=None, open_timeout=SECONDS)
    with opened(compressing_server, "/ws?user=ann", offer) as compressed, plain as plain:
        assert plain.protocol.extensions == []
        for socket in (compressed, plain):
            socket.send('{"type":"subscribe","channel":"c"}')
            assert json.loads(socket.recv(timeout=SECONDS))["type"] == "subscribed"
        for publisher in (compressed, plain):
            publisher.send(json.dumps({"type": "publish", "channel": "c", "message": LONG}))
            for socket in (compressed, plain):
                assert json.loads(socket.recv(timeout=SECONDS))["message"] == LONG
