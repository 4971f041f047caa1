// The gallery's tiles: in sections by class or in one order, each painted as its cell stands; what was on the screen is seen.
import { base, called, cells, classNamed, classes, data, markSeen, open } from "./common.js";

export const gallery = document.getElementById("gallery");
export const order = document.getElementById("order");
export const tiles = new Map(); // id -> element
export const picked = new Set(); // ids that a key would call together
export const done = new Set(); // in one order: cells that were called here move behind the others
const sheet = data.sheet;
const differ = new Set(data.differ);
export const wanted = new Set(location.hash.startsWith("#c") ? location.hash.slice(2).split("+").map(Number) : []);
let sections = new Map(); // key -> { section, list, count }

export const idOf = (tile) => Number(tile.id.slice(1));

export const SORTS = {
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

export function build() {
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
          const id = idOf(e.target);
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

/** Cells that changed: each tile is painted anew and stands where it belongs. */
export function place(ids) {
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
}
