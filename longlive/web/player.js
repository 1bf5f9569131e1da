// The live player: plays the segments as they come, and reports the playhead to the server. In compatible mode it only
// observes gr.Video. Gradio runs this, after connection.js and segment_buffer.js, as the body of a function of
// (element, trigger, props, server, upload, watch).

const START_S = 0.9; // buffered video before playback starts
const STALL_S = 0.25; // a picture that stands still for longer counts as a stall
const AGAIN_S = 0.7; // buffered video before playback goes on after it stalled
const FIGURES_PX = 90; // height of caption and figures
const TICK_MS = 250;
const REPORT_MS = 1000; // between two reports of the playhead, if nothing happens
const ASK_MS = 300; // how long other tabs have to answer
const GONE_REPORTS = 6; // after so many answers that the run does not exist, give up
const POSITION = "longlive:position"; // key in sessionStorage: where this tab was, across reloads
const GONE = "This video is no longer available. Press Start to make a new one.";
const TWICE_MS = 500; // the same prompt sent again sooner is a double click
const HINTS = { idle: "Type a prompt and press Start.", starting: "Starting…", waiting: "Waiting for a free slot…" };
const ACTIVE = ["starting", "waiting", "playing", "buffering", "paused"];

const host = element.closest("#player") ?? element;
const find = (selector) => element.querySelector(selector);
const screen = find("video");
const observed = new WeakSet();
const meter = new StageMeter(host, find(".meter"));
const tabs = new BroadcastChannel("longlive");
const finished = []; // tokens of runs whose files are to be fetched
let run = null;
let mode = "live";
let hasReloaded = false;
let stateBefore = null; // while a run is asked for

// The frame takes the shape of the pictures; what lies beside the player, too.
const setSize = ([width, height]) => {
  host.dataset.size = `${width}x${height}`;
  (host.closest("#viewing") ?? host).style.setProperty("--ratio", width / height);
};

const setState = (state) => {
  host.dataset.state = state;
  showBadge();
  find(".buttons").hidden = !["playing", "buffering", "paused"].includes(state);
  find(".elsewhere").hidden = state !== "elsewhere";
  const name = state === "paused" ? "Play" : "Pause";
  find(".pause").title = name;
  find(".pause").setAttribute("aria-label", name);
  find(".cover").hidden = !["idle", "starting", "waiting", "elsewhere"].includes(state);
  find(".hint").textContent = HINTS[state] ?? "";
  host.toggleAttribute("data-active", ACTIVE.includes(state));
  const start = document.querySelector("#start");
  if (start) start.textContent = ACTIVE.includes(state) ? "New video" : "Start";
};

// What the viewer waits for is told from what the connection brings.
const showBadge = () => {
  const { state } = host.dataset;
  const isWaiting = ["starting", "buffering"].includes(state);
  const labels = { starting: "Starting", waiting: "In the queue", playing: "Live", paused: "Paused", ended: "Ended" };
  labels.buffering = "Waiting for the server";
  if (run?.isComplete) labels.playing = "Last pictures";
  const label = isWaiting && run?.connection.isSlow ? "Waiting for your connection" : labels[state];
  const badge = find(".badge");
  badge.textContent = label ?? "";
  badge.hidden = !label;
};

const video = () => (run?.mode === "compatible" ? document.querySelector("#compatible video") : screen);

// What was seen last stands there until a branch has pictures; without it, the drawing.
const setStill = (source) => {
  const still = find(".still");
  still.hidden = !source?.videoWidth;
  if (still.hidden) return;
  Object.assign(still, { width: source.videoWidth, height: source.videoHeight });
  still.getContext("2d").drawImage(source, 0, 0);
};

