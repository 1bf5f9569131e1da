// The page of those who watch along: plays what the owner of the video sees, where the owner sees it. Messages are
// described in routes.py. Whatever people wrote is only inserted as text. review.js comes after this, and uses `run`,
// `position`, `publish`, `host`, `element` and `find` as the player of the owner's page has them.

const BEHIND_S = 0.5; // how far behind the owner: what is late in the network does not stop the video
const NEAR_S = 0.15; // so far from there is no difference; up to FAR_S the video plays a little faster or slower
const FAR_S = 1.5;
const TICK_MS = 250;
const MAX_PROMPTS = 8;
const OWN_STATES = { closed: true, unknown: true, failed: true };

const BADGES = { waiting: "Soon", live: "Live", paused: "Paused", resting: "Resting", ended: "Ended", stopped: "Paused by you" };
const SENTENCES = {
  waiting: "The video begins soon.",
  live: "This is live: you see what its owner sees.",
  paused: "Its owner has paused the video.",
  resting: "Its owner is away. The video goes on when they are back.",
  ended: "The video has ended. You can look at any moment again.",
  closed: "The owner has closed this video.",
  stopped: "You have paused. Play goes on with what is live.",
  lost: "The connection is lost. Trying again…",
  slow: "Waiting for your connection…",
  review: "You look back. The video goes on meanwhile.",
};
const ROOM_SENTENCES = {
  live: "This is live: everybody sees the same.",
  paused: "The room is paused.",
  resting: "The room rests, and goes on soon.",
  closed: "The room is closed.",
};

const element = document;
const find = (selector) => document.querySelector(`#player ${selector}`);
const host = document.querySelector("#player");
const screen = find("video");
const list = document.querySelector("#timeline .prompts");
const publish = (name, detail) => window.dispatchEvent(new CustomEvent(`longlive:${name}`, { detail }));
const strip = new ChunkStrip(document.querySelector("#timeline .strip"), (chunk, poster) =>
  publish("look", { chunk, poster, token: run?.take, name: "" })
);

let run = null; // what is watched: `take`, `token` (the same: looking back compares it), `segments`, `prompts`
let owner = { state: "waiting", at: 0, is_playing: false, heardAt: 0 };
let ownState = ""; // of this page, where it is not what the server says
let isStopped = false; // by who watches

// The second of the video on the screen.
const position = () => screen.currentTime;
const state = () => ownState || (isStopped ? "stopped" : owner.state);

class WatchConnection extends Connection {
  // Whatever was not seen yet comes again, as it may have been dropped meanwhile.
  get question() {
    const seen = run?.segments.find(({ start, end }) => start <= position() && position() < end);
    return [link(seen ? `live?chunk=${seen.chunk + 1}&take=${run.take}` : "live"), {}];
  }
}

const open = ({ take }) => {
  run = { take, token: take, mode: "live", segments: [], prompts: new Map(), isComplete: false };
  const mine = run;
  run.buffer = new SegmentBuffer(screen, {
    onChange: () => mine === run && follow(),
    onFail: (reason) => mine === run && leave("failed", reason),
  });
  host.dataset.frame = host.dataset.prompt = "-1";
  host.dataset.take = take;
  strip.open(take, take);
  publish("open", { token: take, take });
};

const dropFrom = (chunk, second) => {
  run.segments = run.segments.filter((segment) => segment.chunk < chunk);
  for (const [number, { start }] of run.prompts) if (start >= second - 0.001) run.prompts.delete(number);
  run.buffer.removeFrom(second);
  strip.drop(chunk);
};

const hello = ({ take, chunk, second, spans, size: [width, height], ...news }) => {
  document.querySelector("#player").style.setProperty("--ratio", width / height);
  if (run?.take !== take) open({ take });
  dropFrom(chunk, second);
  strip.count = Math.max(strip.count, chunk);
  for (const { prompt_index: number, text, start } of spans) run.prompts.set(number, { text, start });
  publish("news", news);
};

const addSegment = (message, data) => {
  const start = message.first_frame / message.fps;
  const end = start + message.num_frames / message.fps;
  run.segments = run.segments.filter((one) => one.first_frame !== message.first_frame).slice(-200);
  run.segments.push({ ...message, start, end });
  run.fps = message.fps;
  const known = run.prompts.get(message.prompt_index);
  if (!known || start < known.start) run.prompts.set(message.prompt_index, { text: message.prompt, start });
  strip.add(message);
  run.buffer.add(data, message.mime, start);
  publish("segment", message);
};

const readState = ({ watching, ...message }) => {
  owner = { ...message, heardAt: performance.now() };
  run.isComplete = owner.state === "ended";
  const count = watching === 1 ? "Only you watch" : `${watching} watch`;
  document.querySelector("#watching").textContent = count;
  document.querySelector("#watching").hidden = false;
  host.dataset.watching = watching;
  follow();
};

