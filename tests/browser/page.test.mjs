// The page at `/` in headless Chromium, as a newcomer meets it: tabs chat through the engine, and write into one document.
// UPDATE_SCREENSHOT=1 writes docs/images; otherwise the pictures go to a temporary folder. EDITOR_SECONDS=30 types for so long.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { start } from "../foreign/server.mjs";

const { chromium } = createRequire(new URL("../foreign/package.json", import.meta.url))("playwright-core");
const DEADLINE_MS = 15_000;
// No sandbox: the only page it opens is ours, and root cannot have one. The rest keeps Chromium from calling home.
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

let server, browser, scratch;
before(async () => {
  scratch = await mkdtemp(join(tmpdir(), "shardwire-page-"));
  // By user: all tabs have one address, and the test is about several shards.
  server = await start({ SHARDS__COUNT: "4", SHARDS__PLACEMENT: "user-hash" });
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
});
after(async () => {
  await browser?.close();
  await server?.stop();
  if (scratch) await rm(scratch, { recursive: true, force: true });
});

/** A tab on the page, connected, with a name; whatever the browser complains about ends up in `complaints`. */
async function tab(name, { port = server.port, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(`http://127.0.0.1:${port}/`) && !request.url().startsWith("data:")) complaints.push(`asked for ${request.url()}`);
  });
  await page.addInitScript((name) => sessionStorage.setItem("name", name), name);
  await page.goto(`http://127.0.0.1:${port}/`);
  await connected(page);
  return { page, complaints, context };
}

/** The server answers, and lets it into the room it wants. */
async function connected(page) {
  await page.locator('#state[data-state="open"]').waitFor();
  await page.locator("#send:not([disabled])").waitFor({ state: "attached" });
}

/** Where a picture goes. */
const picture = (name) => process.env.UPDATE_SCREENSHOT === "1"
  ? fileURLToPath(new URL(`../../docs/images/${name}`, import.meta.url)) : join(scratch, name);

async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

const sees = (page, text) => page.locator(".message .text", { hasText: text }).first().waitFor();

test("tabs on different shards chat, and the shard table counts them", async () => {
  const tabs = [await tab("Ada"), await tab("Grace", { colorScheme: "dark" }), await tab("Barbara")];
  const [ada, grace, barbara] = tabs;
  const lines = [
    [ada, "Hello! This went from my tab to the engine, and from there to yours."],
    [grace, "It did. I live on another shard, and here the order is the same as at yours."],
    [barbara, "Three tabs, one room, and nobody waited for a lock."],
    [ada, "See you on the wire."],
  ];
  for (const [from, text] of lines) {
    await say(from.page, text);
    for (const { page } of tabs) await sees(page, text);
  }
  const own = ada.page.locator(".message.own");
  assert.equal(await own.count(), 2, "its own messages, and only those");
  assert.match(await own.first().innerText(), /Ada.*back in \d+(\.\d)? ms/s);
  assert.equal(await grace.page.locator(".message .who").first().innerText(), "Ada");
  const texts = lines.map(([, text]) => text);
  for (const { page } of tabs) assert.deepEqual(await page.locator(".message .text").allInnerTexts(), texts, "one order for all");

  for (const { page } of tabs) {
    await page.waitForFunction(() => document.querySelectorAll("#shards tbody i").length === 4);
    await page.waitForFunction(() => document.getElementById("total").textContent === "3");
    await page.waitForFunction(() => /^\d/.test(document.getElementById("round-trip").textContent));
  }
  const counts = await ada.page.locator("#shards tbody td.count").allInnerTexts();
  assert.ok(counts.filter((count) => count !== "0").length >= 2, `on more than one shard: ${counts}`);
  for (const { page } of tabs) {
    const people = await page.locator("#people li").allInnerTexts();
    assert.deepEqual(people.map((name) => name.replace(" (you)", "")).sort(), ["Ada", "Barbara", "Grace"]);
  }
  // Who types is shown to the others, and no longer when the message has come.
  await grace.page.getByLabel("Message", { exact: true }).pressSequentially("I am ty");
  await ada.page.getByText("Grace is typing…").waitFor();
  await ada.page.screenshot({ path: picture("page.png") });
  assert.equal(await grace.page.locator("#typing").innerText(), "");
  await grace.page.getByRole("button", { name: "Send" }).click();
  await sees(ada.page, "I am ty");
  await ada.page.waitForFunction(() => document.getElementById("typing").textContent === "");

  assert.deepEqual(tabs.flatMap(({ complaints }) => complaints), []);
  await grace.context.close();
  await ada.page.waitForFunction(() => document.getElementById("total").textContent === "2");
  await ada.context.close();
  await barbara.context.close();
});

