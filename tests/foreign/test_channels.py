"""Subscribe, publish, broadcast: from any shard to every shard, in one order."""

import pytest

CLIENTS = 16


def test_the_clients_live_on_several_shards(clients):
    watcher, *_ = clients(CLIENTS)
    watcher.subscribe("$shards")
    [told] = watcher.broadcasts("$shards", 1)
    counts = told["shards"]
    assert len(counts) == 4
    assert sum(counts) >= CLIENTS
    assert sum(count > 0 for count in counts) >= 2, "a test of shards needs connections on more than one"


def test_what_one_publishes_every_subscriber_gets(clients):
    everyone = clients(CLIENTS)
    for client in everyone:
        client.subscribe("news")
    for body in ["text", {"deep": [1, 2.5, None, True, {"ä": "\u0000 \" \\ 🦀"}]}, 7, [], None]:
        everyone[3].say("publish", channel="news", message=body)
        for client in everyone:
            assert client.broadcasts("news", 1) == [body]
    for client in everyone:
        client.quiet(0.05)


def test_one_order_for_all_and_each_publishers_own_order_kept(clients):
    everyone = clients(CLIENTS)
    publishers, count = everyone[:4], 100
    for client in everyone:
        client.subscribe("race")
    for number in range(count):
        for index, publisher in enumerate(publishers):
            publisher.say("publish", channel="race", message=[index, number])
    seen = [client.broadcasts("race", count * len(publishers)) for client in everyone]
    for other in seen[1:]:
        assert other == seen[0]
    for index in range(len(publishers)):
        assert [number for who, number in seen[0] if who == index] == list(range(count))


def test_exclude_self_reaches_everybody_else(clients):
    everyone = clients(6)
    for client in everyone:
        client.subscribe("others")
    everyone[0].say("publish", channel="others", message="not to me", exclude="self")
    everyone[0].say("publish", channel="others", message="to all")
    assert everyone[0].broadcasts("others", 1) == ["to all"]
    for client in everyone[1:]:
        assert client.broadcasts("others", 2) == ["not to me", "to all"]


def test_a_publisher_need_not_subscribe(clients):
    publisher, subscriber = clients(2)
    subscriber.subscribe("from outside")
    publisher.say("publish", channel="from outside", message="hello")
    assert subscriber.broadcasts("from outside", 1) == ["hello"]
    publisher.quiet()


def test_channels_do_not_mix(clients):
    left, right = clients(2)
    left.subscribe("left")
    right.subscribe("right")
    left.say("publish", channel="right", message="over there")
    assert right.broadcasts("right", 1) == ["over there"]
    left.quiet()


def test_unsubscribe_stops_delivery(clients):
    leaver, stayer, publisher = clients(3)
    leaver.subscribe("short")
    stayer.subscribe("short")
    assert leaver.answer("unsubscribe", channel="short") == {"type": "unsubscribed", "channel": "short"}
    publisher.say("publish", channel="short", message="late")
    assert stayer.broadcasts("short", 1) == ["late"]
    leaver.quiet()


def test_subscribing_twice_delivers_once(clients):
    subscriber, publisher = clients(2)
    subscriber.subscribe("twice")
    subscriber.say("subscribe", channel="twice")
    assert subscriber.next()["type"] in ("subscribed", "error")
    publisher.say("publish", channel="twice", message="once")
    assert subscriber.broadcasts("twice", 1) == ["once"]
    subscriber.quiet()


def test_a_closed_connection_is_gone_and_the_others_go_on(clients):
    leaver, stayer, publisher = clients(3)
    for client in (leaver, stayer):
        client.subscribe("parting")
    leaver.close()
    publisher.say("publish", channel="parting", message="still here")
    assert stayer.broadcasts("parting", 1) == ["still here"]
    stayer.quiet()


@pytest.mark.parametrize("channel", ["a", "room:7", "with space and ünïcode ☂", 'quote " and \\ backslash'])
def test_channel_names_come_back_as_sent(clients, channel):
    [client] = clients(1)
    client.subscribe(channel)
    client.say("publish", channel=channel, message=1)
    assert client.broadcasts(channel, 1) == [1]


def test_names_that_begin_with_a_dollar_are_the_servers(clients):
    [client] = clients(1)
    refusal = client.answer("publish", channel="$shards", message={"shards": [0]})
    assert refusal["type"] == "error", refusal
    refusal = client.answer("subscribe", channel="$nothing-of-the-kind")
    assert refusal["type"] == "error", refusal
    client.quiet()
