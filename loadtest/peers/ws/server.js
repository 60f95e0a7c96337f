// A peer to measure against: ws on Node, rooms as sets of sockets.
// `/echo` echoes; any other path speaks {"type":"subscribe","channel":…} and {"type":"publish","channel":…,"message":…}.
const { WebSocketServer } = require("ws");

const [host, port] = (process.argv[2] ?? "127.0.0.1:8083").split(":");
const rooms = new Map();

const server = new WebSocketServer({ host, port: Number(port), perMessageDeflate: false, maxPayload: 16 * 1024 * 1024, backlog: 4096 });
server.on("connection", (socket, request) => {
  socket.on("error", () => socket.terminate());
  if (request.url === "/echo") {
    socket.on("message", (message, isBinary) => socket.send(message, { binary: isBinary }));
    return;
  }
  const joined = [];
  socket.on("message", (text) => {
    const inbound = JSON.parse(text);
    if (inbound.type === "subscribe") {
      const room = rooms.get(inbound.channel) ?? new Set();
      rooms.set(inbound.channel, room.add(socket));
      joined.push(room);
      socket.send(JSON.stringify({ type: "subscribed", channel: inbound.channel }));
    } else if (inbound.type === "publish") {
      const { channel, message } = inbound;
      const said = Buffer.from(JSON.stringify({ type: "broadcast", channel, message, timestamp: Date.now() }));
      for (const subscriber of rooms.get(channel) ?? []) subscriber.send(said, { binary: false });
    }
  });
  socket.on("close", () => joined.forEach((room) => room.delete(socket)));
});
server.on("listening", () => console.log(`listening on ${host}:${port}`));
