#!/usr/bin/env python3
"""Measures shardwire beside its peers, in rounds A B C A B C, and prints Markdown tables.

Every run has a fresh server on one core and one client process on another. A table cell is the median of the rounds with
[lowest..highest]; the column "client" counts the rounds in which the load test itself was the limit, so that rates and
latencies of those rows say little (CPU per million still does). Machines vary between rounds: believe differences only
where the ranges do not overlap.

Before the first run, from the root of the repository (or give --build):
    cargo build --release -p shardwire -p loadtest
    cargo build --release --manifest-path loadtest/peers/tokio-websockets/Cargo.toml
    npm ci --prefix loadtest/peers/bun
The cases over TLS make a certificate of their own with openssl.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PEERS = pathlib.Path(__file__).resolve().parent
ROOT = PEERS.parent.parent

# Seconds after which a run is given up, whatever its duration.
RUN_TIMEOUT = 3600

# Name: title, scenario, arguments of the load test.
CASES = {
    "echo-64-100": ("echo, 64 B, 100 connections", "echo", ["--connections", "100", "--size", "64"]),
    "echo-64-1000": ("echo, 64 B, 1,000 connections", "echo", ["--connections", "1000", "--size", "64"]),
    "echo-16k-64": ("echo, 16 KiB, 64 connections", "echo", ["--connections", "64", "--size", "16KiB"]),
    "echo-wss-64-100": ("echo over TLS, 64 B, 100 connections", "echo", ["--connections", "100", "--size", "64"]),
    "echo-wss-16k-100": ("echo over TLS, 16 KiB, 100 connections", "echo", ["--connections", "100", "--size", "16KiB"]),
    "fanout-flat": ("fan-out, 64 B, 1,000 subscribers, 16 in flight", "fanout",
                    ["--subscribers", "1000", "--size", "64", "--in-flight", "16"]),
    "fanout-100": ("fan-out, 64 B, 1,000 subscribers, 100 messages per second", "fanout",
                   ["--subscribers", "1000", "--size", "64", "--rate", "100"]),
}


def target_directory(package):
    """Where Cargo puts the release binaries of a package."""
    configured = os.environ.get("CARGO_TARGET_DIR")
    return pathlib.Path(configured) if configured else package / "target"


def servers(port, certificate=()):
    """How each server is started on a port: command and additional environment. `certificate`: the paths of it and its key, for TLS."""
    address = f"127.0.0.1:{port}"
    release = target_directory(ROOT) / "release"
    peer = target_directory(PEERS / "tokio-websockets") / "release" / "peer-tokio-websockets"
    bun = PEERS / "bun" / "node_modules" / ".bin" / "bun"
    secure = dict(zip(("SHARDWIRE_LISTEN__TLS__CERTIFICATE", "SHARDWIRE_LISTEN__TLS__KEY"), certificate))
    return {
        "shardwire": ([str(release / "shardwire")],
                      {"SHARDWIRE_SHARDS__COUNT": "1", "SHARDWIRE_LISTEN__ADDRESS": address, **secure}),
        "bun": ([str(bun), str(PEERS / "bun" / "server.js"), address, *certificate], {}),
        "tokio-websockets": ([str(peer), address, *certificate], {}),
    }


def make_certificate(folder):
    """A certificate for 127.0.0.1, signed by itself: the paths of it and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=loadtest",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
                   check=True, capture_output=True)
    return str(certificate), str(key)


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