test("messages are compressed between browser and server, in both directions", async () => {
  const { page, complaints, context } = await tab("Ada");
  const text = "the same again and again, ".repeat(400);
  const { extensions, echoed } = await page.evaluate((text) => new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/echo`);
    socket.onopen = () => socket.send(text);
    socket.onmessage = ({ data }) => { resolve({ extensions: socket.extensions, echoed: data }); socket.close(); };
    socket.onerror = () => reject(new Error("the socket failed"));
  }), text);
  assert.match(extensions, /^permessage-deflate\b/);
  assert.equal(echoed, text);
  assert.deepEqual(complaints, []);
  await context.close();
});

test("what people write is never markup", async () => {
  const { page, complaints, context } = await tab("<b>Mallory</b>");
  const hostile = '<img src="/x" onerror="window.hurt = true"><script>window.hurt = true</script>';
  await say(page, hostile);
  await sees(page, "onerror");
  assert.equal(await page.locator(".message .text").last().innerText(), hostile);
  assert.equal(await page.locator(".message .who").last().innerText(), "<b>Mallory</b>");
  assert.equal(await page.evaluate(() => window.hurt), undefined);
  assert.equal(await page.locator("#messages img, #messages script, #messages b").count(), 0);
  assert.deepEqual(complaints, []);
  await context.close();
});

test("it shows what any other client says or publishes in the room", async () => {
  const { page, context } = await tab("Ada");
  await page.evaluate(() => new Promise((resolve) => {
    const socket = new WebSocket(`ws://${location.host}/ws`);
    const send = (message) => socket.send(JSON.stringify(message));
    socket.onopen = () => {
      send({ type: "join-room", roomId: "lobby" });
      send({ type: "send-message", content: "from a guest" });
      for (const message of ["plain text", { name: "script" }, [1, 2], null]) send({ type: "publish", channel: "room:lobby", message });
      send({ type: "ping" });
    };
    socket.onmessage = ({ data }) => { if (JSON.parse(data).type === "pong") resolve(socket.close()); };
  }));
  await sees(page, "from a guest");
  for (const text of ["plain text", '{"name":"script"}', "[1,2]", "null", /^guest:\S+ has left$/]) {
    await page.locator(".notice", { hasText: text }).first().waitFor();
  }
  await context.close();
});

test("rooms are apart, and who goes to another has left", async () => {
  const [ada, grace] = [await tab("Ada"), await tab("Grace")];
  await ada.page.locator("#people li", { hasText: "Grace" }).waitFor();
  await grace.page.getByRole("button", { name: "kitchen" }).click();
  await ada.page.locator(".notice", { hasText: "Grace has left" }).waitFor();
  await connected(grace.page);
  assert.deepEqual(await grace.page.locator("#people li").allInnerTexts(), ["Grace (you)"]);
  await say(ada.page, "only in the lobby");
  await sees(ada.page, "only in the lobby");
  await ada.page.getByLabel("Another room").fill("kitchen");
  await ada.page.getByLabel("Another room").press("Enter");
  await grace.page.locator("#people li", { hasText: "Ada" }).waitFor();
  await connected(ada.page);
  await say(ada.page, "hello in here");
  await sees(grace.page, "hello in here");
  assert.equal(await grace.page.locator(".message").count(), 1, "and nothing of the lobby");
  assert.deepEqual([...ada.complaints, ...grace.complaints], []);
  await ada.context.close();
  await grace.context.close();
});

/** Everything between one tab and the server, which can be cut. */
async function relay() {
  const sockets = new Set();
  let whole = true;
  const listener = net.createServer((near) => {
    if (!whole) return near.destroy();
    const far = net.connect(server.port, "127.0.0.1");
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.pipe(other);
      socket.on("error", () => {});
      socket.on("close", () => { sockets.delete(socket); other.destroy(); });
    }
  });
  await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
  return {
    port: listener.address().port,
    cut() { whole = false; for (const socket of sockets) socket.destroy(); },
    mend() { whole = true; },
    close() { this.cut(); listener.close(); },
  };
}

