// A document that several people edit at once, in a browser: operations, a replica, and what carries it over a connection.
// docs/concepts/collaboration.md says why it converges; clients/rust/src/collaboration is the same in Rust.
//
// Positions and lengths of operations count characters (Unicode scalar values); JavaScript counts UTF-16 units. Nothing but `toUnits`,
// `toCharacters` and `moveUnits` knows both.

// ---- operations: [skip, "insert", {d: delete}], those of npm ot-text-unicode ----

const lengthOf = (text) => {
  let length = 0;
  for (const _ of text) length += 1;
  return length;
};
const size = (component) => typeof component === "number" ? component : typeof component === "string" ? lengthOf(component) : component.d;

/** Puts a component behind others, so that nothing is empty and nothing stands next to its own kind. */
function push(operation, component) {
  if (size(component) === 0) return;
  const last = operation.at(-1);
  if (typeof last === "number" && typeof component === "number") operation[operation.length - 1] += component;
  else if (typeof last === "string" && typeof component === "string") operation[operation.length - 1] += component;
  else if (typeof last === "object" && typeof component === "object") operation[operation.length - 1] = { d: last.d + component.d };
  else operation.push(typeof component === "object" ? { d: component.d } : component);
}

function trimmed(operation) {
  if (typeof operation.at(-1) === "number") operation.pop();
  return operation;
}

/** Reads an operation piece by piece; behind its end there is only text that stays. `whole` is the kind that is not cut. */
function reader(operation, whole) {
  let index = 0, offset = 0;
  return {
    peek: () => operation[index],
    /** At most so many characters of the next component; without a number all of it. */
    take(most) {
      const component = operation[index];
      if (component === undefined) return most;
      const rest = size(component) - offset;
      const uncut = most === undefined || rest <= most || typeof component === whole;
      const length = uncut ? rest : most;
      const from = offset;
      if (uncut) [index, offset] = [index + 1, 0];
      else offset += most;
      if (typeof component === "number") return length;
      if (typeof component === "object") return { d: length };
      return from === 0 && uncut ? component : [...component].slice(from, from + length).join("");
    },
  };
}

/** `operation` in terms of the text behind `other`; both were made on one text. Where both insert at one place, `side` ("left" or "right") of
 * `operation` decides whether it stands first. */
export function transform(operation, other, side) {
  const result = [];
  const ours = reader(operation, "string");
  for (const theirs of other) {
    if (typeof theirs === "string") {
      if (side === "left" && typeof ours.peek() === "string") push(result, ours.take());
      push(result, lengthOf(theirs));
      continue;
    }
    const deleted = typeof theirs === "object";
    for (let left = size(theirs); left > 0;) {
      const piece = ours.take(left);
      if (typeof piece === "string") push(result, piece);
      else {
        if (!deleted) push(result, piece);
        left -= size(piece);
      }
    }
  }
  for (let rest; (rest = ours.take()) !== undefined;) push(result, rest);
  return trimmed(result);
}

/** What `first` and then `second` do, as one operation. */
export function compose(first, second) {
  const result = [];
  const before = reader(first, "object");
  for (const component of second) {
    if (typeof component === "string") {
      push(result, component);
      continue;
    }
    const deletes = typeof component === "object";
    for (let left = size(component); left > 0;) {
      const piece = before.take(left);
      if (typeof piece === "object") push(result, piece);
      else {
        if (!deletes) push(result, piece);
        else if (typeof piece === "number") push(result, { d: piece });
        left -= size(piece);
      }
    }
  }
  for (let rest; (rest = before.take()) !== undefined;) push(result, rest);
  return trimmed(result);
}

/** The text behind the operation. Throws if the text is shorter than the operation. */
export function apply(text, operation) {
  let result = "", at = 0;
  const step = (characters) => {
    const from = at;
    for (; characters > 0; characters -= 1) {
      if (at >= text.length) throw new RangeError("the operation is longer than the text");
      at += text.codePointAt(at) > 0xffff ? 2 : 1;
    }
    return text.slice(from, at);
  };
  for (const component of operation) {
    if (typeof component === "number") result += step(component);
    else if (typeof component === "string") result += component;
    else step(component.d);
  }
  return result + text.slice(at);
}

/** Where a position of the text before the operation is behind it. What is inserted exactly there comes behind it. */
export function transformPosition(position, operation) {
  let at = 0;
  for (const component of operation) {
    if (position <= at) break;
    if (typeof component === "number") at += component;
    else if (typeof component === "string") {
      at += lengthOf(component);
      position += lengthOf(component);
    } else position -= Math.min(component.d, position - at);
  }
  return position;
}

