// The strip of the timeline: a thumbnail for each chunk, the prompts above them, the playhead; scrolls with it.
// Gradio runs this after routes.js and before timeline.js, in the same function.

const CELL = 72; // pixels that a chunk is wide, however long it lasts
const MAX_CELLS = 120; // in the page at once: those around what is in sight
const MAX_KEPT = 480; // chunks whose thumbnails are kept; others are fetched again when they are scrolled into sight
const MAX_WAITING = 20; // prompts to come that are drawn
const PAGE = 40; // chunks in an answer of /thumbnails
const RETRY_FETCH_MS = 5000;
const HOLD_MS = 5000; // how long the strip stays where the viewer has scrolled it
const TURN_MS = 700; // between two turns of the strip after the playhead
const MAX_SAID = 120; // characters of a prompt that a screen reader says
const HUES = 6;

const make = (tag, className, text = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// What a mark says: whether a chunk that was made again is as recorded.
const said = ({ matches }) => ({ true: ", as recorded", false: ", not as recorded" })[matches] ?? "";

class ChunkStrip {
  // `onLook` is called with the number of a chunk that the viewer wants to see again, and its thumbnail if it is known;
  // with null to see what is live.
  constructor(strip, onLook) {
    Object.assign(this, { strip, onLook, waiting: [], heldUntil: 0, turnedAt: 0 });
    this.track = strip.querySelector(".track");
    this.open("", "");
    strip.addEventListener("scroll", () => this.draw());
    for (const gesture of ["wheel", "touchmove", "pointerdown"]) {
      strip.addEventListener(gesture, () => (this.heldUntil = performance.now() + HOLD_MS), { passive: true });
    }
    strip.addEventListener("keydown", (event) => this.onKey(event));
    strip.addEventListener("blur", () => this.describe());
    this.track.addEventListener("click", ({ clientX }) => {
      const { left } = this.track.getBoundingClientRect();
      this.look(Math.floor((clientX - left) / CELL));
    });
    new ResizeObserver(() => this.draw()).observe(strip);
  }

  // Show a run; what is known of it stays if it is the same.
  open(token, take) {
    if (this.take === take && take) return void (this.token = token);
    Object.assign(this, { token, take, count: 0, playhead: 0, review: null, partStart: null, near: 0, fetchAfter: 0 });
    this.chunks = new Map(); // by number: start and end in seconds, prompt, thumbnail
    this.texts = []; // of the prompts, by their numbers
    this.cells = new Map();
    this.bands = make("div", "bands");
    this.marker = make("span", "marker");
    this.reviewMarker = make("span", "marker review");
    this.track.replaceChildren(this.bands, this.marker, this.reviewMarker);
    this.strip.scrollLeft = 0;
    this.draw();
  }

  // A segment that was made, or a chunk as /thumbnails describes it; `matches`: whether it is as recorded.
  add({ chunk, first_frame: frame, num_frames: length, fps, thumbnail, matches, ends_chunk: endsChunk, ...other }) {
    const start = frame / fps;
    if (endsChunk === false) return void (this.partStart = start);
    const prompt = other.prompt_index;
    this.chunks.set(chunk, { start: this.partStart ?? start, end: (frame + length) / fps, prompt, thumbnail, matches });
    this.partStart = null;
    this.texts[prompt] = other.prompt;
    this.count = Math.max(this.count, chunk + 1);
    this.draw();
  }

  // The chunks from this one on are not part of the video any more.
  drop(chunk) {
    for (const number of [...this.chunks.keys()]) if (number >= chunk) this.chunks.delete(number);
    this.count = Math.min(this.count, chunk);
    this.partStart = null;
    this.draw();
  }

  setWaiting(waiting) {
    this.waiting = waiting.slice(0, MAX_WAITING);
    this.draw();
  }

  setPlayhead(seconds) {
    this.playhead = seconds;
    this.move();
  }

  // What the viewer sees again: the number of its chunk and the second of the video; null for nothing.
  setReview(review) {
    const isOther = this.review?.chunk !== review?.chunk;
    this.review = review;
    this.move();
    if (isOther) this.draw();
  }

  look(chunk) {
    this.heldUntil = 0;
    const one = this.chunks.get(chunk);
    const isSeen = chunk < this.count && !(one && one.start >= this.playhead);
    if (isSeen) this.onLook(Math.max(0, chunk), one?.thumbnail);
    else this.onLook(null);
  }

  onKey(event) {
    const now = this.review?.chunk ?? Math.floor(this.cellAt(this.playhead));
    const targets = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0 };
    targets.ArrowDown = targets.ArrowLeft;
    targets.ArrowUp = targets.ArrowRight;
    Object.assign(targets, { End: Infinity, Escape: Infinity });
    if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in targets) || !this.count) return;
    event.preventDefault();
    this.look(targets[event.key]);
  }

  // Where a second of the video is, in cells from the left.
  cellAt(seconds) {
    const isIn = (number) => seconds >= this.chunks.get(number)?.start && seconds < this.chunks.get(number).end;
    const found = [this.near, this.near + 1, this.near - 1].find(isIn) ?? [...this.chunks.keys()].find(isIn);
    const number = found ?? Math.max(...this.chunks.keys());
    const one = this.chunks.get(number);
    if (!one) return 0;
    this.near = number;
    return Math.max(0, number + (seconds - one.start) / (one.end - one.start));
  }

  // Draw what has changed, once for all changes of a moment.
  draw() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      this.drawNow();
    });
  }

  drawNow() {
    const first = Math.floor(this.strip.scrollLeft / CELL);
    const inSight = Math.ceil(this.strip.clientWidth / CELL) + 1;
    const from = Math.max(0, Math.min(first - (MAX_CELLS - inSight) / 2, this.count - MAX_CELLS)) | 0;
    const to = Math.min(this.count, from + MAX_CELLS);
    this.strip.hidden = !this.count;
    this.drawCells(from, to);
    this.drawBands(from, to);
    this.forget(first);
    this.move();
    this.describe();
    this.fetchMissing(Math.max(from, first - 5), Math.min(to, first + inSight + 5));
  }

  drawCells(from, to) {
    for (const [number, cell] of this.cells) {
      if (number >= from && number < to) continue;
      cell.remove();
      this.cells.delete(number);
    }
    for (let number = from; number < to; number++) {
      if (!this.cells.has(number)) this.cells.set(number, this.track.appendChild(this.makeCell(number)));
      this.fill(this.cells.get(number), this.chunks.get(number));
      this.cells.get(number).classList.toggle("again", number === this.review?.chunk);
    }
  }

  makeCell(number) {
    const cell = make("span", "chunk");
    Object.assign(cell.dataset, { take: this.take, chunk: number });
    cell.style.left = `${number * CELL}px`;
    return cell;
  }

  fill(cell, chunk) {
    if (cell.shown === chunk || !chunk) return;
    cell.shown = chunk;
    cell.title = clock(chunk.start) + said(chunk);
    if (typeof chunk.matches === "boolean") cell.dataset.verified = chunk.matches ? "yes" : "no";
    else delete cell.dataset.verified;
    const image = make("img", "");
    image.alt = "";
    image.draggable = false;
    image.src = chunk.thumbnail;
    cell.replaceChildren(...(chunk.thumbnail ? [image] : []));
  }

  // The prompts above their chunks, then those to come.
  drawBands(from, to) {
    const bands = [];
    for (let number = from; number < to; number++) {
      const prompt = this.chunks.get(number)?.prompt;
      if (prompt === undefined) continue;
      const last = bands.at(-1);
      if (last?.prompt === prompt && last.to === number) last.to = number + 1;
      else bands.push({ prompt, from: number, to: number + 1, text: this.texts[prompt] });
    }
    let end = this.count;
    this.waiting.forEach(({ at, text }, i) => {
      const start = Math.max(end, this.cellAt(at));
      const next = this.waiting[i + 1];
      end = next ? Math.max(start + 1, this.cellAt(next.at)) : start + 3;
      bands.push({ from: start, to: end, text });
    });
    const room = 0.6 * this.strip.clientWidth; // for what will come
    this.track.style.width = `${Math.max(end * CELL, this.count * CELL + room)}px`;
    const key = JSON.stringify(bands);
    if (this.bandsKey === key && this.bands.hasChildNodes()) return;
    this.bandsKey = key;
    this.bands.replaceChildren(...bands.map(band));
  }

  // Let go of what is far from what is in sight and from the newest chunks.
  forget(first) {
    if (this.chunks.size <= MAX_KEPT) return;
    for (const number of [...this.chunks.keys()]) {
      if (Math.abs(number - first) > MAX_KEPT / 4 && number < this.count - MAX_KEPT / 4) this.chunks.delete(number);
    }
  }

  // Chunks of before a reload, as far as they are in sight.
  async fetchMissing(from, to) {
    const { token } = this;
    let last = to - 1;
    while (last >= from && this.chunks.has(last)) last--;
    if (last < from || this.isFetching || !token || performance.now() < this.fetchAfter) return;
    this.isFetching = true;
    try {
      const answer = await fetchStored(`thumbnails?first=${Math.max(0, last + 1 - PAGE)}`, token);
      const { chunks } = await answer.json();
      const missing = chunks.filter(({ chunk }) => chunk < this.count && !this.chunks.has(chunk));
      if (token !== this.token) return;
      missing.forEach((one) => this.add(one));
      this.fetchAfter = missing.length ? 0 : performance.now() + RETRY_FETCH_MS;
    } catch (error) {
      this.fetchAfter = error.status === 404 ? Infinity : performance.now() + RETRY_FETCH_MS;
    } finally {
      this.isFetching = false;
    }
  }

  // Move the playhead, and turn the strip before it leaves sight.
  move() {
    const live = this.cellAt(this.playhead);
    const seen = this.review ? this.cellAt(this.review.seconds) : live;
    this.marker.style.transform = `translateX(${live * CELL}px)`;
    this.reviewMarker.style.transform = `translateX(${seen * CELL}px)`;
    this.reviewMarker.hidden = !this.review;
    this.follow(seen * CELL);
  }

  follow(x) {
    const { scrollLeft, clientWidth } = this.strip;
    const isInSight = x >= scrollLeft && x <= scrollLeft + clientWidth - 2.5 * CELL;
    const now = performance.now();
    if (!clientWidth || isInSight || now < this.heldUntil || now < this.turnedAt + TURN_MS) return;
    this.turnedAt = now;
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches || Math.abs(x - scrollLeft) > 2 * clientWidth;
    this.strip.scrollTo({ left: x - 0.4 * clientWidth, behavior: isCalm ? "instant" : "smooth" });
  }

  // What a screen reader says: while the strip has the focus, only what the viewer has changed.
  describe() {
    if (document.activeElement === this.strip && this.said === this.review?.chunk) return;
    this.said = this.review?.chunk;
    const number = this.review?.chunk ?? Math.floor(this.cellAt(this.playhead));
    const one = this.chunks.get(number);
    const moment = one ? `${clock(one.start)}${said(one)}, ${this.texts[one.prompt].slice(0, MAX_SAID)}` : "";
    this.strip.setAttribute("aria-valuemax", Math.max(0, this.count - 1));
    this.strip.setAttribute("aria-valuenow", Math.max(0, Math.min(number, this.count - 1)));
    this.strip.setAttribute("aria-valuetext", `${this.review ? "Looking back" : "Live"}, ${moment}`);
  }
}

const band = ({ prompt, from, to, text }) => {
  const node = make("span", prompt === undefined ? "band waiting" : "band");
  node.style.left = `${from * CELL}px`;
  node.style.width = `${(to - from) * CELL - 2}px`;
  node.title = text;
  node.append(make("span", "text", text), make("i", prompt === undefined ? "line" : `line hue${prompt % HUES}`));
  node.firstChild.dir = "auto";
  return node;
};
