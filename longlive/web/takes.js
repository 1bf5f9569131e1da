// The takes of this tab as lanes of a small tree: the video that plays, those that branches left, and those that were
// tried; one of them is in the strip. Names are only inserted as text.
// Gradio runs this after chunk_strip.js and before timeline.js, in the same function.

const TAKES = "longlive:takes"; // key in sessionStorage
const MAX_NAME = 40; // characters

class Takes {
  // `onShow` is called with a take when another one is to be in the strip; `forget` deletes one on the server, and `kept`
  // says which are still there.
  constructor(lanes, onShow, { forget, kept }) {
    Object.assign(this, { lanes, onShow, forget, kept, list: readTakes(), live: null, shown: null });
    this.list.forEach((one) => (one.name ??= `Take ${one.number}`)); // kept by an earlier version
    this.blankLane = lanes.querySelector(".lane");
    this.blankLane.remove();
    lanes.addEventListener("keydown", (event) => this.onKey(event));
  }

  // A run plays from now on: a branch or another video is one more take.
  open(token, take, parent, start) {
    const known = this.list.find((one) => one.take === take);
    const one = known ?? this.add({ take, parent, start: parent ? start : 0, count: 0, end: 0 });
    Object.assign(one, { token });
    this.live = one;
    this.show(one);
    if (!known) this.dropLost();
  }

  // The server keeps the newest, for a while.
  async dropLost() {
    const tokens = this.list.filter((one) => one !== this.live).map(({ token }) => token);
    const kept = tokens.length && (await this.kept({ tokens }).catch(() => undefined));
    if (!kept) return; // nothing to ask, or no answer
    this.list = this.list.filter((one) => one === this.live || !tokens.includes(one.token) || kept.includes(one.token));
    if (!this.list.includes(this.shown)) return this.show(this.live);
    this.draw();
  }

  // One more take, of which token, take, parent, start, end and the count of its chunks are known.
  add(one) {
    const number = Math.max(0, ...this.list.map((other) => other.number)) + 1;
    this.list.push(Object.assign(one, { number, name: one.name ?? `Take ${number}` }));
    this.draw();
    return one;
  }

  // How far the take that plays has come: chunks, and seconds.
  extend(count, end) {
    if (!this.live) return;
    Object.assign(this.live, { count, end });
    this.draw();
  }

  // The take that plays has come to its end.
  end(take) {
    const one = this.list.find((other) => other.take === take);
    if (one) one.isOver = true;
    this.draw();
  }

  get isLiveShown() {
    return this.shown === this.live;
  }

  isGoingOn(one) {
    return one === this.live && !one.isOver;
  }

  show(one) {
    this.shown = one;
    this.draw();
    this.onShow(one, this.isLiveShown);
  }

  // Delete one: its branches become those of the take that it had left itself.
  async remove(one) {
    const answer = await this.forget({ token: one.token }).catch(() => undefined);
    publish("status", answer?.message ?? "The server does not answer, so the take is still there.");
    if (!answer?.is_gone) return;
    this.list = this.list.filter((other) => other !== one);
    for (const child of this.list.filter(({ parent }) => parent?.run === one.take)) {
      child.parent = one.parent && { run: one.parent.run, chunk: Math.min(one.parent.chunk, child.parent.chunk) };
    }
    if (this.live === one) this.live = null;
    if (this.shown === one && this.list.length) this.show(this.live ?? this.list[0]);
    this.draw();
    this.lanes.querySelector(".show[aria-current=true]")?.focus();
  }

  rename(one, name) {
    one.name = name.trim().slice(0, MAX_NAME) || `Take ${one.number}`;
    this.draw();
  }

