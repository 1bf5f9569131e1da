// The live player: appends each segment to a MediaSource at its place in time, so that currentTime x fps is the
// number of the picture, and tells the server where the viewer is. In compatible mode it only watches gr.Video.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const START_S = 0.9; // video that must lie ready before it starts to play
const KEEP_S = 20; // played video that stays in the buffer
const STALL_MS = 250;
const TICK_MS = 250;
const SILENT_MS = 2000; // without a message, then the player asks by itself
const CUT_MS = 6000; // then it takes the story up again, no sooner than so long after the last time
const GONE_TICKS = 20; // told so often that there is no such story, it believes it
const PLACE = "longlive:place"; // where this tab was, across reloads

const host = element.closest("#player") ?? element;
const part = (name) => element.querySelector(name);
const screen = part("video");
const watched = new WeakSet();
const past = new Set();
let run = null;
let mode = "live";

const setState = (state) => {
  host.dataset.state = state;
  const words = { starting: "Getting ready", waiting: "In line", playing: "Live", paused: "Paused", ended: "The end" };
  const badge = part(".badge");
  badge.textContent = words[state] ?? "";
  badge.hidden = !words[state];
  part(".knobs").hidden = !["playing", "paused"].includes(state);
  const name = state === "paused" ? "Play" : "Pause";
  part(".pause").title = name;
  part(".pause").setAttribute("aria-label", name);
  part(".cover").hidden = !["idle", "starting", "waiting"].includes(state);
};

const video = () => (run?.mode === "compatible" ? document.querySelector("#compatible video") : screen);

const open = (message) => {
  if (run) close();
  run = { from_s: 0, offset_s: 0, ...message, inbox: Promise.resolve(), segments: [], queue: [], stalls: 0 };
  run.serial = message.kind === "begin" ? message.serial : 0;
  run.isPlaying = run.isComplete = run.isCut = false;
  run.askedAt = run.pulledAt = performance.now();
  run.unknown = 0;
  host.dataset.frame = host.dataset.prompt = "-1";
  host.dataset.stalls = "0";
  host.dataset.mode = run.mode;
  delete host.dataset.take;
  part(".caption").textContent = "";
  part(".figures").hidden = true;
  setState("starting");
  if (run.mode === "live") openSource();
  run.timer = setInterval(tick, TICK_MS);
};

const close = () => {
  past.add(run.token);
  clearInterval(run.timer);
  screen.pause();
  screen.removeAttribute("src");
  screen.load();
};

const openSource = () => {
  const Media = window.ManagedMediaSource ?? window.MediaSource;
  if (!Media) return fail("This browser cannot play live video here; choose the compatible player below.");
  const source = (run.source = new Media());
  screen.disableRemotePlayback = true;
  const url = (screen.src = URL.createObjectURL(source));
  source.addEventListener("sourceopen", () => {
    URL.revokeObjectURL(url); // and no other: this may come when a newer run has its own
    if (run.source === source) pump();
  });
};

const fail = (words) => {
  setState("failed");
  part(".caption").textContent = words;
};

const addSegment = (message) => {
  run.segments.push({ frame: message.first_frame, end: message.first_frame + message.num_frames, ...message });
  delete run.segments.at(-1).data;
  if (run.segments.length > 200) run.segments.shift();
  run.fps = message.fps;
  if (message.figures) showFigures(message.figures);
  if (run.mode !== "live") return;
  const bytes = Uint8Array.from(atob(message.data), (char) => char.charCodeAt(0));
  run.queue.push({ bytes, mime: message.mime, at: message.first_frame / message.fps });
  pump();
};

const pump = () => {
  const { source, queue } = run;
  if (source?.readyState !== "open") return;
  if (!run.buffer && queue.length) {
    if (!source.constructor.isTypeSupported(queue[0].mime)) return fail(`This browser cannot play ${queue[0].mime}.`);
    run.buffer = source.addSourceBuffer(queue[0].mime);
    run.buffer.addEventListener("updateend", pump);
  }
  if (run.buffer?.updating) return;
  if (queue.length && !trim(screen.currentTime - 2 * KEEP_S)) append(queue.shift());
  else if (!queue.length && run.isComplete) source.endOfStream();
  playWhenReady();
};

const append = (item) => {
  try {
    run.buffer.timestampOffset = item.at;
    run.buffer.appendBuffer(item.bytes);
  } catch (error) {
    if (error.name !== "QuotaExceededError") throw error;
    run.queue.unshift(item);
    trim(screen.currentTime - 2);
  }
};

