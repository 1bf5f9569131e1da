// One line on how the house stands, asked for every few seconds by those tabs that are seen.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const EVERY_MS = 5000;
const LOST = "The server does not answer; it is asked again.";

const line = element.querySelector("p");
let isAsked = false;

const ask = async () => {
  if (document.hidden || isAsked) return;
  isAsked = true;
  const words = await server.house({}).catch(() => "");
  line.textContent = words || LOST; // Gradio gives undefined for what did not arrive
  isAsked = false;
};

setInterval(() => (element.isConnected ? ask() : null), EVERY_MS);
document.addEventListener("visibilitychange", ask);
ask();
