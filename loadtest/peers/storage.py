#!/usr/bin/env python3
"""Measures acknowledged publications per second with every one of them synced, beside Redis Streams, and prints a table.

Both do the same: N publishers, each of which sends its next message of 256 bytes when the last one was acknowledged; one log that
keeps 100,000 messages; nothing acknowledged before fsync (Redis: `appendfsync always`). Shardwire is spoken to through WebSocket by
`loadtest`, Redis by its own `redis-benchmark`. In rounds A B A B; a cell is the median with [lowest..highest]. The same disk for both.

Before the first run, from the root of the repository:
    cargo build --release -p shardwire -p loadtest
    sudo apt-get install -y redis-server
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from common import ROOT, free_port, significant, target_directory, wait_until_listening

SIZE = 256
KEPT = 100_000

CONFIGURATION = """
[listen]
address = "127.0.0.1:{port}"
[shards]
count = 1
pin = false
[storage]
directory = "{directory}"
[[channels.rules]]
channel = "log:*"
max_messages = {kept}
max_bytes = "256MiB"
persistence = "disk"
"""


def ended(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def shardwire(publishers, directory, options):
    """Publications per second, and milliseconds until the acknowledgement: median and p99."""
    port = free_port()
    configuration = directory / "shardwire.toml"
    configuration.write_text(CONFIGURATION.format(port=port, directory=directory / "store", kept=KEPT))
    release = target_directory(ROOT) / "release"
    server = subprocess.Popen([release / "shardwire", "--config", configuration],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_listening(port, server)
        # The stamp that loadtest looks for comes back in the acknowledgement's id; the message itself goes to the disk.
        template = f'{{"type":"publish","channel":"log:1","message":"{"x" * SIZE}","id":{{message}}}}'
        load = subprocess.run(
            [release / "loadtest", "echo", "--url", f"ws://127.0.0.1:{port}/ws", "--connections", str(publishers),
             "--in-flight", "1", "--size", "40", "--template", template, "--json", "--quiet",
             "--duration", options.duration, "--warmup", "1s"],
            capture_output=True, text=True)
        if not load.stdout:
            raise SystemExit(f"shardwire: {load.stderr.strip()}")
        report = json.loads(load.stdout)
        if report["faults"]:
            raise SystemExit(f"shardwire: {report['faults']}")
        return report["messages_per_second"], report["latency"]["p50_us"] / 1000, report["latency"]["p99_us"] / 1000
    finally:
        ended(server)


def redis(publishers, directory, options):
    """As above."""
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "",
         "--appendonly", "yes", "--appendfsync", "always", "--maxclients", "5000"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_listening(port, server)

        def run(requests):
            command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-c", str(publishers), "-n", str(requests),
                       "--csv", "XADD", "log:1", "MAXLEN", "~", str(KEPT), "*", "message", "x" * SIZE]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            return list(csv.DictReader(told.splitlines()))[0]

        # A short run says how many requests fill the time.
        warm = float(run(max(2000, 5 * publishers))["rps"])
        row = run(int(max(2000, 2 * publishers, warm * float(options.duration.removesuffix("s")))))
        return float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"])
    finally:
        ended(server)


def cell(values):
    return f"{significant(statistics.median(values))} [{significant(min(values))}..{significant(max(values))}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publishers", default="1,100,2000", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", default="6s", help="measured time of a run, in seconds")
    parser.add_argument("--directory", help="where the logs are put; default: the system's place for temporary files")
    options = parser.parse_args()
    print(f"{options.rounds} rounds of {options.duration}; median [lowest..highest]; {SIZE} bytes per message.\n")
    print("| publishers | server | acknowledged per s | p50 ms | p99 ms |\n| --- | --- | --- | --- | --- |")
    for publishers in map(int, options.publishers.split(",")):
        results = {shardwire: [], redis: []}
        for number in range(options.rounds):
            for server, found in results.items():
                print(f"{publishers} publishers: round {number + 1}, {server.__name__}", file=sys.stderr)
                with tempfile.TemporaryDirectory(dir=options.directory) as directory:
                    found.append(server(publishers, pathlib.Path(directory), options))
        for server, found in results.items():
            cells = [cell([row[column] for row in found]) for column in range(3)]
            print(f"| {publishers} | {server.__name__} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