const open = (message) => {
  stateBefore = null;
  if (!message.parent) setStill(null);
  if (run) close();
  run = { ...message, segments: [], stalls: 0, missingAnswers: 0, reportedAt: 0, roundTrip: 0, lag: null };
  run.isPlaying = run.isComplete = false;
  run.connection = connect(run);
  host.dataset.frame = host.dataset.prompt = "-1";
  host.dataset.stalls = host.dataset.dropped = "0";
  host.dataset.mode = run.mode;
  setSize(run.size);
  delete host.dataset.take;
  find(".caption").textContent = "";
  find(".figures").hidden = true;
  showReceipt("");
  meter.clear();
  setState("starting");
  const { token, take, parent, mode: playerMode, from_s: fromS } = run;
  publish("open", { token, take, parent, mode: playerMode, start: fromS });
  if (run.mode === "live") openBuffer();
  bringIntoSight();
  run.timer = setInterval(tick, TICK_MS);
};

// Ask the server for a run, which may refuse it.
const ask = (name) => {
  stateBefore ??= host.dataset.state;
  setState("starting");
  trigger(name);
};
window.addEventListener("longlive:denied", () => {
  if (stateBefore === null) return;
  setState(stateBefore);
  setStill(null);
  stateBefore = null;
});

// The video and what the next prompt is sent with, when caption and figures have come.
const bringIntoSight = () => {
  const [top, ...parts] = [document.querySelector("#workspace"), find(".frame"), document.querySelector("#send")];
  const isBelow = parts.some((part) => part?.getBoundingClientRect().bottom + FIGURES_PX > innerHeight);
  if (isBelow || top?.getBoundingClientRect().top < 0) top?.scrollIntoView();
};

// A run that was replaced is listened to until its files are there.
const connect = (current) =>
  new Connection(current.token, current.serial, {
    onMessage: (message, data) => {
      if (message.kind === "end" || message.kind === "moved") current.connection.close();
      if (message.kind === "end" && message.has_take) fetchFiles(current.token);
      if (current === run) handle(message, data);
    },
    onReconnect: () => current === run && !run.isComplete && trigger(resumeEvent(run.mode)),
  });

const fetchFiles = (token) => {
  finished.push(token);
  host.dataset.files = "yes";
  trigger("files");
};
window.addEventListener("longlive:files", ({ detail }) => fetchFiles(detail.token));
window.longliveFinished = () => finished.shift() ?? "";

const resumeEvent = (playerMode) => (playerMode === "compatible" ? "resume_compatible" : "resume");

const close = () => {
  clearInterval(run.timer);
  screen.pause();
  screen.removeAttribute("src");
  screen.load();
};

const openBuffer = () => {
  const current = run;
  run.buffer = new SegmentBuffer(screen, {
    onChange: () => current === run && playWhenReady(),
    onFail: (reason) => current === run && fail(`${reason} Choose the Compatible player below.`),
  });
};

const fail = (reason) => {
  setState("failed");
  find(".caption").textContent = reason;
};

const addSegment = (message, data) => {
  run.segments.push({ frame: message.first_frame, end: message.first_frame + message.num_frames, ...message });
  if (run.segments.length > 200) run.segments.shift();
  run.fps = message.fps;
  publish("segment", message);
  if (message.figures) showFigures(message.figures);
  if (message.stages) noteArrival(message);
  if (run.mode === "live") run.buffer.add(data, message.mime, message.first_frame / message.fps);
};

// What was not seen from this second on is dropped: a new prompt takes effect there.
const rewind = ({ chunk, second }) => {
  const dropped = new Set(run.segments.map((segment) => segment.chunk).filter((number) => number >= chunk));
  run.segments = run.segments.filter((segment) => segment.chunk < chunk);
  host.dataset.dropped = Number(host.dataset.dropped) + dropped.size;
  publish("rewind", { chunk, seconds: second });
  run.buffer?.removeFrom(second);
};

// Both players are started here: gr.Video does not start by itself if it was hidden when its video came.
const playWhenReady = () => {
  if (run.mode === "live" && !run.isPlaying) seek();
  const needed = run.hasStalled ? AGAIN_S : START_S;
  if (run.isPlaying || !run.segments.length || (bufferedAhead(video()) < needed && !run.isComplete)) return;
  run.isPlaying = true;
  video().muted = true;
  video()
    .play()
    .catch(() => setState("paused"));
};

