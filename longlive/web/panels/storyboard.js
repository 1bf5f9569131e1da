// The storyboard: rows of a video that is to be started, which are this component's value, or those of the one that
// plays, which the server owns. The server is asked whenever something of the run's prompts has changed.
// Gradio runs this after storyboard_rows.js, in the same function.

const MAX_ROWS = 1000;
const MAX_BODY = 240_000; // characters that a call may have
const MAX_FILE = 5_000_000; // bytes of a file that is read
const STEP_S = 5; // between a new row and the one before it, where no time is typed
const DRAFT = "longlive:storyboard"; // key in sessionStorage
const TOO_LATE = "That prompt is being shown already, so it cannot be changed any more.";
const ABOUT = {
  draft: "The video begins with the prompt in the box; these come after it.",
  live: "Prompts to come can be changed until their turn. One that you send replaces them.",
  over: "These prompts made the video.",
  cut: "These prompts made the video; those in grey were not reached.",
};

const find = (selector) => element.querySelector(selector);
const promptBox = () => document.querySelector("#prompt textarea");
let draft = []; // at, text, switch
let isExample = false; // whether the draft is an example's, which goes when another prompt is typed
let live = null; // token, begun, scheduled, is_open: of the run that the table shows
let lost = []; // rows to come that are gone and can be put back
let playhead = 0;
let isStarting = false;
let lines = []; // of a file with several storyboards
let numbers = 0;

const isOpen = () => Boolean(live?.is_open);
const toCome = () => (live ? live.scheduled.filter((row) => !row.is_fixed) : draft);

// What is shown

const rows = () => {
  if (!live) {
    const box = promptBox();
    const first = { key: "first", at: 0, text: box?.value.trim() || box?.placeholder || "", state: "first" };
    return [first, ...draft.map((row) => ({ ...row, state: "draft" }))];
  }
  const begun = live.begun.map((row) => ({ ...row, key: `begun ${row.chunk}`, state: "begun" }));
  const toShow = live.scheduled.map((row) => {
    const state = row.is_fixed ? "begun" : isOpen() ? "scheduled" : "unreached";
    return { ...row, key: `${state} ${row.chunk} to come`, state };
  });
  return [...begun, ...toShow];
};

const draw = () => {
  const gone = table.draw(rows());
  const state = live ? (isOpen() ? "live" : "over") : "draft";
  element.dataset.state = state;
  find(".about").textContent = ABOUT[state === "over" && toCome().length ? "cut" : state];
  find("tfoot").hidden = find(".tools label").hidden = state === "over";
  find(".over").hidden = state !== "over";
  find(".clear").hidden = state === "over" || !toCome().length;
  adding.input.placeholder = clock(nextTime());
  if (gone.length && isOpen()) note(TOO_LATE);
  mark();
};

const mark = () => {
  const seen = live?.begun.filter((row) => row.at <= playhead + 0.001).at(-1);
  table.setCurrent(seen && `begun ${seen.chunk}`);
};

const note = (text, back = []) => {
  find(".note").hidden = !text;
  find(".note span").textContent = text;
  lost = back;
  find(".back").hidden = !back.length;
  return text;
};

// The draft

const setDraft = (rowsOfIt, example = false) => {
  draft = rowsOfIt.map((row) => ({ ...row, key: row.key ?? `draft ${numbers++}` })).sort((a, b) => a.at - b.at);
  isExample = example;
  const value = draft.map(({ at, text, switch: kind }) => ({ at, text, switch: kind }));
  sessionStorage.setItem(DRAFT, JSON.stringify(value));
  if (JSON.stringify(props.value ?? []) !== JSON.stringify(value)) props.value = value;
};

// What is wrong with a row that comes to the other rows; "" for nothing.
const problemOf = ({ at, text }, others) => {
  if (!Number.isFinite(at)) return "This is no time. Write seconds, or minutes and seconds, such as 12 or 0:12.";
  if (at <= 0) return "The video begins with the prompt in the box. Choose a time after 0:00.";
  if (at > 86_400) return "A prompt can begin a day after the start at most. Choose an earlier time.";
  if (!text.trim()) return "The prompt is empty. Type what you want to see.";
  if (others.some((row) => row.at === at)) return `Another prompt begins at ${clock(at)}. Choose another time.`;
  return others.length >= MAX_ROWS ? `There are ${MAX_ROWS.toLocaleString("en")} prompts, which is the limit.` : "";
};

// The server

const ask = async (question) => {
  const current = live;
  const answer = await server.storyboard({ token: current.token, ...question }).catch(() => undefined);
  if (!answer) return question ? "The server does not answer. Try again." : "";
  if (current !== live) return "";
  if (answer.error) {
    if (answer.is_open === false) live.is_open = false;
    draw();
    return answer.error;
  }
  const asRow = ({ at_seconds: at, ...row }) => ({ ...row, at });
  const [begun, scheduled] = [answer.begun.map(asRow), answer.scheduled.map(asRow)];
  if (!question) noteCancelled(live.scheduled, [...begun, ...scheduled]);
  Object.assign(live, { begun, scheduled, is_open: answer.is_open });
  draw();
  return "";
};

