#!/usr/bin/env python3
"""Measures what permessage-deflate costs shardwire, in rounds of with and without it, and prints a Markdown table.

- idle: memory of a connection that negotiated compression, beside one that did not
- fanout: server time of a compressed broadcast, beside messages that are as long on the wire without compression
- bomb: 64 MiB of zeros in one small message, ten times in a row: the close code, and how far the server's memory grew, counted page by
  page after them and by the kernel's peak (in steps of up to 128 KiB per core); the largest of all rounds

Every run has a fresh server on one core and one client process on another; the programs are built as common.py says.
"""

import argparse
import base64
import json
import os
import pathlib
import re
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib

import common

BOMB_BYTES = 64 << 20
BOMBS = 10
SERVER = {"SHARDWIRE_CONNECTIONS__MAX_CONNECTIONS": "15000"}
OFFER = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


class Client:
    """Just enough of a client to see single frames."""

    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                            f"Sec-WebSocket-Key: {key}\r\n{OFFER}\r\n".encode())
        self.stream = self.socket.makefile("rb")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.stream.readline()
            if not line:
                raise SystemExit(f"no upgrade: {head!r}")
            head += line
        if b"permessage-deflate" not in head:
            raise SystemExit(f"compression was not negotiated: {head!r}")

    def send(self, first_byte, payload):
        length = len(payload)
        head = bytes([first_byte, 0x80 | 126]) + struct.pack(">H", length) if 126 <= length < 65536 else (
            bytes([first_byte, 0x80 | length]) if length < 126 else bytes([first_byte, 0x80 | 127]) + struct.pack(">Q", length))
        # A key of zeros changes nothing.
        self.socket.sendall(head + bytes(4) + payload)

    def frame(self):
        """First byte, payload, and bytes on the wire."""
        first, length = self.stream.read(2)
        wire = 2
        if length == 126:
            length, wire = struct.unpack(">H", self.stream.read(2))[0], 4
        elif length == 127:
            length, wire = struct.unpack(">Q", self.stream.read(8))[0], 10
        return first, self.stream.read(length), wire + length


