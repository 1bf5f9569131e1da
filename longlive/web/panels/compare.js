// The panel "Compare": has the prompt tried in all three ways, and shows takes side by side.
// Gradio runs this after compare_players.js, in the same function.

const MOST = 3; // players at once
const ONLY_LIVE = "Comparing works with the Live player only.";
const ENDS = "The video that plays ends, and is kept as a take.";
const SAME = "It is the prompt in use: write another one first, to see how they differ.";
const NOTHING = "Start a video first: the prompt is tried from the moment that you see.";

const part = (selector) => element.querySelector(selector);
const publish = (name, detail) => window.dispatchEvent(new CustomEvent(`longlive:${name}`, { detail }));
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

let live = null; // the run that the player has: token, mode; chunk: the newest that was seen
let seen = null; // the chunk that is looked back at, and the take's token
let takes = []; // as the timeline publishes them
let chosen = []; // their names
let players = null;
let made = new Set(); // names of the takes of this comparison that the page knows of
let place = ["", 1]; // where the takes begin

window.longliveCompare = () => place;

// Where the takes would begin: at the chunk that is looked back at, else after the newest that was seen.
const whereNow = () => seen ?? (live?.chunk >= 0 ? { token: live.token, chunk: live.chunk + 1 } : null);

// Here, and in the status line, which screen readers say.
const say = (text) => {
  part(".message").textContent = text;
  part(".message").hidden = !text;
  publish("status", text);
};

const drawWhere = () => {
  const from = seen?.seconds ?? live?.seconds;
  const isSame = live && !seen && document.querySelector("#prompt textarea")?.value.trim() === live.prompt;
  const begin = from === undefined ? "" : `, from ${clock(from)} on`;
  const text = `Three short takes with the prompt in the box: Smooth, Cut and Drift${begin}. ${isSame ? SAME : ENDS}`;
  if (part(".what").textContent !== text) part(".what").textContent = text;
};

const setMaking = (isMaking) => {
  part(".making").hidden = !isMaking;
  part(".try-all").disabled = isMaking;
  if (isMaking) part("progress").removeAttribute("value");
};

const tryAll = () => {
  const where = whereNow();
  if (live?.mode === "compatible") return say(ONLY_LIVE);
  if (!where) return say(NOTHING);
  place = [where.token, Math.max(1, where.chunk)];
  made = new Set();
  say("Starting…");
  setMaking(true);
  trigger("compare");
};

// What the server says of the takes: those that are ready become takes of this tab.
watch("value", () => {
  const progress = props.value;
  if (!progress?.takes) return;
  if (part(".message").textContent !== progress.message) say(progress.message);
  setMaking(progress.state === "making");
  const total = (name) => progress.takes.reduce((sum, one) => sum + one[name], 0);
  Object.assign(part("progress"), { max: total("of"), value: total("made") });
  const ready = progress.takes.filter((one) => one.is_ready);
  ready.filter(({ take }) => !made.has(take)).forEach(addTake);
  if (progress.state !== "making" && ready.length > 1) choose(ready.map(({ take }) => take));
});

const addTake = ({ token, take, name, parent, num_chunks: count, from_s: start, end_s: end }) => {
  made.add(take);
  publish("take", { token, take, name, parent, count, start, end });
};

// The first chunk in which takes differ: where one of them left the others.
const parting = (names) => {
  const lineage = (name) => {
    const one = takes.find(({ take }) => take === name);
    return one?.parent ? [...lineage(one.parent.run), { take: name, from: one.parent.chunk }] : [{ take: name, from: 0 }];
  };
  const lines = names.map(lineage);
  let chunk = Infinity;
  for (const line of lines) {
    for (const other of lines) {
      const step = line.findIndex((one, i) => one.take !== other[i]?.take);
      if (step >= 0) chunk = Math.min(chunk, line[step].from);
    }
  }
  return Number.isFinite(chunk) ? chunk : 0;
};

