// The live player: appends each segment to a MediaSource at its place in time, so that currentTime x fps is the
// number of the frame, and reports the playhead to the server. In compatible mode it only observes gr.Video.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const START_S = 0.9; // buffered video before playback starts
const KEEP_S = 20; // played video that stays in the buffer
const STALL_MS = 250; // a longer gap between two frames counts as a stall
const TICK_MS = 250;
const SILENT_MS = 2000; // after so long without a message, ask for the missing ones
const LOST_MS = 6000; // after so long, resume over a new connection, and wait as long between two attempts
const GONE_TICKS = 20; // after so many answers that the run does not exist, give up
const POSITION = "longlive:position"; // key in sessionStorage: where this tab was, across reloads

const host = element.closest("#player") ?? element;
const find = (selector) => element.querySelector(selector);
const screen = find("video");
const observed = new WeakSet();
const closedRuns = new Set();
let run = null;
let mode = "live";

const setState = (state) => {
  host.dataset.state = state;
  const labels = { starting: "Starting", waiting: "In the queue", playing: "Live", paused: "Paused", ended: "Ended" };
  const badge = find(".badge");
  badge.textContent = labels[state] ?? "";
  badge.hidden = !labels[state];
  find(".buttons").hidden = !["playing", "paused"].includes(state);
  const name = state === "paused" ? "Play" : "Pause";
  find(".pause").title = name;
  find(".pause").setAttribute("aria-label", name);
  find(".cover").hidden = !["idle", "starting", "waiting"].includes(state);
};

const video = () => (run?.mode === "compatible" ? document.querySelector("#compatible video") : screen);

const open = (message) => {
  if (run) close();
  run = { from_s: 0, offset_s: 0, ...message, inbox: Promise.resolve(), segments: [], pending: [], stalls: 0 };
  run.serial = message.kind === "begin" ? message.serial : 0;
  run.isPlaying = run.isComplete = run.isDisconnected = false;
  run.resumedAt = run.replayedAt = performance.now();
  run.missingAnswers = 0;
  host.dataset.frame = host.dataset.prompt = "-1";
  host.dataset.stalls = "0";
  host.dataset.mode = run.mode;
  delete host.dataset.take;
  find(".caption").textContent = "";
  find(".figures").hidden = true;
  setState("starting");
  if (run.mode === "live") openSource();
  run.timer = setInterval(tick, TICK_MS);
};

const close = () => {
  closedRuns.add(run.token);
  clearInterval(run.timer);
  screen.pause();
  screen.removeAttribute("src");
  screen.load();
};

const openSource = () => {
  const Media = window.ManagedMediaSource ?? window.MediaSource;
  if (!Media) return fail("This browser cannot play live video. Choose the Compatible player below.");
  const source = (run.source = new Media());
  screen.disableRemotePlayback = true;
  const url = (screen.src = URL.createObjectURL(source));
  source.addEventListener("sourceopen", () => {
    URL.revokeObjectURL(url); // not screen.src, which may belong to a newer run by now
    if (run.source === source) pump();
  });
};

const fail = (reason) => {
  setState("failed");
  find(".caption").textContent = reason;
};

const addSegment = (message) => {
  run.segments.push({ frame: message.first_frame, end: message.first_frame + message.num_frames, ...message });
  delete run.segments.at(-1).data;
  if (run.segments.length > 200) run.segments.shift();
  run.fps = message.fps;
  if (message.figures) showFigures(message.figures);
  if (run.mode !== "live") return;
  const bytes = Uint8Array.from(atob(message.data), (char) => char.charCodeAt(0));
  run.pending.push({ bytes, mime: message.mime, at: message.first_frame / message.fps });
  pump();
};

const pump = () => {
  const { source, pending } = run;
  if (source?.readyState !== "open") return;
  if (!run.buffer && pending.length) {
    const { mime } = pending[0];
    if (!source.constructor.isTypeSupported(mime)) return fail(`This browser cannot play ${mime}.`);
    run.buffer = source.addSourceBuffer(mime);
    run.buffer.addEventListener("updateend", pump);
  }
  if (run.buffer?.updating) return;
  if (pending.length && !trim(screen.currentTime - 2 * KEEP_S)) append(pending.shift());
  else if (!pending.length && run.isComplete) source.endOfStream();
  playWhenReady();
};

const append = (item) => {
  try {
    run.buffer.timestampOffset = item.at;
    run.buffer.appendBuffer(item.bytes);
  } catch (error) {
    if (error.name !== "QuotaExceededError") throw error;
    run.pending.unshift(item);
    trim(screen.currentTime - 2);
  }
};

