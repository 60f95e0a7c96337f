"""Starts the real server as a program, on a free port, and ends it by its process id.

The binary is `SERVER_UNDER_TEST`, or target/debug/shardwire. Everything the server says is kept, and shown when it fails.
"""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("SERVER_UNDER_TEST", REPOSITORY / "target/debug/shardwire"))
DRIVER = "SHARDWIRE_SHARDS__DRIVER"
DIRECT = "SHARDWIRE_SHARDS__DIRECT_DESCRIPTORS"
START_SECONDS = 20
STOP_SECONDS = 20
LISTENING = re.compile(r"^shardwire listening on 127\.0\.0\.1:(\d+)$")


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The caller's environment without its own shardwire settings (but the driver and its descriptors, which are chosen for the
    whole suite), and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHARDWIRE_") or name in (DRIVER, DIRECT)}
    return kept | {f"SHARDWIRE_{name}": value for name, value in settings.items()}


def run(*arguments: str, before=None, **settings: str) -> subprocess.CompletedProcess:
    """Runs the program to its end: for runs that are expected to refuse at once. `before` is called in its process before it starts."""
    return subprocess.run(
        [BINARY, *arguments],
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        preexec_fn=before,
    )


class Server:
    """One running server; `port` is where it listens."""

    def __init__(self, program: Path = BINARY, before=None, **settings: str):
        """`before` is called in the server's process before the program starts."""
        self.log = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            [program],
            env=environment({"LISTEN__ADDRESS": "127.0.0.1:0"} | settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            preexec_fn=before,
        )
        self.printed: list[str] = []
        self.port = 0
        self.first_line = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if not self.first_line.wait(START_SECONDS) or not (match := LISTENING.match(self.printed[0] if self.printed else "")):
            self.kill()
            raise AssertionError(f"the first line does not say where it listens: {self.printed}\n{self.said()}")
        self.port = int(match[1])

    def wait_for_line(self, number: int):
        """Until it has printed so many lines."""
        until = time.monotonic() + START_SECONDS
        while len(self.printed) < number:
            assert time.monotonic() < until, f"{self.printed}\n{self.said()}"
            time.sleep(0.01)

    def _read(self):
        for line in self.process.stdout:
            self.printed.append(line.rstrip("\n"))
            self.first_line.set()
        self.first_line.set()

    def said(self) -> str:
        """All that the server wrote to standard error."""
        self.log.seek(0)
        return self.log.read()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self, seconds: float = STOP_SECONDS) -> int:
        """Waits for the end; a server that does not end in time is killed, and that is a failure."""
        try:
            code = self.process.wait(seconds)
            self.kill()
            return code
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {seconds} s after SIGTERM\n{self.said()}") from None

    def kill(self):
        """Makes sure that nothing of it is left, whatever went before."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        self.reader.join(5)
        self.process.stdout.close()

    def stop(self):
        """A normal end: SIGTERM, exit code 0."""
        started = time.monotonic()
        self.terminate()
        code = self.exit_code()
        assert code == 0, f"exit code {code} after {time.monotonic() - started:.1f} s\n{self.said()}"