  onKey(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !event.target.matches(".show")) return;
    const buttons = [...this.lanes.querySelectorAll(".show")];
    buttons[buttons.indexOf(event.target) + step]?.focus();
    event.preventDefault();
  }

  // The takes with their depths, each followed by its branches.
  tree(parent = null, depth = 0) {
    const isKnown = (run) => this.list.some(({ take }) => take === run);
    const isChild = (one) => (one.parent && isKnown(one.parent.run) ? one.parent.run : null) === parent;
    return this.list.filter(isChild).flatMap((one) => [{ one, depth }, ...this.tree(one.take, depth + 1)]);
  }

  draw() {
    sessionStorage.setItem(TAKES, JSON.stringify(this.list));
    const tree = this.tree();
    this.lanes.hidden = tree.length < 2;
    const lanes = new Map([...this.lanes.children].map((lane) => [lane.dataset.take, lane]));
    tree.forEach(({ one, depth }, i) => {
      const lane = lanes.get(one.take) ?? this.makeLane(one);
      lanes.delete(one.take);
      if (this.lanes.children[i] !== lane) this.lanes.insertBefore(lane, this.lanes.children[i] ?? null);
      this.drawLane(lane, one, depth);
    });
    lanes.forEach((lane) => lane.remove());
    publish("takes", tree.map(({ one }) => ({ ...one, isLive: this.isGoingOn(one) })));
  }

  makeLane({ take }) {
    const lane = this.blankLane.cloneNode(true);
    lane.className = "take";
    lane.dataset.take = take;
    const find = (name) => lane.querySelector(name);
    const one = () => this.list.find((other) => other.take === take);
    const on = (name, listener) => find(name).addEventListener("click", listener);
    on(".show", () => this.show(one()));
    on(".look", () => {
      this.show(one());
      publish("look", { chunk: one().parent?.chunk ?? 0, token: one().token, name: one().name });
    });
    on(".files", () => publish("files", { token: one().token }));
    on(".verify", () => publish("verify", { token: one().token }));
    on(".rename", () => this.editName(lane, one()));
    on(".delete", () => {
      if (lane.hasAttribute("data-asks")) return this.remove(one());
      this.ask(lane, true);
      find(".delete").focus();
    });
    find(".delete").addEventListener("blur", () => this.ask(lane, false));
    find(".delete").addEventListener("keydown", ({ key }) => key === "Escape" && this.ask(lane, false));
    return lane;
  }

  // Whether the next click on "Delete" deletes.
  ask(lane, asks) {
    if (!this.list.some(({ take }) => take === lane.dataset.take)) return; // it was deleted
    lane.toggleAttribute("data-asks", asks);
    this.draw();
  }

  drawLane(lane, one, depth) {
    const setText = (name, text) => {
      const node = lane.querySelector(name);
      if (node.textContent !== text) node.textContent = text;
    };
    const isGoingOn = this.isGoingOn(one);
    const length = Math.max(...this.list.map(({ end }) => end), 0.1);
    lane.style.setProperty("--depth", depth);
    lane.style.setProperty("--from", `${((one.start ?? 0) / length) * 100}%`);
    lane.style.setProperty("--length", `${(Math.max(0, one.end - (one.start ?? 0)) / length) * 100}%`);
    lane.toggleAttribute("data-live", isGoingOn);
    lane.querySelector(".show").setAttribute("aria-current", one === this.shown);
    setText(".name", one.name);
    setText(".from", one.parent ? `from ${clock(one.start ?? 0)}` : "");
    setText("time", isGoingOn ? "live" : clock(one.end));
    lane.querySelector(".files").disabled = lane.querySelector(".delete").disabled = isGoingOn;
    lane.querySelector(".verify").hidden = isGoingOn || !document.querySelector("#verify");
    setText(".delete .text", lane.hasAttribute("data-asks") ? "Delete?" : "");
    for (const [name, what] of [[".look", "Play"], [".rename", "Rename"], [".files", "Download"]]) {
      label(lane.querySelector(name), `${what} ${one.name}`);
    }
    label(lane.querySelector(".verify"), `Verify ${one.name}`);
    label(lane.querySelector(".delete"), lane.hasAttribute("data-asks") ? `Really delete ${one.name}?` : `Delete ${one.name}`);
  }

  editName(lane, one) {
    const input = Object.assign(make("input", "new-name"), { value: one.name, maxLength: MAX_NAME });
    input.setAttribute("aria-label", `Another name for ${one.name}`);
    const show = lane.querySelector(".show");
    let isOver = false;
    const end = (name) => {
      if (isOver) return;
      isOver = true;
      show.hidden = false;
      input.remove();
      this.rename(one, name);
    };
    input.addEventListener("blur", () => end(input.value));
    input.addEventListener("keydown", ({ key }) => {
      if (!["Enter", "Escape"].includes(key)) return;
      end(key === "Enter" ? input.value : one.name);
      lane.querySelector(".rename").focus();
    });
    show.hidden = true;
    show.after(input);
    input.select();
  }
}

const label = (button, text) => {
  if (button.title === text) return;
  button.title = text;
  button.setAttribute("aria-label", text);
};

const readTakes = () => {
  try {
    return JSON.parse(sessionStorage.getItem(TAKES)) ?? [];
  } catch {
    return [];
  }
};
