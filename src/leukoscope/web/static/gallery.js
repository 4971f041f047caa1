// The gallery: tiles by class or in one order; the tile under the pointer, or the one that arrows chose, takes the key.
import { base, callCells, called, callOfKey, cells, classNamed, classes, data, isTyping, markSeen, onChange, open, say, send, undo, wireTools } from "./common.js";

const gallery = document.getElementById("gallery");
const order = document.getElementById("order");
const sheet = data.sheet;
const tiles = new Map(); // id -> element
const done = new Set(); // in one order: cells that were called here move behind the others
let sections = new Map(); // key -> { list, count }
let current = null, anchor = null;
const picked = new Set();
let pointer = { x: -1, y: -1, on: false };
const differ = new Set(data.differ);
const wanted = new Set(location.hash.startsWith("#c") ? location.hash.slice(2).split("+").map(Number) : []);

const SORTS = {
  class: (a, b) => b.cost - a.cost || a.id - b.id,
  cost: (a, b) => b.cost - a.cost || a.id - b.id,
  unsure: (a, b) => a.prob - b.prob || a.id - b.id,
  size: (a, b) => b.size - a.size || a.id - b.id,
  field: (a, b) => a.field - b.field || a.id - b.id,
  time: (a, b) => b.seq - a.seq || a.id - b.id,
};

function sectionOf(cell) {
  if (differ.has(cell.id) && cell.call === null) return "differ";
  if (wanted.has(cell.id) && !done.has(cell.id)) return "wanted";
  if (order.value !== "class") return done.has(cell.id) ? "done" : "todo";
  return called(cell) ?? "uncalled";
}

function sectionNames() {
  const first = [["differ", "To decide: the readers differ"], ["wanted", "To look at"]];
  if (order.value !== "class") return [...first, ["todo", "To read"], ["done", "Read"]];
  const blastsFirst = [...classes].sort((a, b) => b.blast - a.blast);
  return [...first, ["uncalled", "Not called yet"], ...blastsFirst.map((c) => [c.name, c.words])];
}

function build() {
  gallery.textContent = "";
  sections = new Map();
  for (const [key, words] of sectionNames()) {
    const section = document.createElement("section"), head = document.createElement("h2"), list = document.createElement("div");
    const dot = classNamed.get(key);
    head.id = `h-${key}`;
    if (dot) {
      const mark = document.createElement("span");
      mark.className = `dot k${dot.k}`;
      head.append(mark);
    }
    const count = document.createElement("small");
    head.append(words, " ", count);
    list.className = "tiles-list";
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-multiselectable", "true");
    list.setAttribute("aria-labelledby", head.id);
    section.append(head, list);
    section.hidden = true;
    sections.set(key, { section, list, count, n: 0 });
    gallery.append(section);
  }
  const sorted = [...cells.values()].filter((c) => !c.gone).sort(SORTS[order.value]);
  const parts = new Map();
  for (const cell of sorted) {
    const key = sectionOf(cell);
    if (!parts.has(key)) parts.set(key, document.createDocumentFragment());
    parts.get(key).append(tileOf(cell));
  }
  for (const [key, part] of parts) sections.get(key).list.append(part);
  recount();
}

function recount() {
  for (const s of sections.values()) {
    s.n = s.list.childElementCount;
    s.count.textContent = s.n;
    s.section.hidden = s.n === 0;
  }
  let seen = 0, all = 0;
  for (const c of cells.values()) if (!c.gone) { all += 1; seen += c.seen ? 1 : 0; }
  document.getElementById("progress").textContent = `${seen} of ${all} seen`;
}

function tileOf(cell) {
  let tile = tiles.get(cell.id);
  if (!tile) {
    tile = document.createElement("div");
    tile.className = "tile";
    tile.id = `c${cell.id}`;
    tile.setAttribute("role", "option");
    tile.tabIndex = -1;
    const picture = document.createElement("span"), words = document.createElement("span");
    picture.className = "pic";
    words.className = "words";
    setPicture(picture, cell);
    tile.append(picture, words);
    tiles.set(cell.id, tile);
    watcher?.observe(tile);
  }
  paint(tile, cell);
  return tile;
}

