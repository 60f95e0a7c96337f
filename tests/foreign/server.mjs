// Starts the real server as a program, on a free port, and ends it by its process id. As server.py, for Node.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BINARY = process.env.SERVER_UNDER_TEST ?? fileURLToPath(new URL("../../target/debug/shardwire", import.meta.url));
const START_MS = 20_000;
const STOP_MS = 20_000;

/** `settings` by path, as { SHARDS__COUNT: "4" }. Resolves once the server has said where it listens; with `ADMIN__ADDRESS` also for operators. */
export async function start(settings = {}) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is not built: cargo build, or set SERVER_UNDER_TEST`);
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("SHARDWIRE_"));
  const given = Object.entries({ LISTEN__ADDRESS: "127.0.0.1:0", ...settings }).map(([name, value]) => [`SHARDWIRE_${name}`, value]);
  const child = spawn(BINARY, [], { env: Object.fromEntries([...inherited, ...given]), stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text) => { said = (said + text).slice(-20_000); });
  const exited = once(child, "exit");
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const line = (what) => within(START_MS, what, Promise.race([
    lines.next().then(({ value }) => value),
    exited.then(([code]) => `ended with ${code}: ${said}`),
  ])).catch((error) => { child.kill("SIGKILL"); throw error; });
  const first = await line("the first line");
  const port = /^shardwire listening on 127\.0\.0\.1:(\d+)$/.exec(first)?.[1];
  if (!port) {
    child.kill("SIGKILL");
    throw new Error(`the first line does not say where it listens: ${first}`);
  }
  const operators = settings.ADMIN__ADDRESS && await line("where operators come in");
  return {
    port: Number(port),
    admin: operators && Number(/^shardwire admin on 127\.0\.0\.1:(\d+)$/.exec(operators)?.[1]),
    /** A normal end: SIGTERM (one; a second would end it at once), exit code 0. */
    async stop() {
      child.kill("SIGTERM");
      const [code] = await within(STOP_MS, "the server's end", exited).catch((error) => { child.kill("SIGKILL"); throw error; });
      if (code !== 0) throw new Error(`exit code ${code}\n${said}`);
    },
  };
}

/** The promise, or an error that says what was waited for. */
export async function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: nothing for ${ms} ms`)), ms); });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
