"""What the suite is run against: the server in several shapes, and the Rust client with either offer of compression.

The programs are release builds, in target/release or below `CARGO_TARGET_DIR`.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "foreign"))

import suite  # noqa: E402
from server import REPOSITORY, Server  # noqa: E402

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
SERVER = TARGET / "release/shardwire"
CLIENT = TARGET / "release/examples/conformance"

# What Autobahn asks of an echo server: messages of 16 MiB, and that one echo may wait while the next comes.
LARGE = {
    "ECHO__ENABLED": "true",
    "CONNECTIONS__MAX_MESSAGE_SIZE": "16MiB",
    "CONNECTIONS__OUTBOX_HARD_LIMIT": "64MiB",
}
EVERYTHING_COMPRESSED = {"COMPRESSION__THRESHOLD": "0B"}


@dataclass
class Usage:
    """What a program under test had used when the last case was over."""

    cpu_seconds: float = 0.0
    peak_memory: int = 0

    @staticmethod
    def of(process: int) -> "Usage":
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        peak = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return Usage(ticks / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) * 1024)


@dataclass
class Setup:
    """One column of the report."""

    name: str
    says: str
    include: tuple[str, ...] = ()
    at_once: int = 2

    def cases(self, quick: bool) -> list[str]:
        return suite.select(self.include, suite.QUICK_WITHOUT if quick else ())

    async def play(self, cases: list[str]) -> tuple[list, Usage]:
        raise NotImplementedError


@dataclass
class OurServer(Setup):
    """Autobahn's fuzzing client against our server."""

    settings: dict[str, str] = field(default_factory=dict)
    path: str = "/echo"
    tls: bool = False

    async def play(self, cases):
        with tempfile.TemporaryDirectory(prefix="shardwire-conformance-") as folder:
            settings = LARGE | self.settings
            if self.tls:
                certificate = make_certificate(Path(folder))
                settings |= {"LISTEN__TLS__CERTIFICATE": str(certificate), "LISTEN__TLS__KEY": str(certificate)}
            server = Server(program=SERVER, **settings)
            try:
                if self.tls:
                    async with relay(server.port, certificate) as port:
                        results = await self._play(port, cases)
                else:
                    results = await self._play(server.port, cases)
                usage = Usage.of(server.process.pid)
            except BaseException:
                server.kill()
                raise
            server.stop()
        return results, usage

    async def _play(self, port, cases):
        return await suite.against_server(f"ws://127.0.0.1:{port}{self.path}", cases, self.at_once)


@dataclass
class OurClient(Setup):
    """Our client against Autobahn's fuzzing server."""

    contexts: bool = False

    async def play(self, cases):
        usage = Usage()

        async def start(url: str):
            nonlocal usage
            arguments = [url, "shardwire-client", *(["contexts"] if self.contexts else [])]
            client = await asyncio.create_subprocess_exec(CLIENT, *arguments, stdin=subprocess.DEVNULL)
            try:
                while client.returncode is None:
                    try:
                        usage = Usage.of(client.pid)
                    except (FileNotFoundError, StopIteration):
                        pass  # It is ending at this moment.
                    try:
                        await asyncio.wait_for(client.wait(), 0.2)
                    except TimeoutError:
                        pass
            finally:
                if client.returncode is None:
                    client.kill()
            if client.returncode != 0:
                raise RuntimeError(f"the client ended with {client.returncode}")

        return await suite.against_client(start, cases), usage


def make_certificate(folder: Path) -> Path:
    """A certificate for localhost, and its key, in one file."""
    file = folder / "localhost.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", file, "-out", folder / "certificate.pem"],
        check=True, capture_output=True, timeout=60,
    )
    file.write_text((folder / "certificate.pem").read_text() + file.read_text())
    return file


@asynccontextmanager
async def relay(port: int, certificate: Path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, HERE / "relay.py", str(port), certificate, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield int(await asyncio.wait_for(process.stdout.readline(), 20))
    finally:
        process.kill()
        await process.wait()


SETUPS = [
    OurServer("server-1", "server, 1 shard", settings={"SHARDS__COUNT": "1"}),
    OurServer("server-2", "server, 2 shards, everything compressed", settings={"SHARDS__COUNT": "2"} | EVERYTHING_COMPRESSED),
    # All cases are of one user, so one of four shards is home to them all: about three of four connections are handed off to it.
    OurServer("hand-off", "server, 4 shards, hand-off to the user's", settings={"SHARDS__COUNT": "4", "SHARDS__PLACEMENT": "user-hash"},
              path="/echo?user=autobahn"),
    OurServer("tls", "server, 2 shards, TLS", settings={"SHARDS__COUNT": "2"}, tls=True),
    OurServer("server-contexts", "server, contexts kept", settings={"SHARDS__COUNT": "1", "COMPRESSION__CONTEXT_TAKEOVER": "true"} | EVERYTHING_COMPRESSED,
              include=suite.COMPRESSED),
    OurClient("client", "Rust client"),
    # Not 13.2, 13.5 and 13.6: there the fuzzing server asks for no contexts, and does so only of a client that offered it.
    OurClient("client-contexts", "Rust client, contexts offered", include=("12.*", "13.1.*", "13.3.*", "13.4.*", "13.7.*"), contexts=True),
]