export function setPicture(picture, cell) {
  if (cell.place < 0) {
    picture.style.backgroundImage = `url(${base}/cell/${cell.id}.jpg?${cell.seq})`;
    picture.style.backgroundSize = "cover";
    return;
  }
  const at = cell.place % sheet.cells, number = (cell.place - at) / sheet.cells;
  const onSheet = Math.min(sheet.cells, sheet.n - number * sheet.cells), rows = Math.ceil(onSheet / sheet.across);
  const x = at % sheet.across, y = Math.floor(at / sheet.across);
  picture.style.backgroundImage = `url(${base}/sheet/${number}.jpg)`;
  picture.style.backgroundSize = `${sheet.across * 100}% ${rows * 100}%`;
  picture.style.backgroundPosition = `${(100 * x) / (sheet.across - 1)}% ${rows > 1 ? (100 * y) / (rows - 1) : 0}%`;
}

function paint(tile, cell) {
  const now = called(cell), mine = classNamed.get(now), model = cell.model >= 0 ? classes[cell.model] : null;
  const words = tile.lastChild;
  words.textContent = "";
  const name = document.createElement("b");
  name.textContent = mine ? mine.short : "…";
  words.append(name);
  if (cell.call !== null && model && model.name !== cell.call) {
    const old = document.createElement("s");
    old.textContent = model.short;
    words.append(" ", old);
  } else if (cell.call === null && model) words.append(` ${cell.prob}`);
  tile.className = `tile${mine ? ` k${mine.k}` : ""}${cell.seen ? " seen" : ""}${cell.call !== null ? " read" : ""}${cell.waiting ? " waiting" : ""}${cell.call !== null && model && model.name !== cell.call ? " changed" : ""}${picked.has(cell.id) ? " picked" : ""}`;
  const by = cell.call === null ? (model ? `, model ${cell.prob} %` : "") : model && model.name !== cell.call ? `, model said ${model.words}` : ", read";
  tile.setAttribute("aria-label", `${mine ? mine.words : "not called"}${by}`);
  tile.setAttribute("aria-selected", picked.has(cell.id) ? "true" : "false");
}

// ---- seen: a tile that was whole on the screen for a moment -----------------------------------------------------------
const timers = new Map();
const watcher = open
  ? new IntersectionObserver(
      (entries) => {
        for (const e of entries) {
          const id = Number(e.target.id.slice(1));
          if (e.isIntersecting && !cells.get(id).seen) timers.set(id, setTimeout(() => sawTile(id), 600));
          else clearTimeout(timers.get(id));
        }
      },
      { threshold: 0.95 },
    )
  : null;
function sawTile(id) {
  if (document.visibilityState !== "visible" || !tiles.get(id).isConnected) return;
  markSeen(id);
  tiles.get(id).classList.add("seen");
  watcher.unobserve(tiles.get(id));
  recountSoon();
}
let soon = 0;
function recountSoon() {
  if (!soon) soon = setTimeout(() => { soon = 0; recount(); }, 200);
}

// ---- choosing ---------------------------------------------------------------------------------------------------------
function setPicked(ids) {
  const old = [...picked];
  picked.clear();
  for (const id of ids) picked.add(id);
  for (const id of new Set([...old, ...picked])) {
    const tile = tiles.get(id);
    tile.classList.toggle("picked", picked.has(id));
    tile.setAttribute("aria-selected", picked.has(id) ? "true" : "false");
  }
}

