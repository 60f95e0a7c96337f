"""The documents keep their word: transcripts are replayed, commands are run, links lead somewhere."""

import json
import os
import re
import subprocess
import sys

import pytest

from client import Client
from documents import blocks, markdown_files
from server import BINARY, REPOSITORY, Server, environment

TRANSCRIPTS = blocks("docs/reference/protocol.md", "wire")
SHELL = [block for file in ("README.md", "docs/start.md") for block in blocks(file, "sh")]
# What starts a server is started by a test of its own; what installs packages was run by scripts/test in its own way.
STARTS = [block for block in SHELL if re.search(r"cargo run --release *(#.*)?$", block.text, re.MULTILINE)]
INSTALLS = [block for block in SHELL if re.search(r"pip install|npm ci", block.text)]
COMMANDS = [block for block in SHELL if block not in STARTS + INSTALLS]


@pytest.fixture(scope="module")
def plain():
    """A server as it starts without configuration, but on a free port, and with what the protocol's page speaks of switched on."""
    running = Server(COLLABORATION__ENABLED="true", PRESENCE__CHANNELS="team:*")
    yield running
    running.stop()


def timeless(message: dict) -> dict:
    """Without what differs from run to run."""
    kept = dict(message)
    if isinstance(kept.get("timestamp"), int):
        kept["timestamp"] = 0
    if re.fullmatch("[0-9a-f]{16}", str(kept.get("epoch"))):
        kept["epoch"] = "of this run"
    if kept["type"] == "message" and re.fullmatch("[0-9a-f]{16}-[0-9a-f]+", kept["id"]):
        kept["id"] = "of this run"
    if "users" in kept:
        kept["users"] = sorted(kept["users"])
    return kept


@pytest.mark.parametrize("block", TRANSCRIPTS, ids=str)
def test_a_transcript_is_what_happens(plain, block):
    clients: dict[str, Client] = {}
    for line in block.text.splitlines():
        who, direction, text = re.fullmatch(r"(\w* ?)([→←]) (.*)", line).groups()
        if who not in clients:
            clients[who] = Client(plain.port, who.strip() or None)
        client = clients[who]
        if direction == "→":
            client.send(text)
        else:
            assert timeless(client.next()) == timeless(json.loads(text)), line
    for client in clients.values():
        client.quiet(0.05)
        client.close()


def test_there_is_something_to_check():
    assert len(TRANSCRIPTS) >= 4
    assert len(STARTS) >= 2
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("block", STARTS, ids=str)
def test_a_server_starts_as_told(block):
    settings = dict(re.findall(r"SHARDWIRE_(\w+)=(\S+)", block.text))
    Server(**settings).stop()


def as_built(command: str) -> str:
    """`cargo run` would build for minutes: the test runs what it would have run."""
    built = BINARY.parent
    command = command.replace("cargo run --release -p loadtest --", str(built / "loadtest"))
    command = command.replace("cargo run --release --", str(BINARY))
    return command.replace(".venv/bin/python ", f"{sys.executable} ")


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_a_command_works_as_pasted(plain, tmp_path, block):
    # In a folder of its own, since some commands write files, that looks like the repository where commands enter it.
    (tmp_path / "tests").symlink_to(REPOSITORY / "tests")
    command = as_built(block.text).replace("127.0.0.1:8080", f"127.0.0.1:{plain.port}")
    run = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=tmp_path,
        env=environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
    for expected in promised(block):
        assert re.search(expected, run.stdout + run.stderr, re.MULTILINE), f"no line {expected!r} in\n{run.stdout}\n{run.stderr}"


def promised(block) -> list[str]:
    """The lines of the `text` block right behind a command, as patterns: `…` stands for anything."""
    following = [after for after in blocks(block.file, "sh", "text") if after.line > block.line]
    if not following or following[0].language != "text":
        return []
    lines = [line for line in following[0].text.splitlines() if line.strip()]
    return ["^" + ".*".join(map(re.escape, line.split("…"))).replace(r"\ ", r"\s+") for line in lines]


LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The headings of a page as GitHub makes them into fragments."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", markdown_files())
def test_links_between_documents_lead_somewhere(file):
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        page = REPOSITORY / os.path.dirname(file) / path if path else REPOSITORY / file
        assert page.exists(), f"{file}: {target}"
        if fragment:
            assert fragment in anchors(page.read_text(encoding="utf-8")), f"{file}: {target}"