// Prompts to come that a prompt of the viewer's has replaced.
const noteCancelled = (before, now) => {
  const isKept = ({ chunk, text }) => now.some((row) => row.chunk === chunk && row.text === text);
  const gone = before.filter((row) => !row.is_fixed && !isKept(row));
  if (gone.length) note(`Your prompt replaced ${count(gone.length, "prompt")} to come.`, gone);
};
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

let asking = null;
let isOutOfDate = false;
const refresh = async () => {
  isOutOfDate = true;
  if (asking) return;
  while (isOutOfDate && live) {
    isOutOfDate = false;
    asking = ask(null);
    await asking;
  }
  asking = null;
};

// What a viewer does

const sendable = ({ at, text, switch: kind }) => ({ at, text, switch: kind });

const addRows = async (added) => {
  if (isOpen()) return ask({ removed: [], prompts: added.map(sendable) });
  setDraft([...draft, ...added]);
  draw();
  return "";
};

const changeRow = async (row, changes) => {
  const changed = { ...row, ...changes };
  const problem = problemOf(changed, toCome().filter((one) => (live ? one.chunk !== row.chunk : one.key !== row.key)));
  if (problem) return note(problem);
  if (live) return note(await ask({ removed: [row.chunk], prompts: [sendable(changed)] }));
  setDraft(draft.map((one) => (one.key === row.key ? { ...changed, text: changed.text.trim() } : one)));
  draw();
  return note("");
};

const removeRow = async (row) => {
  if (live) {
    const error = await ask({ removed: [row.chunk], prompts: [] });
    return note(error || `Removed the prompt at ${clock(row.at)}.`, error ? [] : [row]);
  }
  setDraft(draft.filter((one) => one.key !== row.key));
  draw();
  note(`Removed the prompt at ${clock(row.at)}.`, [row]);
};

const removeAll = async () => {
  const gone = toCome();
  const error = live ? await ask({ removed: "all", prompts: [] }) : (setDraft([]), "");
  draw();
  note(error || `Removed ${count(gone.length, "prompt")}.`, error ? [] : gone);
};

const table = new Rows(find("tbody"), { onChange: changeRow, onRemove: removeRow });

const adding = Object.fromEntries(["input", "textarea", "select"].map((tag) => [tag, find(`.adding ${tag}`)]));
adding.select.append(...kindOptions());
adding.select.value = document.querySelector("#switch input:checked")?.value ?? "soft";

const nextTime = () => Math.ceil(Math.max(0, ...toCome().map((row) => row.at), isOpen() ? playhead : 0) + STEP_S);

const add = async () => {
  const at = adding.input.value.trim() ? secondsOf(adding.input.value) : nextTime();
  const row = { at, text: adding.textarea.value.trim(), switch: adding.select.value };
  const problem = problemOf(row, toCome()) || (await addRows([row]));
  if (problem && !(at > 0)) adding.input.setAttribute("aria-invalid", "true");
  else adding.input.removeAttribute("aria-invalid");
  note(problem);
  if (problem) return;
  adding.input.value = adding.textarea.value = "";
  adding.textarea.focus();
};
find(".add").addEventListener("click", add);
for (const field of [adding.input, adding.textarea]) {
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    add();
  });
}
find(".clear").addEventListener("click", removeAll);
find(".back").addEventListener("click", async () => {
  const back = lost.filter((row) => !isOpen() || row.at > playhead);
  note((await addRows(back)) || (back.length < lost.length ? "What has passed was left out." : ""));
});

// A video that is over: its prompts again, or none

const setPrompt = (text) => {
  const box = promptBox();
  if (!box || !text) return;
  isExample = false;
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
};
const useAgain = () => {
  const [first, ...others] = [...live.begun, ...live.scheduled];
  live = null;
  if (first) setPrompt(first.text);
  setDraft(others.map(sendable));
  draw();
  note("");
};
find(".reuse").addEventListener("click", useAgain);
find(".fresh").addEventListener("click", () => {
  live = null;
  draw();
  note("");
  adding.textarea.focus();
});

// Files

const readFile = async (file) => {
  if (file.size > MAX_FILE) return note(`This file has ${(file.size / 1e6).toFixed(1)} MB; at most 5 MB are read.`);
  const text = decode(new Uint8Array(await file.arrayBuffer()));
  const suffix = file.name.toLowerCase().match(/\.(jsonl|txt)$/)?.[1];
  const rows = text.split(/\r\n|\r|\n/).filter((line) => line.trim());
  lines = { jsonl: rows, txt: rows.map((prompt) => JSON.stringify({ prompts: [prompt] })) }[suffix] ?? [text];
  find(".choice").hidden = lines.length < 2;
  find(".choice span").textContent = lines.length;
  Object.assign(find(".choice input"), { value: 1, max: lines.length });
  return readLine(0);
};

