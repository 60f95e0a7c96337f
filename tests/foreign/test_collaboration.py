"""Contract section 10 on the wire, message by message and field by field, as a client that knows nothing of ours sees it; and a replica's fields
beside them. The server is the program; documents are homed on either of two shards."""

import re
import time

import pytest

from client import SECONDS, Client
from server import Server

EPOCH = re.compile("[0-9a-f]{16}")


@pytest.fixture(scope="module")
def server():
    running = Server(COLLABORATION__ENABLED="true", COLLABORATION__UNLOAD_AFTER="1s", SHARDS__COUNT="2", SHARDS__PLACEMENT="accept")
    yield running
    running.stop()


@pytest.fixture(params=["plan", "a", "größe", "notes/1"])
def document(request):
    return f"{request.param} {time.monotonic_ns()}"


def join(client: Client, document: str, **fields) -> dict:
    state = client.answer("join-document", documentId=document, **fields)
    assert state["documentId"] == document, state
    return state


def error(client: Client, type: str, **fields) -> int:
    """The code of the error that answers it."""
    told = client.answer(type, **fields, id="e")
    assert (told["type"], told["id"]) == ("error", "e"), told
    return told["code"]


def test_contract_l3_l4_l7_joining_makes_a_document_and_is_told_to_the_others(server, document):
    ann, bob = Client(server.port, "ann"), Client(server.port, "bob")
    state = join(ann, document, id=1)
    assert EPOCH.fullmatch(state.pop("epoch"))
    assert state == {
        "type": "document-state",
        "documentId": document,
        "version": 0,
        "readOnly": False,
        "content": "",
        "sequence": None,
        "users": ["ann"],
        "cursors": {},
        "id": 1,
    }
    assert sorted(join(bob, document)["users"]) == ["ann", "bob"]
    assert ann.next() == {"type": "user-joined", "documentId": document, "userId": "bob"}
    bob.quiet(0.05)  # the one who joins is not told
    again = Client(server.port, "bob")
    join(again, document)
    ann.quiet(0.05)  # bob is there already
    again.close()
    ann.quiet(0.05)
    assert bob.answer("leave-document", documentId=document) == {"type": "document-left", "documentId": document}
    assert ann.next() == {"type": "user-left", "documentId": document, "userId": "bob"}
    nobody = Client(server.port)
    join(nobody, document)
    guest = ann.next()["userId"]
    assert guest.startswith("guest:")
    nobody.close()  # on close, too
    assert ann.next() == {"type": "user-left", "documentId": document, "userId": guest}
    ann.close()
    bob.close()


def test_contract_l5_d4_edits_are_brought_behind_each_other_and_acknowledged(server, document):
    ann, bob = Client(server.port, "ann"), Client(server.port, "bob")
    join(ann, document)
    join(bob, document)
    ann.next()
    acknowledged = ann.answer("edit", documentId=document, version=0, operation=["a😭c"], id="first")
    assert acknowledged == {"type": "edit-ack", "documentId": document, "version": 1, "sequence": 1, "id": "first"}
    assert bob.next() == {"type": "edit", "documentId": document, "version": 1, "operation": ["a😭c"], "userId": "ann"}
    assert ann.answer("edit", documentId=document, version=1, operation=[1, "X"])["version"] == 2
    # Bob has not heard of that. What he deletes is one character, the emoji.
    assert bob.next()["version"] == 2
    assert bob.answer("edit", documentId=document, version=1, operation=[1, {"d": 1}])["version"] == 3
    assert ann.next() == {"type": "edit", "documentId": document, "version": 3, "operation": [2, {"d": 1}], "userId": "bob"}
    # What is made without waiting for the acknowledgement is refused, and not done wrongly.
    ann.say("edit", documentId=document, version=3, operation=["1"])
    ann.say("edit", documentId=document, version=3, operation=["2"])
    assert [ann.next()["type"] for _ in range(2)] == ["edit-ack", "error"]
    cleo = Client(server.port, "cleo")
    state = join(cleo, document)
    assert (state["content"], state["version"]) == ("1aXc", 4)
    for client in (ann, bob, cleo):
        client.close()


