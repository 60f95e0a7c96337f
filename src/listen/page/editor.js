// The shared document: a text field over a replica, with the others' cursors.

import { SharedDocument, apply, compose, difference, moveUnits, transform } from "./document.js";
import { inOneLine, paint } from "./people.js";

const DOCUMENT = "notes";
const UNKNOWN_TYPE = 103;
const $ = (id) => document.getElementById(id);

export class Editor {
  #document;
  #changed;
  #own = "";
  #composing = null;                   // while a character is put together: the text at its beginning, and what others did since

  /** `changed` is called when people come or go. */
  constructor(connection, changed) {
    this.#changed = changed;
    this.#document = new SharedDocument(DOCUMENT, (message) => connection.send(message), {
      text: (change, text) => this.#changedByOthers(change, text),
      people: () => this.#draw(),
      trouble: (words) => { $("saved").textContent = words; },
    });
    const field = $("editor");
    field.addEventListener("input", () => { if (!this.#composing) this.#changedByUser(field.value); });
    field.addEventListener("compositionstart", () => { this.#composing = { base: this.#document.text, change: [] }; });
    field.addEventListener("compositionend", () => this.#composed());
    document.addEventListener("selectionchange", () => {
      if (document.activeElement === field && !this.#composing) this.#document.moved(field.selectionEnd);
    });
    $("paper").addEventListener("click", (event) => { if (event.target !== field) field.focus(); });
  }

  get people() { return new Map([...this.#document.users].map((user) => [user, user])); }
  get text() { return this.#document.text; }

  connected(user) {
    this.#own = user;
    this.#document.connected();
  }

  disconnected() {
    this.#document.disconnected();
    this.#document.users.clear();
    this.#document.replica.cursors.clear();
    this.#draw();
  }

  receive(message) {
    if (!this.#document.receive(message)) return;
    if (message.type === "error" && message.code === UNKNOWN_TYPE) {
      $("saved").textContent = "there are no documents on this server (collaboration.enabled)";
      return;
    }
    this.#draw();
  }

  #changedByUser(text) {
    const field = $("editor");
    const kept = this.#document.changed(text);
    if (kept !== field.value) this.#set(kept, field.selectionStart, field.selectionEnd);
    this.#document.moved(field.selectionEnd);
    this.#draw();
  }

  #changedByOthers(change, text) {
    const field = $("editor");
    if (this.#composing) {
      // The field belongs to whoever types there; what others do meanwhile goes in when the character is whole.
      this.#composing.change = compose(this.#composing.change, change);
      return;
    }
    const before = field.value;
    const [start, end] = [field.selectionStart, field.selectionEnd].map((units) => moveUnits(before, units, change, text));
    this.#set(text, start, end);
  }

  #composed() {
    const { base, change } = this.#composing;
    this.#composing = null;
    const field = $("editor");
    const own = transform(difference(base, field.value), change, "right");
    const typed = field.value;
    const end = moveUnits(typed, field.selectionEnd, transform(change, difference(base, typed), "left"), apply(this.#document.text, own));
    const kept = this.#document.changed(apply(this.#document.text, own));
    this.#set(kept, end, end);
    this.#draw();
  }

  #set(text, start, end) {
    const field = $("editor");
    const backward = field.selectionDirection;
    field.value = text;
    field.setSelectionRange(start, end, backward);
  }

  /** The mirror: the same text, with a mark wherever somebody else is. */
  #draw() {
    const { text, cursors, users, replica, readOnly } = this.#document;
    const field = $("editor");
    if (!this.#composing && field.value !== text) this.#set(text, field.selectionStart, field.selectionEnd);
    field.readOnly = readOnly || replica.epoch === null;
    const others = [...cursors].filter(([user]) => user !== this.#own).sort(([, left], [, right]) => left - right);
    const pieces = [];
    let at = 0;
    for (const [user, units] of others) {
      pieces.push(text.slice(at, units));
      const caret = document.createElement("span");
      caret.className = "caret";
      caret.dataset.name = user;
      paint(caret, user);
      pieces.push(caret);
      at = units;
    }
    // A line end at the end takes up no line without something behind it.
    pieces.push(`${text.slice(at)}\u200b`);
    $("mirror").replaceChildren(...pieces);
    $("saved").textContent = readOnly ? "you may read it"
      : !replica.joined ? (replica.epoch === null ? "not joined yet" : "offline: what you type is kept")
      : replica.settled ? "everybody has all of it" : "sending…";
    $("here-document").textContent = inOneLine(new Map([...users].map((user) => [user, user])), this.#own);
    this.#changed();
  }
}
