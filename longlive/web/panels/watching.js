// The owner's side of watching along: the switch, the link, how many are there, and what they propose. Proposals are
// only inserted as text. Also offers a video to a tab that cannot play: a duplicated one, or one that waits.
// Gradio runs this after routes.js, as the body of a function of (element, trigger, props, server, upload, watch).

const EVERY_MS = 2000;
const POSITION = "longlive:position"; // key in sessionStorage, of the player
const NO_ANSWER = "The server does not answer. Please try again.";

const find = (selector) => element.querySelector(selector);
const isOpen = find(".open");
const on = (name, listener) => window.addEventListener(`longlive:${name}`, ({ detail }) => listener(detail));
let token = ""; // of the run that this tab plays
let isAsking = false;
let drawn = "";

const setText = (node, text) => node.textContent !== text && (node.textContent = text);
const showNote = (text) => {
  setText(find(".note"), text);
  find(".note").hidden = !text;
};

// Ask the server, or have something changed; only a change is answered with a note.
const ask = async (change) => {
  if (!token || (isAsking && !change)) return;
  isAsking = true;
  const asked = token;
  const answer = await server.watch_along({ token, ...change }).catch(() => undefined);
  isAsking = false;
  if (asked !== token) return;
  if (change) showNote(answer ? (answer.error ?? "") : NO_ANSWER);
  if (answer) show(answer);
};

const show = (answer) => {
  isOpen.checked = answer.is_open;
  find(".audience").hidden = !answer.is_open;
  if (!answer.is_open) return;
  const address = routeUrl(answer.link).href;
  find(".link").value = address;
  find("a").href = address;
  setText(find(".count"), countText(answer));
  find(".takes-proposals").checked = answer.takes_proposals;
  find(".is-listed").checked = answer.is_listed;
  find(".proposals").hidden = !answer.takes_proposals;
  find(".none").hidden = answer.proposals.length > 0;
  drawProposals(answer.proposals);
};

const countText = ({ watching, most }) => {
  if (!most) return "Nobody watches yet.";
  return `${watching || "Nobody"} ${watching > 1 ? "watch" : "watches"} now; ${most} at the most so far.`;
};

const drawProposals = (proposals) => {
  const key = JSON.stringify(proposals);
  if (key === drawn) return; // a button that is being pressed stays
  drawn = key;
  const held = document.activeElement?.closest?.("#watch-along li")?.dataset.number;
  find("ol").replaceChildren(...proposals.map(makeProposal));
  if (held) (find(`li[data-number="${held}"] button`) ?? find("li button"))?.focus();
};

const make = (tag, className, text) => Object.assign(document.createElement(tag), { className, textContent: text });
const makeProposal = ({ number, text, votes }) => {
  const item = make("li", "", "");
  item.dataset.number = number;
  const words = make("span", "text", text);
  words.dir = "auto";
  const count = make("span", "quiet votes", votes === 1 ? "1 vote" : `${votes} votes`);
  const button = (name, className, change) => {
    const one = make("button", `pill ${className}`, name);
    one.type = "button";
    one.setAttribute("aria-label", `${name}: ${text}`);
    one.addEventListener("click", () => ask(change()));
    return one;
  };
  const send = button("Send", "main", () => ({ send: number, switch: chosenSwitch() }));
  item.append(words, count, send, button("Dismiss", "", () => ({ dismiss: number })));
  return item;
};

// The transition that is chosen on the page.
const chosenSwitch = () => document.querySelector("#switch input:checked")?.value ?? "soft";

const copy = async () => {
  const { value } = find(".link");
  const isCopied = await navigator.clipboard?.writeText(value).then(() => true, () => false);
  if (isCopied) {
    setText(find(".copy"), "Copied");
    setTimeout(() => setText(find(".copy"), "Copy"), EVERY_MS);
  } else find(".link").select();
};

isOpen.addEventListener("change", () => ask({ is_open: isOpen.checked }));
find(".takes-proposals").addEventListener("change", ({ target }) => ask({ takes_proposals: target.checked }));
find(".is-listed").addEventListener("change", ({ target }) => ask({ is_listed: target.checked }));
find(".copy").addEventListener("click", copy);
find(".close").addEventListener("click", () => {
  ask({ is_open: false });
  isOpen.focus();
});
on("open", (run) => {
  token = run.token;
  isOpen.disabled = false;
  showOffer("");
  ask();
});
setInterval(() => element.isConnected && !document.hidden && isOpen.checked && ask(), EVERY_MS);

// What a tab can do that does not play.
const offerOf = async (question) => (await server.offer(question).catch(() => undefined))?.link ?? "";
const showOffer = (link) => {
  const offer = document.querySelector("#player .offer");
  offer.hidden = !link;
  if (link) offer.href = routeUrl(link);
};
let isOffered = false;
on("queue", async () => {
  if (isOffered) return;
  isOffered = true;
  showOffer(await offerOf({}));
});
on("segment", () => {
  if (isOffered) showOffer("");
  isOffered = false;
});
document.addEventListener("click", async ({ target }) => {
  if (!target.closest?.("#player .elsewhere .watch")) return;
  const { token: other } = JSON.parse(sessionStorage.getItem(POSITION) ?? "{}");
  const link = other && (await offerOf({ token: other }));
  if (link) location.assign(routeUrl(link));
  else window.dispatchEvent(new CustomEvent("longlive:status", { detail: "This video cannot be watched along." }));
});
