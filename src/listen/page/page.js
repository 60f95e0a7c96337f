// The page: a name, a connection, tabs, and what the engine does.

import { Bell } from "./bell.js";
import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { Editor } from "./editor.js";
import { showPeople } from "./people.js";

const SHARDS = "$shards";              // reserved channel: the engine tells its connections per shard while somebody listens
const KEEP_WIRE = 30;
const $ = (id) => document.getElementById(id);

let tab = "chat";
const connection = new Connection();
const chat = new Chat(connection, () => whoIsHere());
const editor = new Editor(connection, () => whoIsHere());
const bell = new Bell(connection);

// ---- name ----

function anyName() {
  const pick = (words) => words[Math.floor(Math.random() * words.length)];
  return `${pick(["Amber", "Brisk", "Calm", "Dusky", "Eager", "Fleet", "Gentle", "Hardy", "Lucid", "Quiet", "Silver", "Tidy"])} ${
    pick(["Badger", "Crane", "Dolphin", "Falcon", "Heron", "Ibex", "Lynx", "Marten", "Otter", "Puffin", "Raven", "Tern"])}`;
}
function remembered() { try { return sessionStorage.getItem("name"); } catch { return null; } }
function remember(name) { try { sessionStorage.setItem("name", name); } catch { /* private mode: forget it */ } }

const nameField = $("name");
nameField.value = remembered() || anyName();
remember(nameField.value);
nameField.addEventListener("change", () => {
  nameField.value = nameField.value.trim() || anyName();
  remember(nameField.value);
  connection.connect(nameField.value); // the name belongs to the connection, so it takes a new one
});

// ---- connection ----

let ticker = 0;
connection.addEventListener("state", ({ detail: { state, words, due } }) => {
  $("state").dataset.state = state;
  $("state").textContent = words;      // read aloud by screen readers: changes with the state, not with the countdown
  $("retry").hidden = state !== "waiting" && state !== "stopped";
  $("shards").classList.toggle("stale", state !== "open");
  if (state !== "open") $("round-trip").textContent = "–";
  clearInterval(ticker);
  $("countdown").textContent = "";
  if (state !== "waiting") return;
  const tell = () => { $("countdown").textContent = `next try in ${Math.max(0, (due - Date.now()) / 1000).toFixed(0)} s`; };
  tell();
  ticker = setInterval(tell, 1000);
});
connection.addEventListener("open", () => {
  connection.send({ type: "subscribe", channel: SHARDS });
  chat.connected(nameField.value);
  editor.connected(nameField.value);
  bell.connected();
});
connection.addEventListener("lost", () => {
  chat.disconnected();
  editor.disconnected();
  bell.disconnected();
});
connection.addEventListener("message", ({ detail: message }) => {
  if (message.type === "broadcast" && message.channel === SHARDS) return showShards(message.message);
  chat.receive(message);
  editor.receive(message);
  bell.receive(message);
});
connection.addEventListener("trip", ({ detail: ms }) => { $("round-trip").textContent = `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`; });
connection.addEventListener("traced", ({ detail: { direction, text } }) => {
  const item = document.createElement("li");
  item.className = direction;
  item.textContent = text.length > 300 ? `${text.slice(0, 300)}…` : text;
  $("wire").prepend(item);
  while ($("wire").childElementCount > KEEP_WIRE) $("wire").lastElementChild.remove();
});
$("retry").addEventListener("click", () => connection.connect(nameField.value));

// ---- tabs ----

const tabs = [...document.querySelectorAll("[role=tab]")];
function show(next, focus = false) {
  tab = next;
  document.body.dataset.tab = tab;
  for (const button of tabs) {
    const selected = button.id === `tab-${tab}`;
    button.setAttribute("aria-selected", String(selected));
    button.tabIndex = selected ? 0 : -1;
    if (selected && focus) button.focus();
  }
  $("panel-chat").hidden = tab !== "chat";
  $("panel-document").hidden = tab !== "document";
  whoIsHere();
}
for (const button of tabs) {
  button.addEventListener("click", () => show(button.id.slice(4)));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const seen = tabs.filter((other) => other.offsetParent !== null);
    show(seen[(seen.indexOf(button) + step + seen.length) % seen.length].id.slice(4), true);
  });
}
// The engine has a tab of its own only where there is no room for it beside the others.
matchMedia("(max-width: 46rem)").addEventListener("change", ({ matches }) => { if (!matches && tab === "engine") show("chat"); });

function whoIsHere() {
  const reading = tab === "document";
  $("people-title").textContent = reading ? "In this document" : `In “${chat.room}”`;
  if (reading) showPeople(editor.people, chat.own);
  else showPeople(chat.people, chat.own, new Set(chat.typing.keys()));
}

// ---- shards ----

function showShards(body) {
  if (body === null || typeof body !== "object" || !Array.isArray(body.shards)) return;
  const counts = body.shards.map((count) => Number(count) || 0);
  const most = Math.max(1, ...counts);
  const rows = $("shards").tBodies[0];
  if (rows.rows.length !== counts.length || !rows.querySelector("i")) {
    rows.replaceChildren(...counts.map((_, index) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = String(index);
      const bar = document.createElement("td");
      bar.className = "bar";
      bar.setAttribute("aria-hidden", "true");
      bar.append(document.createElement("i"));
      const count = document.createElement("td");
      count.className = "count number";
      row.append(head, bar, count);
      return row;
    }));
  }
  counts.forEach((count, index) => {
    rows.rows[index].querySelector("i").style.width = `${100 * count / most}%`;
    rows.rows[index].cells[2].textContent = count.toLocaleString();
  });
  $("total").textContent = counts.reduce((sum, count) => sum + count, 0).toLocaleString();
}

show("chat");
connection.connect(nameField.value);
