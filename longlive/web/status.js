// The status line of the server; visible tabs ask for it every few seconds.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const EVERY_MS = 5000;
const LOST = "The server does not answer. Trying again…";

const line = element.querySelector("p");
let isAsking = false;
let text = null; // until the server has answered
let own = ""; // what is said of this tab's video: its position in the queue, or the time that is left

const show = () => (line.textContent = [text === null ? "" : text || LOST, own].filter(Boolean).join(" · "));
const duration = (seconds) => (seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`);
const say = (sentence) => {
  own = sentence;
  show();
};
const on = (name, listener) => window.addEventListener(`longlive:${name}`, ({ detail }) => listener(detail));
on("open", () => say(""));
on("queue", ({ position }) => {
  say(`you are number ${position} in the queue`);
  update(); // what was asked before may say that the queue is empty
});
on("segment", ({ figures }) => figures && say(`${duration(figures.left_s)} left`));
on("end", () => say(""));

const update = async () => {
  if (document.hidden || isAsking) return;
  isAsking = true;
  text = await server.status({}).catch(() => ""); // Gradio returns undefined for a request that failed
  show();
  isAsking = false;
};

setInterval(() => (element.isConnected ? update() : null), EVERY_MS);
document.addEventListener("visibilitychange", update);
update();
