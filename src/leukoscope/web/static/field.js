// The field viewer: OpenSeadragon for the photograph, a canvas of our own for boxes. Add, move, size, remove, call.
import { base, callCells, called, callOfKey, cells, classNamed, data, isTyping, markSeen, onChange, open, say, send, takeActive, undo, wireTools } from "./common.js";

const number = Number(document.getElementById("data").dataset.field);
// A whole slide is shown as one large field: its cells are those of its regions, each moved to where its region lies.
const slide = JSON.parse(document.getElementById("slide").textContent);
const field = slide ? { ...data.fields[number], width: slide.width, height: slide.height, elsewhere: [] } : data.fields[number];
const regionOf = (cell) => (slide ? slide.regions[cell.field] : null);
/** The cell's box in px of what is shown. */
function boxOf(cell) {
  const region = regionOf(cell);
  return region ? moved(cell.box, region[0][0], region[0][1]) : cell.box;
}
const moved = ([x0, y0, x1, y1], dx, dy) => [x0 + dx, y0 + dy, x1 + dx, y1 + dy];
const list = document.getElementById("cells");
const holder = document.getElementById("viewer");
const canvas = document.getElementById("overlay");
const contours = JSON.parse(document.getElementById("contours").textContent);
const TILE = 512, HANDLE = 9, GROUND_UM = 10, SMALL_PX = 9, LISTED = 300;
const isHere = (c) => !c.gone && (slide ? c.field in slide.regions : c.field === number);
const here = () => [...cells.values()].filter(isHere).sort((a, b) => a.field - b.field || a.box[1] - b.box[1] || a.id - b.id);
let current = null, viewer = null, pointer = null, drag = null;

// ---- the photograph ---------------------------------------------------------------------------------------------------
if (holder) {
  const levels = Math.ceil(Math.log2(Math.max(field.width, field.height) / TILE)) + 1;
  const top = Math.max(0, levels - 1);
  viewer = OpenSeadragon({
    element: holder, showNavigationControl: false, drawer: "canvas", crossOriginPolicy: false, animationTime: 0.4,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true }, gestureSettingsTouch: { clickToZoom: false },
    maxZoomPixelRatio: 4, minZoomImageRatio: 0.8, visibilityRatio: 0.5,
    tileSources: {
      width: field.width, height: field.height, tileSize: TILE, minLevel: 0, maxLevel: top,
      getTileUrl: (level, x, y) => `${base}/${slide ? "s" : "f"}/${number}/tile/${2 ** (top - level)}/${x}_${y}.jpg`,
    },
  });
  viewer.addHandler("open", () => { if (current !== null) look(current); draw(); });
  for (const kind of ["update-viewport", "resize", "animation"]) viewer.addHandler(kind, draw);
  viewer.addHandler("canvas-key", (e) => { e.preventDefaultAction = true; });
  viewer.addHandler("canvas-press", (e) => press(toImage(e.position)));
  viewer.addHandler("canvas-drag", (e) => { if (drag) { e.preventDefaultAction = true; dragTo(toImage(e.position)); } });
  viewer.addHandler("canvas-release", drop);
  viewer.addHandler("canvas-click", (e) => { if (e.quick) { const hit = at(toImage(e.position)); if (hit) choose(hit.id); } });
  holder.addEventListener("pointermove", (e) => {
    const box = holder.getBoundingClientRect();
    pointer = { x: e.clientX - box.left, y: e.clientY - box.top };
  });
  holder.addEventListener("pointerleave", () => { pointer = null; });
}

function toImage(point) {
  const p = viewer.viewport.viewerElementToImageCoordinates(new OpenSeadragon.Point(point.x, point.y));
  return { x: p.x, y: p.y };
}
function toPage(x, y) {
  return viewer.viewport.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));
}

// ---- the boxes --------------------------------------------------------------------------------------------------------
const colours = new Map();
function colourOf(cell) {
  const k = classNamed.get(called(cell))?.k ?? -1;
  if (!colours.has(k)) {
    const probe = document.createElement("span");
    probe.className = `k${k}`;
    document.body.append(probe);
    colours.set(k, getComputedStyle(probe).getPropertyValue("--k").trim() || "#777777");
    probe.remove();
  }
  return colours.get(k);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours.clear(); draw(); });

