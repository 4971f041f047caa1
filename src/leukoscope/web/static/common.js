// What the pages of a reading share: its cells, the queue of what is to be saved, the keys of the classes.
const element = document.getElementById("data");
export const data = JSON.parse(element.textContent);
export const token = document.body.dataset.token;
export const base = `/r/${data.reading}`;
const api = `/api/v1/readings/${data.reading}`;
const column = Object.fromEntries(data.columns.map((name, i) => [name, i]));

export const classes = data.classes;
export const classNamed = new Map(classes.map((c) => [c.name, c]));
export const cells = new Map();
for (const row of data.cells) {
  const cell = {};
  for (const name of data.columns) cell[name] = row[column[name]];
  cells.set(cell.id, cell);
}
export const open = data.state === "open";

/** The call that stands of a cell, or null: nobody called it and the model's call is hidden. */
export function called(cell) {
  return cell.call ?? (cell.model >= 0 ? classes[cell.model].name : null);
}

export function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
}

// ---- reading time: counted while someone does something -------------------------------------------------------------
const IDLE_MS = 30000;
let lastAct = performance.now(), active = 0;
function tick() {
  const now = performance.now();
  if (document.visibilityState === "visible") active += Math.min(now - lastAct, IDLE_MS);
  lastAct = now;
}
for (const kind of ["pointermove", "keydown", "pointerdown", "wheel"]) addEventListener(kind, tick, { passive: true });
export function takeActive() {
  const ms = Math.round(active);
  active = 0;
  return ms;
}

// ---- the queue: every operation has a name, is sent in order, and sent again until it is answered --------------------
const saved = document.getElementById("saved");
const kept = `queue-${data.reading}`;
const queue = [];
let sending = false, offline = false;

function show() {
  saved.textContent = queue.length === 0 ? "saved" : offline ? `not saved: ${queue.length} kept here` : "saving…";
  saved.classList.toggle("late", offline);
  try {
    if (queue.length) sessionStorage.setItem(kept, JSON.stringify(queue.map((q) => [q.path, q.body])));
    else sessionStorage.removeItem(kept);
  } catch {
    // A browser without storage keeps the queue in the page alone.
  }
}