function choose(id, { focus = true, extend = false, keep = false } = {}) {
  if (id === null || !tiles.has(id)) return;
  const tile = tiles.get(id);
  if (current !== null && tiles.has(current)) {
    tiles.get(current).classList.remove("current");
    tiles.get(current).tabIndex = -1;
  }
  current = id;
  tile.classList.add("current");
  tile.tabIndex = 0;
  if (focus) tile.focus({ preventScroll: true });
  if (focus) tile.scrollIntoView({ block: "nearest" });
  if (extend) setPicked(between(anchor ?? id, id));
  else if (!keep) {
    anchor = id;
    if (picked.size && !picked.has(id)) setPicked([]);
  }
  showCellSoon(id);
}

const shown = () => [...gallery.querySelectorAll("section:not([hidden]) .tile")];
function between(a, b) {
  const ids = shown().map((t) => Number(t.id.slice(1)));
  const [from, to] = [ids.indexOf(a), ids.indexOf(b)].sort((x, y) => x - y);
  return ids.slice(Math.max(0, from), to + 1);
}

function chosen() {
  return picked.size ? [...picked] : current === null ? [] : [current];
}

function move(key, extend) {
  if (current === null) return choose(shown().length ? Number(shown()[0].id.slice(1)) : null);
  const tile = tiles.get(current);
  let to = null;
  if (key === "ArrowRight") to = following(tile, 1);
  else if (key === "ArrowLeft") to = following(tile, -1);
  else {
    const box = tile.getBoundingClientRect(), down = key === "ArrowDown", middle = box.left + box.width / 2;
    let candidate = following(tile, down ? 1 : -1), best = null, row = null;
    for (let n = 0; candidate && n < 400; n += 1, candidate = following(candidate, down ? 1 : -1)) {
      const other = candidate.getBoundingClientRect();
      if (Math.abs(other.top - box.top) < 4) continue;
      if (row === null) row = other.top;
      if (Math.abs(other.top - row) > 4) break;
      const off = Math.abs(other.left + other.width / 2 - middle);
      if (!best || off < best.off) best = { tile: candidate, off };
    }
    to = best?.tile;
  }
  if (to) choose(Number(to.id.slice(1)), { extend });
}

function following(tile, step) {
  const next = step > 0 ? tile.nextElementSibling : tile.previousElementSibling;
  if (next) return next;
  let section = tile.closest("section");
  while ((section = step > 0 ? section.nextElementSibling : section.previousElementSibling)) {
    const list = section.querySelector(".tiles-list");
    if (!section.hidden && list.childElementCount) return step > 0 ? list.firstElementChild : list.lastElementChild;
  }
  return null;
}

// ---- after a call: the next cell takes the place ----------------------------------------------------------------------
let heir = null;
function beforeCall(ids) {
  const gone = new Set(ids);
  let tile = tiles.get(ids.at(-1));
  do tile = following(tile, 1); while (tile && gone.has(Number(tile.id.slice(1))));
  if (!tile) {
    tile = tiles.get(ids[0]);
    do tile = following(tile, -1); while (tile && gone.has(Number(tile.id.slice(1))));
  }
  heir = tile ? Number(tile.id.slice(1)) : null;
  for (const id of ids) done.add(id);
}
function afterCall() {
  setPicked([]);
  if (pointer.on) {
    const under = document.elementFromPoint(pointer.x, pointer.y)?.closest?.(".tile");
    if (under) return choose(Number(under.id.slice(1)), { focus: false });
  }
  choose(heir);
}
function call(name) {
  const ids = chosen();
  if (!ids.length) return say("Choose a cell first.");
  beforeCall(ids);
  callCells(ids, name);
  afterCall();
}

onChange((ids) => {
  for (const id of ids) {
    const cell = cells.get(id);
    if (cell.gone) {
      tiles.get(id)?.remove();
      continue;
    }
    const tile = tileOf(cell), target = sections.get(sectionOf(cell));
    if (target && tile.parentElement !== target.list) {
      if (target === sections.get("done")) target.list.prepend(tile);
      else target.list.append(tile);
    }
  }
  recountSoon();
  for (const s of sections.values()) s.section.hidden = s.list.childElementCount === 0;
  if (ids.includes(current)) showCellSoon(current);
});