// Drop what was played long ago, if the buffer begins before `limit`; true while the buffer is busy with that.
const trim = (limit) => {
  const { buffered } = screen;
  if (!buffered.length || buffered.start(0) >= limit) return false;
  run.buffer.remove(0, Math.max(limit, screen.currentTime - KEEP_S));
  return true;
};

const bufferedAhead = () => {
  const { buffered, currentTime } = video();
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + 0.05 && currentTime < buffered.end(i)) return buffered.end(i) - currentTime;
  }
  return 0;
};

// Both players are started here: gr.Video does not start by itself if it was hidden when its video came.
const playWhenReady = () => {
  if (run.mode === "live" && !run.isPlaying) seek();
  if (run.isPlaying || !run.segments.length || (bufferedAhead() < START_S && !run.isComplete)) return;
  run.isPlaying = true;
  video().muted = true;
  video()
    .play()
    .catch(() => setState("paused"));
};

// A run that is resumed begins where the viewer left it.
const seek = () => {
  const { buffered, currentTime } = screen;
  if (buffered.length && currentTime < buffered.start(0)) screen.currentTime = Math.max(run.from_s, buffered.start(0) + 0.001);
};

// The second of the video on the screen.
const position = () => {
  const seconds = (video()?.currentTime ?? 0) + (run.isPlaying ? run.offset_s : 0);
  return run.isPlaying ? seconds : Math.max(seconds, run.from_s);
};

// Jump over a gap in the buffer; play slower while little is buffered.
const smooth = () => {
  const { buffered, currentTime } = screen;
  const starts = Array.from({ length: buffered.length }, (_, i) => buffered.start(i));
  const next = starts.find((start) => start > currentTime);
  if (next !== undefined && !bufferedAhead()) screen.currentTime = next + 0.001;
  screen.playbackRate = bufferedAhead() < 0.25 && !run.isComplete ? 0.9 : 1;
};

const onFrame = (source, now, seconds) => {
  if (!run || source !== video() || !run.fps) return;
  seconds += run.offset_s;
  const frame = Math.round(seconds * run.fps);
  if (host.dataset.state === "playing" && !document.hidden && run.frameAt && now - run.frameAt > STALL_MS) run.stalls++;
  run.frameAt = document.hidden || source.paused ? null : now;
  const segment = run.segments.find((one) => one.frame <= frame && frame < one.end);
  host.dataset.frame = frame;
  host.dataset.stalls = run.stalls;
  if (["starting", "waiting"].includes(host.dataset.state)) {
    find(".cover").hidden = true;
    if (!source.paused) setState("playing"); // gr.Video may have begun before it was observed
  }
  if (segment && host.dataset.prompt !== String(segment.prompt_index)) {
    host.dataset.prompt = segment.prompt_index;
    find(".caption").textContent = segment.prompt;
  }
  publishPlayhead(seconds);
};

const publishPlayhead = (seconds) =>
  window.dispatchEvent(new CustomEvent("longlive:playhead", { detail: { seconds } }));

const observe = (one) => {
  if (!one || observed.has(one)) return;
  observed.add(one);
  const onCallback = (now, meta) => {
    onFrame(one, now, meta.mediaTime);
    one.requestVideoFrameCallback(onCallback);
  };
  if (one.requestVideoFrameCallback) one.requestVideoFrameCallback(onCallback);
  else one.addEventListener("timeupdate", () => onFrame(one, performance.now(), one.currentTime));
  const isCurrent = () => run && one === video() && host.dataset.state !== "failed";
  one.addEventListener("playing", () => isCurrent() && setState("playing"));
  one.addEventListener("pause", () => {
    if (!isCurrent() || one.ended) return;
    run.frameAt = null;
    if (run.isPlaying || run.mode !== "live") setState("paused");
  });
  one.addEventListener("ended", () => isCurrent() && setState("ended"));
  for (const change of ["playing", "pause", "waiting"]) one.addEventListener(change, () => isCurrent() && reportPlayhead());
};

const reportPlayhead = () => {
  const one = video();
  const isPlaying = Boolean(one && !one.paused && !one.ended && one.readyState > 2);
  if (run.isComplete) return;
  const current = run;
  sessionStorage.setItem(POSITION, JSON.stringify({ token: run.token, mode: run.mode, seconds: position() }));
  server
    .playhead({ token: run.token, seconds: position(), playing: isPlaying, stalls: run.stalls })
    .then((isKnown) => {
      // Gradio returns undefined for a lost connection, which says nothing about the run.
      current.missingAnswers = isKnown === false ? current.missingAnswers + 1 : 0;
      if (current === run && current.missingAnswers > GONE_TICKS && !current.isComplete) giveUp();
    })
    .catch(() => {});
};

