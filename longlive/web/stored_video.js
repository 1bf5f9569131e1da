// Plays stored chunks of a run, one after another, in a video element of its own; review.py has the route.
// Gradio runs this after routes.js and connection.js, before the scripts that use it, in the same function.

const STORED_AHEAD_S = 1.6; // fetched ahead of what is on the screen
const STORED_TICK_MS = 150;
const STORED_RETRY_MS = 700;

class StoredVideo {
  // From chunk `first` on, to before `end`; `keep_s` seconds that were played stay in the buffer.
  constructor(token, first, { end = Infinity, keep_s: keepS = 10, poster = "" } = {}) {
    Object.assign(this, { token, end, keepS, next: first, segments: [], pending: [] });
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
    this.timer = setInterval(() => this.feed(), STORED_TICK_MS);
    this.watchFrames();
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
    const onFrame = (seconds) => !this.isClosed && this.segments.length && this.onFrame(seconds);
    const onCallback = (_, { mediaTime }) => {
      onFrame(mediaTime);
      if (!this.isClosed) this.video.requestVideoFrameCallback(onCallback);
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(onCallback);
    else this.video.addEventListener("timeupdate", () => onFrame(this.video.currentTime));
  }

  // A picture is on the screen.
  onFrame() {}

  // The first pictures are there.
  onStart() {}

  // A chunk could not be had.
  onMissing() {}

  // Whether the next chunk may be shown.
  mayFetch() {
    return true;
  }

  get ahead() {
    const { buffered, currentTime } = this.video;
    return buffered.length ? buffered.end(buffered.length - 1) - currentTime : 0;
  }

  segmentAt(seconds) {
    const isSeen = ({ start, end }) => seconds >= start - 0.01 && seconds < end - 0.01;
    return this.segments.find(isSeen) ?? this.segments.at(-1);
  }

  // Fetch the next chunk if it is needed soon.
  async feed() {
    this.append();
    if (this.next >= this.end) return this.finish();
    const isBusy = this.isFetching || this.isOver || this.pending.length;
    if (isBusy || !this.mayFetch() || this.ahead > STORED_AHEAD_S || performance.now() < this.fetchAfter) return;
    this.isFetching = true;
    try {
      const answer = await fetchStored(`segments?chunk=${this.next}`, this.token);
      takeFrames(new Uint8Array(await answer.arrayBuffer()), (message, data) => this.pending.push({ message, data }));
      this.next += 1;
    } catch (error) {
      this.fetchAfter = performance.now() + STORED_RETRY_MS;
      // Without a status it is tried again: the line is broken.
      if (!this.isClosed && error.status === 404 && !this.buffer?.updating) this.onMissing(error);
    } finally {
      this.isFetching = false;
    }
    this.append();
  }

  // Nothing more comes.
  finish() {
    if (this.pending.length || this.buffer?.updating) return;
    this.isOver = true;
    if (this.source.readyState === "open") this.source.endOfStream();
  }

  append() {
    if (this.isClosed || this.source.readyState === "closed" || this.buffer?.updating || !this.pending.length) return;
    const { message, data } = this.pending[0];
    if (!this.buffer) {
      if (!this.source.constructor.isTypeSupported(message.mime)) return;
      this.buffer = this.source.addSourceBuffer(message.mime);
      this.buffer.addEventListener("updateend", () => this.append());
    }
    const { buffered, currentTime } = this.video;
    if (buffered.length && buffered.start(0) < currentTime - 2 * this.keepS) {
      return this.buffer.remove(0, currentTime - this.keepS);
    }
    this.pending.shift();
    const start = message.first_frame / message.fps;
    this.segments.push({ ...message, start, end: start + message.num_frames / message.fps });
    if (this.segments.length > 200) this.segments.shift();
    this.buffer.timestampOffset = start;
    this.buffer.appendBuffer(data);
    if (this.segments.length === 1) {
      this.video.currentTime = start + 0.001;
      this.onStart();
    }
  }
}