export function newOp() {
  return crypto.randomUUID ? crypto.randomUUID() : [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

/**
 * Send an operation; resolves to the answer, or null where it was refused.
 * expect: ids of cells that must be as this page last saw them when its turn comes; before: their calls, to go back to.
 */
export function send(path, body, { expect = null, before = [] } = {}) {
  return new Promise((resolve) => {
    queue.push({ path, body: { op: newOp(), ...body }, resolve, expect, before });
    pump();
  });
}

async function pump() {
  if (sending) return;
  sending = true;
  while (queue.length) {
    const item = queue[0];
    if (item.expect && !item.body.expect) item.body.expect = Object.fromEntries(item.expect.map((id) => [id, cells.get(id).seq]));
    show();
    let answer, status = 0;
    try {
      const response = await fetch(api + item.path, {
        method: "POST",
        headers: { "content-type": "application/json", "x-form-token": token },
        body: JSON.stringify(item.body),
      });
      status = response.status;
      answer = await response.json();
    } catch {
      status = 0;
    }
    if (status === 0 || status >= 500 || status === 429) {
      if (!offline) say("The server can't be reached. What you do is kept in this page and sent when it answers.");
      offline = true;
      show();
      await new Promise((go) => setTimeout(go, 1500));
      continue;
    }
    if (offline) say("The server answers again.");
    offline = false;
    queue.shift();
    if (status === 401) say("You are signed out: sign in again in another tab, then repeat the last call.");
    else if (status === 409 && answer.cells) takeConflict(answer.cells);
    else if (status !== 200) say(answer.error ?? `Not saved (${status}).`);
    item.resolve(status === 200 ? answer : null);
    if (status === 200) take(answer);
    else refused(item);
  }
  sending = false;
  show();
}

const listeners = [];
/** Called with the cells that changed, after each answer. */
export function onChange(listener) {
  listeners.push(listener);
}

function take(answer) {
  if (answer.cells) renewNumbersSoon();
  if (answer.cells?.length) {
    for (const state of answer.cells) {
      const cell = cells.get(state.id);
      if (cell) Object.assign(cell, state, { waiting: 0 });
      else if (!state.gone) cells.set(state.id, { model: -1, prob: 0, place: -1, cost: 0, size: 0, ...state });
    }
    for (const listener of listeners) listener(answer.cells.map((s) => s.id));
  }
}

// The differential follows once the last call was answered: a key never waits for it.
let renewal = 0;
function renewNumbersSoon() {
  clearTimeout(renewal);
  renewal = setTimeout(renewNumbers, 120);
}
async function renewNumbers() {
  if (queue.length) return renewNumbersSoon();
  try {
    const response = await fetch(`${base}/numbers`);
    if (response.ok && !queue.length) document.getElementById("numbers").innerHTML = await response.text();
  } catch {
    renewNumbersSoon();
  }
}

function takeConflict(found) {
  const ids = [];
  for (const [id, now] of Object.entries(found)) {
    const cell = cells.get(Number(id));
    Object.assign(cell, { call: now.call, seq: now.seq, waiting: 0 });
    ids.push(cell.id);
    say(`${now.reader ?? "Another reader"} called this cell ${classNamed.get(now.call)?.words ?? "as the model did"} first. Look, and call it again if you differ.`);
  }
  for (const listener of listeners) listener(ids);
}

function refused(item) {
  const ids = item.before.map(([id, call]) => {
    Object.assign(cells.get(id), { call, waiting: 0 });
    return id;
  });
  if (ids.length) for (const listener of listeners) listener(ids);
}

/** Call cells: the page shows it at once, the server has it a moment later. `call` null: right as called. */
export function callCells(ids, call) {
  if (!open) return say("This reading is closed: re-open the patient to change it.");
  const groups = new Map();
  for (const id of ids) {
    const name = call ?? called(cells.get(id));
    if (name !== null) groups.set(name, [...(groups.get(name) ?? []), id]);
  }
  for (const [name, some] of groups) {
    const before = some.map((id) => [id, cells.get(id).call]);
    for (const id of some) Object.assign(cells.get(id), { call: name, seen: 1, waiting: 1 });
    send("/events", { kind: "call", cells: some, call: name, ms: takeActive() }, { expect: some, before });
    for (const listener of listeners) listener(some);
  }
}

export async function undo(forward) {
  if (!open) return;
  const answer = await send(forward ? "/redo" : "/undo", {});
  if (answer && answer.seq === null) say(forward ? "Nothing to bring back." : "Nothing to take back.");
  return answer;
}

// ---- seen, and time ---------------------------------------------------------------------------------------------------
const seenNow = new Set();
export function markSeen(id) {
  const cell = cells.get(id);
  if (!open || cell.seen) return;
  cell.seen = 1;
  seenNow.add(id);
}
export function flushSeen() {
  if (!seenNow.size) return;
  const ids = [...seenNow].slice(0, 5000);
  seenNow.clear();
  send("/notes", { kind: "seen", cells: ids, ms: takeActive() });
}
setInterval(flushSeen, 1500);
setInterval(() => open && active > 15000 && send("/notes", { kind: "read", ms: takeActive() }), 15000);
addEventListener("beforeunload", (e) => {
  flushSeen();
  if (queue.length && offline) e.preventDefault();
});
addEventListener("pagehide", flushSeen);

// What a page that was closed could not send is sent now: names of operations make that safe.
try {
  for (const [path, body] of JSON.parse(sessionStorage.getItem(kept) ?? "[]")) if (body && body.op) send(path, body);
} catch {
  sessionStorage.removeItem(kept);
}

// ---- keys and buttons -------------------------------------------------------------------------------------------------
const byKey = new Map(classes.filter((c) => c.key).map((c) => [c.key, c.name]));
/** The class of a key that was pressed, or undefined; keys in boxes for text are theirs. */
export function callOfKey(event) {
  return byKey.get(event.key);
}
export function isTyping(event) {
  return event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, summary");
}
/** Buttons of the tool bar; `call` is the page's own way to call the chosen cells (null: right as called). */
export function wireTools(call) {
  for (const button of document.querySelectorAll(".class")) button.addEventListener("click", () => call(button.dataset.call));
  document.getElementById("confirm").addEventListener("click", () => call(null));
  document.getElementById("undo").addEventListener("click", () => undo(false));
  document.getElementById("redo").addEventListener("click", () => undo(true));
}
show();
document.documentElement.classList.add("alive");
// On a phone the differential is a sheet that opens from its line.
if (innerWidth < 760) for (const sheet of document.querySelectorAll("details.sheet")) sheet.open = false;
