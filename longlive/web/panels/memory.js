// The chunks that the one on the screen was made from, what a switch did to them, and two lines: fit and similarity.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const SHOWN_CHUNKS = 60; // in the lines
const MAX_PICTURES = 8; // of a window
const MAX_RUNS = 8;
const RECENT_CHUNKS = 8; // so long, a switch is mentioned
const SWITCHES = {
  soft: (again, at) => `Recached ${again ? "" : "for the new prompt "}at ${at}: the same chunks, read anew.`,
  hard: (_, at) => `Cut at ${at}: the cache was cleared, and the new scene's first chunk is its sink.`,
  keep: (_, at) => `Drift at ${at}: the cache was kept as the old prompt left it.`,
};

const host = element.closest("#memory") ?? element;
const find = (selector) => element.querySelector(selector);
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const percent = (value) => `${Math.round(100 * value)} %`;
const runs = new Map(); // reports by token, the one used last at the end
let live = new ChunkReports("", () => draw());
let shown = live;
let playhead = 0;
let review = null;
let drawing = null;

const reportsOf = (token) => {
  const reports = runs.get(token) ?? new ChunkReports(token, () => draw());
  runs.delete(token);
  runs.set(token, reports);
  if (runs.size > MAX_RUNS) runs.delete(runs.keys().next().value);
  return reports;
};

// Draw once for all changes of a moment.
const draw = () => {
  drawing ??= requestAnimationFrame(() => {
    drawing = null;
    const one = review ? shown.get(review.chunk) : live.at(playhead);
    if (one) drawChunk(review ? shown : live, one);
    else if (review) shown.need([review.chunk]);
  });
};

const drawChunk = (reports, one) => {
  const attended = one.attended ?? { sink: [], window: [] };
  const window = attended.window.filter((number) => !attended.sink.includes(number)).slice(-MAX_PICTURES);
  const history = range(Math.max(0, one.number - SHOWN_CHUNKS + 1), one.number);
  reports.need([...attended.sink, ...window, ...history.slice(-40)]);
  Object.assign(host.dataset, { chunk: one.number, sink: attended.sink.join(), window: attended.window.join() });
  find(".shelf").hidden = !one.attended;
  fill(".sink", attended.sink.map((number) => reports.get(number)));
  fill(".window", window.map((number) => reports.get(number)));
  fill(".now", [one]);
  find(".moment").textContent = review ? "Looking back" : "On the screen";
  drawSwitch(reports, one.number);
  find(".warning").textContent = one.warning ?? "";
  find(".warning").hidden = !one.warning;
  drawLines(history.map((number) => reports.get(number)));
};

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

const fill = (part, chunks) => {
  const box = find(`${part} .pictures`);
  const key = chunks.map((one) => (one ? `${one.number}${one.thumbnail ? "" : "?"}` : "-")).join();
  if (box.dataset.shown === key) return;
  box.dataset.shown = key;
  box.replaceChildren(...(chunks.length ? chunks.map(picture) : [empty()]));
};

const picture = (one) => {
  const box = document.createElement("span");
  box.className = "picture";
  if (!one) return box;
  const image = document.createElement("img");
  Object.assign(image, { src: one.thumbnail, alt: `Chunk ${one.number}, at ${clock(one.start)}` });
  image.dataset.chunk = one.number;
  const time = document.createElement("time");
  time.textContent = clock(one.start);
  box.append(...(one.thumbnail ? [image] : []), time);
  return box;
};

const empty = () => {
  const box = document.createElement("span");
  box.className = "picture none";
  box.textContent = "nothing yet";
  return box;
};

// What the last switch did, as long as it is recent.
const drawSwitch = (reports, number) => {
  const recent = range(Math.max(0, number - RECENT_CHUNKS + 1), number).reverse();
  const found = recent.map((one) => reports.get(one)).find((one) => one?.attended?.switch);
  const isAgain = found && reports.get(found.number - 1)?.prompt === found.prompt;
  const text = found ? SWITCHES[found.attended.switch](isAgain, clock(found.start)) : "";
  host.dataset.switch = found?.attended.switch ?? "";
  host.dataset.switchChunk = found?.number ?? "";
  if (find(".event").textContent !== text) find(".event").textContent = text;
};

const drawLines = (chunks) => {
  const names = ["fit", "similarity"].filter((name) => chunks.some((one) => typeof one?.[name] === "number"));
  find(".chart").hidden = !names.length;
  const svg = find("svg");
  const first = SHOWN_CHUNKS - chunks.length;
  const marks = chunks.flatMap((one, i) => (one?.attended?.switch ? [mark(first + i, one.attended.switch)] : []));
  svg.replaceChildren(...marks, ...names.flatMap((name) => lines(name, chunks, first)));
  const said = ["fit", "similarity"].map((name) => say(name, chunks, names.includes(name)));
  svg.setAttribute("aria-label", said.filter(Boolean).join(", "));
  const [oldest, newest] = [chunks.find(Boolean), chunks.at(-1)];
  find(".from").textContent = clock(oldest.start);
  find(".from").style.left = `${(100 * (first + chunks.indexOf(oldest))) / SHOWN_CHUNKS}%`;
  find(".to").textContent = clock(newest.start);
  const { statistics } = newest;
  const numbers = ["brightness", "saturation", "motion"].map((name) => `${name} ${statistics?.[name].toFixed(1)} %`);
  find(".statistics").textContent = statistics ? numbers.join(" · ") : "";
};

// The newest value of a line, in words.
const say = (name, chunks, isKnown) => {
  const part = find(`figcaption .${name}`);
  const value = chunks.findLast((one) => typeof one?.[name] === "number")?.[name];
  part.hidden = !isKnown;
  part.querySelector("b").textContent = isKnown ? percent(value) : "";
  return isKnown ? part.textContent.trim().replace(/\s+/g, " ") : "";
};

const shape = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};

const mark = (x, kind) => shape("line", { class: `mark ${kind}`, x1: x, x2: x, y1: 0, y2: 100 });

// A line with gaps where nothing is known.
const lines = (name, chunks, first) => {
  const parts = [[]];
  chunks.forEach((one, i) => {
    if (typeof one?.[name] === "number") parts.at(-1).push(`${first + i + 0.5},${96 - 92 * one[name]}`);
    else if (parts.at(-1).length) parts.push([]);
  });
  const drawn = parts.filter((points) => points.length);
  return drawn.map((points) => shape("polyline", { class: name, points: points.concat(points.slice(-1)).join(" ") }));
};

const on = (name, listener) => window.addEventListener(`longlive:${name}`, ({ detail }) => listener(detail));
on("open", ({ token }) => {
  if (live.token !== token) playhead = 0;
  live = reportsOf(token);
});
on("segment", (segment) => {
  live.add(segment);
  if (segment.fits) live.setFits(segment.fits);
  draw();
});
on("rewind", ({ chunk }) => live.drop(chunk));
on("playhead", ({ seconds }) => {
  const isSame = live.at(playhead) === live.at(seconds);
  playhead = seconds;
  if (!isSame || !host.dataset.chunk) draw();
});
on("look", ({ chunk, token }) => {
  if (chunk !== null) shown = reportsOf(token);
});
on("review", (seen) => {
  review = seen;
  draw();
});