// UTF-8, or UTF-16 with its mark; a mark is no part of the text.
const decode = (bytes) => {
  const encoding = { 65534: "utf-16le", 65279: "utf-16be" }[bytes[0] * 256 + bytes[1]] ?? "utf-8";
  return new TextDecoder(encoding).decode(bytes);
};

const readLine = async (number) => {
  const text = lines[number] ?? "";
  if (text.length > MAX_BODY) return note(tooLong(text));
  const answer = await server.read_storyboard({ text }).catch(() => undefined);
  if (!answer) return note("The server does not answer. Try again.");
  return answer.error ? note(answer.error) : take(answer.prompts);
};

const tooLong = (text) => {
  let found = 0;
  try {
    found = JSON.parse(text).prompts.length;
  } catch {
    // said below
  }
  if (found > MAX_ROWS) return `This file has ${found.toLocaleString("en")} prompts; at most 1,000 are read.`;
  return `This storyboard has ${text.length.toLocaleString("en")} characters; at most 240,000 are read.`;
};

// The prompts of a file: for the next video, or in place of those to come.
const take = async ([first, ...others]) => {
  const read = `Read ${count(others.length + 1, "prompt")}.`;
  if (!isOpen()) {
    live = null;
    setPrompt(first.text);
    setDraft(others);
    draw();
    return note(read);
  }
  const coming = others.filter((row) => row.at > playhead + 1);
  const before = live.scheduled;
  const error = await ask({ removed: "all", prompts: coming.map(sendable) });
  const left = others.length + 1 - coming.length;
  const isPast = `${count(left, "prompt")} of a time that has passed ${left === 1 ? "was" : "were"} left out.`;
  return note(error || `${read} ${isPast}`, !error && before.length && !coming.length ? before : []);
};

find(".file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  target.value = ""; // so that the same file can be opened again
  if (file) await readFile(file).catch(() => note("This file cannot be read. Choose another one."));
});
find(".choice input").addEventListener("change", ({ target }) => {
  const number = Math.min(Math.max(1, Math.round(Number(target.value)) || 1), lines.length);
  target.value = number;
  readLine(number - 1);
});

// LongLive's JSONL is a line of texts, without times and kinds.
const save = (format) => {
  const prompts = rows().map(({ at, text, switch: kind }) => ({ at, text, ...(kind ? { switch: kind } : {}) }));
  const texts = `${JSON.stringify({ prompts: prompts.map(({ text }) => text) })}\n`;
  const content = format === "json" ? `${JSON.stringify({ prompts }, null, 1)}\n` : texts;
  const link = make("a", "");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = `storyboard.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  note(format === "json" ? "" : "JSONL holds no times: read again, the prompts begin 10 s apart.");
};
for (const button of element.querySelectorAll(".save")) {
  button.addEventListener("click", () => save(button.dataset.format));
}

// The rest of the page

const on = (name, listener) => window.addEventListener(`longlive:${name}`, ({ detail }) => listener(detail));
for (const name of ["start", "send"]) on(name, () => (isStarting = true));
on("open", async ({ token, parent, start }) => {
  if (live?.token !== token) {
    live = { token, begun: [], scheduled: [], is_open: true };
    playhead = start;
    note("");
  }
  const isNew = isStarting;
  if (isStarting && !parent) setDraft([]);
  isStarting = false;
  await refresh();
  if (isNew || isOpen() || !draft.length) return;
  live = null; // after a reload: the video is over, and another one was being written
  draw();
});
let known = "";
on("timeline", ({ spans, waiting }) => {
  const key = JSON.stringify([spans.map((span) => span.prompt_index), waiting]);
  if (key !== known) refresh();
  known = key;
});
on("status", refresh);
on("playhead", ({ seconds }) => {
  playhead = seconds;
  mark();
  if (isOpen()) adding.input.placeholder = clock(nextTime());
});
on("unschedule", ({ chunk }) => {
  const row = live?.scheduled.find((one) => one.chunk === chunk);
  if (row) removeRow(row);
});

// An example fills the rows; another prompt that is typed does not want them.
watch("value", () => {
  const value = Array.isArray(props.value) ? props.value : [];
  if (JSON.stringify(value) === sessionStorage.getItem(DRAFT)) return;
  if (!value.length) return setDraft(draft, isExample); // the page has been loaded
  if (!isOpen()) live = null;
  setDraft(value, true);
  draw();
});
document.addEventListener("input", ({ target }) => {
  if (target !== promptBox()) return;
  if (isExample) setDraft([]);
  if (!live) draw();
});

const stored = () => {
  try {
    return JSON.parse(sessionStorage.getItem(DRAFT)) ?? [];
  } catch {
    return [];
  }
};
setDraft(stored());
const drawFirst = () => {
  draw();
  if (!promptBox()) setTimeout(drawFirst, 200); // it may be drawn after this
};
setTimeout(drawFirst, 0);