// Drop what was played long ago, if anything lies before `limit`; true while the buffer is busy with that.
const trim = (limit) => {
  const { buffered } = screen;
  if (!buffered.length || buffered.start(0) >= limit) return false;
  run.buffer.remove(0, Math.max(limit, screen.currentTime - KEEP_S));
  return true;
};

const ahead = () => {
  const { buffered, currentTime } = video();
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + 0.05 && currentTime < buffered.end(i)) return buffered.end(i) - currentTime;
  }
  return 0;
};

// Both players are started here: gr.Video does not play by itself what it got while it was not shown.
const playWhenReady = () => {
  if (run.mode === "live" && !run.isPlaying) seek();
  if (run.isPlaying || !run.segments.length || (ahead() < START_S && !run.isComplete)) return;
  run.isPlaying = true;
  video().muted = true;
  video()
    .play()
    .catch(() => setState("paused"));
};

// A story that is taken up begins where it was left.
const seek = () => {
  const { buffered, currentTime } = screen;
  if (buffered.length && currentTime < buffered.start(0)) screen.currentTime = Math.max(run.from_s, buffered.start(0) + 0.001);
};

// The second of the story on the screen.
const position = () => {
  const seconds = (video()?.currentTime ?? 0) + (run.isPlaying ? run.offset_s : 0);
  return run.isPlaying ? seconds : Math.max(seconds, run.from_s);
};

// Past a hole in the buffer; slower while the model is slower than the video.
const steady = () => {
  const { buffered, currentTime } = screen;
  const starts = Array.from({ length: buffered.length }, (_, i) => buffered.start(i));
  const next = starts.find((start) => start > currentTime);
  if (next !== undefined && !ahead()) screen.currentTime = next + 0.001;
  screen.playbackRate = ahead() < 0.25 && !run.isComplete ? 0.9 : 1;
};

const onFrame = (source, now, seconds) => {
  if (!run || source !== video() || !run.fps) return;
  seconds += run.offset_s;
  const frame = Math.round(seconds * run.fps);
  if (host.dataset.state === "playing" && !document.hidden && run.seenAt && now - run.seenAt > STALL_MS) run.stalls++;
  run.seenAt = document.hidden || source.paused ? null : now;
  const segment = run.segments.find((one) => one.frame <= frame && frame < one.end);
  host.dataset.frame = frame;
  host.dataset.stalls = run.stalls;
  if (["starting", "waiting"].includes(host.dataset.state)) {
    part(".cover").hidden = true;
    if (!source.paused) setState("playing"); // gr.Video may have begun before it was watched
  }
  if (segment && host.dataset.prompt !== String(segment.prompt_index)) {
    host.dataset.prompt = segment.prompt_index;
    part(".caption").textContent = segment.prompt;
  }
  tellPlayhead(seconds);
};

const tellPlayhead = (seconds) =>
  window.dispatchEvent(new CustomEvent("longlive:playhead", { detail: { seconds } }));

const watchVideo = (one) => {
  if (!one || watched.has(one)) return;
  watched.add(one);
  const seen = (now, meta) => {
    onFrame(one, now, meta.mediaTime);
    one.requestVideoFrameCallback(seen);
  };
  if (one.requestVideoFrameCallback) one.requestVideoFrameCallback(seen);
  else one.addEventListener("timeupdate", () => onFrame(one, performance.now(), one.currentTime));
  const mine = () => run && one === video() && host.dataset.state !== "failed";
  one.addEventListener("playing", () => mine() && setState("playing"));
  one.addEventListener("pause", () => {
    if (!mine() || one.ended) return;
    run.seenAt = null;
    if (run.isPlaying || run.mode !== "live") setState("paused");
  });
  one.addEventListener("ended", () => mine() && setState("ended"));
  for (const change of ["playing", "pause", "waiting"]) one.addEventListener(change, () => mine() && tellServer());
};

const tellServer = () => {
  const one = video();
  const isPlaying = Boolean(one && !one.paused && !one.ended && one.readyState > 2);
  if (run.isComplete) return;
  const mine = run;
  sessionStorage.setItem(PLACE, JSON.stringify({ token: run.token, mode: run.mode, seconds: position() }));
  server
    .playhead({ token: run.token, seconds: position(), playing: isPlaying, stalls: run.stalls })
    .then((isKnown) => {
      mine.unknown = isKnown === false ? mine.unknown + 1 : 0; // undefined: Gradio's word for a lost connection
      if (mine === run && mine.unknown > GONE_TICKS && !mine.isComplete) lose();
    })
    .catch(() => {});
};

const lose = () => {
  clearInterval(run.timer);
  run.isComplete = true;
  sessionStorage.removeItem(PLACE);
  fail("This story is over and no longer kept. Press Start for another.");
};

