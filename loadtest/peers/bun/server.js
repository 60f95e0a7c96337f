// A peer to measure against: Bun's own WebSocket server (uWebSockets inside), with its own publish/subscribe.
// `/echo` echoes; any other path speaks {"type":"subscribe","channel":…} and {"type":"publish","channel":…,"message":…}.
// With two more arguments, a certificate and its key (PEM files), it speaks wss.
const [hostname, port] = (process.argv[2] ?? "127.0.0.1:8082").split(":");

const [certificate, key] = process.argv.slice(3, 5);
const tls = certificate && { cert: Bun.file(certificate), key: Bun.file(key) };

const server = Bun.serve({
  hostname,
  port: Number(port),
  tls,
  fetch(request, server) {
    const echo = new URL(request.url).pathname === "/echo";
    if (server.upgrade(request, { data: { echo } })) return;
    return new Response("Expected WebSocket", { status: 400 });
  },
  websocket: {
    maxPayloadLength: 16 * 1024 * 1024,
    perMessageDeflate: false,
    idleTimeout: 0,
    message(socket, message) {
      if (socket.data.echo) {
        socket.send(message);
        return;
      }
      const inbound = JSON.parse(message);
      if (inbound.type === "subscribe") {
        socket.subscribe(inbound.channel);
        socket.send(JSON.stringify({ type: "subscribed", channel: inbound.channel }));
      } else if (inbound.type === "publish") {
        const { channel, message } = inbound;
        server.publish(channel, JSON.stringify({ type: "broadcast", channel, message, timestamp: Date.now() }));
      }
    },
  },
});
console.log(`listening on ${server.hostname}:${server.port}`);
