// Appends segments to a video through MediaSource, each at its place in time, so that currentTime x fps is the number
// of the frame. Gradio runs this before player.js, in the same function; the page of those who watch along has it, too.

const KEEP_S = 20; // played video that stays in the buffer

// How much video follows the picture on the screen without a gap, in seconds.
const bufferedAhead = ({ buffered, currentTime }) => {
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + 0.05 && currentTime < buffered.end(i)) return buffered.end(i) - currentTime;
  }
  return 0;
};

class SegmentBuffer {
  // `onChange` is called when pictures came or went, `onFail` with a reason where this browser cannot play them.
  constructor(video, { onChange, onFail }) {
    Object.assign(this, { video, onChange, onFail, pending: [], isComplete: false });
    const Media = window.ManagedMediaSource ?? window.MediaSource;
    if (!Media) return void onFail("This browser cannot play live video.");
    this.source = new Media();
    video.disableRemotePlayback = true;
    const url = (video.src = URL.createObjectURL(this.source));
    this.source.addEventListener("sourceopen", () => {
      URL.revokeObjectURL(url); // not video.src, which may belong to a newer buffer by now
      this.pump();
    });
  }

  // A segment that begins at second `at`.
  add(bytes, mime, at) {
    this.pending.push({ bytes, mime, at });
    this.pump();
  }

  // Drop everything from second `from` on; what is added later takes its place.
  removeFrom(from) {
    this.pending = this.pending.filter(({ at }) => at < from);
    if (this.buffer) this.pending.push({ from, at: from });
    this.pump();
  }

  // Nothing more comes.
  finish() {
    this.isComplete = true;
    this.pump();
  }

  pump() {
    const { source, pending } = this;
    if (source?.readyState !== "open") return;
    if (!this.buffer && pending.length) {
      const { mime } = pending[0];
      if (!source.constructor.isTypeSupported(mime)) return this.onFail(`This browser cannot play ${mime}.`);
      this.buffer = source.addSourceBuffer(mime);
      this.buffer.addEventListener("updateend", () => this.pump());
    }
    if (this.buffer?.updating) return;
    if (pending.length && !this.trim(this.video.currentTime - 2 * KEEP_S)) this.append(pending.shift());
    else if (!pending.length && this.isComplete) source.endOfStream();
    this.onChange();
  }

  append(item) {
    if (item.from !== undefined) return this.remove(item.from);
    try {
      this.buffer.timestampOffset = item.at;
      this.buffer.appendBuffer(item.bytes);
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      this.pending.unshift(item);
      this.trim(this.video.currentTime - 2);
    }
  }

  remove(from) {
    const { buffered } = this.video;
    if (buffered.length && buffered.end(buffered.length - 1) > from) this.buffer.remove(from, Infinity);
    else this.pump();
  }

  // Drop what was played long ago, if the buffer begins before `limit`; true while the buffer is busy with that.
  trim(limit) {
    const { buffered, currentTime } = this.video;
    if (!buffered.length || buffered.start(0) >= limit) return false;
    this.buffer.remove(0, Math.max(limit, currentTime - KEEP_S));
    return true;
  }
}
