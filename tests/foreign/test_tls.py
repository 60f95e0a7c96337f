"""wss:// with Python's ssl (OpenSSL) and `websockets`: not the TLS library of the server. The certificate is made by the openssl program.

The asynchronous client, because the other one reads and writes a TLS socket in two threads at once, which OpenSSL does not allow:
against any server one in several hundred of its TLS 1.3 connections hangs (Python 3.11).
"""

import asyncio
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest
from websockets.asyncio.client import connect

from client import SECONDS
from server import Server


def make_certificate(folder, name: str, key: tuple[str, ...] = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """A certificate for localhost that signs itself, as two PEM files."""
    assert shutil.which("openssl"), "the program openssl is needed to make a certificate"
    certificate, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extensions = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*command, *extensions, "-keyout", key_file, "-out", certificate], check=True, capture_output=True, timeout=60)
    return certificate, key_file


def trusting(certificate, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["http/1.1"])
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def secure(server: Server, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A TLS connection; closing it is the caller's."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
    return context.wrap_socket(plain, server_hostname="localhost")


def within(seconds: float, steps):
    """Runs the steps of a test to their end, in time."""
    asyncio.run(asyncio.wait_for(steps, seconds))


def open_wss(server: Server, context: ssl.SSLContext, path: str = "/ws") -> connect:
    return connect(
        f"wss://localhost:{server.port}{path}",
        sock=socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS),
        ssl=context,
        proxy=None,
        open_timeout=SECONDS,
        close_timeout=SECONDS,
        max_queue=None,
    )


def start(certificate, key, **settings: str) -> Server:
    return Server(LISTEN__TLS__CERTIFICATE=str(certificate), LISTEN__TLS__KEY=str(key), **settings)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), "server")


@pytest.fixture(scope="module", params=[("accept", "4"), ("ip-hash", "4"), ("user-hash", "1"), ("user-hash", "4")], ids="-".join)
def server(request, pair):
    running = start(*pair, SHARDS__PLACEMENT=request.param[0], SHARDS__COUNT=request.param[1])
    yield running
    running.stop()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_channels_and_large_messages_pass_through_tls(server, pair, version):
    context = trusting(pair[0], version)

    async def steps():
        async with open_wss(server, context, "/ws?user=ann") as ann, open_wss(server, context, "/ws?user=bob") as bob:
            tls = ann.transport.get_extra_info("ssl_object")
            assert (tls.version(), tls.selected_alpn_protocol()) == (version.name.replace("_", "."), "http/1.1")
            for one in (ann, bob):
                await one.send(json.dumps({"type": "subscribe", "channel": "news"}))
                assert json.loads(await one.recv()) == {"type": "subscribed", "channel": "news"}
            for text in ["hello", "x" * 60_000, "ünï" * 3_000]:
                await ann.send(json.dumps({"type": "publish", "channel": "news", "message": text}))
                for one in (ann, bob):
                    assert json.loads(await one.recv())["message"] == text

    within(2 * SECONDS, steps())


def test_echoes_come_back_whole_and_in_order(server, pair):
    async def steps():
        async with open_wss(server, trusting(pair[0]), "/echo?user=cleo") as echo:
            sent = [bytes([number % 256]) * (number * 37 % 50_000) for number in range(1, 300)]
            for first in range(0, len(sent), 30):
                for message in sent[first : first + 30]:
                    await echo.send(message)
                for message in sent[first : first + 30]:
                    assert await echo.recv() == message

    within(3 * SECONDS, steps())


def test_the_end_of_a_connection_is_an_end_of_tls(server, pair):
    """An end without close_notify is an error to OpenSSL, because anybody on the way could have made it."""
    with secure(server, trusting(pair[0])) as stream:
        stream.sendall(b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = b""
        while piece := stream.recv(1000):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 404 ")


def test_the_page_is_served_by_https(server, pair):
    page = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=SECONDS, context=trusting(pair[0]))
    page.sock = secure(server, trusting(pair[0]))
    page.request("GET", "/")
    answer = page.getresponse()
    assert answer.status == 200 and "<html" in answer.read().decode()
    page.close()


def test_a_client_that_trusts_somebody_else_is_left_alone(server, tmp_path):
    stranger, _ = make_certificate(tmp_path, "stranger")
    with pytest.raises(ssl.SSLCertVerificationError):
        secure(server, trusting(stranger))


def test_old_versions_are_refused(server, pair):
    context = trusting(pair[0])
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        secure(server, context)


def test_plain_http_on_this_port_is_told_so(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = b""
        while piece := stream.recv(1000):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 400 ") and b"wss://" in answer


async def echoes(server, context):
    async with open_wss(server, context, "/echo") as echo:
        await echo.send("hello")
        assert await echo.recv() == "hello"


@pytest.mark.parametrize("key", [("rsa:2048",), ("ec", "-pkeyopt", "ec_paramgen_curve:P-384"), ("ed25519",)], ids=["rsa", "p384", "ed25519"])
def test_every_kind_of_key_serves(tmp_path, key):
    certificate, key_file = make_certificate(tmp_path, "other", key)
    server = start(certificate, key_file, SHARDS__COUNT="1")
    try:
        within(SECONDS, echoes(server, trusting(certificate)))
    finally:
        server.stop()


def test_sighup_shows_a_new_certificate_and_keeps_connections(tmp_path):
    (old, old_key), (new, new_key) = make_certificate(tmp_path, "old"), make_certificate(tmp_path, "new")
    live, live_key = tmp_path / "live.pem", tmp_path / "live.key"
    shutil.copy(old, live), shutil.copy(old_key, live_key)
    server = start(live, live_key, LISTEN__TLS__RELOAD_INTERVAL="1h", SHARDS__COUNT="2")
    try:

        async def steps():
            async with open_wss(server, trusting(old), "/echo") as echo:
                shutil.copy(new, live), shutil.copy(new_key, live_key)
                server.process.send_signal(signal.SIGHUP)
                deadline = time.monotonic() + SECONDS
                while True:
                    try:
                        secure(server, trusting(new)).close()
                        break
                    except ssl.SSLCertVerificationError:
                        assert time.monotonic() < deadline, server.said()
                await echo.send("still here")
                assert await echo.recv() == "still here"

        within(2 * SECONDS, steps())
    finally:
        server.stop()
