// Two or three takes side by side, played by one clock: that of the slowest, for which the others wait.
// Gradio runs this after stored_video.js and before compare.js, in the same function.

const STEP_MS = 40; // between two looks at how far the players are apart
const FIRST_S = 0.4; // ready ahead before the players start
const LEAST_S = 0.08; // ready ahead, or all wait
const KEPT_S = 60;

// One take: its pictures, its name and its prompt.
class TakePlayer extends StoredVideo {
  // `take`: token, name, end (the number of its chunks); from chunk `first` on.
  constructor(take, first, onContinue) {
    super(take.token, first, { end: take.count, keep_s: KEPT_S });
    this.take = take;
    this.figure = make("figure", "take-player");
    this.figure.dataset.take = take.take;
    this.title = make("b", "");
    this.prompt = make("span", "prompt");
    this.prompt.dir = this.title.dir = "auto";
    this.problem = make("span", "problem");
    this.go = make("button", "go", "Go on with this one");
    this.go.type = "button";
    this.go.addEventListener("click", () => onContinue(this.take));
    const screen = make("div", "screen-box");
    screen.append(this.video);
    const caption = make("figcaption", "");
    caption.append(this.title, this.prompt, this.problem, this.go);
    this.figure.append(screen, caption);
    this.describe(take);
  }

  // What is known of the take may change while it is on the screen: its name, and whether it goes on.
  describe(take) {
    this.take = { ...take, count: this.take.count };
    this.title.textContent = take.name;
    this.video.setAttribute("aria-label", take.name);
    this.go.disabled = take.isLive;
    this.go.textContent = take.isLive ? "Playing now" : "Go on with this one";
  }

  close() {
    super.close();
    this.figure.remove();
  }

  onFrame(seconds) {
    const segment = this.segmentAt(seconds);
    this.figure.dataset.frame = Math.round(seconds * segment.fps);
    if (this.prompt.textContent !== segment.prompt) this.prompt.textContent = segment.prompt;
  }

  onMissing(error) {
    this.problem.textContent = error.message;
    this.finish();
  }

  get start() {
    return this.segments[0]?.start ?? 0;
  }

  get fps() {
    return this.segments[0]?.fps ?? 16;
  }

  // Where it ends; of a take that goes on, as far as it was seen.
  get lastSecond() {
    return this.take.isLive ? this.video.currentTime + this.ahead : this.take.end;
  }

  get isAtEnd() {
    return this.isOver && this.ahead < 0.6 / this.fps;
  }

  isReady(seconds) {
    return this.isAtEnd || (!this.video.seeking && this.video.readyState > 1 && (this.isOver || this.ahead >= seconds));
  }

  // Go on, no more than half a picture ahead of `second`.
  follow(second) {
    const lead = (this.video.currentTime - second) * this.fps;
    this.video.playbackRate = lead > 0.25 ? 0.94 : 1;
    if (lead > 1) this.video.pause();
    else if (lead < 0.5 && this.video.paused) this.video.play().catch(() => {});
  }
}

class InStep {
  // `onChange` is called when the second on the screens, or whether they play, has changed.
  constructor(players, onChange) {
    Object.assign(this, { players, onChange, isPlaying: true, isWaiting: true });
    this.timer = setInterval(() => this.step(), STEP_MS);
  }

  close() {
    clearInterval(this.timer);
    this.players.forEach((one) => one.close());
  }

  get going() {
    return this.players.filter((one) => !one.isAtEnd);
  }

  // The second of the videos on the screens: of those that go on, the slowest one's.
  get second() {
    const going = this.going.length ? this.going : this.players;
    return Math[this.going.length ? "min" : "max"](...going.map(({ video }) => video.currentTime));
  }

  // A little after the beginning of the first picture, so that it is that which is shown.
  get start() {
    return Math.max(...this.players.map((one) => one.start)) + 0.001;
  }

  get end() {
    return Math.max(...this.players.map((one) => one.lastSecond));
  }

  get isOver() {
    return !this.going.length;
  }

  step() {
    if (this.isPlaying && this.isOver) this.pause();
    const needed = this.isWaiting ? FIRST_S : LEAST_S;
    this.isWaiting = !this.players.every((one) => one.isReady(needed));
    const { second } = this;
    for (const one of this.going) {
      if (this.isPlaying && !this.isWaiting) one.follow(second);
      else if (!one.video.paused) one.video.pause();
    }
    this.onChange();
  }

  play() {
    if (this.isOver) this.seek(this.start);
    this.isPlaying = true;
    this.onChange();
  }

  // All stand still at the same picture: in its middle, as nearly equal times may lie on both sides of its end.
  pause() {
    this.isPlaying = false;
    this.players.forEach(({ video }) => video.pause());
    const { fps } = this.players[0];
    if (!this.isOver) this.seek((Math.floor(this.second * fps) + 0.5) / fps, this.going);
    this.onChange();
  }

  seek(second, players = this.players) {
    this.isWaiting = true;
    for (const { video } of players) if (Math.abs(video.currentTime - second) > 0.001) video.currentTime = second;
  }

  // Whether all have their first pictures still, so that they can play again from there.
  get canRestart() {
    return this.players.every(({ video, start, segments }) => segments.length && video.buffered.start(0) <= start + 0.05);
  }

  restart() {
    this.seek(this.start);
    this.play();
  }
}

const make = (tag, className, text = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};