// Play what the owner sees: jump where it is far away, else a little faster or slower until it is near.
const follow = () => {
  const { buffered, currentTime } = screen;
  if (!run?.segments.length || !buffered.length || ownState || isStopped) return;
  const passed = owner.is_playing ? (performance.now() - owner.heardAt) / 1000 : 0;
  const goal = Math.max(buffered.start(0), owner.at + passed - (owner.is_playing ? BEHIND_S : 0));
  const drift = Math.min(goal, buffered.end(buffered.length - 1) - 0.02) - currentTime;
  const isElsewhere = Math.abs(drift) > FAR_S || (drift > 0 && !bufferedAhead(screen));
  if (isElsewhere) screen.currentTime = Math.max(currentTime + drift, buffered.start(0) + 0.001);
  screen.playbackRate = isElsewhere || Math.abs(drift) < NEAR_S ? 1 : drift > 0 ? 1.1 : 0.9;
  const hasMore = owner.is_playing || drift > 0.05;
  // A browser may refuse to play before it is touched; a pause that comes at once is no refusal.
  if (hasMore && screen.paused) screen.play().catch(({ name }) => name === "NotAllowedError" && stop(true));
  if (!hasMore && !screen.paused) screen.pause();
};

const stop = (isNow) => {
  isStopped = isNow;
  const name = isStopped ? "Play" : "Pause";
  find(".pause").title = name;
  find(".pause").setAttribute("aria-label", name);
  if (isStopped) screen.pause();
  follow();
  show();
};

// Nothing more is shown, and nothing more is asked for.
const leave = (name, sentence = SENTENCES[name]) => {
  ownState = name;
  SENTENCES[name] = sentence;
  connection.close();
  screen.pause();
  show();
};

const show = () => {
  const now = state();
  const isLost = !connection.isOpen ? "" : connection.isLost ? "lost" : connection.isSlow ? "slow" : "";
  const isFinal = now in OWN_STATES;
  host.dataset.state = now === "live" ? "playing" : now === "stopped" ? "paused" : now;
  const isBack = now === "live" && host.dataset.review !== undefined;
  const sentence = isBack ? SENTENCES.review : (IS_ROOM && ROOM_SENTENCES[now]) || SENTENCES[now];
  setText(document.querySelector("#status p"), (!isFinal && SENTENCES[isLost]) || sentence);
  setText(find(".badge"), isFinal ? "" : (BADGES[now] ?? ""));
  find(".badge").hidden = isFinal;
  find(".buttons").hidden = isFinal || !run?.segments.length;
  find(".cover").hidden = now !== "unknown" && host.dataset.frame !== "-1";
  document.querySelector("#timeline").hidden = isFinal;
};
const setText = (node, text) => node.textContent !== text && (node.textContent = text);

const showFrame = (seconds) => {
  if (!run?.fps) return;
  const segment = run.segments.find(({ start, end }) => start <= seconds + 0.001 && seconds + 0.001 < end);
  host.dataset.frame = Math.round(seconds * run.fps);
  if (segment && host.dataset.prompt !== String(segment.prompt_index)) {
    host.dataset.prompt = segment.prompt_index;
    find(".caption").textContent = segment.prompt;
  }
  strip.setPlayhead(seconds);
  showPrompts(seconds);
  find(".cover").hidden = true;
  publish("playhead", { seconds });
};

// The prompts that were seen so far.
const showPrompts = (seconds) => {
  const seen = [...run.prompts].filter(([, { start }]) => start <= seconds + 0.001).slice(-MAX_PROMPTS);
  const key = JSON.stringify(seen);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...seen.map(([number, { text, start }], i) => {
    const item = make("li", "prompt");
    item.toggleAttribute("aria-current", i === seen.length - 1);
    item.append(make("i", `dot hue${number % HUES}`), make("time", "", clock(start)), make("span", "text", text));
    item.lastChild.dir = "auto";
    return item;
  }));
};

const watchFrames = () => {
  if (!screen.requestVideoFrameCallback) return screen.addEventListener("timeupdate", () => showFrame(position()));
  const onCallback = (_, { mediaTime }) => {
    showFrame(mediaTime);
    screen.requestVideoFrameCallback(onCallback);
  };
  screen.requestVideoFrameCallback(onCallback);
};

const handle = (message, data) => {
  const { kind } = message;
  connection.isLost = false;
  if (kind === "hello") hello(message);
  if (kind === "segment") addSegment(message, data);
  if (kind === "rewind") dropFrom(message.chunk, message.second);
  if (kind === "rewind") publish("rewind", { chunk: message.chunk, seconds: message.second });
  if (kind === "state") readState(message);
  if (kind === "news") publish("news", message);
  if (kind === "closed") leave("closed");
  show();
};

// An unknown link is not tried again; a server that is busy or starts is.
const refuse = async (answer) => {
  const { detail } = await answer.json().catch(() => ({}));
  if (answer.status === 404 && detail) return leave("unknown", detail);
  SENTENCES.lost = detail ?? SENTENCES.lost;
  connection.isLost = true;
  show();
};

find(".pause").addEventListener("click", () => stop(!isStopped));
find(".full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else (find(".frame").requestFullscreen ?? screen.webkitEnterFullscreen)?.call(find(".frame"));
});
window.addEventListener("longlive:review", ({ detail }) => strip.setReview(detail));
const dark = matchMedia("(prefers-color-scheme: dark)");
const showTheme = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", showTheme);
showTheme();
screen.muted = true;
watchFrames();

const connection = new WatchConnection("", 0, {
  onMessage: handle,
  onReconnect: () => (connection.isLost = false),
  onRefused: refuse,
});
setInterval(() => {
  if (!connection.isOpen) return;
  connection.check();
  follow();
  show();
}, TICK_MS);