// ---- the chosen cell, large -------------------------------------------------------------------------------------------
const side = { picture: document.getElementById("cellpic"), name: document.getElementById("cellname"), facts: document.getElementById("cellfacts") };
let later = 0;
function showCellSoon(id) {
  clearTimeout(later);
  later = setTimeout(() => showCell(id), 140);
}
async function showCell(id, like = false) {
  const cell = cells.get(id);
  if (!cell || getComputedStyle(side.name.closest("aside")).display === "none") return;
  side.name.textContent = `Cell ${id}: ${classNamed.get(called(cell))?.words ?? "not called"}`;
  if (!side.missing) {
    side.picture.hidden = false;
    side.picture.alt = "The cell as photographed";
    side.picture.src = `${base}/cell/${id}.jpg?${cell.seq}`;
  }
  const response = await fetch(`${base}/c/${id}${like ? "?like=true" : ""}`);
  if (!response.ok || current !== id) return;
  side.facts.innerHTML = await response.text();
  const place = side.facts.querySelector("[data-like]");
  if (place) fillLike(place);
}
side.missing = document.querySelector(".missing") !== null;
function fillLike(place) {
  for (const id of place.dataset.like.split(" ").filter(Boolean).map(Number)) {
    const button = document.createElement("button"), picture = document.createElement("span");
    button.type = "button";
    button.className = "near";
    button.setAttribute("aria-label", `like cell ${id}, ${classNamed.get(called(cells.get(id)))?.words ?? "not called"}`);
    picture.className = "pic";
    setPicture(picture, cells.get(id));
    button.append(picture);
    button.addEventListener("click", () => choose(id));
    place.append(button);
  }
}
function showField() {
  if (current !== null) location.href = `${base}/f/${cells.get(current).field}#c${current}`;
}
async function moreLike() {
  if (current === null) return say("Choose a cell first.");
  clearTimeout(later);
  await showCell(current, true);
  const place = side.facts.querySelector("[data-like]");
  const ids = (place?.dataset.like.split(" ") ?? []).filter(Boolean).map(Number);
  if (!ids.length) return say("No like cells are known: this run's model gave no features.");
  setPicked(ids);
  say(`${ids.length} like cells are chosen: a key calls them all.`);
  place.scrollIntoView({ block: "nearest" });
}

