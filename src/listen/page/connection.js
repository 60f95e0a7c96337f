// A connection to the server that comes back by itself, and knows that it is alive.
//
// Events: "state" (detail: { state, words, due }), "open" (the socket is open: join what you were in), "message" (detail: the message, an
// object), "lost", "trip" (detail: milliseconds), "traced" (detail: { direction, text }).

const FIRST_DELAY_MS = 500;            // reconnect: random in 0..min(ceiling, first * 2^attempt), "full jitter"
const CEILING_MS = 20000;
const FINAL = [1000, 1002, 1003, 1007, 1008];  // with 4500-4999: "do not come back" (docs/reference/codes.md)
const LATE_FLOOR_MS = 5000;            // the least wait after a close that asks to come back late
const PING_EVERY_MS = 3000;
const PING_DEADLINE_MS = 10000;        // no pong for so long: the connection is dead, whatever the socket says

export class Connection extends EventTarget {
  #socket = null;
  #user = "";
  #attempt = 0;
  #retry = 0;
  #pinged = 0;                         // when the unanswered ping left; 0: none under way

  constructor() {
    super();
    addEventListener("online", () => { if (!this.#socket && this.#user) this.connect(this.#user); });
    setInterval(() => this.#lookAfter(), PING_EVERY_MS);
  }

  /** A new connection, in the name of this user, in place of the present one. */
  connect(user) {
    const old = this.#socket;
    this.#socket = null;               // from here on the old one's events are nobody's
    if (old) {
      old.close(1000);
      this.#tell("lost");
    }
    this.#user = user;
    this.#attempt = 0;
    this.#open();
  }

  /** False: there is no connection, and nothing was sent. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    const text = JSON.stringify(message);
    this.#socket.send(text);
    this.#tell("traced", { direction: "out", text });
    return true;
  }

  #tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }

  #open() {
    clearTimeout(this.#retry);
    this.#pinged = 0;
    this.#tell("state", { state: "connecting", words: "connecting…" });
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const mine = new WebSocket(`${scheme}//${location.host}/ws?user=${encodeURIComponent(this.#user)}`);
    this.#socket = mine;
    mine.onopen = () => {
      if (mine !== this.#socket) return;
      this.#ping();
      this.#tell("open");
    };
    mine.onmessage = ({ data }) => { if (mine === this.#socket) this.#receive(data); };
    mine.onclose = ({ code, reason }) => { if (mine === this.#socket) this.#closed(code, reason); };
  }

  #receive(text) {
    this.#tell("traced", { direction: "in", text });
    let message;
    try { message = JSON.parse(text); } catch { return; }
    if (message.type !== "pong") return this.#tell("message", message);
    if (this.#pinged) this.#tell("trip", performance.now() - this.#pinged);
    this.#pinged = 0;
    this.#attempt = 0;                 // only now: a server that accepts and closes at once must not be hammered
    this.#tell("state", { state: "open", words: "connected" });
  }

  #closed(code, reason) {
    this.#socket = null;
    this.#tell("lost");
    const words = reason ? `${reason} (${code})` : code === 1006 ? "connection lost" : `closed with ${code}`;
    if (FINAL.includes(code) || (code >= 4500 && code <= 4999)) return this.#tell("state", { state: "stopped", words });
    const late = code === 1013 || (code >= 4100 && code <= 4199);
    const spread = Math.random() * Math.min(CEILING_MS, FIRST_DELAY_MS * 2 ** Math.min(this.#attempt, 10));
    this.#attempt += 1;
    const wait = spread + (late ? LATE_FLOOR_MS : 0);
    this.#tell("state", { state: "waiting", words, due: Date.now() + wait });
    this.#retry = setTimeout(() => this.#open(), wait);
  }

  #ping() { if (this.send({ type: "ping" })) this.#pinged = performance.now(); }

  #lookAfter() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    if (this.#pinged && performance.now() - this.#pinged > PING_DEADLINE_MS) {
      const dead = this.#socket;
      this.#closed(1006, "no answer to ping");
      dead.close(4000);
    } else if (!this.#pinged) this.#ping();
  }
}
