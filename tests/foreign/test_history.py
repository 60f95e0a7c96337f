"""History by other hands: what was missed comes first, then what is live; what does not come is named."""


def place(message: dict) -> dict:
    return {"offset": message["offset"], "epoch": message["epoch"]}


def test_who_comes_back_gets_what_was_missed_and_then_what_is_live(clients):
    reader, publisher, returning = clients(3)
    begun = reader.answer("subscribe-topic", topic="orders")
    assert begun["type"] == "subscribed" and begun["topic"] == "orders" and begun["offset"] == 0
    for number in range(1, 41):
        told = publisher.answer("publish", topic="orders", message=number, id=number)
        assert told == {"type": "published", "topic": "orders", "offset": number, "epoch": begun["epoch"], "id": number}
    got = [reader.next() for _ in range(10)]
    assert [message["message"] for message in got] == list(range(1, 11))
    assert {message["type"] for message in got} == {"topic-message"}
    reader.close()
    told = returning.answer("subscribe-topic", topic="orders", since=place(got[-1]))
    assert told == {"type": "subscribed", "topic": "orders", **place(got[-1]), "recovered": True}
    publisher.say("publish", topic="orders", message=41)
    assert [returning.next()["message"] for _ in range(31)] == list(range(11, 42))


def test_a_repetition_is_known_and_history_is_read(clients):
    first, second = clients(2)
    told = [client.answer("publish", topic="once", message="hello", idempotencyKey="k", id=1) for client in (first, second)]
    assert told[0] == told[1]
    answer = second.answer("history", topic="once", limit=10, direction="backward")
    assert [message["message"] for message in answer["messages"]] == ["hello"]
    assert answer["more"] is False and place(answer) == place(told[0])


def test_another_life_of_the_history_is_told(clients):
    [client] = clients(1)
    told = client.answer("subscribe-topic", topic="fresh", since={"offset": 7, "epoch": "0123456789abcdef"})
    assert told["recovered"] is False and told["offset"] == 0
    told = client.answer("subscribe", channel="no history", since={"offset": 7, "epoch": "0123456789abcdef"})
    assert told == {"type": "subscribed", "channel": "no history", "recovered": False}