def serving(options, use, **more):
    """Starts a fresh server and hands its port and process to `use`."""
    port = common.free_port()
    command, environment = common.shardwire(port)
    server = common.start(options.server_core, command, options, env={**os.environ, **environment, **SERVER, **more},
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        common.wait_until_listening(port, server)
        return use(port, server.pid)
    finally:
        server.terminate()
        server.wait(10)


def load(options, port, pid, scenario, path, *arguments):
    command = [str(common.target_directory(common.ROOT) / "release" / "loadtest"), scenario, "--url", f"ws://127.0.0.1:{port}{path}",
               "--pid", str(pid), "--json", "--quiet", *arguments]
    client = common.start(options.client_core, command, options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    report, complaint = client.communicate(timeout=300)
    if client.returncode != 0:
        raise SystemExit(f"{scenario}: {report} {complaint}")
    return json.loads(report)


def resident(pid, line, file="status"):
    """A line of the process's status or, counted page by page, of its smaps_rollup: in bytes."""
    text = pathlib.Path(f"/proc/{pid}/{file}").read_text()
    return int(re.search(rf"^{line}:\s+(\d+)", text, re.MULTILINE)[1]) * 1024


def idle(options, *arguments):
    def use(port, pid):
        report = load(options, port, pid, "idle", "/ws", "--connections", str(options.idle), "--duration", "2s", "--warmup", "1s", *arguments)
        return report["server"]["rss_per_connection_bytes"]
    return serving(options, use)


def frame_length(options):
    """Bytes on the wire of one compressed broadcast of the fan-out's message, and of one that is as long uncompressed."""
    lengths = []

    def use(port, pid):
        listener = Client(port, "/ws")
        listener.send(0x81, b'{"type":"subscribe","channel":"loadtest-0"}')

        def listen():
            while len(lengths) < 3:
                first, payload, wire = listener.frame()
                if b"broadcast" in payload or first & 0x40:
                    lengths.append((first, wire))
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        load(options, port, pid, "fanout", "/ws", "--compress", "--subscribers", "1", "--size", options.size, "--rate", "5", "--duration", "1s")
        thread.join(10)
    serving(options, use)
    if not lengths or not all(first & 0x40 for first, _ in lengths):
        raise SystemExit(f"the broadcasts were not compressed: {lengths}")
    return round(statistics.mean(wire for _, wire in lengths))


def fanout(options, size, *arguments):
    def use(port, pid):
        report = load(options, port, pid, "fanout", "/ws", "--subscribers", str(options.subscribers), "--size", size, "--rate", options.rate,
                      "--duration", options.duration, "--warmup", "1s", "--grace", "10s", *arguments)
        return report["server"]["cpu_seconds_per_million_messages"]
    return serving(options, use)


def bomb(options, limit):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    message = (compressor.compress(bytes(BOMB_BYTES)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def use(port, pid):
        # A small message first: the codec has its memory.
        warm = Client(port, "/echo")
        small = zlib.compressobj(9, zlib.DEFLATED, -15)
        text = "".join(f"{number * number} is the square of {number}, " for number in range(100)).encode()
        warm.send(0xC2, (small.compress(text) + small.flush(zlib.Z_SYNC_FLUSH))[:-4])
        warm.frame()
        # And a connection that is closed: those pages of the program have run.
        refused = Client(port, "/echo")
        refused.send(0x83, b"")
        refused.frame()
        before, own = resident(pid, "Rss", "smaps_rollup"), resident(pid, "Anonymous", "smaps_rollup")
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
        codes = set()
        for _ in range(BOMBS):
            client = Client(port, "/echo")
            client.send(0xC2, message)
            first, payload, _ = client.frame()
            codes.add(struct.unpack(">H", payload[:2])[0] if first == 0x88 else None)
        after, own_after = resident(pid, "Rss", "smaps_rollup"), resident(pid, "Anonymous", "smaps_rollup")
        return codes, own_after - own, after - before, resident(pid, "VmHWM") - before
    return (len(message), *serving(options, use, SHARDWIRE_CONNECTIONS__MAX_MESSAGE_SIZE=limit,
                                   SHARDWIRE_CONNECTIONS__OUTBOX_HARD_LIMIT="64MiB"))


def cell(values):
    return f"{common.significant(statistics.median(values))} [{common.significant(min(values))}..{common.significant(max(values))}]"


def rounds(options, title, unit, with_it, without):
    results = [(with_it(), without()) for _ in range(options.rounds)]
    compressed, plain = zip(*results)
    print(f"| {title} | {cell(compressed)} {unit} | {cell(plain)} {unit} | "
          f"{statistics.median(compressed) - statistics.median(plain):+.2f} {unit}, × {statistics.median(compressed) / statistics.median(plain):.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="idle,fanout,bomb")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--subscribers", type=int, default=5_000)
    parser.add_argument("--size", default="4KiB")
    parser.add_argument("--rate", default="10")
    parser.add_argument("--duration", default="6s")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--nice", type=int, default=0)
    options = parser.parse_args()
    parts = options.parts.split(",")
    if {"idle", "fanout"} & set(parts):
        print("| case | with compression | without | difference |\n| --- | --- | --- | --- |")
    if "idle" in parts:
        rounds(options, f"{options.idle:,} idle connections, memory of each", "B", lambda: idle(options, "--compress"), lambda: idle(options))
    if "fanout" in parts:
        wire = frame_length(options)
        # The envelope around the text, without which the plain message would be longer on the wire.
        envelope = len('{"type":"broadcast","channel":"loadtest-0","message":"","timestamp":1700000000000}') + (2 if wire < 126 else 4)
        size = str(max(wire - envelope, 30))
        print(f"fan-out: a compressed frame has {wire} bytes; plain messages of {size} bytes", file=sys.stderr)
        rounds(options, f"fan-out of {options.size} ({wire} B on the wire) to {options.subscribers:,}, server CPU per million", "s",
               lambda: fanout(options, options.size, "--compress"), lambda: fanout(options, size))
    if "bomb" in parts:
        print(f"\n| limit | {BOMBS} bombs of 64 MiB, each closed with | own memory after them | with pages of the program's file | at the peak |\n"
              "| --- | --- | --- | --- | --- |")
        for limit in ("64KiB", "1MiB", "8MiB", "16MiB"):
            runs = [bomb(options, limit) for _ in range(options.rounds)]
            codes = set().union(*(run[1] for run in runs))
            grew = [f"{max(values) / 1024:+,.0f} KiB" for values in zip(*(run[2:] for run in runs))]
            print(f"| {limit} | {', '.join(map(str, codes))} | {' | '.join(grew)} |", flush=True)


if __name__ == "__main__":
    main()