test("two windows write into one document while one is cut off twice, and end with the same text", { timeout: 240_000 }, async () => {
  const seconds = Number(process.env.EDITOR_SECONDS ?? 10);
  const between = await relay();
  // No console of the one behind the relay: that a browser cannot connect is what this is about.
  const [ada, grace] = [await tab("Ada"), await tab("Grace", { port: between.port, colorScheme: "dark" })];
  const written = { Ada: 0, Grace: 0 };
  const begun = Date.now();
  const over = () => Date.now() - begun > seconds * 1000;
  /** Types characters of its own alphabet at places of its choice, as long as there is time. */
  const write = async ({ page }, name, alphabet, seed) => {
    await page.getByRole("tab", { name: "Document" }).click();
    await page.locator("#editor:not([readonly])").waitFor();
    const dice = (below) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0, (seed >>> 8) % below);
    while (!over()) {
      const word = Array.from({ length: 1 + dice(7) }, () => alphabet[dice(alphabet.length)]).join("");
      await page.locator("#editor").evaluate((field, share) => {
        field.focus();
        const at = Math.floor(field.value.length * share);
        // Not between the halves of a character.
        const before = field.value.codePointAt(at - 1) > 0xffff ? at + 1 : at;
        field.setSelectionRange(before, before);
      }, dice(1000) / 1000);
      await page.keyboard.type(word);
      written[name] += [...word].length;
    }
  };
  const cuts = async () => {
    for (const share of [0.25, 0.6]) {
      while (Date.now() - begun < share * seconds * 1000) await new Promise((resolve) => setTimeout(resolve, 50));
      between.cut();
      await grace.page.locator('#state:not([data-state="open"])').waitFor();
      const before = written.Grace;
      while (written.Grace < before + 10) await new Promise((resolve) => setTimeout(resolve, 20));
      between.mend();
      await grace.page.evaluate(() => document.getElementById("retry").click());
      await connected(grace.page);
    }
  };
  await Promise.all([write(ada, "Ada", [..."abcdefghij"], 1), write(grace, "Grace", [..."klmnopqrst\u{1F98A}\n"], 2), cuts()]);
  for (const { page } of [ada, grace]) await page.locator("#saved", { hasText: "everybody has all of it" }).waitFor();
  const text = ({ page }) => page.locator("#editor").inputValue();
  const total = written.Ada + written.Grace;
  // What is acknowledged is on its way to the other.
  for (const { page } of [ada, grace]) await page.waitForFunction((total) => [...document.getElementById("editor").value].length === total, total);
  const [one, other] = [await text(ada), await text(grace)];
  assert.equal(one, other);
  const own = [...one].filter((character) => "abcdefghij".includes(character)).length;
  assert.equal(own, written.Ada, "nothing is lost, and nothing is there twice");
  assert.ok(written.Ada > 5 * seconds && written.Grace > 5 * seconds, JSON.stringify(written));
  console.log(`${seconds} s, ${JSON.stringify(written)} characters, ${one.length} units in the end`);
  assert.deepEqual(ada.complaints, []);

  // For the documentation: the two windows beside each other, over a text that can be read.
  await ada.page.locator("#editor").fill("# Release notes\n\n- chat rooms: who is there, who types\n- documents that several people edit at once\n- \n\nWho writes what?\n");
  await grace.page.waitForFunction(() => document.getElementById("editor").value.startsWith("# Release notes"));
  const place = ({ page }, behind) => page.locator("#editor").evaluate((field, behind) => {
    field.focus();
    const at = field.value.indexOf(behind) + behind.length;
    field.setSelectionRange(at, at);
  }, behind);
  await place(grace, "at once\n- ");
  await grace.page.keyboard.type("a bell");
  await place(ada, "writes what?");
  await ada.page.locator('.caret[data-name="Grace"]').waitFor();
  await grace.page.locator('.caret[data-name="Ada"]').waitFor();
  const shots = [];
  for (const { page } of [ada, grace]) shots.push(`data:image/png;base64,${(await page.screenshot()).toString("base64")}`);
  const wall = await browser.newPage({ viewport: { width: 1640, height: 560 } });
  await wall.setContent(`<body style="margin:0;display:flex;gap:16px;background:#8a938f;padding:16px">${shots.map((shot) => `<img style="width:796px" src="${shot}">`).join("")}`);
  await wall.screenshot({ path: picture("editor.png") });
  await wall.close();
  await ada.context.close();
  await grace.context.close();
  between.close();
});

