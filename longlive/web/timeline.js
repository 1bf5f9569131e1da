// The timeline: one strip with a colour for each prompt, and the chapters in words. Prompts are only ever text.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const CHAPTERS = 8;
const HUES = 6;
const MODES = { soft: "turns into", hard: "cuts to", keep: "drifts to" };

const strip = element.querySelector(".strip");
const list = element.querySelector(".chapters");
let playhead = 0;
let marker = null;

const make = (tag, className, text = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const story = () => (props.value?.spans ? props.value : { spans: [], waiting: [] });
const length = () => {
  const { spans, waiting } = story();
  return Math.max(spans.at(-1)?.end ?? 0, ...waiting.map((one) => one.at + 1.5), 6);
};

const draw = () => {
  const { spans, waiting } = story();
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
  list.replaceChildren(...spans.slice(-CHAPTERS).map(chapter), ...waiting.map(promised));
  strip.hidden = !spans.length;
  move();
};

const place = (piece, from, to, share) => {
  piece.style.left = share(from);
  piece.style.width = `calc(${share(to)} - ${share(from)} - 2px)`;
  strip.append(piece);
};

const chapter = (span) => {
  const item = make("li", "chapter");
  item.dataset.start = span.start;
  item.dataset.end = span.end;
  item.append(make("i", `dot hue${span.prompt_index % HUES}`), make("time", "", clock(span.start)));
  item.append(make("span", "words", span.text));
  item.lastChild.dir = "auto";
  return item;
};

const promised = (one) => {
  const item = make("li", "chapter promised");
  item.dataset.at = one.at;
  item.append(make("i", "dot"), make("time", "", clock(one.at)));
  item.append(make("span", "words", one.text), make("em", "until"));
  item.children[2].dir = "auto";
  item.title = MODES[one.switch] ?? "";
  return item;
};

const move = () => {
  const { spans } = story();
  const start = spans[0]?.start ?? 0;
  const share = Math.min(1, Math.max(0, (playhead - start) / (length() - start)));
  if (marker) marker.style.left = `${100 * share}%`;
  const label = `The story so far: ${spans.length} parts, playing second ${Math.floor(playhead)}`;
  if (strip.getAttribute("aria-label") !== label) strip.setAttribute("aria-label", label);
  for (const item of list.children) {
    const { start: from, end, at } = item.dataset;
    if (at) item.lastChild.textContent = `in ${Math.max(0, at - playhead).toFixed(1)} s`;
    else item.toggleAttribute("aria-current", playhead >= from && playhead < end);
  }
};

watch("value", draw);
window.addEventListener("longlive:playhead", (event) => {
  playhead = event.detail.seconds;
  move();
});
draw();