function draw() {
  if (!viewer?.world?.getItemCount()) return;
  const ratio = devicePixelRatio || 1, wide = holder.clientWidth, high = holder.clientHeight;
  if (canvas.width !== wide * ratio || canvas.height !== high * ratio) Object.assign(canvas, { width: wide * ratio, height: high * ratio });
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, wide, high);
  c.font = "650 12.5px system-ui, sans-serif";
  c.lineJoin = "round";
  for (const box of field.elsewhere) elsewhere(c, box);
  for (const cell of cells.values()) if (isHere(cell)) drawCell(c, cell, wide, high);
  scaleBar(wide);
}

// A cell that this field shows and another counts: no box of its own, so that nobody adds it again.
function elsewhere(c, box) {
  const a = toPage(box[0], box[1]), b = toPage(box[2], box[3]);
  c.setLineDash([4, 6]);
  c.strokeStyle = "#6b7680";
  c.lineWidth = 2;
  c.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
  c.setLineDash([]);
  c.lineWidth = 3.5;
  c.strokeStyle = "#ffffff";
  c.strokeText("counted elsewhere", a.x, b.y + 15);
  c.fillStyle = "#14202b";
  c.fillText("counted elsewhere", a.x, b.y + 15);
}

function drawCell(c, cell, wide, high) {
  const box = drag?.cell === cell ? drag.box : boxOf(cell);
  const a = toPage(box[0], box[1]), b = toPage(box[2], box[3]);
  if (b.x < -60 || b.y < -20 || a.x > wide + 60 || a.y > high + 20) return;
  const colour = colourOf(cell), now = classNamed.get(called(cell));
  if (b.x - a.x < SMALL_PX) {
    c.fillStyle = colour;
    const r = cell.id === current ? 6 : now?.blast ? 4 : 2.5;
    c.fillRect((a.x + b.x) / 2 - r, (a.y + b.y) / 2 - r, 2 * r, 2 * r);
    return;
  }
  const dash = now?.name === "not_a_cell" ? [2, 5] : now?.name === "unidentified" ? [7, 4] : cell.added ? [12, 3] : [];
  c.setLineDash([]);
  c.strokeStyle = "rgb(255 255 255 / .85)";
  c.lineWidth = cell.id === current ? 8 : 5;
  if (cell.id === current) c.strokeStyle = "#14202b";
  c.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
  c.setLineDash(dash);
  c.strokeStyle = colour;
  c.lineWidth = cell.id === current ? 4 : 2.5;
  c.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
  c.setLineDash([]);
  if (contours[cell.id]) outline(c, contours[cell.id], colour);
  if (now?.blast) corner(c, a, b, colour);
  const words = now?.short ?? "…", y = a.y > 18 ? a.y - 6 : b.y + 15;
  c.lineWidth = 3.5;
  c.strokeStyle = "#ffffff";
  c.strokeText(words, a.x, y);
  c.fillStyle = "#14202b";
  c.fillText(words, a.x, y);
  if (cell.id === current && open && b.x - a.x > 3 * HANDLE) {
    c.fillStyle = "#14202b";
    for (const [x, z] of [[a.x, a.y], [b.x, a.y], [a.x, b.y], [b.x, b.y]]) c.fillRect(x - 4, z - 4, 8, 8);
  }
}

// What the outliner drew, inside the box; it stays where it was when a box is moved.
function outline(c, points, colour) {
  c.beginPath();
  for (const [x, y] of points) {
    const p = toPage(x, y);
    c.lineTo(p.x, p.y);
  }
  c.closePath();
  c.strokeStyle = colour;
  c.lineWidth = 1.5;
  c.stroke();
}

// A blast has a filled corner: its shape says so where its colour does not.
function corner(c, a, b, colour) {
  c.fillStyle = colour;
  c.beginPath();
  c.moveTo(b.x, a.y);
  c.lineTo(b.x - 13, a.y);
  c.lineTo(b.x, a.y + 13);
  c.fill();
}

