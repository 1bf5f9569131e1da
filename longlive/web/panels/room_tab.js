// What is shown in the room now, and a video of one's own that begins with it: #room=TAKE.CHUNK in the address.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const EVERY_MS = 4000;
const SOON_MS = 300;
const PLACE = /^#room=([0-9a-f]{1,64})\.([1-9]\d{0,5})$/;
const STATES = { live: "Live", waiting: "Begins soon", paused: "Paused", resting: "Rests until somebody comes", ended: "Goes on soon" };

const find = (selector) => element.querySelector(selector);
const setText = (node, text) => node.textContent !== text && (node.textContent = text);
let place = null;
window.longliveRoomPlace = () => place;

const show = ({ state, watching, prompt = "", thumbnail }) => {
  const count = watching === 1 ? "1 watches" : `${watching} watch`;
  setText(find(".state"), `${STATES[state] ?? ""}${watching ? ` · ${count}` : ""}`);
  setText(find(".prompt"), prompt);
  const image = find("img");
  image.hidden = !thumbnail;
  if (thumbnail && image.src !== thumbnail) image.src = thumbnail;
};

const ask = async () => {
  const answer = await server.describe({}).catch(() => undefined);
  if (answer) show(answer);
  else setText(find(".state"), "The server does not answer. Trying again…");
};

const isSeen = () => !document.hidden && element.isConnected && element.getClientRects().length;

// Begin a video of one's own, once: the address is as it was, so that a reload does not begin another. Gradio draws the
// parts of the page one after another; the player says when it listens.
const begin = () => {
  const found = PLACE.exec(location.hash);
  if (!found) return;
  if (!document.querySelector("#player")?.dataset.state) return setTimeout(begin, SOON_MS);
  place = { take: found[1], chunk: Number(found[2]) };
  history.replaceState(null, "", location.pathname + location.search);
  trigger("play");
};

for (const link of element.querySelectorAll("a")) link.href = routeUrl("room");
setInterval(() => isSeen() && ask(), EVERY_MS);
new IntersectionObserver((entries) => entries.some((one) => one.isIntersecting) && ask()).observe(element);
window.addEventListener("hashchange", begin);
setTimeout(begin, SOON_MS);