test("the bell counts what is unread, the same on every device of a user, and reading on one is reading on all", async () => {
  const own = await start({ SHARDS__COUNT: "2", SHARDS__PLACEMENT: "accept", ADMIN__ADDRESS: "127.0.0.1:0", ADMIN__KEY: "0123456789abcdef" });
  try {
    const notify = async (title, body) => {
      const answer = await fetch(`http://127.0.0.1:${own.admin}/v1/users/Ada/notifications`, {
        method: "POST", headers: { Authorization: "Bearer 0123456789abcdef" }, body: JSON.stringify({ title, body }),
      });
      assert.equal(answer.status, 200, await answer.text());
    };
    await notify("Before anybody came", "and kept until somebody did");
    const devices = [await tab("Ada", { port: own.port }), await tab("Ada", { port: own.port, colorScheme: "dark" })];
    const unread = async (count) => {
      for (const { page } of devices) await page.locator("#unread", { hasText: String(count) }).waitFor();
    };
    await unread(1);
    await notify("Your parcel is on its way", "It comes tomorrow.");
    await notify('<b>Hostile</b> <img src="/x" onerror="window.hurt = true">');
    await unread(3);
    const [here, there] = devices;
    await here.page.getByRole("button", { name: "Notifications, 3 unread" }).click();
    const titles = await here.page.locator("#notifications b").allInnerTexts();
    assert.deepEqual(titles.slice(1), ["Your parcel is on its way", "Before anybody came"]);
    assert.match(titles[0], /^<b>Hostile<\/b>/);
    await here.page.screenshot({ path: join(scratch, "bell.png") });
    await here.page.getByRole("button", { name: "Mark all as read" }).click();
    for (const { page } of devices) await page.locator("#unread").waitFor({ state: "hidden" });
    await there.page.getByRole("button", { name: "Notifications", exact: true }).click();
    assert.equal(await there.page.locator("#notifications .new").count(), 0);
    await there.page.keyboard.press("Escape");
    assert.ok(await there.page.locator("#bell-list").isHidden());
    assert.equal(await here.page.evaluate(() => window.hurt), undefined);
    assert.deepEqual(devices.flatMap(({ complaints }) => complaints), []);
    for (const { context } of devices) await context.close();
  } finally {
    await own.stop();
  }
});

test("on a phone everything has its place and nothing overflows sideways", async () => {
  const { page, complaints, context } = await tab("Ada", { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true });
  await say(page, "x".repeat(400));
  await sees(page, "xxx");
  const { wide, view } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, view: innerWidth }));
  assert.ok(wide <= view, `${wide} > ${view}`);
  for (const part of ["Your name", "Message", "Another room"]) assert.ok(await page.getByLabel(part, { exact: true }).isVisible(), part);
  await page.locator("#here-chat", { hasText: "1 here: you" }).waitFor();
  for (const [name, part] of [["Document", "#editor"], ["Engine", "#shards"], ["Chat", "#composer"]]) {
    await page.getByRole("tab", { name }).click();
    assert.ok(await page.locator(part).isVisible(), name);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), name);
  }
  // By keys, as everywhere.
  await page.getByRole("tab", { name: "Chat" }).press("ArrowRight");
  assert.equal(await page.getByRole("tab", { selected: true }).innerText(), "Document");
  assert.deepEqual(complaints, []);
  await context.close();
});

test("when the server goes, the page says so, and comes back with it", async () => {
  const first = await start({ SHARDS__COUNT: "1" });
  const context = await browser.newContext();
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${first.port}/`);
  await connected(page);
  await page.evaluate(() => { window.sameDocument = true; });
  await first.stop();
  await page.locator('#state:not([data-state="open"])').waitFor();
  assert.ok(await page.getByRole("button", { name: "Send" }).isDisabled());
  const again = await start({ SHARDS__COUNT: "1", LISTEN__ADDRESS: `127.0.0.1:${first.port}` });
  try {
    await connected(page);
    assert.equal(await page.evaluate(() => window.sameDocument), true, "without a reload");
    await say(page, "back again");
    await sees(page, "back again");
  } finally {
    await context.close();
    await again.stop();
  }
});
