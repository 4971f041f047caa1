// The chosen cell, large: as photographed, what the model said, its history, notes, and cells like it.
import { base, called, cells, classNamed, onChange, say } from "./common.js";
import { choose, currentId, onChoose, setPicked } from "./choosing.js";
import { setPicture } from "./tiles.js";

const panel = document.getElementById("cell");
const side = { picture: document.getElementById("cellpic"), name: document.getElementById("cellname"), facts: document.getElementById("cellfacts") };
const photographsMissing = document.querySelector(".missing") !== null;
let later = 0;

function showCellSoon(id) {
  clearTimeout(later);
  later = setTimeout(() => showCell(id), 140);
}

async function showCell(id, like = false) {
  const cell = cells.get(id);
  if (!cell || getComputedStyle(panel).display === "none") return;
  side.name.textContent = `Cell ${id}: ${classNamed.get(called(cell))?.words ?? "not called"}`;
  if (!photographsMissing) {
    side.picture.hidden = false;
    side.picture.alt = "The cell as photographed";
    side.picture.src = `${base}/cell/${id}.jpg?${cell.seq}`;
  }
  const response = await fetch(`${base}/c/${id}${like ? "?like=true" : ""}`);
  if (!response.ok || currentId() !== id) return;
  side.facts.innerHTML = await response.text();
  const place = side.facts.querySelector("[data-like]");
  if (place) fillLike(place);
}

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
/** To the chosen cell's field. */
export function showField() {
  if (currentId() !== null) location.href = `${base}/f/${cells.get(currentId()).field}#c${currentId()}`;
}

/** Choose the cells of this patient that are like the chosen one, and show those of others. */
export async function moreLike() {
  if (currentId() === null) return say("Choose a cell first.");
  openPanel();
  clearTimeout(later); // what the panel was to show else would come after the like cells and take their place
  await showCell(currentId(), true);
  const place = side.facts.querySelector("[data-like]");
  const ids = (place?.dataset.like.split(" ") ?? []).filter(Boolean).map(Number);
  if (!ids.length) return say("No like cells are known: this run's model gave no features.");
  setPicked(ids);
  say(`${ids.length} like cells are chosen: a key calls them all.`);
  place.scrollIntoView({ block: "nearest" });
}

// ---- on a narrow screen the panel is a sheet, opened by its button or by a second tap on the cell --------------------
export function openPanel() {
  document.body.classList.add("cellopen");
  if (currentId() !== null) showCellSoon(currentId());
}
export function closePanel() {
  document.body.classList.remove("cellopen");
}

onChoose(showCellSoon);
onChange((ids) => { if (ids.includes(currentId())) showCellSoon(currentId()); });
document.getElementById("infield").addEventListener("click", showField);
document.getElementById("more").addEventListener("click", moreLike);
document.getElementById("look").addEventListener("click", () => (currentId() === null ? say("Choose a cell first.") : openPanel()));
document.getElementById("closecell").addEventListener("click", closePanel);
