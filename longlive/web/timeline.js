// The timeline: a strip with one colour for each prompt, and the list of prompts. Prompts are only inserted as text.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const MAX_PROMPTS = 8;
const HUES = 6;
const TRANSITIONS = { soft: "smooth transition", hard: "cut", keep: "drift" };

const strip = element.querySelector(".strip");
const list = element.querySelector(".prompts");
let playhead = 0;
let made = 0; // second where the video made so far ends
let marker = null;
let value = { spans: [], waiting: [] };

const make = (tag, className, text = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const length = () => {
  const { spans, waiting } = value;
  return Math.max(spans.at(-1)?.end ?? 0, ...waiting.map((one) => one.at + 1.5), 6);
};

const draw = () => {
  const { spans, waiting } = value;
  const start = spans[0]?.start ?? 0;
  const share = (seconds) => `${(100 * (seconds - start)) / (length() - start)}%`;
  strip.replaceChildren();
  for (const span of spans) place(make("span", `piece hue${span.prompt_index % HUES}`), span.start, span.end, share);
  const made = spans.at(-1)?.end ?? 0;
  waiting.forEach((one, i) => {
    const end = waiting[i + 1]?.at ?? length();
    place(make("span", "piece waiting"), Math.max(one.at, made), end, share);
  });
  marker = strip.appendChild(make("span", "marker"));
  list.replaceChildren(...spans.slice(-MAX_PROMPTS).map(played), ...waiting.map(scheduled));
  strip.hidden = !spans.length;
  move();
};

const place = (piece, from, to, share) => {
  piece.style.left = share(from);
  piece.style.width = `calc(${share(to)} - ${share(from)} - 2px)`;
  strip.append(piece);
};

const played = (span) => {
  const item = make("li", "prompt");
  item.dataset.start = span.start;
  item.dataset.end = span.end;
  item.append(make("i", `dot hue${span.prompt_index % HUES}`), make("time", "", clock(span.start)));
  item.append(make("span", "text", span.text));
  item.lastChild.dir = "auto";
  return item;
};

const scheduled = (one) => {
  const item = make("li", "prompt scheduled");
  item.dataset.at = one.at;
  item.append(make("i", "dot"), make("time", "", clock(one.at)));
  item.append(make("span", "text", one.text), make("em", "due"));
  item.children[2].dir = "auto";
  item.title = TRANSITIONS[one.switch] ?? "";
  return item;
};

const move = () => {
  const { spans } = value;
  const start = spans[0]?.start ?? 0;
  const share = Math.min(1, Math.max(0, (playhead - start) / (length() - start)));
  if (marker) marker.style.left = `${100 * share}%`;
  const label = `${spans.length} ${spans.length === 1 ? "prompt" : "prompts"} so far, at second ${Math.floor(playhead)}`;
  if (strip.getAttribute("aria-label") !== label) strip.setAttribute("aria-label", label);
  for (const item of list.children) {
    const { start: from, end, at } = item.dataset;
    if (at) item.lastChild.textContent = `in ${Math.max(0, at - playhead).toFixed(1)} s`;
    else item.toggleAttribute("aria-current", playhead >= from && playhead < end);
  }
};

const extend = () => {
  if (value.spans.length) value.spans.at(-1).end = made;
  draw();
};
window.addEventListener("longlive:timeline", (event) => {
  value = event.detail;
  extend();
});
window.addEventListener("longlive:made", (event) => {
  made = event.detail.seconds;
  extend();
});
window.addEventListener("longlive:playhead", (event) => {
  playhead = event.detail.seconds;
  move();
});
draw();