const giveUp = () => {
  clearInterval(run.timer);
  run.isComplete = true;
  sessionStorage.removeItem(POSITION);
  fail("This video is no longer available. Press Start to make a new one.");
};

// Ask for messages that the connection does not bring. If there are any, the connection is broken: resume over a new
// one, which also brings the status text and the timeline.
const repair = () => {
  const now = performance.now();
  const isDry = !bufferedAhead() && host.dataset.state !== "paused";
  if (now - run.messageAt > SILENT_MS && now - run.replayedAt > TICK_MS * 3) replay(now);
  const isLost = run.isDisconnected || (isDry && now - run.messageAt > LOST_MS);
  if (!isLost || now - run.resumedAt < LOST_MS) return;
  run.resumedAt = now;
  trigger(run.mode === "compatible" ? "resume_compatible" : "resume");
};

const replay = async (now) => {
  const current = run;
  current.replayedAt = now;
  const request = { token: current.token, after: current.serial, before: Number.MAX_SAFE_INTEGER };
  const messages = await server.replay_since(request).catch(() => []);
  if (current !== run || !messages?.length) return;
  current.isDisconnected = true;
  messages.forEach(receive);
};

const tick = () => {
  const one = video();
  observe(one);
  if (run.mode === "live") smooth();
  if (one) playWhenReady();
  reportPlayhead();
  if (!run.isComplete) repair();
  if (run.isComplete && (!one || one.ended || !run.segments.length)) clearInterval(run.timer);
};

const showFigures = ({ fps, delay_s: delay, chunk_ms: chunk }) => {
  find(".figures").hidden = false;
  find(".fps").textContent = `${fps.toFixed(1)} fps`;
  find(".delay").textContent = `${delay.toFixed(1)} s`;
  find(".chunk").textContent = `${Math.round(chunk)} ms`;
};

const finish = (message) => {
  run.isComplete = true;
  if (message.has_take) host.dataset.take = "yes";
  if (!run.segments.length) setState(message.failed ? "failed" : "idle");
  if (run.mode === "live") pump();
};

const handle = (message) => {
  if (message.kind === "segment") addSegment(message);
  if (message.kind === "queue" && !run.segments.length) setState("waiting");
  if (message.kind === "end") finish(message);
};

// Whether a message is of an earlier run of this tab; numbers of another server process cannot be compared.
const isOlder = ({ number: [process, index] }) => run?.number[0] === process && index < run.number[1];

// Gradio shows only the newest of values that come in one burst, so the ones between are asked for and handled first.
const receive = (message) => {
  if (!message?.token || closedRuns.has(message.token) || isOlder(message)) return;
  if (message.token !== run?.token) open(message);
  run.messageAt = performance.now();
  if (message.serial <= run.serial) return;
  const current = run;
  const gap = { token: current.token, after: current.serial, before: message.serial };
  current.serial = message.serial;
  const missing = gap.after + 1 < gap.before ? server.replay_since(gap).catch(() => []) : [];
  current.inbox = current.inbox.then(async () => {
    for (const one of [...((await missing) ?? []), message]) if (current === run) handle(one);
  });
  current.inbox = current.inbox.catch(reportError);
};

watch("value", () => {
  receive(props.value);
  if (run) run.isDisconnected = false;
});

// After a reload, resume where this tab was, if the run still exists.
const resumeAfterReload = async () => {
  const position = readPosition();
  if (!position.token) return;
  const exists = await server.exists({ token: position.token }).catch(() => undefined);
  if (exists === false) sessionStorage.removeItem(POSITION);
  if (!exists || run) return;
  setState("starting");
  trigger(position.mode === "compatible" ? "resume_compatible" : "resume");
};

const readPosition = () => {
  try {
    return JSON.parse(sessionStorage.getItem(POSITION)) ?? {};
  } catch {
    return {};
  }
};

window.longlivePosition = () => {
  const isActive = run && !run.isComplete;
  const { token = "", seconds = 0 } = isActive ? { token: run.token, seconds: position() } : readPosition();
  return [token, seconds];
};

const start = () => trigger(mode === "compatible" ? "start_compatible" : "start");
window.addEventListener("longlive:start", start);
window.addEventListener("longlive:send", () => (run && !run.isComplete ? trigger("prompt") : start()));
window.addEventListener("longlive:mode", (event) => (mode = event.detail));

find(".pause").addEventListener("click", () => {
  const one = video();
  if (one.paused) one.play();
  else one.pause();
});
find(".full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else (find(".frame").requestFullscreen ?? screen.webkitEnterFullscreen)?.call(find(".frame"));
});

Object.assign(host.dataset, { frame: "-1", prompt: "-1", stalls: "0", mode: "live" });
setState("idle");
observe(screen);
setTimeout(resumeAfterReload, TICK_MS);
