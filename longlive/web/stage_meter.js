// What the last prompt took from Enter to the screen, stage by stage: a bar, and numbers with what they mean.
// Gradio runs this before player.js, in the same function.

const STAGES = {
  waiting: ["waiting", "for the chunk in the making to end and for a turn at the model"],
  remember: ["clean pass", "the model remembers the chunk before; smoothly and cut need not wait for that"],
  text: ["text", "the prompt is encoded"],
  recache: ["recache", "the cache is rebuilt, cleared or kept for the new prompt"],
  denoise: ["denoise", "the model makes the chunk"],
  decode: ["decode", "latents become pictures"],
  encode: ["encode", "pictures become H.264"],
  other: ["other", "in the server, between the stages"],
  sent: ["sent", "the prompt to the server, and the pictures back"],
  shown: ["shown", "in the player's buffer until they are on the screen"],
};

class StageMeter {
  constructor(host, box) {
    Object.assign(this, { host, box });
  }

  clear() {
    delete this.host.dataset.stages;
    this.box.hidden = true;
  }

  // `stages` are the server's, in milliseconds of its clock; the three times are of this browser's. What is between
  // them and was not spent in the server was spent on the way, to the server or back: no clocks are compared.
  show(stages, sentAt, arrivedAt, shownAt) {
    const server = Object.values(stages).reduce((all, ms) => all + ms, 0);
    const found = { ...stages, sent: Math.max(0, arrivedAt - sentAt - server), shown: shownAt - arrivedAt };
    const known = Object.keys(STAGES).filter((name) => name in found);
    const rounded = Object.fromEntries(known.map((name) => [name, Math.round(found[name] * 10) / 10]));
    this.host.dataset.stages = JSON.stringify(rounded);
    this.draw(rounded, shownAt - sentAt);
  }

  draw(stages, total) {
    const entries = Object.entries(stages);
    this.box.hidden = false;
    this.box.querySelector(".total").textContent = `${(total / 1000).toFixed(2)} s by stage`;
    this.box.querySelector(".bar").replaceChildren(...entries.map(([name, ms]) => part(name, ms)));
    this.box.querySelector("dl").replaceChildren(...entries.map(([name, ms]) => row(name, ms)));
  }
}

const labelled = (tag, className, text) => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};

const part = (name, ms) => {
  const node = labelled("i", `stage-${name}`, "");
  node.style.flexGrow = ms;
  node.title = `${STAGES[name][0]} ${Math.round(ms)} ms`;
  return node;
};

const row = (name, ms) => {
  const node = document.createElement("div");
  const [label, about] = STAGES[name];
  node.title = about;
  const term = labelled("dt", "", label);
  term.prepend(labelled("i", `dot stage-${name}`, ""));
  node.append(term, labelled("dd", "", `${Math.round(ms)} ms`));
  return node;
};
