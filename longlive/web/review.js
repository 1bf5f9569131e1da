// Looking back: stored chunks are shown again over the live video, which goes on underneath.
// Gradio runs this after player.js, in the same function.

const REVIEW_AHEAD_S = 1.6; // fetched ahead of what is seen again
const REVIEW_KEEP_S = 10;
const REVIEW_TICK_MS = 150;
const REVIEW_RETRY_MS = 700;
const NOT_HERE = "Looking back works with the Live player only.";

const overlay = find(".review");
const moment = overlay.querySelector(".moment");
let review = null;

// Plays the chunks of a take from `chunk` on, one after another; `poster` is shown until the first picture is there.
class Review {
  constructor(chunk, poster, token, name) {
    Object.assign(this, { token, name, next: chunk, segments: [], pending: [] });
    Object.assign(this, { isFetching: false, isOver: false, isClosed: false, fetchAfter: 0 });
    this.video = document.createElement("video");
    Object.assign(this.video, { className: "screen", poster, muted: true, playsInline: true, tabIndex: -1 });
    this.video.disableRemotePlayback = true;
    const Media = window.ManagedMediaSource ?? window.MediaSource;
    this.source = new Media();
    const url = (this.video.src = URL.createObjectURL(this.source));
    this.source.addEventListener("sourceopen", () => {
      URL.revokeObjectURL(url);
      this.feed();
    });
    this.timer = setInterval(() => this.feed(), REVIEW_TICK_MS);
    this.watchFrames();
    this.video.addEventListener("ended", () => this === review && backToLive());
    for (const change of ["play", "pause"]) this.video.addEventListener(change, () => this.showButton());
  }

  close() {
    clearInterval(this.timer);
    this.isClosed = true;
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.video.remove();
  }

