// Reads events through the gateway, each of which says when it was sent (milliseconds), and prints what was seen of
// each: by WHATWG's EventSource over HTTP/1.1, or by Node's HTTP/2.
//   events.mjs URL COUNT http1|http2
import http2 from "node:http2";

const [url, count, version] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const seen = [];
let done;
const all = new Promise((resolve) => (done = resolve));
const take = (id, sent) => {
  seen.push({ id, delay: Date.now() - Number(sent) });
  if (seen.length === count) done();
};

if (version === "http1") {
  // Its own timer does not keep the process alive until it has come back.
  const alive = setInterval(() => {}, 1000);
  const source = new EventSource(url);
  source.addEventListener("message", (event) => take(event.lastEventId, event.data));
  await all;
  source.close();
  clearInterval(alive);
} else {
  const { origin, pathname } = new URL(url);
  const session = http2.connect(origin);
  const stream = session.request({ ":path": pathname, accept: "text/event-stream" });
  let text = "";
  stream.setEncoding("utf8").on("data", (piece) => {
    text += piece;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const event = /id: (.*)\ndata: (.*)/.exec(text.slice(0, end));
      if (event) take(event[1], event[2]);
    }
  });
  await all;
  session.destroy();
}
console.log(JSON.stringify(seen));
