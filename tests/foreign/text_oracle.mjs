// npm ot-text-unicode as an oracle for `protocol/src/text`; run by protocol/tests/text_oracle.rs, one line of JSON each way.
//
//   node text_oracle.mjs answer          says what ot-text-unicode makes of each question
//   node text_oracle.mjs fuzz ROUNDS     lets npm ot-fuzzer test the other end: its questions go out, the answers come in
import { Console } from "node:console";
import { readSync, writeSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
// ot-fuzzer prints to the standard output, which is taken.
globalThis.console = new Console(process.stderr, process.stderr);

// ---- lines, without waiting for an event loop: ot-fuzzer calls functions that return ----

const buffer = Buffer.alloc(1 << 16);
let pieces = [];
let lines = [];

function readLine() {
  while (lines.length === 0) {
    const bytes = readSync(0, buffer);
    if (bytes === 0) return undefined;
    const chunk = Buffer.from(buffer.subarray(0, bytes));
    if (!chunk.includes(10)) {
      pieces.push(chunk);
      continue;
    }
    lines = Buffer.concat([...pieces, chunk]).toString().split("\n");
    pieces = [Buffer.from(lines.pop())];
    lines.reverse();
  }
  return lines.pop();
}

function writeLine(value) {
  const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

// ---- the oracle ----

const { type } = require("ot-text-unicode");
const copy = (value) => JSON.parse(JSON.stringify(value));

// Both operations of `crossed` are of `text`; `next` is of the text behind `a`. Copies, since `normalize` writes into its argument.
function answer({ text, a, b, next, positions }) {
  const invertible = type.makeInvertible(copy(a), text);
  return {
    applied: type.apply(text, a),
    a_left: type.transform(a, b, "left"),
    a_right: type.transform(a, b, "right"),
    b_left: type.transform(b, a, "left"),
    b_right: type.transform(b, a, "right"),
    composed: type.compose(a, next),
    positions: positions.map((position) => type.transformPosition(position, a)),
    invertible,
    inverted: type.invert(copy(invertible)),
    stripped: type.stripInvertible(copy(a)),
  };
}

// ---- ot-fuzzer, and a type whose functions are at the other end ----

function ask(call, ...values) {
  writeLine({ call, values });
  const line = readLine();
  if (line === undefined) throw Error("the other end is gone");
  const { ok, error } = JSON.parse(line);
  if (error !== undefined) throw Error(error);
  return ok;
}

function fuzz(rounds) {
  const fuzzer = require("ot-fuzzer");
  const generate = require("ot-text-unicode/test/genOp.js");
  const asked = {};
  const far = { name: "text of the other end", create: (text = "") => text };
  for (const call of ["apply", "transform", "compose", "invert", "makeInvertible"]) {
    asked[call] = 0;
    far[call] = (...values) => {
      asked[call] += 1;
      // `reduce` of ot-fuzzer passes an index along.
      return ask(call, ...values.slice(0, call === "transform" ? 3 : call === "invert" ? 1 : 2));
    };
  }
  fuzzer(far, generate, rounds);
  writeLine({ done: asked });
}

// ---- main ----

const [mode, rounds] = process.argv.slice(2);
if (mode === "fuzz") {
  fuzz(Number(rounds));
} else {
  for (let line = readLine(); line !== undefined; line = readLine()) writeLine(JSON.parse(line).map(answer));
}
