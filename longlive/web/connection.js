// The connection to /live, which brings all messages of a run in order; see live.py for the frames.
// Gradio runs this after routes.js and before player.js, in the same function; those who watch along have it, too.

const RETRY_MS = 1000; // between two attempts to connect
const BROKEN_MS = 6000; // without a byte for so long, the connection is taken for broken
const QUIET_MS = 1500; // the server sends something more often than that
const PLAYER = Array.from(crypto.getRandomValues(new Uint32Array(4)), (one) => one.toString(36)).join("-");

// Calls onMessage(message, data) for each message after `after`, onReconnect() where the connection was broken, and
// onRefused(answer) where the server gives no messages.
class Connection {
  constructor(token, after, { onMessage, onReconnect = () => {}, onRefused = () => {} }) {
    Object.assign(this, { token, after, onMessage, onReconnect, onRefused });
    Object.assign(this, { isOpen: true, isPartial: false, isUnknown: false });
    this.byteAt = performance.now();
    this.listen();
  }

  // Whether the viewer's line is what the player waits for: half a message has come, or nothing at all.
  get isSlow() {
    return this.isPartial || performance.now() - this.byteAt > QUIET_MS;
  }

  // What is asked for: address and headers.
  get question() {
    return [routeUrl(`live?after=${this.after}&player=${PLAYER}`), { Authorization: `Bearer ${this.token}` }];
  }

  close() {
    this.isOpen = false;
    this.request?.abort();
  }

  // Give up a connection that brings nothing any more; to be called often.
  check() {
    if (performance.now() - this.byteAt > BROKEN_MS) this.request?.abort();
  }

  async listen() {
    for (let attempt = 0; this.isOpen; attempt++) {
      if (attempt) await new Promise((done) => setTimeout(done, RETRY_MS));
      if (this.isOpen) await this.read(attempt > 0).catch(() => {});
    }
  }

  async read(isAgain) {
    this.request = new AbortController();
    this.byteAt = performance.now();
    const [url, headers] = this.question;
    const answer = await fetch(url, { headers, signal: this.request.signal, cache: "no-store" });
    this.isUnknown = answer.status === 404;
    if (isAgain && (answer.ok || this.isUnknown)) this.onReconnect();
    if (!answer.ok) return this.onRefused(answer);
    const reader = answer.body.getReader();
    let bytes = new Uint8Array();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !this.isOpen) return;
      this.byteAt = performance.now();
      bytes = takeFrames(join(bytes, value), (message, data) => {
        this.after = message.serial;
        this.onMessage(message, data);
      });
      this.isPartial = bytes.length > 0;
    }
  }
}

// Calls onMessage(message, data) for the whole frames at the start of `bytes`; returns what is left.
const takeFrames = (bytes, onMessage) => {
  let start = 0;
  while (bytes.length - start >= 8) {
    const sizes = new DataView(bytes.buffer, bytes.byteOffset + start, 8);
    const dataAt = start + 8 + sizes.getUint32(0);
    const end = dataAt + sizes.getUint32(4);
    if (end > bytes.length) break;
    if (dataAt > start + 8) {
      const message = JSON.parse(new TextDecoder().decode(bytes.subarray(start + 8, dataAt)));
      onMessage(message, bytes.slice(dataAt, end));
    }
    start = end;
  }
  return bytes.slice(start);
};

const join = (first, second) => {
  if (!first.length) return second;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
};