// ---- pointer: hover chooses, shift ranges, a frame picks, dragging onto a class calls ---------------------------------
let drag = null;
gallery.addEventListener("pointermove", (e) => {
  if (e.pointerType !== "mouse" || (e.clientX === pointer.x && e.clientY === pointer.y)) return;
  pointer = { x: e.clientX, y: e.clientY, on: true };
  if (drag) return;
  const tile = e.target.closest(".tile");
  if (tile && !tile.classList.contains("current")) choose(Number(tile.id.slice(1)), { focus: false, keep: picked.size > 0 });
});
gallery.addEventListener("pointerleave", () => { pointer.on = false; });
gallery.addEventListener("click", (e) => {
  const tile = e.target.closest(".tile");
  if (!tile || drag?.moved) return;
  const id = Number(tile.id.slice(1));
  if (e.shiftKey) return choose(id, { extend: true });
  if (e.ctrlKey || e.metaKey) {
    choose(id, { keep: true });
    return setPicked(picked.has(id) ? [...picked].filter((p) => p !== id) : [...picked, id]);
  }
  setPicked([]);
  choose(id);
});
gallery.addEventListener("pointerdown", (e) => {
  if (e.pointerType !== "mouse" || e.button !== 0 || e.shiftKey) return;
  const tile = e.target.closest(".tile");
  drag = { x: e.clientX, y: e.clientY, tile, moved: false, frame: null };
  if (!tile) e.preventDefault();
});
addEventListener("pointermove", (e) => {
  if (!drag) return;
  if (!drag.moved && Math.hypot(e.clientX - drag.x, e.clientY - drag.y) < 7) return;
  if (!drag.moved) {
    drag.moved = true;
    drag.mark = document.createElement("div");
    drag.mark.className = drag.tile ? "dragged" : "frame";
    if (drag.tile) {
      const id = Number(drag.tile.id.slice(1));
      if (!picked.has(id)) setPicked([id]);
      drag.mark.textContent = `${picked.size}`;
    }
    document.body.append(drag.mark);
  }
  const s = drag.mark.style;
  if (drag.tile) {
    s.left = `${e.clientX + 10}px`;
    s.top = `${e.clientY + 10}px`;
    return;
  }
  const [x0, x1] = [drag.x, e.clientX].sort((a, b) => a - b), [y0, y1] = [drag.y, e.clientY].sort((a, b) => a - b);
  Object.assign(s, { left: `${x0}px`, top: `${y0}px`, width: `${x1 - x0}px`, height: `${y1 - y0}px` });
  drag.frame = { x0, x1, y0, y1 };
});
addEventListener("pointerup", (e) => {
  const had = drag;
  setTimeout(() => { drag = null; }, 0);
  if (!had?.moved) return;
  had.mark.remove();
  if (had.tile) {
    const target = document.elementFromPoint(e.clientX, e.clientY)?.closest?.(".class");
    if (target) call(target.dataset.call);
  } else if (had.frame) {
    const f = had.frame;
    setPicked(shown().filter((t) => {
      const b = t.getBoundingClientRect();
      return b.left < f.x1 && b.right > f.x0 && b.top < f.y1 && b.bottom > f.y0;
    }).map((t) => Number(t.id.slice(1))));
    say(`${picked.size} cells chosen.`);
  }
});

// ---- keys -------------------------------------------------------------------------------------------------------------
addEventListener("keydown", (e) => {
  if (isTyping(e)) return;
  const name = callOfKey(e);
  if (name) call(name);
  else if (e.key === " " && e.shiftKey) confirmSection();
  else if (e.key === " ") {
    if (e.target.matches("button, a")) return;
    call(null);
  } else if (e.key === "z") undo(false);
  else if (e.key === "Z") undo(true);
  else if (e.key.startsWith("Arrow")) move(e.key, e.shiftKey);
  else if (e.key === "Escape") setPicked([]);
  else if (e.key === "w") showField();
  else if (e.key === "q") moreLike();
  else if (e.key === "h") document.getElementById("hide").click();
  else if (e.key === "?") location.href = "/help";
  else return;
  e.preventDefault();
});
function confirmSection() {
  const list = current === null ? null : tiles.get(current).parentElement;
  if (!list) return;
  const ids = [...list.children].map((t) => Number(t.id.slice(1))).filter((id) => cells.get(id).call === null);
  if (!ids.length) return say("All of this section is read already.");
  if (order.value !== "class") beforeCall(ids);
  callCells(ids, null);
  say(`${ids.length} cells right as called.`);
}

wireTools(call);
document.getElementById("infield").addEventListener("click", showField);
document.getElementById("more").addEventListener("click", moreLike);
order.addEventListener("change", () => { build(); if (current !== null) choose(current); });
document.getElementById("hide").addEventListener("change", async (e) => {
  if (await send("/notes", { kind: "mode", hidden: e.target.checked })) location.reload();
});
try {
  const kept = sessionStorage.getItem("order");
  if (kept && kept in SORTS) order.value = kept;
  order.addEventListener("change", () => sessionStorage.setItem("order", order.value));
} catch {
  // Without storage the order is the first one.
}
build();
const first = [...wanted].find((id) => tiles.has(id));
if (first !== undefined) choose(first);
