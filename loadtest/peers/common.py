"""What the measurements beside this file have in common: fresh servers on a core of their own, and how numbers are written.

Servers are built before, from the root of the repository: cargo build --release -p shardwire -p loadtest
"""

import os
import pathlib
import socket
import subprocess
import time

PEERS = pathlib.Path(__file__).resolve().parent
ROOT = PEERS.parent.parent


def target_directory(package):
    """Where Cargo puts the release binaries of a package."""
    configured = os.environ.get("CARGO_TARGET_DIR")
    return pathlib.Path(configured) if configured else package / "target"


def shardwire(port):
    """How the server is started on a port: command and additional environment."""
    command = [str(target_directory(ROOT) / "release" / "shardwire")]
    return command, {"SHARDWIRE_SHARDS__COUNT": "1", "SHARDWIRE_LISTEN__ADDRESS": f"127.0.0.1:{port}"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_listening(port, process):
    for _ in range(100):
        if process.poll() is not None:
            raise SystemExit(f"the server ended with code {process.returncode}: {process.args}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"the server does not listen after 10 s: {process.args}")


def start(core, command, options, **how):
    """Starts a command on one core with the wanted priority."""
    command = ["nice", "-n", str(options.nice), "taskset", "-c", str(core), *command]
    process = subprocess.Popen(command, start_new_session=True, **how)
    # Linux weighs sessions first (sched(7), autogroup): within its own session a niceness alone means nothing.
    autogroup = pathlib.Path(f"/proc/{process.pid}/autogroup")
    if options.nice and autogroup.exists():
        autogroup.write_text(str(options.nice))
    return process


def significant(number):
    if abs(number) < 9.995:
        return f"{number:.2f}"
    if abs(number) < 99.95:
        return f"{number:.1f}"
    return f"{number:,.0f}"
