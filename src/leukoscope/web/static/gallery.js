// The gallery page: calls, order, keys. The tile under the pointer, or the one that arrows chose, takes the key.
import { choose, chosen, currentId, following, move, setPicked } from "./choosing.js";
import { callCells, callOfKey, cells, isTyping, onChange, say, send, undo, wireTools } from "./common.js";
import { takeNotes } from "./notes.js";
import { closePanel, moreLike, showField } from "./panel.js";
import { followPointer, pointer } from "./pointer.js";
import { SORTS, build, done, idOf, order, place, tiles, wanted } from "./tiles.js";

// ---- after a call: the next cell takes the place ----------------------------------------------------------------------
let heir = null;
function beforeCall(ids) {
  const gone = new Set(ids);
  let tile = tiles.get(ids.at(-1));
  do tile = following(tile, 1); while (tile && gone.has(idOf(tile)));
  if (!tile) {
    tile = tiles.get(ids[0]);
    do tile = following(tile, -1); while (tile && gone.has(idOf(tile)));
  }
  heir = tile ? idOf(tile) : null;
  for (const id of ids) done.add(id);
}
function afterCall() {
  setPicked([]);
  if (pointer.on) {
    const under = document.elementFromPoint(pointer.x, pointer.y)?.closest?.(".tile");
    if (under) return choose(idOf(under), { focus: false });
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
  else if (e.key === "Escape") { setPicked([]); closePanel(); }
  else if (e.key === "w") showField();
  else if (e.key === "q") moreLike();
  else if (e.key === "h") document.getElementById("hide").click();
  else if (e.key === "?") location.href = "/help";
  else return;
  e.preventDefault();
});
function confirmSection() {
  const list = currentId() === null ? null : tiles.get(currentId()).parentElement;
  if (!list) return;
  const ids = [...list.children].map(idOf).filter((id) => cells.get(id).call === null);
  if (!ids.length) return say("All of this section is read already.");
  if (order.value !== "class") beforeCall(ids);
  callCells(ids, null);
  say(`${ids.length} cells right as called.`);
}

onChange(place);
wireTools(call);
followPointer(call);
takeNotes();
order.addEventListener("change", () => { build(); if (currentId() !== null) choose(currentId()); });
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