// What the connection does not bring is asked for; if that brings something, the connection is cut and the story is
// taken up by a new one, which also brings what is said beside the pictures.
const mend = () => {
  const now = performance.now();
  const isDry = !ahead() && host.dataset.state !== "paused";
  if (now - run.heardAt > SILENT_MS && now - run.pulledAt > TICK_MS * 3) pull(now);
  if ((!run.isCut && !(isDry && now - run.heardAt > CUT_MS)) || now - run.askedAt < CUT_MS) return;
  run.askedAt = now;
  trigger(run.mode === "compatible" ? "again_compatible" : "again");
};

const pull = async (now) => {
  const mine = run;
  mine.pulledAt = now;
  const asked = { token: mine.token, after: mine.serial, before: Number.MAX_SAFE_INTEGER };
  const messages = await server.replay_since(asked).catch(() => []);
  if (mine !== run || !messages?.length) return;
  mine.isCut = true;
  messages.forEach(receive);
};

const tick = () => {
  const one = video();
  watchVideo(one);
  if (run.mode === "live") steady();
  if (one) playWhenReady();
  tellServer();
  if (!run.isComplete) mend();
  if (run.isComplete && (!one || one.ended || !run.segments.length)) clearInterval(run.timer);
};

const showFigures = ({ fps, delay_s: delay, chunk_ms: chunk }) => {
  part(".figures").hidden = false;
  part(".fps").textContent = `${fps.toFixed(1)} pictures/s`;
  part(".delay").textContent = `${delay.toFixed(1)} s`;
  part(".chunk").textContent = `${Math.round(chunk)} ms`;
};

const finish = (message) => {
  run.isComplete = true;
  if (message.has_take) host.dataset.take = "yes";
  if (!run.segments.length) setState(message.failed ? "failed" : "idle");
  if (run.mode === "live") pump();
};

const take = (message) => {
  if (message.kind === "segment") addSegment(message);
  if (message.kind === "line" && !run.segments.length) setState("waiting");
  if (message.kind === "end") finish(message);
};

// Of values that come in one burst Gradio shows only the newest, so what lies between is asked for, and taken first.
// Of an earlier story of this tab; numbers of another process tell nothing.
const isOlder = ({ number: [house, place] }) => run?.number[0] === house && place < run.number[1];

const receive = (message) => {
  if (!message?.token || past.has(message.token) || isOlder(message)) return;
  if (message.token !== run?.token) open(message);
  run.heardAt = performance.now();
  if (message.serial <= run.serial) return;
  const mine = run;
  const between = { token: mine.token, after: mine.serial, before: message.serial };
  mine.serial = message.serial;
  const missed = between.after + 1 < between.before ? server.replay_since(between).catch(() => []) : [];
  mine.inbox = mine.inbox.then(async () => {
    for (const one of [...((await missed) ?? []), message]) if (mine === run) take(one);
  });
  mine.inbox = mine.inbox.catch(reportError);
};

watch("value", () => {
  receive(props.value);
  if (run) run.isCut = false;
});

// After a reload: go on where this tab was, if the story is still there.
const goBack = async () => {
  const place = readPlace();
  if (!place.token) return;
  const isKnown = await server.exists({ token: place.token }).catch(() => undefined);
  if (isKnown === false) sessionStorage.removeItem(PLACE);
  if (!isKnown || run) return;
  setState("starting");
  trigger(place.mode === "compatible" ? "again_compatible" : "again");
};

const readPlace = () => {
  try {
    return JSON.parse(sessionStorage.getItem(PLACE)) ?? {};
  } catch {
    return {};
  }
};

window.longlivePlace = () => {
  const { token = "", seconds = 0 } = run && !run.isComplete ? { token: run.token, seconds: position() } : readPlace();
  return [token, seconds];
};

const start = () => trigger(mode === "compatible" ? "compatible" : "live");
window.addEventListener("longlive:start", start);
window.addEventListener("longlive:enter", () => (run && !run.isComplete ? trigger("inject") : start()));
window.addEventListener("longlive:mode", (event) => (mode = event.detail));

part(".pause").addEventListener("click", () => {
  const one = video();
  if (one.paused) one.play();
  else one.pause();
});
part(".full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else (part(".stage").requestFullscreen ?? screen.webkitEnterFullscreen)?.call(part(".stage"));
});

Object.assign(host.dataset, { frame: "-1", prompt: "-1", stalls: "0", mode: "live" });
setState("idle");
watchVideo(screen);
setTimeout(goBack, TICK_MS);
