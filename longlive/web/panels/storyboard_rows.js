// The rows of the storyboard's table. Text is only inserted as text.
// Gradio runs this before storyboard.js, in the same function.

const KINDS = { soft: "Smooth", hard: "Cut", keep: "Drift" };

const make = (tag, className, text = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};

// 65.25 as 1:05.2, or 1:05 where nothing is left.
const clock = (seconds) => {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  const [minutes, rest] = [Math.floor(tenths / 600), tenths % 600];
  return `${minutes}:${String(Math.floor(rest / 10)).padStart(2, "0")}${rest % 10 ? `.${rest % 10}` : ""}`;
};

// The seconds of "1:05.2" or "65.2"; NaN for what is no time.
const secondsOf = (text) => {
  const found = /^\s*(?:(\d{1,4}):(?=[0-5]?\d(?:\.|\s*$)))?(\d{1,6}(?:\.\d{1,6})?)\s*$/.exec(text);
  return found ? 60 * Number(found[1] ?? 0) + Number(found[2]) : NaN;
};

const kindOptions = () =>
  Object.entries(KINDS).map(([value, name]) => Object.assign(make("option", "", name), { value }));

// Whether a row can only be read: the first of a draft, those that were begun, those that a video did not reach.
const isFixed = ({ state }) => !["draft", "scheduled"].includes(state);

class Rows {
  // `onChange(row, changes)` is called when a viewer has changed `at`, `text` or `switch` of a row, given as typed;
  // it returns an error in words, or "". `onRemove(row)` is called for its button.
  constructor(body, { onChange, onRemove }) {
    Object.assign(this, { body, onChange, onRemove, drawn: new Map() });
  }

  // Rows have a `key`, `at`, `text`, `switch`, `state` (see isFixed) and perhaps a `chunk`. A row
  // that stays keeps its elements, and with them the focus. Returns the rows that are gone and were being edited.
  draw(rows) {
    const keys = new Set(rows.map(({ key }) => key));
    const focused = document.activeElement;
    const lost = [];
    for (const [key, item] of this.drawn) {
      if (keys.has(key)) continue;
      if (item.node.querySelector("[data-typed]")) lost.push(item.row);
      item.node.remove();
      this.drawn.delete(key);
    }
    rows.forEach((row, number) => {
      const item = this.drawn.get(row.key) ?? this.add(row);
      if (this.body.children[number] !== item.node) this.body.insertBefore(item.node, this.body.children[number] ?? null);
      this.update(item, row, number);
    });
    if (focused !== document.activeElement && this.body.contains(focused)) focused.focus();
    return lost;
  }

  add(row) {
    const node = make("tr", "");
    node.setAttribute("role", "row");
    const item = { node, row, cells: {} };
    for (const name of ["time", "text", "kind", "act"]) {
      const cell = node.appendChild(make("td", name));
      cell.setAttribute("role", "cell");
      const part = isFixed(row) ? make("span", "") : this.field(name, item);
      if (!isFixed(row) || name !== "act") item.cells[name] = cell.appendChild(part);
    }
    item.cells.text.dir = "auto";
    this.drawn.set(row.key, item);
    return item;
  }

  field(name, item) {
    if (name === "act") {
      const button = make("button", "remove", "×");
      button.type = "button";
      button.addEventListener("click", () => this.remove(item));
      return button;
    }
    const field = make({ time: "input", text: "textarea", kind: "select" }[name], "");
    if (name === "text") field.rows = 1;
    if (name === "kind") field.append(...kindOptions());
    else field.addEventListener("input", () => field.setAttribute("data-typed", ""));
    field.addEventListener("change", () => this.change(item, name));
    field.addEventListener("keydown", (event) => this.onKey(event, item));
    return field;
  }

  // Enter ends an edit, Escape takes it back.
  onKey(event, item) {
    if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      event.target.blur();
      event.target.focus();
    } else if (event.key === "Escape") {
      event.target.removeAttribute("data-typed");
      this.update(item, item.row);
    }
  }

  async change(item, name) {
    const field = item.cells[name];
    field.removeAttribute("aria-invalid");
    const { at, text } = item.row;
    const typed = { time: { at: secondsOf(field.value) }, text: { text: field.value }, kind: { switch: field.value } }[name];
    if (name === "time" && field.value === clock(at)) typed.at = at;
    if ((typed.at ?? at) === at && (typed.text ?? text) === text && name !== "kind") field.removeAttribute("data-typed");
    else if (await this.onChange(item.row, typed)) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("data-typed");
    this.update(item, item.row);
    if (!item.node.isConnected && document.activeElement === document.body) this.focusOn({ ...item.row, ...typed }, name);
  }

  // A row that was moved on the server has another chunk, and so other elements.
  focusOn({ text, state }, name) {
    const found = [...this.drawn.values()].find(({ row }) => row.text === text && row.state === state);
    found?.cells[name].focus();
  }

  remove(item) {
    const next = item.node.nextElementSibling ?? item.node.previousElementSibling;
    (next?.querySelector("button") ?? item.node.closest("table").querySelector(".adding textarea")).focus();
    this.onRemove(item.row);
  }

  // Show a row; what a viewer has typed into a field and is not accepted yet stays.
  update(item, row, number = Number(item.node.dataset.row)) {
    item.row = row;
    Object.assign(item.node.dataset, { row: number, at: row.at, state: row.state });
    if (row.chunk !== undefined) item.node.dataset.chunk = row.chunk;
    const shown = { time: clock(row.at), text: row.text, kind: isFixed(row) ? (KINDS[row.switch] ?? "") : row.switch };
    for (const [name, value] of Object.entries(shown)) {
      const part = item.cells[name];
      const property = isFixed(row) ? "textContent" : "value";
      if (!part.hasAttribute("data-typed") && part[property] !== value) part[property] = value;
    }
    if (!isFixed(row)) this.nameFields(item, number + 1);
  }

  nameFields({ cells }, number) {
    const names = { time: "Time of prompt", text: "Prompt", kind: "Kind of prompt", act: "Remove prompt" };
    for (const [name, label] of Object.entries(names)) cells[name].setAttribute("aria-label", `${label} ${number}`);
  }

  // Mark the row that is on the screen.
  setCurrent(key) {
    if (this.current === key) return;
    this.current = key;
    for (const [other, { node }] of this.drawn) {
      if (other === key) node.setAttribute("aria-current", "true");
      else node.removeAttribute("aria-current");
    }
  }
}