function scaleBar(wide) {
  const bar = document.getElementById("scalebar");
  if (!field.um_per_px) return;
  const px = (toPage(1000, 0).x - toPage(0, 0).x) / 1000, length = (GROUND_UM / field.um_per_px) * px;
  bar.hidden = length > wide / 2 || length < 8;
  bar.style.width = `${length}px`;
  bar.firstElementChild.textContent = `${field.measured ? "≈ " : ""}${GROUND_UM} µm`;
}

// ---- choosing, moving, sizing -----------------------------------------------------------------------------------------
function at(p) {
  const holds = ([x0, y0, x1, y1]) => p.x >= x0 && p.x <= x1 && p.y >= y0 && p.y <= y1;
  const inside = [...cells.values()].filter((c) => isHere(c) && holds(boxOf(c)));
  const area = (c) => (c.box[2] - c.box[0]) * (c.box[3] - c.box[1]);
  return inside.sort((a, b) => area(a) - area(b))[0];
}
function press(p) {
  drag = null;
  if (current === null || !open) return;
  const cell = cells.get(current), [x0, y0, x1, y1] = boxOf(cell);
  const px = 1 / ((toPage(1000, 0).x - toPage(0, 0).x) / 1000), reach = HANDLE * px;
  const left = Math.abs(p.x - x0) < reach, right = Math.abs(p.x - x1) < reach, upper = Math.abs(p.y - y0) < reach, lower = Math.abs(p.y - y1) < reach;
  const inside = p.x > x0 && p.x < x1 && p.y > y0 && p.y < y1;
  if ((left || right) && (upper || lower)) drag = { cell, from: p, box: boxOf(cell), left, upper, size: true };
  else if (inside) drag = { cell, from: p, box: boxOf(cell), size: false };
}
function dragTo(p) {
  const [x0, y0, x1, y1] = boxOf(drag.cell), dx = p.x - drag.from.x, dy = p.y - drag.from.y;
  if (!drag.size) drag.box = [x0 + dx, y0 + dy, x1 + dx, y1 + dy];
  else drag.box = [drag.left ? x0 + dx : x0, drag.upper ? y0 + dy : y0, drag.left ? x1 : x1 + dx, drag.upper ? y1 : y1 + dy];
  drag.moved = true;
  draw();
}
function drop() {
  const had = drag;
  drag = null;
  if (!had?.moved) return;
  const region = regionOf(had.cell), box = region ? moved(had.box, -region[0][0], -region[0][1]) : had.box;
  send("/events", { kind: "move", cells: [had.cell.id], box, ms: takeActive() }, { expect: [had.cell.id] }).then(draw);
}

function choose(id, { focus = false } = {}) {
  current = id;
  markSeen(id);
  for (const item of list.querySelectorAll("button")) item.setAttribute("aria-pressed", item.dataset.id === String(id) ? "true" : "false");
  if (focus) list.querySelector(`[data-id="${id}"]`)?.focus();
  history.replaceState(null, "", `#c${id}`);
  const back = document.getElementById("back");
  back.href = `${base}#c${id}`;
  draw();
}
function look(id) {
  const box = boxOf(cells.get(id)), a = toPage(box[0], box[1]), b = toPage(box[2], box[3]);
  if (a.x > 0 && a.y > 0 && b.x < holder.clientWidth && b.y < holder.clientHeight) return;
  const p = viewer.viewport.imageToViewportCoordinates((box[0] + box[2]) / 2, (box[1] + box[3]) / 2);
  if (slide && b.x - a.x < SMALL_PX) viewer.viewport.zoomTo(viewer.viewport.imageToViewportZoom(0.5), p, true);
  viewer.viewport.panTo(p, true);
}
function step(by) {
  const all = here();
  if (!all.length) return;
  const now = all.findIndex((c) => c.id === current);
  const next = all[(now + by + all.length) % all.length];
  choose(next.id);
  if (viewer) look(next.id);
}

