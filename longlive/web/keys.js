// Keys of the whole page, and the help that lists them.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const SWITCH_KEYS = { 1: "soft", 2: "hard", 3: "keep" };
const STRIP_KEYS = ["ArrowLeft", "ArrowRight", "Home", "End"];
const EDITABLE = "input, textarea, select, [contenteditable=true]";
const OWN_KEYS = "button, a, summary, audio, video, [role=tab], [role=slider], [role=radio]"; // use some keys themselves

const dialog = element.querySelector("dialog");
const part = (selector) => document.querySelector(selector);
const press = (selector) => {
  const button = part(selector);
  if (button?.checkVisibility() && !button.disabled) button.click();
};

const pause = () => press(part("#player[data-review]") ? "#player .again" : "#player .pause");
const look = (key) => part("#timeline .strip")?.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));

// What a key does; `isFree` tells that the focus is on nothing that uses keys itself.
const actionOf = (key, isFree) => {
  if (key === "?") return () => dialog.showModal();
  if (key in SWITCH_KEYS) return () => press(`#switch input[value=${SWITCH_KEYS[key]}]`);
  if (key === "b" || key === "B") return () => press("#branch");
  if (key === "f" || key === "F") return () => press("#player .full");
  if (!isFree) return null;
  if (key === " ") return pause;
  if (key === "Enter") return () => part("#prompt textarea").focus();
  return STRIP_KEYS.includes(key) ? () => look(key) : null;
};

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  const hasModifier = event.altKey || event.ctrlKey || event.metaKey;
  if (hasModifier || event.defaultPrevented || !event.isTrusted || part("dialog[open]")) return;
  const isRadio = target.matches("input[type=radio]");
  if (target.closest(EDITABLE) && !(isRadio && key in SWITCH_KEYS)) return;
  const action = actionOf(key, !target.closest(OWN_KEYS));
  if (!action) return;
  event.preventDefault();
  action();
});

element.querySelector(".open").addEventListener("click", () => dialog.showModal());
element.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close()); // beside the text
