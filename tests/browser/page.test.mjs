// The page at `/` in headless Chromium, as a newcomer meets it: two tabs chat through the engine.
// UPDATE_SCREENSHOT=1 writes docs/images/page.png; otherwise the picture goes to a temporary folder.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
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
async function tab(name, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(`http://127.0.0.1:${server.port}/`) && !request.url().startsWith("data:")) complaints.push(`asked for ${request.url()}`);
  });
  await page.goto(`http://127.0.0.1:${server.port}/`);
  await connected(page);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Your name").blur();
  await connected(page);
  return { page, complaints, context };
}

const connected = (page) => page.locator('#state[data-state="open"]').waitFor();

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
    [barbara, "Three tabs, one channel, and nobody waited for a lock."],
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
  const target = process.env.UPDATE_SCREENSHOT === "1"
    ? fileURLToPath(new URL("../../docs/images/page.png", import.meta.url)) : join(scratch, "page.png");
  const counts = await ada.page.locator("#shards tbody td.count").allInnerTexts();
  assert.ok(counts.filter((count) => count !== "0").length >= 2, `on more than one shard: ${counts}`);
  await ada.page.screenshot({ path: target });

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

test("it shows what any other client publishes", async () => {
  const { page, context } = await tab("Ada");
  for (const message of ["plain text", { name: "script", text: "an object" }, [1, 2], null]) {
    await page.evaluate((message) => send({ type: "publish", channel: "lobby", message }), message);
  }
  for (const text of ["plain text", "an object", "[1,2]", "null"]) await sees(page, text);
  await context.close();
});

test("on a phone everything has its place and nothing overflows sideways", async () => {
  const { page, complaints, context } = await tab("Ada", { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true });
  await say(page, "x".repeat(400));
  await sees(page, "xxx");
  const { wide, view } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, view: innerWidth }));
  assert.ok(wide <= view, `${wide} > ${view}`);
  for (const part of ["Your name", "Message"]) assert.ok(await page.getByLabel(part, { exact: true }).isVisible(), part);
  assert.ok(await page.locator("#shards").isVisible());
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