function fill() {
  list.textContent = "";
  for (const cell of here().slice(0, LISTED)) {
    const item = document.createElement("li"), button = document.createElement("button"), dot = document.createElement("span");
    const now = classNamed.get(called(cell)), model = cell.model >= 0 ? data.classes[cell.model] : null;
    button.type = "button";
    button.dataset.id = cell.id;
    dot.className = `dot k${now?.k ?? ""}`;
    button.append(dot, now?.words ?? "not called");
    const small = document.createElement("small");
    small.textContent = cell.added ? " added" : cell.call !== null && model && model.name !== cell.call ? ` (model: ${model.words})` : cell.call !== null ? " read" : "";
    button.append(small);
    button.setAttribute("aria-pressed", cell.id === current ? "true" : "false");
    button.addEventListener("click", () => { choose(cell.id); if (viewer) look(cell.id); });
    item.append(button);
    list.append(item);
  }
}

// ---- adding and removing ----------------------------------------------------------------------------------------------
function usualSize() {
  const sizes = [...cells.values()].filter((c) => !c.added && !c.gone).map((c) => Math.max(c.box[2] - c.box[0], c.box[3] - c.box[1])).sort((a, b) => a - b);
  return sizes[Math.floor(sizes.length / 2)] ?? Math.round(field.width / 12);
}
const inCore = ([x0, y0, x1, y1], p) => p.x >= x0 && p.x < x1 && p.y >= y0 && p.y < y1;
async function add() {
  if (!viewer) return;
  if (!open) return say("This reading is closed: re-open the patient to change it.");
  const middle = pointer ?? { x: holder.clientWidth / 2, y: holder.clientHeight / 2 };
  const p = toImage(middle), half = usualSize() / 2;
  const row = slide ? Object.keys(slide.regions).find((r) => inCore(slide.regions[r][1], p)) : number;
  if (row === undefined) return say("This part of the slide was not analysed: no cell can be added here.");
  const [dx, dy] = slide ? slide.regions[row][0] : [0, 0];
  const box = [p.x - half - dx, p.y - half - dy, p.x + half - dx, p.y + half - dy];
  const answer = await send("/events", { kind: "add", cells: [data.fields[row].id], box, call: "unidentified", ms: takeActive() });
  if (!answer) return;
  choose(answer.cells[0].id);
  say("A cell was added: press its class's key.");
}
async function remove() {
  if (current === null || !open) return;
  const cell = cells.get(current);
  if (!cell.added) return callCells([current], "not_a_cell");
  await send("/events", { kind: "delete", cells: [current], ms: takeActive() }, { expect: [current] });
  current = null;
  draw();
}
function call(name) {
  if (current === null) return say("Choose a cell first: a click, or comma and full stop.");
  callCells([current], name);
}

onChange(() => { fill(); draw(); });
wireTools(call);
document.getElementById("add")?.addEventListener("click", () => { pointer = null; add(); });
document.getElementById("remove")?.addEventListener("click", remove);
document.getElementById("prevcell")?.addEventListener("click", () => step(-1));
document.getElementById("nextcell")?.addEventListener("click", () => step(1));
addEventListener("keydown", (e) => {
  if (isTyping(e)) return;
  const name = callOfKey(e);
  if (name) call(name);
  else if (e.key === " ") {
    if (e.target.matches("button, a")) return;
    call(null);
  } else if (e.key === "c") add();
  else if (e.key === "Delete" || e.key === "Backspace") remove();
  else if (e.key === ".") step(1);
  else if (e.key === ",") step(-1);
  else if (e.key === "z") undo(false);
  else if (e.key === "Z") undo(true);
  else if (e.key === "w") document.getElementById("back").click();
  else if (e.key === "ArrowRight") document.getElementById("next")?.click();
  else if (e.key === "ArrowLeft") document.getElementById("previous")?.click();
  else if (e.key === "?") location.href = "/help";
  else return;
  e.preventDefault();
  e.stopPropagation();
}, true);
fill();
const named = Number(location.hash.slice(2));
if (location.hash.startsWith("#c") && cells.has(named) && isHere(cells.get(named))) choose(named);