/** The operation that makes `after` of `before`: what both begin and end with stays, what is between is replaced. */
export function difference(before, after) {
  const [old, now] = [[...before], [...after]];
  const least = Math.min(old.length, now.length);
  let head = 0, tail = 0;
  while (head < least && old[head] === now[head]) head += 1;
  while (tail < least - head && old[old.length - 1 - tail] === now[now.length - 1 - tail]) tail += 1;
  const operation = [];
  push(operation, head);
  push(operation, now.slice(head, now.length - tail).join(""));
  push(operation, { d: old.length - tail - head });
  return trimmed(operation);
}

// ---- UTF-16 units and characters ----

/** Characters before a place that is given in UTF-16 units. */
export const toCharacters = (text, units) => lengthOf(text.slice(0, units));

/** UTF-16 units before a place that is given in characters. */
export function toUnits(text, characters) {
  let at = 0;
  for (; characters > 0 && at < text.length; characters -= 1) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

/** Where a place in `before`, in units, is in `after`, which `change` has made of it. */
export const moveUnits = (before, units, change, after) => toUnits(after, transformPosition(toCharacters(before, units), change));

/** What a server takes: no halves of characters, and no control characters but tabs, line ends, backspaces and form feeds. */
export const cleaned = (text) =>
  text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd")
    // eslint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0007\u000b\u000e-\u001f]/g, "");

// ---- a replica ----

/** What came does not follow what was there: join again. Nothing of the user's is lost. */
export class OutOfStep extends Error {}

const COMPONENTS_MAX = 1000;
const SENT_CHARACTERS = 2048; // of inserted text: even escaped, an edit fits a message

/** `theirs` behind all of `own`, and those behind it. Theirs is committed: it stands first. */
function crossed(theirs, own) {
  const behind = [];
  for (const operation of own) {
    behind.push(transform(operation, theirs, "right"));
    theirs = transform(theirs, operation, "left");
  }
  return [theirs, behind];
}

const inserted = (operation) => operation.reduce((sum, component) => sum + (typeof component === "string" ? component.length : 0), 0);

/** One copy of a document, over all its connections. At most one edit is under way; what is typed meanwhile waits behind it, composed. */
export class Replica {
  epoch = null;
  version = 0;
  /** The server's text, the user's own edits that are not acknowledged aside. */
  confirmed = "";
  /** The text as the user sees it. */
  shown = "";
  underWay = null;
  waiting = [];
  acknowledgedNumber = 0;
  joined = false;
  outOfStep = false;
  /** Where others' cursors are in `confirmed`, in characters, by user. */
  cursors = new Map();

  get settled() { return this.underWay === null && this.waiting.length === 0; }

  get own() { return this.underWay === null ? this.waiting : [this.underWay, ...this.waiting]; }

  /** Begins to join: `since` and `sequence` of the message. */
  joining() {
    this.joined = false;
    const since = this.epoch === null || this.outOfStep ? undefined : { version: this.version, epoch: this.epoch };
    return { since, sequence: this.acknowledgedNumber };
  }

  /** The user edits the text shown. */
  edit(operation) {
    if (operation.length === 0) return;
    this.shown = apply(this.shown, operation);
    const last = this.waiting.at(-1);
    const both = last === undefined ? null : compose(last, operation);
    if (both !== null && both.length <= COMPONENTS_MAX / 2 && inserted(both) <= SENT_CHARACTERS) this.waiting[this.waiting.length - 1] = both;
    else this.waiting.push(...pieces(operation));
  }

  /** What to send now: `version`, `sequence`, `operation`; null if nothing. */
  pollSend() {
    if (!this.joined || this.underWay !== null) return null;
    while (this.waiting[0]?.length === 0) this.waiting.shift();
    if (this.waiting.length === 0) return null;
    this.waiting.splice(0, 1, ...pieces(this.waiting[0]));
    this.underWay = this.waiting.shift();
    return this.present();
  }

  /** The edit under way, as it is sent and sent again. */
  present() {
    return this.underWay === null ? null : { version: this.version, sequence: this.acknowledgedNumber + 1, operation: this.underWay };
  }

  /** `document-state`. Gives the change of the text shown, and whether an edit had been sent of which it is not known whether it arrived. */
  state({ epoch, version, content, sequence, cursors }) {
    let base = this.confirmed, again = [], inDoubt = null;
    if (this.underWay !== null) {
      const known = this.epoch === epoch ? sequence : null;
      if (known !== null && known <= this.acknowledgedNumber) again = [this.underWay];
      else {
        base = apply(base, this.underWay);
        if (known === null) inDoubt = this.underWay;
      }
    }
    const [change, own] = crossed(difference(base, content), [...again, ...this.waiting]);
    this.shown = apply(this.shown, change);
    Object.assign(this, { underWay: null, waiting: own, confirmed: content, epoch, version, joined: true, outOfStep: false });
    this.acknowledgedNumber = sequence ?? this.acknowledgedNumber;
    this.cursors = new Map(Object.entries(cursors ?? {}));
    return { change, inDoubt };
  }

  /** `document-edits`: what was committed while the replica was away. */
  missed({ edits, cursors }) {
    let change = [];
    for (const { version, operation, sequence } of edits) {
      if (sequence !== undefined) this.confirm(sequence, version);
      else change = compose(change, this.follow(version, operation));
    }
    // It did not arrive: the first to be sent again, by the same number.
    if (this.underWay !== null) this.waiting.unshift(this.underWay);
    this.underWay = null;
    this.joined = true;
    this.cursors = new Map(Object.entries(cursors ?? {}));
    return { change, inDoubt: null };
  }

  /** `edit`: the change of the text shown; null if it is known here. */
  remote(version, operation) {
    return !this.joined || version <= this.version ? null : this.follow(version, operation);
  }

  /** `edit-ack`. */
  acknowledged(sequence, version) {
    if (this.joined && sequence > this.acknowledgedNumber) this.confirm(sequence, version);
  }

  /** The server refuses the edit under way for good: it and those that wait are taken back. Gives the change of the text shown. */
  takeBack() {
    const change = difference(this.shown, this.confirmed);
    Object.assign(this, { shown: this.confirmed, underWay: null, waiting: [] });
    return change;
  }

  /** Where somebody's cursor is in the text shown. */
  place(position) {
    return this.own.reduce(transformPosition, position);
  }

  follow(version, theirs) {
    if (version !== this.version + 1) this.loseStep();
    try {
      const confirmed = apply(this.confirmed, theirs);
      const [change, own] = crossed(theirs, this.own);
      this.shown = apply(this.shown, change);
      if (this.underWay !== null) this.underWay = own.shift();
      Object.assign(this, { waiting: own, confirmed, version });
      this.moveCursors(theirs);
      return change;
    } catch (error) {
      if (error instanceof RangeError) this.loseStep();
      throw error;
    }
  }

  confirm(sequence, version) {
    if (this.underWay === null || sequence !== this.acknowledgedNumber + 1 || version !== this.version + 1) this.loseStep();
    this.confirmed = apply(this.confirmed, this.underWay);
    this.moveCursors(this.underWay);
    Object.assign(this, { underWay: null, acknowledgedNumber: sequence, version });
  }

  moveCursors(operation) {
    for (const [user, position] of this.cursors) this.cursors.set(user, transformPosition(position, operation));
  }

  loseStep() {
    Object.assign(this, { outOfStep: true, joined: false });
    throw new OutOfStep("what came does not follow what was there");
  }
}

/** An operation whose inserts are too long for one message, as several that follow each other. */
function pieces(operation) {
  if (inserted(operation) <= SENT_CHARACTERS && operation.length <= COMPONENTS_MAX) return [operation];
  const result = [];
  let at = 0;
  for (const component of operation) {
    if (typeof component === "number") at += component;
    else if (typeof component === "object") result.push(trimmed(at > 0 ? [at, { d: component.d }] : [{ d: component.d }]));
    else {
      const characters = [...component];
      for (let from = 0; from < characters.length; from += SENT_CHARACTERS / 2) {
        const piece = characters.slice(from, from + SENT_CHARACTERS / 2);
        result.push(at > 0 ? [at, piece.join("")] : [piece.join("")]);
        at += piece.length;
      }
    }
  }
  return result;
}

// ---- over a connection ----

const TEMPORARY_MS = 1000; // before an edit is sent again that the server could not take just now
const NOT_JOINED = 120, OUT_OF_STEP = 123;

/**
 * A replica and what it says. The page calls `connected` and `disconnected`, hands every message in by `receive`, and tells what its user does by
 * `changed` and `moved`. `send` gets a message as an object; `on.text(change, text)` when others have changed the text; `on.people()` when
 * users or cursors have; `on.trouble(error)` when an edit was refused and taken back, or may be there twice or not at all.
 */
export class SharedDocument {
  replica = new Replica();
  users = new Set();
  readOnly = false;
  #name;
  #documentId;
  #send;
  #on;
  #online = false;
  #cursor = null;
  #told = null;
  #again = null;

  constructor(documentId, send, on = {}, name = crypto.randomUUID()) {
    [this.#documentId, this.#send, this.#on, this.#name] = [documentId, send, on, name];
  }

  get text() { return this.replica.shown; }

  /** Others' cursors in the text shown, in UTF-16 units, by user. */
  get cursors() {
    const entries = [...this.replica.cursors].map(([user, position]) => [user, toUnits(this.text, this.replica.place(position))]);
    return new Map(entries);
  }

  connected() {
    this.#online = true;
    this.#join();
  }

  disconnected() {
    this.#online = false;
    this.replica.joined = false;
    clearTimeout(this.#again);
  }

  leave() {
    if (this.#online) this.#say("leave-document");
    this.disconnected();
  }

  /** The user has made the text this. Gives the text as it stands now: without what no server takes. */
  changed(text) {
    const kept = cleaned(text);
    this.replica.edit(difference(this.text, kept));
    this.#flush();
    return kept;
  }

  /** The user's cursor is here, in UTF-16 units. */
  moved(units) {
    this.#cursor = toCharacters(this.text, units);
    this.#flush();
  }

  /** A message of the server. Whether it was about this document. */
  receive(message) {
    const own = String(message.id ?? "").startsWith(`${this.#name}:`);
    const ours = message.documentId === this.#documentId || (message.type === "error" && own);
    // An answer to a copy that was given up on this connection is none to this one.
    if (!ours || !this.#online || (message.id !== undefined && !own)) return ours;
    try {
      this.#handle(message);
    } catch (error) {
      if (!(error instanceof OutOfStep)) throw error;
      this.#join();
    }
    return true;
  }

  #handle(message) {
    const { replica } = this;
    switch (message.type) {
      case "document-state":
      case "document-edits": {
        clearTimeout(this.#again);
        this.users = new Set(message.users);
        this.readOnly = message.readOnly;
        const caughtUp = message.type === "document-state" ? replica.state(message) : replica.missed(message);
        this.#told = null;
        this.#show(caughtUp.change);
        if (caughtUp.inDoubt !== null) this.#on.trouble?.("an edit may be missing");
        this.#on.people?.();
        break;
      }
      case "edit":
        this.#show(replica.remote(message.version, message.operation) ?? []);
        break;
      case "edit-ack":
        replica.acknowledged(message.sequence, message.version);
        break;
      case "cursor-update":
        replica.cursors.set(message.userId, message.position);
        this.#on.people?.();
        break;
      case "user-joined":
        this.users.add(message.userId);
        this.#on.people?.();
        break;
      case "user-left":
        this.users.delete(message.userId);
        replica.cursors.delete(message.userId);
        this.#on.people?.();
        break;
      case "document-left":
        // The join of a connection it had given up came late: this one joins again.
        if (message.reason === "replaced") this.#join();
        else if (message.reason !== undefined) this.#on.trouble?.(message.reason);
        break;
      case "error":
        this.#refused(message);
        break;
    }
    this.#flush();
  }

  #refused({ id, code, error, temporary }) {
    const what = id.slice(this.#name.length + 1);
    if (temporary) {
      clearTimeout(this.#again);
      const again = () => what === "join-document" ? this.#join() : this.#sendEdit(this.replica.present());
      this.#again = setTimeout(() => this.#online && again(), TEMPORARY_MS);
    } else if (what === "edit") {
      if (code !== NOT_JOINED && code !== OUT_OF_STEP) {
        this.#show(this.replica.takeBack());
        this.#on.trouble?.(error);
      }
      this.#join();
    } else if (what === "join-document") this.#on.trouble?.(error);
  }

  #show(change) {
    if (change.length > 0) {
      if (this.#cursor !== null) this.#cursor = transformPosition(this.#cursor, change);
      if (this.#told !== null) this.#told = transformPosition(this.#told, change);
      this.#on.text?.(change, this.text);
    }
  }

  #flush() {
    if (!this.#online) return;
    this.#sendEdit(this.replica.pollSend());
    const { joined, settled, version } = this.replica;
    if (joined && settled && this.#cursor !== null && this.#told !== this.#cursor) {
      this.#told = this.#cursor;
      this.#say("cursor-move", { version, position: this.#cursor });
    }
  }

  #sendEdit(edit) {
    if (edit !== null && this.replica.joined) this.#say("edit", edit);
  }

  #join() {
    if (this.#online) this.#say("join-document", { replica: this.#name, ...this.replica.joining() });
  }

  #say(type, fields = {}) {
    this.#send({ type, documentId: this.#documentId, id: `${this.#name}:${type}`, ...fields });
  }
}
