// The tabs of the panels: all panels stay in the page, one is in sight. The value lists [elem_id, title] of each.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const CHOSEN = "longlive:panel"; // key in sessionStorage: the panel that was in sight last

const bar = element.querySelector(".tabs");

const show = (name) => {
  for (const tab of bar.children) {
    const isChosen = tab.dataset.panel === name;
    tab.setAttribute("aria-selected", isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    document.getElementById(`${tab.dataset.panel}-panel`)?.toggleAttribute("data-shown", isChosen);
  }
  sessionStorage.setItem(CHOSEN, name);
};

const makeTab = ([name, title]) => {
  const tab = document.createElement("button");
  Object.assign(tab, { type: "button", id: `${name}-tab`, textContent: title });
  tab.dataset.panel = name;
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", `${name}-panel`);
  tab.addEventListener("click", () => show(name));
  return tab;
};

// Gradio draws the panels after their tabs.
const label = () => {
  for (const { dataset, id } of bar.children) {
    const panel = document.getElementById(`${dataset.panel}-panel`);
    panel?.setAttribute("role", "tabpanel");
    panel?.setAttribute("aria-labelledby", id);
  }
  show([...bar.children].find((tab) => tab.getAttribute("aria-selected") === "true")?.dataset.panel ?? first);
};

bar.replaceChildren(...props.value.map(makeTab));
const names = props.value.map(([name]) => name);
const kept = sessionStorage.getItem(CHOSEN);
const first = names.includes(kept) ? kept : names[0];
bar.addEventListener("keydown", ({ key }) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
  const next = step && bar.children[names.indexOf(document.activeElement.dataset.panel) + step];
  if (!next) return;
  next.click();
  next.focus();
});
window.addEventListener("longlive:panel", ({ detail }) => names.includes(detail) && show(detail));
show(first);
setTimeout(label);
