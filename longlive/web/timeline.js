// The timeline: the strip of chunks, and the list of prompts. Prompts are only inserted as text.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const MAX_PROMPTS = 8;
const TRANSITIONS = { soft: "smooth transition", hard: "cut", keep: "drift" };

const list = element.querySelector(".prompts");
const publish = (name, detail) => window.dispatchEvent(new CustomEvent(`longlive:${name}`, { detail }));
const strip = new ChunkStrip(element.querySelector(".strip"), (chunk, poster) => {
  const { token, name } = takes.shown;
  publish("look", { chunk, poster, token, name: takes.isLiveShown ? "" : name });
});
const showTake = ({ token, take, count, end }, isLive) => {
  strip.open(token, take);
  strip.count = Math.max(strip.count, count);
  strip.setWaiting(isLive ? value.waiting : []);
  strip.setPlayhead(isLive ? playhead : end);
};
const takes = new Takes(element.querySelector(".takes"), showTake, { forget: server.forget_take, kept: server.kept_takes });
let playhead = 0;
let seen = null; // second of the video that the viewer sees again, if so
let made = 0; // second where the video made so far ends
let value = { spans: [], waiting: [] };
let drawn = "";

const draw = () => {
  const { spans, waiting } = value;
  if (spans.length) spans.at(-1).end = made;
  const items = [...spans.slice(-MAX_PROMPTS), ...waiting];
  const key = JSON.stringify(items, (name, one) => (name === "end" ? undefined : one));
  if (key !== drawn) list.replaceChildren(...spans.slice(-MAX_PROMPTS).map(played), ...waiting.map(scheduled));
  else if (spans.length) list.children[Math.min(spans.length, MAX_PROMPTS) - 1].dataset.end = made;
  drawn = key; // a button that is being pressed stays
  move();
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
  if (one.is_fixed) return item;
  const remove = item.appendChild(make("button", "remove", "×"));
  remove.type = "button";
  remove.title = "Remove this prompt before its turn";
  remove.setAttribute("aria-label", `Remove the prompt at ${clock(one.at)}: ${one.text.slice(0, MAX_SAID)}`);
  remove.addEventListener("click", () => publish("unschedule", { chunk: one.chunk }));
  return item;
};

const move = () => {
  for (const item of list.children) {
    const { start: from, end, at } = item.dataset;
    if (at) item.querySelector(".due").textContent = `in ${Math.max(0, at - playhead).toFixed(1)} s`;
    else item.toggleAttribute("aria-current", (seen ?? playhead) >= from && (seen ?? playhead) < end);
  }
};

const on = (name, listener) => window.addEventListener(`longlive:${name}`, ({ detail }) => listener(detail));
on("open", ({ token, take, parent, start }) => {
  if (takes.live?.take !== take) playhead = made = start;
  takes.open(token, take, parent, start);
});
on("end", ({ take }) => {
  takes.end(take);
  value = { ...value, waiting: [] }; // they will not be reached
  if (takes.isLiveShown) strip.setWaiting([]);
  draw();
});
on("take", (take) => takes.add(take));
on("timeline", (timeline) => {
  value = timeline;
  if (takes.isLiveShown) strip.setWaiting(value.waiting);
  draw();
});
on("segment", (segment) => {
  made = (segment.first_frame + segment.num_frames) / segment.fps;
  if (takes.isLiveShown) strip.add(segment);
  takes.extend(Math.max(segment.chunk + 1, takes.live?.count ?? 0), made);
  draw();
});
on("rewind", ({ chunk, seconds }) => {
  made = seconds;
  if (takes.isLiveShown) strip.drop(chunk);
  takes.extend(chunk, seconds);
  draw();
});
on("playhead", ({ seconds }) => {
  playhead = seconds;
  if (takes.isLiveShown) strip.setPlayhead(seconds);
  move();
});
on("review", (review) => {
  seen = review?.seconds ?? null;
  strip.setReview(review);
  move();
});