// Nothing is left to show: wait until there is enough to go on for a while.
const waitForMore = () => {
  if (run.mode !== "live" || !run.isPlaying || run.isComplete || screen.paused || bufferedAhead(video()) > 0.05) return;
  run.isPlaying = false;
  run.hasStalled = true;
  host.dataset.stalls = ++run.stalls;
  screen.pause();
  const { buffered } = screen;
  const end = buffered.length ? buffered.end(buffered.length - 1) : 0;
  if (screen.currentTime > end) screen.currentTime = end - 0.01; // a busy browser overshoots; no picture is skipped
  setState("buffering");
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
  if (next !== undefined && !bufferedAhead(video())) screen.currentTime = next + 0.001;
  screen.playbackRate = bufferedAhead(video()) < 0.25 && !run.isComplete ? 0.9 : 1;
  waitForMore();
};

const onFrame = (source, now, seconds) => {
  if (!run || source !== video() || !run.fps) return;
  seconds += run.offset_s;
  const frame = Math.round(seconds * run.fps);
  countStall(source, now / 1000 - seconds);
  const segment = run.segments.find((one) => one.frame <= frame && frame < one.end);
  host.dataset.frame = frame;
  host.dataset.stalls = run.stalls;
  if (["starting", "waiting"].includes(host.dataset.state)) {
    find(".cover").hidden = true;
    setStill(null);
    if (!source.paused) setState("playing"); // gr.Video may have begun before it was observed
  }
  if (segment && host.dataset.prompt !== String(segment.prompt_index)) {
    host.dataset.prompt = segment.prompt_index;
    find(".caption").textContent = segment.prompt;
    if (hasReloaded) refillPrompt(segment.prompt);
    reportPlayhead();
  }
  checkReceipt(seconds);
  publish("playhead", { seconds });
};

// After a reload the box is empty; the prompt in use is what the next one is made of.
const refillPrompt = (text) => {
  hasReloaded = false;
  const box = document.querySelector("#prompt textarea");
  if (!box || box.value) return;
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true })); // Gradio reads it
};

// A stall is time that passed while the video did not. A tab that is hidden or covered is shown fewer pictures; their
// video has gone on all the same.
const countStall = (source, lag) => {
  if (host.dataset.state === "playing" && run.lag !== null && lag - run.lag > STALL_S) run.stalls++;
  run.lag = source.paused ? null : lag;
};

const publish = (name, detail) => window.dispatchEvent(new CustomEvent(`longlive:${name}`, { detail }));

