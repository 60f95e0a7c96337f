// The client that most of Node uses, `ws`, against the real server.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import WebSocket from "ws";
import { start, within } from "./server.mjs";

const CLIENTS = 12;
let server;
before(async () => { server = await start({ SHARDS__COUNT: "4", SHARDS__PLACEMENT: "user-hash" }); });
after(() => server?.stop());

/** A connection whose messages can be awaited one by one. */
async function open(path) {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}${path}`);
  const waiting = [], arrived = [];
  socket.on("message", (data, binary) => {
    const message = { data, binary };
    if (waiting.length) waiting.shift()(message); else arrived.push(message);
  });
  await within(10_000, "open", once(socket, "open"));
  const next = () => within(10_000, "a message", arrived.length ? arrived.shift() : new Promise((resolve) => waiting.push(resolve)));
  return {
    socket,
    next,
    say: (message) => socket.send(JSON.stringify(message)),
    heard: async () => JSON.parse((await next()).data),
    pending: () => arrived.length,
    async close() { socket.close(1000); if (socket.readyState !== WebSocket.CLOSED) await within(10_000, "close", once(socket, "close")); },
  };
}

const openMany = (count) => Promise.all(Array.from({ length: count }, (_, index) => open(`/ws?user=node-${index}`)));
const closeAll = (clients) => Promise.all(clients.map((client) => client.close()));

test("subscribe, publish and receive across shards, in one order", async () => {
  const clients = await openMany(CLIENTS);
  const [watcher] = clients;
  watcher.say({ type: "subscribe", channel: "$shards" });
  assert.deepEqual(await watcher.heard(), { type: "subscribed", channel: "$shards" });
  const { message: { shards } } = await watcher.heard();
  assert.equal(shards.length, 4);
  assert.ok(shards.filter((count) => count > 0).length >= 2, `on more than one shard: ${shards}`);
  watcher.say({ type: "unsubscribe", channel: "$shards" });
  while ((await watcher.heard()).type !== "unsubscribed");

  for (const client of clients) {
    client.say({ type: "subscribe", channel: "node" });
    assert.deepEqual(await client.heard(), { type: "subscribed", channel: "node" });
  }
  const publishers = clients.slice(0, 3), count = 200;
  for (let number = 0; number < count; number++) {
    publishers.forEach((client, index) => client.say({ type: "publish", channel: "node", message: { index, number } }));
  }
  const seen = [];
  for (const client of clients) {
    const own = [];
    while (own.length < count * publishers.length) {
      const broadcast = await client.heard();
      assert.equal(broadcast.type, "broadcast");
      own.push(broadcast.message);
    }
    seen.push(own);
  }
  for (const other of seen) assert.deepEqual(other, seen[0]);
  publishers.forEach((_, index) => {
    assert.deepEqual(seen[0].filter((message) => message.index === index).map((message) => message.number), [...Array(count).keys()]);
  });
  await closeAll(clients);
});

test("exclude self, and nothing after unsubscribe", async () => {
  const [publisher, subscriber] = await openMany(2);
  for (const client of [publisher, subscriber]) {
    client.say({ type: "subscribe", channel: "pair" });
    await client.heard();
  }
  publisher.say({ type: "publish", channel: "pair", message: "hello", exclude: "self" });
  assert.equal((await subscriber.heard()).message, "hello");
  publisher.say({ type: "ping" });
  assert.equal((await publisher.heard()).type, "pong");
  subscriber.say({ type: "unsubscribe", channel: "pair" });
  assert.deepEqual(await subscriber.heard(), { type: "unsubscribed", channel: "pair" });
  publisher.say({ type: "publish", channel: "pair", message: "late" });
  assert.equal((await publisher.heard()).message, "late");
  subscriber.say({ type: "ping" });
  assert.equal((await subscriber.heard()).type, "pong");
  assert.equal(subscriber.pending(), 0);
  await closeAll([publisher, subscriber]);
});

test("the four errors, word for word", async () => {
  const [client] = await openMany(1);
  for (const [text, error] of [
    ["{}", "Missing message type"],
    ['{"type":"no such type"}', "Unknown message type"],
    ["{", "Invalid message format"],
    ['{"type":1}', "Invalid message type"],
  ]) {
    client.socket.send(text);
    const answer = await client.heard();
    assert.equal(answer.type, "error");
    assert.equal(answer.error, error);
  }
  await client.close();
});

test("/echo: text, binary, fragments, ping", async () => {
  const client = await open("/echo");
  client.socket.send("text ☂");
  assert.deepEqual(await client.next(), { data: Buffer.from("text ☂"), binary: false });
  const bytes = Buffer.from(Array.from({ length: 65_536 }, (_, index) => index % 251));
  client.socket.send(bytes);
  assert.deepEqual(await client.next(), { data: bytes, binary: true });
  for (const [piece, fin] of [["a", false], ["b", false], ["c", true]]) client.socket.send(piece, { fin });
  assert.equal((await client.next()).data.toString(), "abc");
  client.socket.ping("are you there");
  const [payload] = await within(10_000, "pong", once(client.socket, "pong"));
  assert.equal(payload.toString(), "are you there");
  await client.close();
});

test("permessage-deflate: fewer bytes both ways, echoed and broadcast alike, with contexts and without", async () => {
  const long = "ein Wort gibt das andere, ".repeat(1000);
  for (const takeover of ["false", "true"]) {
    const own = await start({ SHARDS__COUNT: "2", COMPRESSION__CONTEXT_TAKEOVER: takeover });
    const opened = [];
    const connect = async (path) => {
      const socket = new WebSocket(`ws://127.0.0.1:${own.port}${path}`, { perMessageDeflate: { threshold: 0 } });
      const [answer] = await within(10_000, "the upgrade", once(socket, "upgrade"));
      const agreed = answer.headers["sec-websocket-extensions"];
      assert.match(agreed, /^permessage-deflate\b/);
      assert.equal(/server_no_context_takeover/.test(agreed), takeover === "false", agreed);
      if (socket.readyState !== WebSocket.OPEN) await within(10_000, "open", once(socket, "open"));
      opened.push(socket);
      return socket;
    };
    const next = async (socket) => (await within(10_000, "a message", once(socket, "message")))[0].toString();
    try {
      const echo = await connect("/echo");
      const before = echo._socket.bytesRead + echo._socket.bytesWritten;
      for (let round = 0; round < 5; round++) {
        echo.send(long);
        assert.equal(await next(echo), long);
      }
      const bytes = echo._socket.bytesRead + echo._socket.bytesWritten - before;
      assert.ok(bytes < long.length, `${bytes} bytes on the wire for ten messages of ${long.length}`);
      const [publisher, subscriber] = [await connect("/ws"), await connect("/ws")];
      subscriber.send(JSON.stringify({ type: "subscribe", channel: "c" }));
      assert.equal(JSON.parse(await next(subscriber)).type, "subscribed");
      publisher.send(JSON.stringify({ type: "publish", channel: "c", message: long }));
      assert.equal(JSON.parse(await next(subscriber)).message, long);
    } finally {
      for (const socket of opened) socket.terminate();
      await own.stop();
    }
  }
});

test("one byte too many: 1009, and the reason names the limit", async () => {
  const client = await open("/echo");
  const closed = once(client.socket, "close");
  client.socket.send(Buffer.alloc(65_537));
  const [code, reason] = await within(10_000, "close", closed);
  assert.equal(code, 1009);
  assert.match(reason.toString(), /65536/);
});

test("a close is answered with its code", async () => {
  const client = await open("/ws");
  const closed = once(client.socket, "close");
  client.socket.close(1000, "done");
  assert.equal((await within(10_000, "close", closed))[0], 1000);
});

test("SIGTERM: every client is told to come back at once, and the server ends with 0", async () => {
  const own = await start({ SHARDS__COUNT: "2" });
  const sockets = Array.from({ length: 5 }, () => new WebSocket(`ws://127.0.0.1:${own.port}/ws`));
  await within(10_000, "open", Promise.all(sockets.map((socket) => once(socket, "open"))));
  const closed = Promise.all(sockets.map((socket) => once(socket, "close")));
  const stopped = own.stop();
  for (const [code] of await within(15_000, "close", closed)) assert.equal(code, 4200);
  await stopped;
});
