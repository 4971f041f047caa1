// Which cells a key would call: the one under the pointer or that arrows chose, or several.
import { gallery, idOf, picked, tiles } from "./tiles.js";

let current = null, anchor = null;
const listeners = [];
/** The chosen cell's id, or null. */
export const currentId = () => current;
/** Called with the id of each cell that is chosen. */
export function onChoose(listener) {
  listeners.push(listener);
}

export function setPicked(ids) {
  const old = [...picked];
  picked.clear();
  for (const id of ids) picked.add(id);
  for (const id of new Set([...old, ...picked])) {
    const tile = tiles.get(id);
    tile.classList.toggle("picked", picked.has(id));
    tile.setAttribute("aria-selected", picked.has(id) ? "true" : "false");
  }
}

export function choose(id, { focus = true, extend = false, keep = false } = {}) {
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
  for (const listener of listeners) listener(id);
}

/** Tiles in the order of the page. */
export const shown = () => [...gallery.querySelectorAll("section:not([hidden]) .tile")];
function between(a, b) {
  const ids = shown().map(idOf);
  const [from, to] = [ids.indexOf(a), ids.indexOf(b)].sort((x, y) => x - y);
  return ids.slice(Math.max(0, from), to + 1);
}

export function chosen() {
  return picked.size ? [...picked] : current === null ? [] : [current];
}

export function move(key, extend) {
  if (current === null) return choose(shown().length ? idOf(shown()[0]) : null);
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
  if (to) choose(idOf(to), { extend });
}

export function following(tile, step) {
  const next = step > 0 ? tile.nextElementSibling : tile.previousElementSibling;
  if (next) return next;
  let section = tile.closest("section");
  while ((section = step > 0 ? section.nextElementSibling : section.previousElementSibling)) {
    const list = section.querySelector(".tiles-list");
    if (!section.hidden && list.childElementCount) return step > 0 ? list.firstElementChild : list.lastElementChild;
  }
  return null;
}