const observe = (one) => {
  if (!one || observed.has(one)) return;
  observed.add(one);
  const onCallback = (now, meta) => {
    onFrame(one, now, meta.mediaTime);
    one.requestVideoFrameCallback(onCallback);
  };
  if (one.requestVideoFrameCallback) one.requestVideoFrameCallback(onCallback);
  else one.addEventListener("timeupdate", () => onFrame(one, performance.now(), one.currentTime));
  const isCurrent = () => run && one === video() && !["failed", "elsewhere"].includes(host.dataset.state);
  one.addEventListener("playing", () => isCurrent() && setState("playing"));
  one.addEventListener("pause", () => {
    if (!isCurrent() || one.ended) return;
    run.lag = null;
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
  const sentAt = (run.reportedAt = performance.now());
  keepPosition();
  server
    .playhead({ token: run.token, seconds: position(), playing: isPlaying, stalls: run.stalls, round_trip_s: run.roundTrip })
    .then((isKnown) => {
      current.roundTrip = (performance.now() - sentAt) / 1000; // so late is what server and player know of each other
      // Gradio returns undefined for a lost connection, which says nothing about the run.
      current.missingAnswers = isKnown === false ? current.missingAnswers + 1 : 0;
      if (current === run && current.missingAnswers > GONE_REPORTS && !current.isComplete) giveUp();
    })
    .catch(() => {});
};

const keepPosition = () => {
  if (!run || run.isComplete) return;
  sessionStorage.setItem(POSITION, JSON.stringify({ token: run.token, mode: run.mode, seconds: position() }));
};
window.addEventListener("pagehide", keepPosition);

const giveUp = () => {
  clearInterval(run.timer);
  run.connection.close();
  run.isComplete = true;
  sessionStorage.removeItem(POSITION);
  fail(GONE);
};

const tick = () => {
  const one = video();
  observe(one);
  if (run.mode === "live") smooth();
  if (one) playWhenReady();
  if (performance.now() - run.reportedAt >= REPORT_MS) reportPlayhead();
  if (!run.isComplete) run.connection.check();
  showBadge();
  if (run.isComplete && (!one || one.ended || !run.segments.length)) clearInterval(run.timer);
};

const showFigures = ({ fps, delay_s: delay, chunk_ms: chunk }) => {
  find(".figures").hidden = false;
  find(".fps").textContent = `${fps.toFixed(1)} fps`;
  find(".shown-fps").textContent = `${run.fps} fps`;
  find(".delay").textContent = `${delay.toFixed(1)} s`;
  find(".chunk").textContent = `${Math.round(chunk)} ms`;
};

// What becomes of the prompt that was sent last: sent, where it takes effect, how long it took to the screen.
const sendPrompt = () => {
  const [text, sentAt] = [document.querySelector("#prompt textarea").value, performance.now()];
  if (text === run.sent?.text && sentAt - run.sent.at < TWICE_MS) return;
  run.sent = { text, at: sentAt };
  run.receipt = { sentAt, before: run.lastWaiting, spanBefore: run.lastSpan };
  showReceipt("Prompt sent.");
  meter.clear();
  trigger("prompt");
};
window.addEventListener("longlive:refused", () => {
  run.receipt = null;
  showReceipt("");
});
const showReceipt = (text) => {
  find(".receipt").textContent = text;
  find(".receipt").hidden = !text;
};
const readTimeline = ({ waiting, spans }) => {
  const [last, span] = [waiting.at(-1), spans.at(-1)];
  const key = last ? `${last.at} ${last.text}` : "";
  const { receipt } = run;
  if (receipt && receipt.at === undefined) {
    const isBegun = span && span.prompt_index !== receipt.spanBefore && run.sent.text.trim().startsWith(span.text);
    if (key && key !== receipt.before) receipt.at = last.at;
    else if (isBegun) receipt.at = span.start; // a quick model took it up before it was told
    if (receipt.at !== undefined) showReceipt(`Prompt sent. It takes effect at ${clock(receipt.at)}.`);
  }
  run.lastWaiting = key;
  run.lastSpan = span?.prompt_index;
};
// The first segment of the prompt has come, with what it took in the server.
const noteArrival = ({ stages, first_frame: frame, fps }) => {
  const { receipt } = run;
  if (receipt?.at === undefined || receipt.stages || frame / fps < receipt.at - 0.001) return;
  Object.assign(receipt, { stages, arrivedAt: performance.now() });
};
const checkReceipt = (seconds) => {
  const { receipt } = run;
  if (receipt?.at === undefined || seconds < receipt.at - 0.001) return;
  const now = performance.now();
  const delay = (now - receipt.sentAt) / 1000;
  if (receipt.stages) meter.show(receipt.stages, receipt.sentAt, receipt.arrivedAt, now);
  host.dataset.delay = delay.toFixed(3);
  showReceipt(`New prompt at ${clock(receipt.at)}, on screen ${delay.toFixed(1)} s after you sent it.`);
  run.receipt = null;
};
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

const finish = (message) => {
  run.isComplete = true;
  showBadge();
  if (message.has_take) host.dataset.take = "yes";
  publish("end", { token: run.token, take: run.take });
  if (!run.segments.length) setState(message.failed ? "failed" : "idle");
  run.buffer?.finish();
};

const handle = (message, data) => {
  if ("status" in message) publish("status", message.status);
  if ("timeline" in message) {
    publish("timeline", message.timeline);
    readTimeline(message.timeline);
  }
  if ("verification" in message) publish("verification", message.verification);
  if (message.kind === "segment") addSegment(message, data);
  if (message.kind === "rewind") rewind(message);
  if (message.kind === "queue" && !run.segments.length) setState("waiting");
  if (message.kind === "queue") publish("queue", message);
  if (message.kind === "end") {
    publish("end", message);
    finish(message);
  }
  if (message.kind === "moved") moveElsewhere();
};

// Whether a run is older than the one of this tab; numbers of another server process cannot be compared.
const isOlder = ({ number: [process, index] }) => run?.number[0] === process && index < run.number[1];

// The answers of start and resume.
watch("value", () => {
  const message = props.value;
  if (!message?.token || isOlder(message)) return;
  const isKnown = run && message.token === run.token && run.connection.isOpen && !run.connection.isUnknown;
  if (!isKnown) open(message);
});

// Another tab plays this run now.
const moveElsewhere = () => {
  clearInterval(run.timer);
  run.isComplete = true;
  showElsewhere();
  video()?.pause();
};
const showElsewhere = () => {
  setState("elsewhere");
  publish("status", find(".elsewhere p").textContent);
};
find(".elsewhere button").addEventListener("click", async () => {
  const { token, mode: playerMode } = readPosition();
  const exists = await server.exists({ token }).catch(() => undefined);
  if (exists === false) fail(GONE);
  else ask(resumeEvent(playerMode));
});

// A duplicated tab has the position of the first one; the tab that plays a run answers those that ask for it.
tabs.addEventListener("message", ({ data }) => {
  if (data.ask && run?.token === data.ask && !run.isComplete) tabs.postMessage({ answer: data.ask });
});
const plays = (token) =>
  new Promise((done) => {
    const onAnswer = ({ data }) => data.answer === token && done(true);
    tabs.addEventListener("message", onAnswer);
    tabs.postMessage({ ask: token });
    setTimeout(() => (tabs.removeEventListener("message", onAnswer), done(false)), ASK_MS);
  });

// After a reload, resume where this tab was, if the run still exists and no other tab plays it. Where the question
// fails, the line is down: it is asked again.
const resumeAfterReload = async () => {
  const position = readPosition();
  if (!position.token || run) return;
  const exists = await server.exists({ token: position.token }).catch(() => undefined);
  if (exists === false) sessionStorage.removeItem(POSITION);
  if (exists === undefined) setTimeout(resumeAfterReload, RETRY_MS);
  if (!exists || run) return;
  if (await plays(position.token)) return run ? null : showElsewhere();
  hasReloaded = true;
  ask(resumeEvent(position.mode));
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

// A new take that goes on after the chunks before one of a run's: by prompt, kind and seed on the page, or as it was.
let fork = { token: "", chunk: 1 };
window.longliveBranch = (how) => [fork.token, fork.chunk, ...(fork.isAsItWas ? ["", "soft", null] : how)];
window.addEventListener("longlive:branch", ({ detail }) => {
  fork = detail;
  setStill(detail.picture ?? screen);
  ask("branch");
});

const start = () => trigger(mode === "compatible" ? "start_compatible" : "start");
window.addEventListener("longlive:start", start);
window.addEventListener("longlive:send", () => (run && !run.isComplete ? sendPrompt() : start()));
window.addEventListener("longlive:mode", (event) => (mode = event.detail));

find(".pause").addEventListener("click", () => {
  const one = video();
  if (host.dataset.state === "buffering") {
    run.isPlaying = true;
    setState("paused");
  } else if (one.paused) one.play();
  else one.pause();
});
const saveSoFar = async () => {
  const answer = await fetchStored("video", run.token);
  const link = document.createElement("a");
  link.download = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition"))?.[1] ?? "longlive.mp4";
  link.href = URL.createObjectURL(await answer.blob());
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEEP_S * 1000);
};
find(".save").addEventListener("click", () => saveSoFar().catch(({ message }) => publish("status", message)));
find(".full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else (find(".frame").requestFullscreen ?? screen.webkitEnterFullscreen)?.call(find(".frame"));
});

Object.assign(host.dataset, { frame: "-1", prompt: "-1", stalls: "0", mode: "live" });
setSize(props.size);
setState("idle");
observe(screen);
setTimeout(resumeAfterReload, TICK_MS);