def run(name, scenario, arguments, certificate, options):
    """One run of the load test against a fresh server; its report."""
    port = free_port()
    command, environment = servers(port, certificate)[name]
    server = start(options.server_core, command, options, env={**os.environ, **environment},
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_listening(port, server)
        path = "/echo" if scenario == "echo" else "/ws"
        scheme, trust = ("wss", ["--ca", certificate[0]]) if certificate else ("ws", [])
        load = [str(target_directory(ROOT) / "release" / "loadtest"), scenario, "--url", f"{scheme}://127.0.0.1:{port}{path}", *trust,
                "--pid", str(server.pid), "--json", "--quiet",
                "--duration", options.duration, "--warmup", options.warmup, *arguments]
        client = start(options.client_core, load, options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            report, complaint = client.communicate(timeout=RUN_TIMEOUT)
        finally:
            client.kill()
        if not report:
            raise SystemExit(f"{name}: {complaint.strip()}")
        return json.loads(report)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def value(report, *path):
    for step in path:
        report = report.get(step) if report else None
    return report


def significant(number):
    if abs(number) < 9.995:
        return f"{number:.2f}"
    if abs(number) < 99.95:
        return f"{number:.1f}"
    return f"{number:,.0f}"


def cell(reports, factor, *path):
    """Median [lowest..highest] over the rounds."""
    values = [found * factor for report in reports if (found := value(report, *path)) is not None]
    if not values:
        return "-"
    return f"{significant(statistics.median(values))} [{significant(min(values))}..{significant(max(values))}]"


def table(title, scenario, results):
    head = ["server", "CPU s per million", "p50 ms", "p99 ms", "messages per s", "server CPU %", "waiting for a core %", "client", "faults"]
    columns = [(1, ("server", "cpu_seconds_per_million_messages")), (1e-3, ("latency", "p50_us")),
               (1e-3, ("latency", "p99_us")), (1, ("messages_per_second",)), (1, ("server", "cpu_percent")),
               (1, ("server", "waiting_percent"))]
    if scenario == "fanout":
        head[4:4] = ["last delivery p50 ms", "p99 ms"]
        columns[3:3] = [(1e-3, ("to_last_subscriber", "p50_us")), (1e-3, ("to_last_subscriber", "p99_us"))]
    lines = [f"**{title}**", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for name, reports in results.items():
        limited = sum(report["client_limited"] for report in reports)
        client = f"the limit in {limited} of {len(reports)}" if limited else "free"
        faults = sorted({fault for report in reports for fault in report["faults"]})
        cells = [name, *(cell(reports, factor, *path) for factor, path in columns), client, "; ".join(faults) or "none"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def build():
    for command in (
        ["cargo", "build", "--release", "-p", "shardwire", "-p", "loadtest"],
        ["cargo", "build", "--release", "--manifest-path", str(PEERS / "tokio-websockets" / "Cargo.toml")],
        ["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(PEERS / "bun")],
    ):
        subprocess.run(command, cwd=ROOT, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default=",".join(servers(0)), help="default: %(default)s")
    parser.add_argument("--cases", default=",".join(CASES), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", default="6s", help="measured time of a run")
    parser.add_argument("--warmup", default="2s")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--nice", type=int, default=0, help="scheduling priority of servers and client; below 0 needs root")
    parser.add_argument("--save", type=pathlib.Path, help="write all reports to this file, as JSON")
    parser.add_argument("--build", action="store_true", help="build and install everything first")
    options = parser.parse_args()
    names, cases = options.servers.split(","), options.cases.split(",")
    if unknown := [name for name in names if name not in servers(0)] + [case for case in cases if case not in CASES]:
        parser.error(f"unknown: {', '.join(unknown)}")
    if options.build:
        build()
    needed = [target_directory(ROOT) / "release" / "loadtest", *(servers(0)[name][0][0] for name in names)]
    if missing := [str(program) for program in needed if not pathlib.Path(program).exists()]:
        parser.error(f"not built yet (see --help, or give --build): {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        secure = make_certificate(pathlib.Path(folder)) if any("-wss-" in case for case in cases) else ()
        measure(names, cases, secure, options)


def measure(names, cases, secure, options):
    saved = {}
    print(f"Server on core {options.server_core}, client on core {options.client_core}, {options.rounds} rounds of "
          f"{options.duration} after {options.warmup} of warm-up; median [lowest..highest].\n")
    for case in cases:
        title, scenario, arguments = CASES[case]
        results = {name: [] for name in names}
        for number in range(options.rounds):
            for name in names:
                print(f"{case}: round {number + 1} of {options.rounds}, {name}", file=sys.stderr)
                results[name].append(run(name, scenario, arguments, secure if "-wss-" in case else (), options))
        saved[case] = results
        print(table(title, scenario, results), flush=True)
        if options.save:
            options.save.write_text(json.dumps(saved, indent=1))


if __name__ == "__main__":
    main()
