// What the page carries documents with (src/listen/page/document.js): its operations against npm ot-text-unicode, and several of its documents
// against the real server, over connections that are cut.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createRequire } from "node:module";
import { test } from "node:test";
import WebSocket from "ws";
import { SharedDocument, apply, cleaned, compose, difference, moveUnits, toCharacters, toUnits, transform, transformPosition } from "../../src/listen/page/document.js";
import { start, within } from "./server.mjs";

const { type } = createRequire(import.meta.url)("ot-text-unicode");
const copy = (value) => JSON.parse(JSON.stringify(value));
const PIECES = ["a", "b", "é", "😭", "\n", "中", "👩‍👩‍👧", "xyz "];

/** A generator of numbers below `bound`, the same for the same seed (mulberry32). */
function random(seed) {
  return (bound) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % bound;
  };
}

const someText = (below, most) => Array.from({ length: below(most + 1) }, () => PIECES[below(PIECES.length)]).join("");

/** An operation of a text of so many characters. */
function someOperation(below, length) {
  const operation = [];
  for (let left = length; left > 0 || below(3) > 0;) {
    const kind = below(3);
    const characters = Math.min(left, 1 + below(4));
    if (kind === 0) operation.push(someText(below, 2));
    else if (left > 0) {
      operation.push(kind === 1 ? characters : { d: characters });
      left -= characters;
    } else break;
  }
  return type.normalize(operation.filter((component) => component !== ""));
}

test("operations are those of ot-text-unicode", () => {
  const below = random(Number(process.env.SEED ?? 1));
  const cases = Number(process.env.CASES ?? 30_000);
  for (let n = 0; n < cases; n += 1) {
    const text = someText(below, 12);
    const length = [...text].length;
    const [a, b] = [someOperation(below, length), someOperation(below, length)];
    const behind = type.apply(text, copy(a));
    const next = someOperation(below, [...behind].length);
    const about = JSON.stringify({ text, a, b, next });
    assert.equal(apply(text, a), behind, about);
    for (const side of ["left", "right"]) assert.deepEqual(transform(a, b, side), type.transform(copy(a), copy(b), side), `${side} ${about}`);
    assert.deepEqual(compose(a, next), type.compose(copy(a), copy(next)), about);
    for (let position = 0; position <= length; position += 1) {
      assert.equal(transformPosition(position, a), type.transformPosition(position, copy(a)), `${position} ${about}`);
    }
    assert.equal(apply(text, difference(text, behind)), behind, about);
  }
});

test("places are converted at the edge, and what no server takes stays out", () => {
  assert.equal(toCharacters("a😭b", 3), 2);
  assert.equal(toUnits("a😭b", 2), 3);
  assert.equal(moveUnits("a😭b", 3, ["😭", 1], "😭a😭b"), 5);
  assert.equal(cleaned("a\ud83d\u0007b\tc\ude2d😭\r\n"), "a\ufffdb\tc\ufffd😭\r\n");
  assert.throws(() => apply("ab", [3, "x"]), RangeError);
});

let server;

/** Somebody with an editor: what is on the screen, and the document behind it. */
class Editor {
  screen = "";
  cuts = 0;
  #socket = null;

  constructor(name, documentId, below) {
    Object.assign(this, { name, below });
    this.document = new SharedDocument(documentId, (message) => this.#socket?.send(JSON.stringify(message)), {
      text: (change) => { this.screen = apply(this.screen, change); },
      trouble: (error) => { this.trouble = error; },
    });
  }

  async connect() {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws?user=${this.name}`);
    await within(10_000, "open", once(socket, "open"));
    this.#socket = socket;
    socket.on("message", (data) => {
      if (socket === this.#socket) this.document.receive(JSON.parse(data));
    });
    this.document.connected();
  }

  cut() {
    this.cuts += 1;
    this.#socket.terminate();
    this.#socket = null;
    this.document.disconnected();
  }

  get online() { return this.#socket !== null; }

  type() {
    const characters = [...this.screen];
    const at = this.below(characters.length + 1);
    characters.splice(at, this.below(3) === 0 ? this.below(4) : 0, someText(this.below, 2));
    this.screen = this.document.changed(characters.join(""));
    this.document.moved(toUnits(this.screen, Math.min(at, [...this.screen].length)));
    assert.equal(this.screen, this.document.text);
  }

  end() { this.#socket?.close(1000); }
}

async function until(what, condition) {
  const begin = Date.now();
  while (!condition()) {
    if (Date.now() - begin > 20_000) throw new Error(`${what}: not within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("several editors that are cut off again and again end with one text", async (context) => {
  server = await start({ COLLABORATION__ENABLED: "true", SHARDS__COUNT: "2", SHARDS__PLACEMENT: "accept" });
  context.after(() => server.stop());
  for (let seed = 1; seed <= Number(process.env.DOCUMENTS ?? 5); seed += 1) {
    const below = random(seed);
    const editors = ["ada", "grace", "ada", "barbara"].map((name) => new Editor(name, `node ${seed}`, below));
    for (const editor of editors) await editor.connect();
    for (let step = 0; step < 400; step += 1) {
      const editor = editors[below(editors.length)];
      const deed = below(100);
      if (deed < 70) editor.type();
      else if (deed < 76 && editor.online) editor.cut();
      else if (!editor.online) await editor.connect();
      else await new Promise((resolve) => setTimeout(resolve, below(3)));
    }
    for (const editor of editors) if (!editor.online) await editor.connect();
    await until("rest", () => editors.every((editor) => editor.document.replica.joined && editor.document.replica.settled));
    const versions = () => editors.map((editor) => editor.document.replica.version);
    await until("one version", () => new Set(versions()).size === 1);
    const witness = new Editor("witness", `node ${seed}`, below);
    await witness.connect();
    await until("the document", () => witness.document.replica.joined);
    for (const editor of editors) {
      assert.equal(editor.document.text, witness.document.text);
      assert.equal(editor.screen, witness.document.text);
      assert.equal(editor.trouble, undefined);
    }
    assert.ok(editors.some((editor) => editor.cuts > 2), "nobody was cut off");
    assert.deepEqual(witness.document.users, new Set(["ada", "grace", "barbara", "witness"]));
    for (const editor of [...editors, witness]) editor.end();
  }
});