def test_contract_l6_l8_cursors_are_told_kept_moved_by_edits_and_forgotten(server, document):
    ann, bob = Client(server.port, "ann"), Client(server.port, "bob")
    join(ann, document)
    join(bob, document)
    ann.next()
    ann.answer("edit", documentId=document, version=0, operation=["hello"])
    bob.next()
    bob.say("cursor-move", documentId=document, position=4)
    assert ann.next() == {"type": "cursor-update", "documentId": document, "userId": "bob", "position": 4, "version": 1}
    bob.quiet(0.05)
    ann.answer("edit", documentId=document, version=1, operation=["> "])
    cleo = Client(server.port, "cleo")
    assert join(cleo, document)["cursors"] == {"bob": 6}
    bob.close()
    told = [cleo.next() for _ in range(1)]
    assert told == [{"type": "user-left", "documentId": document, "userId": "bob"}]
    dan = Client(server.port, "dan")
    assert join(dan, document)["cursors"] == {}
    for client in (ann, cleo, dan):
        client.close()


def test_contract_d5_nothing_without_joining(server, document):
    ann = Client(server.port, "ann")
    assert error(ann, "edit", documentId=document, version=0, operation=["x"]) == 120
    assert error(ann, "cursor-move", documentId=document, position=0) == 120
    join(ann, document)
    ann.answer("leave-document", documentId=document)
    assert error(ann, "edit", documentId=document, version=0, operation=["x"]) == 120
    assert error(ann, "subscribe", channel=f"$document:{document}") == 111
    ann.close()


def test_contract_d20_a_document_is_unloaded_after_the_last_leave(server, document):
    ann = Client(server.port, "ann")
    epoch = join(ann, document)["epoch"]
    ann.answer("edit", documentId=document, version=0, operation=["x"])
    ann.answer("leave-document", documentId=document)
    until = time.monotonic() + SECONDS
    while (state := join(ann, document))["version"] != 0:
        assert time.monotonic() < until, state
        ann.answer("leave-document", documentId=document)
        time.sleep(1.2)
    assert state["content"] == "" and state["epoch"] != epoch
    ann.close()


def test_a_replica_that_was_cut_off_loses_nothing_and_repeats_nothing(server, document):
    ann, bob = Client(server.port, "ann"), Client(server.port, "bob")
    epoch = join(ann, document, replica="r")["epoch"]
    join(bob, document)
    ann.next()
    ann.answer("edit", documentId=document, version=0, operation=["a"], sequence=1)
    bob.next()
    ann.say("edit", documentId=document, version=1, operation=[1, "b"], sequence=2)
    bob.next()  # it arrived
    ann.close()
    bob.next()
    bob.answer("edit", documentId=document, version=2, operation=[2, "c"])
    back = Client(server.port, "ann")
    missed = join(back, document, replica="r", sequence=1, since={"version": 1, "epoch": epoch})
    assert missed == {
        "type": "document-edits",
        "documentId": document,
        "version": 3,
        "epoch": epoch,
        "readOnly": False,
        "edits": [
            {"version": 2, "operation": [1, "b"], "userId": "ann", "sequence": 2},
            {"version": 3, "operation": [2, "c"], "userId": "bob"},
        ],
        "users": missed["users"],
        "cursors": {},
    }
    again = back.answer("edit", documentId=document, version=1, operation=[1, "b"], sequence=2)
    assert again == {"type": "edit-ack", "documentId": document, "version": 2, "sequence": 2}
    third = Client(server.port, "ann")
    assert join(third, document, replica="r")["content"] == "abc"
    assert back.next() == {"type": "document-left", "documentId": document, "reason": "replaced"}
    for client in (back, bob, third):
        client.close()


HOSTILE = {
    "huge lengths whose sum wraps": [-9223372036854775808, 9223372036854775807, 1, "x"],
    "a length beyond every text": [18446744073709551615, "abc", 2],
    "what npm ot-text-unicode would count through": [9007199254740991, "abc"],
    "sums beyond every text": [4294967295, "x"],
    "10,000 components": [1, "x"] * 5000,
    "nested": [[[[["x"]]]]],
    "no operation": {"d": 1},
    "a skip at the end": ["x", 3],
    "a control character": ["\u0007"],
}


@pytest.mark.parametrize("operation", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_operations_are_refused_and_change_nothing(server, document, operation):
    ann, bob = Client(server.port, "ann"), Client(server.port, "bob")
    join(ann, document)
    join(bob, document)
    ann.next()
    ann.answer("edit", documentId=document, version=0, operation=["abc"])
    bob.next()
    assert error(bob, "edit", documentId=document, version=1, operation=operation) == 122
    assert error(bob, "edit", documentId=document, version=1, operation=[4, "x"]) == 123  # longer than the text
    ann.quiet(0.05)
    assert bob.answer("edit", documentId=document, version=1, operation=[3, "d"])["version"] == 2
    assert ann.next()["operation"] == [3, "d"]
    ann.close()
    bob.close()
