"use strict";
// Everything can be read without this script. It adds the cell viewer, another order of the gallery, and arrow keys.
(() => {
  const page = document.documentElement;
  page.classList.add("scripted");
  const viewer = document.getElementById("viewer");
  const part = (name) => viewer.querySelector(name);
  const fieldBox = part(".viewer-field");
  const zoom = part(".zoom");
  let current = null;

  const classWords = [];
  for (const item of document.querySelectorAll("#classes li")) {
    classWords[Number(item.dataset.column)] = item.querySelector("b").textContent;
  }

  function addFact(list, name, value) {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    list.append(dt, dd);
  }

  // The field's picture with this cell's box marked; nothing where the field is not among the annotated ones.
  function showField(fieldIndex, number) {
    fieldBox.replaceChildren();
    const figure = document.getElementById("fig-" + fieldIndex);
    zoom.hidden = !figure;
    if (!figure) return false;
    const frame = figure.querySelector(".frame").cloneNode(true);
    for (const box of frame.querySelectorAll(".box")) {
      box.classList.toggle("here", box.id === "c-" + fieldIndex + "-" + number);
      box.removeAttribute("id");
    }
    const here = frame.querySelector(".box.here");
    if (here) here.parentNode.append(here);
    fieldBox.append(frame);
    return true;
  }

  function centre() {
    const here = fieldBox.querySelector(".box.here .line");
    if (!here) return;
    const box = here.getBoundingClientRect();
    const port = fieldBox.getBoundingClientRect();
    fieldBox.scrollLeft += box.left + box.width / 2 - port.left - port.width / 2;
    fieldBox.scrollTop += box.top + box.height / 2 - port.top - port.height / 2;
  }

  function show(link) {
    current = link;
    const [, fieldIndex, number] = link.id.split("-");
    const group = link.closest("li").dataset.words;
    part("#viewer-h").textContent = group.charAt(0).toUpperCase() + group.slice(1);
    const crop = part(".viewer-crop");
    const thumb = link.querySelector("img");
    crop.hidden = !thumb;
    if (thumb) { crop.src = thumb.src; crop.alt = thumb.alt; }
    const facts = part(".viewer-facts");
    facts.replaceChildren();
    const probs = link.dataset.p.split(" ").filter(Boolean).map((entry) => {
      const [column, value] = entry.split(":");
      return classWords[Number(column)] + " " + value + "\u00a0%";
    });
    addFact(facts, "Probabilities", probs.join(", "));
    const words = [...link.querySelectorAll(".said > span")].map((span) => {
      const name = span.querySelector("b").textContent;
      return name.toLowerCase() + " " + span.textContent.slice(name.length).trim();
    });
    if (words.length) addFact(facts, "Words", words.join("; "));
    addFact(facts, "Suspicion", (100 * Number(link.closest("li").dataset.s)).toFixed(0) + "\u00a0%");
    addFact(facts, "Patient", link.closest(".patient").querySelector("h2 bdi").textContent);
    const row = document.getElementById("f-" + fieldIndex);
    addFact(facts, "Field", row ? row.querySelector("bdi").textContent : fieldIndex);
    addFact(facts, "Cell", "number " + number + " of the field in cells.csv");
    const shown = showField(fieldIndex, number);
    part(".viewer-note").textContent = shown ? "" : "This field is not among the annotated ones in this report.";
    if (!viewer.open) viewer.showModal();
    centre();
  }

  function neighbour(link, step) {
    const all = [...link.closest(".gallery").querySelectorAll("a.cell")];
    return all[all.indexOf(link) + step];
  }

  function move(step) {
    const next = current && neighbour(current, step);
    if (next) show(next);
  }

  for (const group of document.querySelectorAll(".group")) {
    const words = group.querySelector("h4").dataset.words;
    group.querySelectorAll("li").forEach((item, at) => {
      item.dataset.words = words;
      if (at) item.firstElementChild.tabIndex = -1;
    });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.cell");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link);
  });
  part(".prev").addEventListener("click", () => move(-1));
  part(".next").addEventListener("click", () => move(1));
  zoom.addEventListener("click", () => {
    zoom.setAttribute("aria-pressed", String(fieldBox.classList.toggle("near")));
    centre();
  });
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => {
    fieldBox.replaceChildren();
    if (current) current.focus();
  });

  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  document.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    if (viewer.open) {
      if (!fieldBox.contains(document.activeElement)) { event.preventDefault(); move(step); }
      return;
    }
    const link = document.activeElement.closest("a.cell");
    const next = link && neighbour(link, step);
    if (next) { event.preventDefault(); next.focus(); }
  });

  // The other order: all of a patient's cells in one list, most suspicious first. It is cut into blocks of whole rows,
  // so that the page lays out only those in sight.
  const homes = new WeakMap();
  const blockRows = 8;
  function bySuspicion(gallery) {
    const items = [...gallery.querySelectorAll(".cells > li")];
    const columns = getComputedStyle(items[0].parentNode).gridTemplateColumns.split(" ").length;
    for (const item of items) homes.set(item, item.parentNode);
    items.sort((a, b) => b.dataset.s - a.dataset.s);
    for (const group of gallery.querySelectorAll(".group")) group.hidden = true;
    for (let at = 0; at < items.length; at += columns * blockRows) {
      const block = document.createElement("div");
      const list = document.createElement("ul");
      block.className = "group flat";
      list.className = "cells";
      list.append(...items.slice(at, at + columns * blockRows));
      block.append(list);
      gallery.append(block);
    }
  }
  function byClass(gallery) {
    const returning = new Map();
    for (const item of gallery.querySelectorAll(".flat li")) {
      const home = homes.get(item);
      if (!returning.has(home)) returning.set(home, []);
      returning.get(home).push(item);
    }
    for (const [home, items] of returning) home.append(...items);
    for (const block of gallery.querySelectorAll(".flat")) block.remove();
    for (const group of gallery.querySelectorAll(".group")) group.hidden = false;
  }
  for (const select of document.querySelectorAll("select.order")) {
    select.addEventListener("change", () => {
      const gallery = select.closest(".gallery");
      if (select.value === "suspicion") bySuspicion(gallery);
      else byClass(gallery);
    });
  }
})();
