// The status line of the server; visible tabs ask for it every few seconds.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const EVERY_MS = 5000;
const LOST = "The server does not answer. Trying again…";

const line = element.querySelector("p");
let isAsking = false;

const update = async () => {
  if (document.hidden || isAsking) return;
  isAsking = true;
  const text = await server.status({}).catch(() => "");
  line.textContent = text || LOST; // Gradio returns undefined for a request that failed
  isAsking = false;
};

setInterval(() => (element.isConnected ? update() : null), EVERY_MS);
document.addEventListener("visibilitychange", update);
update();
