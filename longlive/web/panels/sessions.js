// Open a session file or a share link, make its video again with a mark for each chunk, and share the present video.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const MAX_BYTES = 3_000_000; // what the server takes
const LINK = "#video=";
const SWITCHES = { soft: "smooth", hard: "cut", keep: "drift" };
const NO_ANSWER = "The server does not answer. Please try again.";

const host = element.closest("#open-session") ?? element;
const find = (selector) => element.querySelector(selector);
const input = find("input[type=file]");
let mode = "live";
let current = ""; // token of the run that this tab plays
let opened = null; // what is shown: its source, and what the server says of it
let asked = null; // the source that is made next
let number = 0;

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const publish = (name, detail) => window.dispatchEvent(new CustomEvent(`longlive:${name}`, { detail }));
const on = (name, listener) => window.addEventListener(`longlive:${name}`, ({ detail }) => listener(detail));
const show = (selector, text) => {
  find(selector).textContent = text;
  find(selector).hidden = !text;
};
const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

const asDataUrl = (blob) =>
  new Promise((done, failed) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.addEventListener("error", () => failed(reader.error));
    reader.readAsDataURL(blob);
  });

const close = (note = "") => {
  number++;
  opened = null;
  input.value = "";
  find(".opened").hidden = true;
  show(".note", note);
};

// Show what a source holds, as the server reads it; nothing is made.
const open = async (name, source, description) => {
  const mine = ++number;
  show(".note", `Reading ${description}…`);
  const answer = await Promise.resolve(source)
    .then((value) => server.describe((source = value)))
    .catch(() => undefined);
  if (mine !== number) return;
  if (!answer || answer.error) return close(answer?.error ?? NO_ANSWER);
  opened = { source, ...answer };
  draw(name, answer);
};

const draw = (name, { problem, here, has_digests: hasDigests, note, ...answer }) => {
  show(".note", "");
  find(".name").textContent = name;
  find(".facts").textContent = facts(answer);
  find(".scenes").replaceChildren(...answer.prompts.map(scene));
  const more = answer.num_prompts - answer.prompts.length;
  if (more) find(".scenes").append(make("li", `and ${more} more`));
  show(".problem", problem);
  const verb = hasDigests ? "Make it again and verify" : "Play it";
  const marks = hasDigests ? "Each chunk gets a mark in the timeline: ✓ if it comes out the same. " : "";
  const other = "With another model it is another video, and nothing is compared.";
  const hint = `Nothing is made before you press ${verb}. ${marks}Go another way with a prompt, at any moment.`;
  find(".hint").textContent = problem ? other : `${note} ${hint}`.trim();
  find("#verify").textContent = verb;
  find("#verify").hidden = Boolean(problem);
  find(".as-prompts").textContent = `Make its prompts with ${here} instead`;
  find(".as-prompts").hidden = !problem;
  find(".opened").hidden = false;
  find(".result").hidden = true;
};

const facts = ({ model, seed, chunks, seconds, begins_with_picture: hasPicture }) => {
  const count = chunks === 1 ? "1 chunk" : `${chunks} chunks`;
  const parts = [`Model ${model}`, `seed ${seed}`, `${clock(seconds)} (${count})`];
  return [...parts, ...(hasPicture ? ["begins with a picture or another video"] : [])].join(", ");
};

const scene = ({ at, text, switch: change }) => {
  const item = document.createElement("li");
  const prompt = make("span", text);
  prompt.dir = "auto";
  item.append(make("time", clock(at)), prompt, make("em", SWITCHES[change] ?? ""));
  return item;
};

const openFile = (file) => {
  if (!file) return;
  const size = (file.size / 1e6).toFixed(1);
  if (file.size > MAX_BYTES) {
    return close(`${file.name} has ${size} MB; a session file of at most 3 MB can be opened here.`);
  }
  open(file.name, asDataUrl(file).then((url) => ({ file: url })), file.name);
};

const openLink = () => {
  if (!location.hash.startsWith(LINK)) return;
  publish("panel", "sessions");
  setTimeout(() => host.scrollIntoView({ block: "nearest" }), 100);
  open("Shared video", { link: location.hash }, "the link").then(() => {
    if (opened?.source.link) publish("status", "A shared video is open. It is made when you press Play it.");
  });
};

// Make a source's video; the answer opens the player.
const play = (source) => {
  asked = source;
  find(".result").hidden = true;
  if (mode === "compatible") trigger("play_compatible");
  else trigger("play");
};
window.longliveSource = () => [asked];

// How far the video that is made again has come, and whether it is the same.
const showVerification = ({ chunks, made, same, different, first_difference: first, has_left: hasLeft }) => {
  const compared = same + different;
  const isOver = made === chunks || hasLeft;
  let text = `${made} of ${chunks} chunks are made again`;
  if (compared && isOver) text = `${same} of ${chunks} chunks are the same`;
  else if (compared) text += different ? `, ${same} are the same` : ", all the same";
  if (different) text += `; chunk ${first} is the first that differs`;
  if (hasLeft) text += "; from there on it is another video";
  if (isOver && !compared) text += "; a link holds nothing to compare them with";
  find(".result").hidden = false;
  find(".result").toggleAttribute("data-different", different > 0);
  find(".sum").textContent = `${text}.`;
  find("progress").max = chunks;
  find("progress").value = made;
  show(".meaning", different ? meaning() : "");
};

const meaning = () => {
  const { made_on: there, here_on: here } = opened ?? {};
  const places = there ? ` The file was made on ${there}; this is ${here}.` : "";
  return (
    "A difference need not be one that you see. The last bits of the numbers depend on the hardware, the number of " +
    "threads and the versions of LongLive and PyTorch, and a small difference grows from chunk to chunk." +
    `${places} On the same machine and version it means that the file or the model was changed.`
  );
};

const share = async () => {
  const answer = await server.share({ token: current }).catch(() => undefined);
  find(".link").hidden = true;
  if (!answer?.link) return show(".note", answer?.error ?? NO_ANSWER);
  const address = `${location.origin}${location.pathname}${answer.link}`;
  const isCopied = await navigator.clipboard?.writeText(address).then(() => true, () => false);
  show(".note", isCopied ? "The link is copied. It holds what was made so far." : "Copy this link:");
  if (isCopied) return;
  find(".link").hidden = false;
  find(".link").value = address;
  find(".link").select();
};

input.addEventListener("change", () => openFile(input.files[0]));
find(".close").addEventListener("click", () => (close(), input.focus()));
find("#verify").addEventListener("click", () => play(opened.source));
find(".as-prompts").addEventListener("click", () => play({ ...opened.source, as_prompts: true }));
find("#share").addEventListener("click", share);
find(".again").addEventListener("click", () => publish("verify", { token: current }));
for (const name of ["dragover", "dragleave", "drop"]) {
  element.addEventListener(name, (event) => {
    event.preventDefault();
    host.classList.toggle("dropping", name === "dragover");
    if (name === "drop") openFile(event.dataTransfer.files[0]);
  });
}
on("mode", (value) => (mode = value));
on("open", ({ token }) => {
  current = token;
  find(".result").hidden = true;
  for (const button of [find("#share"), find(".again")]) button.disabled = !token;
});
on("verification", showVerification);
on("verify", ({ token }) => {
  if (opened) close();
  play({ token });
});
window.addEventListener("hashchange", openLink);
setTimeout(openLink, 300); // once the other parts of the page listen