  watchFrames() {
    const onFrame = (seconds) => !this.isClosed && this.segments.length && showMoment(this, seconds);
    const onCallback = (_, { mediaTime }) => {
      onFrame(mediaTime);
      if (!this.isClosed) this.video.requestVideoFrameCallback(onCallback);
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(onCallback);
    else this.video.addEventListener("timeupdate", () => onFrame(this.video.currentTime));
  }

  get ahead() {
    const { buffered, currentTime } = this.video;
    return buffered.length ? buffered.end(buffered.length - 1) - currentTime : 0;
  }

  // Whether this is the take that plays, and goes on: what is not seen live yet is not shown.
  get isGoingOn() {
    return this.token === run.token && !run.isComplete;
  }

  // Fetch the next chunk if it is needed soon; none that is not seen live yet, as a new prompt may still drop it.
  async feed() {
    this.append();
    const isBusy = this.isFetching || this.isOver || this.pending.length;
    const isUnseen = this.isGoingOn && this.segments.at(-1)?.end >= position();
    if (isBusy || isUnseen || this.ahead > REVIEW_AHEAD_S || performance.now() < this.fetchAfter) return;
    this.isFetching = true;
    try {
      const answer = await fetchStored(`segments?chunk=${this.next}`, this.token);
      takeFrames(new Uint8Array(await answer.arrayBuffer()), (message, data) => this.pending.push({ message, data }));
      this.next += 1;
    } catch (error) {
      this.fetchAfter = performance.now() + REVIEW_RETRY_MS;
      this.onMissing(error);
    } finally {
      this.isFetching = false;
    }
    this.append();
  }

  // Nothing more can be had: at the end of the video, or of what the server keeps.
  onMissing(error) {
    if (this.isClosed || error.status !== 404 || this.buffer?.updating) return; // tried again
    if (!this.segments.length) moment.textContent = error.message;
    this.isOver = !this.segments.length || !this.isGoingOn;
    if (this.isOver && this.source.readyState === "open") this.source.endOfStream();
  }

  append() {
    if (this.isClosed || this.source.readyState !== "open" || this.buffer?.updating || !this.pending.length) return;
    const { message, data } = this.pending[0];
    if (!this.buffer) {
      if (!this.source.constructor.isTypeSupported(message.mime)) return;
      this.buffer = this.source.addSourceBuffer(message.mime);
      this.buffer.addEventListener("updateend", () => this.append());
    }
    const { buffered, currentTime } = this.video;
    if (buffered.length && buffered.start(0) < currentTime - 2 * REVIEW_KEEP_S) {
      return this.buffer.remove(0, currentTime - REVIEW_KEEP_S);
    }
    this.pending.shift();
    const start = message.first_frame / message.fps;
    this.segments = [...this.segments.slice(-20), { ...message, start, end: start + message.num_frames / message.fps }];
    this.buffer.timestampOffset = start;
    this.buffer.appendBuffer(data);
    if (this.segments.length === 1) {
      this.video.currentTime = start + 0.001;
      this.video.play().catch(() => {});
    }
  }

  showButton() {
    const name = this.video.paused ? "Play the replay" : "Pause the replay";
    const button = overlay.querySelector(".again");
    button.toggleAttribute("data-paused", this.video.paused);
    button.title = name;
    button.setAttribute("aria-label", name);
  }
}

const lookAt = (chunk, poster, token, name) => {
  if (!run?.token) return;
  if (run.mode !== "live") return publish("status", NOT_HERE);
  const previous = review;
  review = new Review(chunk, poster || previous?.video.poster || "", token, name);
  showBranchButton(chunk);
  overlay.prepend(review.video);
  previous?.close();
  moment.textContent = "Looking back";
  overlay.hidden = false;
  host.dataset.review = "";
  find(".caption").hidden = true;
};

const backToLive = () => {
  if (!review) return;
  if (overlay.contains(document.activeElement)) document.querySelector("#timeline .strip")?.focus();
  review.close();
  review = null;
  overlay.hidden = true;
  delete host.dataset.review;
  element.querySelector(".caption.again")?.remove();
  find(".caption").hidden = false;
  publish("review", null);
};

// A picture is seen again; one that is not seen live yet is not shown ahead of it.
const showMoment = (one, seconds) => {
  if (one !== review) return;
  if (one.isGoingOn && seconds >= position()) return backToLive();
  const isSeen = ({ start, end }) => seconds >= start - 0.01 && seconds < end - 0.01;
  const segment = one.segments.find(isSeen) ?? one.segments.at(-1);
  host.dataset.review = Math.round(seconds * segment.fps);
  const text = `${one.name || "Looking back"}, ${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  if (moment.textContent !== text) moment.textContent = text;
  showPrompt(segment.prompt);
  showBranchButton(segment.chunk);
  publish("review", { chunk: segment.chunk, seconds });
};

const showPrompt = (text) => {
  const live = find(".caption");
  let caption = element.querySelector(".caption.again");
  if (!caption) {
    caption = live.cloneNode();
    caption.hidden = false;
    caption.classList.add("again");
    live.after(caption);
  }
  if (caption.textContent !== text) caption.textContent = text;
};

window.addEventListener("longlive:look", ({ detail: { chunk, poster, token, name } }) =>
  chunk === null ? backToLive() : lookAt(chunk, poster, token, name)
);
window.addEventListener("longlive:open", ({ detail }) => detail.token !== review?.token && backToLive());
document.addEventListener("keydown", ({ key }) => key === "Escape" && backToLive());
// A new take can begin at every chunk but the first, which is a new video's.
const showBranchButton = (chunk) => {
  review.chunk = chunk;
  overlay.querySelector(".branch").disabled = chunk < 1;
};
overlay.querySelector(".branch").addEventListener("click", () => {
  const { token, chunk } = review;
  backToLive();
  window.dispatchEvent(new CustomEvent("longlive:branch", { detail: { token, chunk } }));
});
overlay.querySelector(".to-live").addEventListener("click", backToLive);
overlay.querySelector(".again").addEventListener("click", () =>
  review.video.paused ? review.video.play() : review.video.pause()
);
