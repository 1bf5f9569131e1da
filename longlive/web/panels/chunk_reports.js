// What is known of the chunks of one run: thumbnail, what each was made from, fit and drift. Older ones are fetched.
// Gradio runs this after routes.js and before memory.js, in the same function.

const MAX_REPORTS = 240;
const RETRY_REPORTS_MS = 3000;

class ChunkReports {
  // `onChange` is called when something was fetched.
  constructor(token, onChange) {
    Object.assign(this, { token, onChange, chunks: new Map(), last: -1, partStart: null, fetchAfter: 0, isFetching: false });
  }

  get(number) {
    return this.chunks.get(number);
  }

  // A segment that was made, or a chunk as /thumbnails describes it.
  add({ chunk, first_frame: frame, num_frames: length, fps, ends_chunk: endsChunk, ...report }) {
    const start = frame / fps;
    if (endsChunk === false) return void (this.partStart = start);
    this.chunks.set(chunk, { ...report, number: chunk, start: this.partStart ?? start, end: (frame + length) / fps });
    this.partStart = null;
    this.last = Math.max(this.last, chunk);
    this.forget();
  }

  setFits(fits) {
    for (const [chunk, fit] of fits) if (this.chunks.has(chunk)) this.chunks.get(chunk).fit = fit;
  }

  drop(chunk) {
    for (const number of [...this.chunks.keys()]) if (number >= chunk) this.chunks.delete(number);
    this.last = Math.min(this.last, chunk - 1);
    this.partStart = null;
  }

  // The chunk that shows this second of the video.
  at(seconds) {
    for (const one of this.chunks.values()) if (one.start <= seconds && seconds < one.end) return one;
    return null;
  }

  // Fetch the first of these chunks that is not known, and those after it.
  async need(numbers) {
    const missing = numbers.find((number) => number >= 0 && !this.chunks.has(number));
    if (missing === undefined || this.isFetching || !this.token || performance.now() < this.fetchAfter) return;
    this.isFetching = true;
    this.fetchAfter = performance.now() + RETRY_REPORTS_MS;
    try {
      const answer = await fetchStored(`thumbnails?first=${missing}`, this.token);
      const { chunks } = await answer.json();
      chunks.filter(({ chunk }) => !this.chunks.has(chunk)).forEach((one) => this.add(one));
      if (chunks.length) this.fetchAfter = 0;
    } catch (error) {
      if (error.status === 404) this.fetchAfter = Infinity;
    } finally {
      this.isFetching = false;
    }
    this.onChange();
  }

  // Let go of what is far from the newest chunk, but for the first ones, which a sink may hold.
  forget() {
    if (this.chunks.size <= MAX_REPORTS) return;
    const isFar = (number) => number > 8 && number < this.last - MAX_REPORTS / 2;
    for (const number of [...this.chunks.keys()]) if (isFar(number)) this.chunks.delete(number);
  }
}
