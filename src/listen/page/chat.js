// Chat: one room at a time, who is in it, who types, what is said.

import { inOneLine, paint } from "./people.js";

const ROOMS = ["lobby", "kitchen", "engine room"];
const KEEP_MESSAGES = 300;
const TYPING_EVERY_MS = 3000;          // how often somebody who goes on typing says so
const STOPS_AFTER_MS = 2500;           // without a key
const FORGET_TYPING_MS = 10000;        // news of typing may get lost: it ends by itself
const UNKNOWN_TYPE = 103;

const $ = (id) => document.getElementById(id);
const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

export class Chat {
  people = new Map();                  // who is in the room: user -> name
  typing = new Map();                  // who types: user -> timer
  #connection;
  #changed;
  #room = ROOMS[0];
  #rooms = [...ROOMS];
  #own = "";
  #isIn = false;
  #underWay = [];                      // our messages that have not come back: { content, sent }
  #typed = 0;                          // when we last said that we type; 0: we do not
  #stops = 0;
  #following = true;

  /** `changed` is called when people come, go or type. */
  constructor(connection, changed) {
    [this.#connection, this.#changed] = [connection, changed];
    this.#drawRooms();
    $("other-room").addEventListener("submit", (event) => {
      event.preventDefault();
      const room = $("room").value.trim();
      $("room").value = "";
      if (room) this.#enter(room);
    });
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#say($("text").value.trim());
    });
    $("text").addEventListener("input", () => this.#types());
    const log = $("log");
    log.addEventListener("scroll", () => { this.#following = log.scrollHeight - log.scrollTop - log.clientHeight < 60; });
    new ResizeObserver(() => this.#followEnd()).observe(log);
  }

  get room() { return this.#room; }
  get own() { return this.#own; }

  connected(user) {
    this.#own = user;
    this.#join();
  }

  disconnected() {
    this.#isIn = false;
    this.#underWay = [];
    this.#typed = 0;
    this.#nobody();
    $("send").disabled = true;
  }

  /** A message of the server. */
  receive(message) {
    if (message.documentId !== undefined) return;
    switch (message.type) {
      case "room:joined":
        if (message.id !== `join:${this.#room}`) return;
        this.people = new Map((message.members ?? []).map(({ userId, username }) => [userId, username]));
        this.#isIn = true;
        $("send").disabled = false;
        this.#changedPeople();
        break;
      case "history":
        if (message.channel !== `room:${this.#room}`) return;
        for (const said of message.messages.toReversed()) if (said.type === "message") this.#show(said);
        break;
      case "user-joined":
        if (message.userId === this.#own) this.#notice(`You are in “${this.#room}”`);
        else if (!this.people.has(message.userId)) this.#notice(`${message.username} has come`);
        this.people.set(message.userId, message.username);
        this.#changedPeople();
        break;
      case "user-left":
        this.people.delete(message.userId);
        this.#stopped(message.userId);
        this.#notice(`${message.username} has left`);
        this.#changedPeople();
        break;
      case "typing-start":
        this.#stopped(message.userId);
        this.typing.set(message.userId, setTimeout(() => this.#stopped(message.userId), FORGET_TYPING_MS));
        this.#changedPeople();
        break;
      case "typing-stop":
        this.#stopped(message.userId);
        break;
      case "message":
        this.#stopped(message.userId);
        this.#show(message);
        break;
      case "broadcast":
        if (message.channel === `room:${this.#room}`) this.#notice(typeof message.message === "string" ? message.message : JSON.stringify(message.message));
        break;
      case "error":
        if (!String(message.id ?? "").startsWith("join:") && !String(message.id ?? "").startsWith("say")) return;
        this.#notice(message.code === UNKNOWN_TYPE ? "There are no chat rooms on this server (chat.enabled)." : `The server says: ${message.error}`);
        break;
    }
  }

  #enter(room) {
    if (!this.#rooms.includes(room)) this.#rooms.push(room);
    if (room === this.#room && this.#isIn) return;
    this.#room = room;
    this.#isIn = false;
    $("messages").replaceChildren();
    $("welcome").hidden = false;
    $("send").disabled = true;
    this.#nobody();
    this.#drawRooms();
    this.#join();
    $("text").focus();
  }

  #join() { this.#connection.send({ type: "join-room", roomId: this.#room, id: `join:${this.#room}`.slice(0, 62) }); }

  #drawRooms() {
    $("rooms").replaceChildren(...this.#rooms.map((room) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = room;
      button.setAttribute("aria-pressed", String(room === this.#room));
      button.addEventListener("click", () => this.#enter(room));
      return button;
    }));
  }

  #say(content) {
    if (!content || $("send").disabled) return;
    this.#stopTyping();
    if (!this.#connection.send({ type: "send-message", content, id: "say" })) return;
    this.#underWay.push({ content, sent: performance.now() });
    $("text").value = "";
  }

  #types() {
    if (!this.#isIn) return;
    clearTimeout(this.#stops);
    if (!$("text").value) return this.#stopTyping();
    this.#stops = setTimeout(() => this.#stopTyping(), STOPS_AFTER_MS);
    if (performance.now() - this.#typed < TYPING_EVERY_MS && this.#typed) return;
    this.#typed = performance.now();
    this.#connection.send({ type: "typing-start" });
  }

  #stopTyping() {
    clearTimeout(this.#stops);
    if (this.#typed) this.#connection.send({ type: "typing-stop" });
    this.#typed = 0;
  }

  #stopped(user) {
    clearTimeout(this.typing.get(user));
    if (this.typing.delete(user)) this.#changedPeople();
  }

  #nobody() {
    for (const timer of this.typing.values()) clearTimeout(timer);
    this.typing.clear();
    this.people.clear();
    this.#changedPeople();
  }

  #changedPeople() {
    const names = [...this.typing.keys()].map((user) => this.people.get(user) ?? user);
    $("typing").textContent = names.length === 0 ? "" : `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing…`;
    $("here-chat").textContent = inOneLine(this.people, this.#own);
    this.#changed();
  }

  #show({ userId, username, content, timestamp }) {
    const own = userId === this.#own;
    const item = document.createElement("li");
    item.className = own ? "message own" : "message";
    paint(item, userId);
    part(item, "who", username);
    part(item, "text", content);
    let when = ` ${new Date(timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
    if (own && this.#underWay[0]?.content === content) when += `, back in ${milliseconds(performance.now() - this.#underWay.shift().sent)}`;
    part(item, "when", when);
    this.#append(item);
    $("welcome").hidden = true;
  }

  #notice(text) {
    if ($("messages").lastElementChild?.textContent === text) return;
    const item = document.createElement("li");
    item.className = "notice";
    item.textContent = text;
    this.#append(item);
  }

  #append(item) {
    const messages = $("messages");
    messages.append(item);
    while (messages.childElementCount > KEEP_MESSAGES) messages.firstElementChild.remove();
    this.#followEnd();
  }

  // The log follows its end, whatever changes its height, unless the reader has scrolled up.
  #followEnd() { if (this.#following) $("log").scrollTop = $("log").scrollHeight; }
}

function part(parent, name, text) {
  const span = document.createElement("span");
  span.className = name;
  span.textContent = text;
  parent.append(span);
}
