// The takes of this tab: the video that plays, and those that branches left; one of them is in the strip.
// Gradio runs this after chunk_strip.js and before timeline.js, in the same function.

const TAKES = "longlive:takes"; // key in sessionStorage

class Takes {
  // `onShow` is called with a take when another one is to be in the strip.
  constructor(bar, onShow) {
    Object.assign(this, { bar, onShow, list: readTakes(), live: null, shown: null });
    bar.addEventListener("keydown", ({ key }) => this.onKey(key));
  }

  // A run plays from now on: a branch is one more take, another video begins with a list of its own.
  open(token, take, parent) {
    const known = this.list.find((one) => one.take === take);
    if (!known && !parent) this.list = [];
    const number = Math.max(0, ...this.list.map((one) => one.number)) + 1;
    const one = known ?? { take, number, count: 0, end: 0 };
    if (!known) this.list.push(one);
    one.token = token;
    this.live = one;
    this.show(one);
  }

  // How far the take that plays has come: chunks, and seconds.
  extend(count, end) {
    if (!this.live) return;
    Object.assign(this.live, { count, end });
    this.draw();
  }

  get isLiveShown() {
    return this.shown === this.live;
  }

  show(one) {
    this.shown = one;
    this.draw();
    this.onShow(one, this.isLiveShown);
  }

  onKey(key) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    const next = this.list[this.list.indexOf(this.shown) + step];
    if (!next) return;
    this.show(next);
    this.bar.querySelector("[aria-selected=true]").focus();
  }

  draw() {
    sessionStorage.setItem(TAKES, JSON.stringify(this.list));
    this.bar.hidden = this.list.length < 2;
    while (this.bar.children.length > this.list.length) this.bar.lastChild.remove();
    this.list.forEach((one, i) => this.drawTab(this.bar.children[i] ?? this.addTab(i), one));
  }

  addTab(i) {
    const tab = make("button", "take");
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.append(make("b", ""), make("time", ""));
    tab.addEventListener("click", () => this.show(this.list[i]));
    return this.bar.appendChild(tab);
  }

  drawTab(tab, one) {
    tab.dataset.take = one.take;
    tab.setAttribute("aria-selected", one === this.shown);
    tab.tabIndex = one === this.shown ? 0 : -1;
    tab.toggleAttribute("data-live", one === this.live);
    const texts = [`Take ${one.number}`, one === this.live ? "now" : clock(one.end)];
    texts.forEach((text, n) => tab.children[n].textContent !== text && (tab.children[n].textContent = text));
  }
}

const readTakes = () => {
  try {
    return JSON.parse(sessionStorage.getItem(TAKES)) ?? [];
  } catch {
    return [];
  }
};
