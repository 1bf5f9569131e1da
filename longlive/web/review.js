// Looking back: stored chunks are shown again over the live video, which goes on underneath.
// Gradio runs this after stored_video.js and player.js, in the same function; those who watch along have it after watch.js,
// without a button to branch.

const NOT_HERE = "Looking back works with the Live player only.";

const overlay = find(".review");
const moment = overlay.querySelector(".moment");
let review = null;

// Plays the chunks of a take from `chunk` on; `poster` is shown until the first picture is there.
class Review extends StoredVideo {
  constructor(chunk, poster, token, name) {
    super(token, chunk, { poster });
    this.name = name;
    this.video.addEventListener("ended", () => this === review && backToLive());
    for (const change of ["play", "pause"]) this.video.addEventListener(change, () => this.showButton());
  }

  onFrame(seconds) {
    showMoment(this, seconds);
  }

  onStart() {
    this.video.play().catch(() => {});
  }

  // Whether this is the take that plays, and goes on: what is not seen live yet is not shown.
  get isGoingOn() {
    return this.token === run.token && !run.isComplete;
  }

  // What is not seen live yet may still be dropped by a new prompt.
  mayFetch() {
    return !this.isGoingOn || !(this.segments.at(-1)?.end >= position());
  }

  // Nothing more can be had: at the end of the video, or of what the server keeps.
  onMissing(error) {
    if (!this.segments.length) moment.textContent = error.message;
    if (!this.segments.length || !this.isGoingOn) this.finish();
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
  const segment = one.segmentAt(seconds);
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
const branchButton = overlay.querySelector(".branch");
const showBranchButton = (chunk) => {
  review.chunk = chunk;
  if (branchButton) branchButton.disabled = chunk < 1;
};
branchButton?.addEventListener("click", () => {
  const { token, chunk, video: picture } = review;
  window.dispatchEvent(new CustomEvent("longlive:branch", { detail: { token, chunk, picture } }));
  backToLive();
});
overlay.querySelector(".to-live").addEventListener("click", backToLive);
overlay.querySelector(".again").addEventListener("click", () =>
  review.video.paused ? review.video.play() : review.video.pause()
);
