// Talks to an echo through the gateway as a browser does: WHATWG's WebSocket of Node.
import assert from "node:assert";

const socket = new WebSocket(process.argv[2]);
socket.binaryType = "arraybuffer";
const once = (name) =>
  new Promise((resolve, reject) => {
    socket.addEventListener(name, resolve, { once: true });
    socket.addEventListener("error", (event) => reject(event.error ?? event), { once: true });
  });

await once("open");
const binary = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 31) % 251);
for (const message of ["hello", "", "grüße 🙂".repeat(1000), binary]) {
  const answer = once("message");
  socket.send(message);
  const { data } = await answer;
  if (typeof message === "string") assert.equal(data, message);
  else assert.ok(Buffer.from(data).equals(Buffer.from(message)), "the bytes have changed");
}
const closed = once("close");
socket.close(1000, "bye");
const { code, reason, wasClean } = await closed;
console.log(JSON.stringify({ code, reason, wasClean }));
