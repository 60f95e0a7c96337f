"""The guide for operators keeps its word: its commands run in order against one server, and what they say is what it says."""

import re
import subprocess
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed

from client import Client
from documents import blocks
from server import REPOSITORY, Server

KEY = "an-example-key-for-this-page"
GUIDE = "docs/guides/operations.md"


@pytest.fixture
def operated(tmp_path):
    # With a storage, whose metrics are told only where there is one.
    running = Server(
        SHARDS__COUNT="2", SHARDS__PLACEMENT="user-hash", ADMIN__ADDRESS="127.0.0.1:0", ADMIN__KEY=KEY, STORAGE__DIRECTORY=str(tmp_path / "store")
    )
    running.wait_for_line(2)
    running.admin = int(re.fullmatch(r"shardwire admin on 127\.0\.0\.1:(\d+)", running.printed[1])[1])
    yield running
    running.kill()


def session(admin: int) -> tuple[str, list[str]]:
    """All commands of the guide as one script, and the answers it promises, as patterns."""
    script, answers, seen = [], [], 0
    listed = blocks(GUIDE, "sh", "text")
    for at, block in enumerate(listed):
        if block.language != "sh":
            continue
        seen += 1
        script.append(block.text.replace("127.0.0.1:9090", f"127.0.0.1:{admin}"))
        # curl ends no line: every call does, so that an answer is a line.
        if at + 1 < len(listed) and listed[at + 1].language == "text" and "export" not in block.text:
            answers += [line for line in listed[at + 1].text.splitlines() if line.strip()]
    assert seen >= 12
    text = "\n".join(script).replace("curl --silent", "curl --silent --show-error --noproxy '*' --write-out '\\n'")
    return text, [".*".join(map(re.escape, answer.split("…"))) for answer in answers]


def test_the_curl_session_is_what_happens(operated):
    script, expected = session(operated.admin)
    ann = Client(operated.port, user="ann")
    ann.subscribe("news")
    run = subprocess.run(["bash", "-e", "-c", script], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stderr
    said = [line for line in run.stdout.splitlines() if line.strip()]
    # Both calls of broadcast say the same, and the guide shows it once.
    at = said.index('{"accepted":true}')
    assert said.pop(at) == said[at]
    assert len(said) == len(expected), "\n".join(said)
    for line, pattern in zip(said, expected):
        assert re.fullmatch(pattern, line), f"{line}\nis not\n{pattern}"
    heard = [ann.next() for _ in range(6)]
    assert [message.get("message") if isinstance(message, dict) else message for message in heard] == [
        {"headline": "hello"},
        1,
        "maintenance at noon",
        "only you",
        None,
        "only this connection",
    ]
    assert heard[4] == {"type": "hint", "text": "you have mail"}
    with pytest.raises(ConnectionClosed) as closed:
        ann.socket.recv(timeout=10)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4500, "bye")
    assert operated.exit_code() == 0, "the session ends with a drain"


def test_the_metrics_are_read_by_the_parser_of_prometheus(operated):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{operated.admin}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
    assert len(families) > 40
    for name, family in families.items():
        assert name.startswith("shardwire_"), name
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
        assert family.samples, name
    # The list in the reference is what is told: no more, no less (counters without `_total`, as the parser names them).
    page = (REPOSITORY / "docs/reference/metrics.md").read_text(encoding="utf-8")
    listed = {name.removesuffix("_total") for name in re.findall(r"^\| `(shardwire_\w+)`", page, re.MULTILINE)}
    assert listed == set(families)
    buckets = [sample for sample in families["shardwire_engine_turn_seconds"].samples if sample.name.endswith("_bucket") and sample.labels["shard"] == "0"]
    counts = [sample.value for sample in buckets]
    assert counts == sorted(counts) and buckets[-1].labels["le"] == "+Inf"