const choose = (names) => {
  chosen = names.slice(-MOST);
  drawChoice();
  openPlayers();
};

const drawChoice = () => {
  const field = part(".chosen");
  field.hidden = takes.length < 2;
  const labels = takes.map((one) => {
    const label = make("label", "");
    const box = Object.assign(make("input", ""), { type: "checkbox", checked: chosen.includes(one.take) });
    box.dataset.take = one.take;
    box.addEventListener("change", () =>
      choose(box.checked ? [...chosen, one.take] : chosen.filter((take) => take !== one.take))
    );
    const name = make("span", "", one.name);
    name.dir = "auto";
    label.append(box, name);
    return label;
  });
  const focused = document.activeElement?.dataset?.take;
  field.replaceChildren(field.firstElementChild, ...labels);
  if (focused) field.querySelector(`input[data-take="${focused}"]`)?.focus();
};

const openPlayers = () => {
  players?.close();
  players = null;
  const shown = chosen.map((name) => takes.find(({ take }) => take === name)).filter(Boolean);
  part(".players").hidden = part(".transport").hidden = shown.length < 2;
  if (shown.length < 2) return;
  const first = parting(chosen);
  const all = shown.map((one) => new TakePlayer(one.isLive ? { ...one, count: live.chunk + 1 } : one, first, goOn));
  part(".players").style.setProperty("--count", all.length);
  part(".players").replaceChildren(...all.map(({ figure }) => figure));
  part(".restart").textContent = first ? "From the branch" : "From the start";
  players = new InStep(all, drawTransport);
};

const drawTransport = () => {
  const text = `${clock(players.second)} of ${clock(players.end)}`;
  if (part(".clock").textContent !== text) part(".clock").textContent = text;
  const name = players.isPlaying ? "Pause" : "Play";
  if (part(".play").textContent !== name) part(".play").textContent = name;
};

// A new take goes on from the end of this one, as it is.
const goOn = ({ token, count }) => {
  players.pause();
  publish("branch", { token, chunk: count, isAsItWas: true });
  document.querySelector("#player")?.scrollIntoView({ block: "nearest" });
};

part(".try-all").addEventListener("click", tryAll);
part(".cancel").addEventListener("click", () => trigger("cancel"));
part(".play").addEventListener("click", () => (players.isPlaying ? players.pause() : players.play()));
part(".restart").addEventListener("click", () => (players.canRestart ? players.restart() : openPlayers()));

const on = (name, listener) => window.addEventListener(`longlive:${name}`, ({ detail }) => listener(detail));
on("open", ({ token, mode }) => (live = { token, mode, chunk: -1, segments: [] }));
on("segment", ({ chunk, prompt, first_frame: frame, fps }) => live?.segments.push({ chunk, prompt, start: frame / fps }));
on("rewind", ({ chunk }) => live && (live.segments = live.segments.filter((one) => one.chunk < chunk)));
on("playhead", ({ seconds }) => {
  if (!live) return;
  live.seconds = seconds;
  while (live.segments[0]?.start <= seconds) Object.assign(live, live.segments.shift());
  drawWhere();
});
on("look", ({ token, chunk }) => (seen = chunk === null ? null : { token, chunk }));
on("review", (review) => {
  seen = review && seen ? { ...seen, ...review } : null;
  drawWhere();
});
on("takes", (list) => {
  const known = JSON.stringify(takes.map(({ take, name, isLive }) => [take, name, isLive]));
  takes = list;
  if (known === JSON.stringify(list.map(({ take, name, isLive }) => [take, name, isLive]))) return;
  const left = chosen.filter((name) => list.some(({ take }) => take === name));
  if (left.length < chosen.length) choose(left);
  drawChoice();
  players?.players.forEach((one) => one.describe(takes.find(({ take }) => take === one.take.take) ?? one.take));
});
drawWhere();
