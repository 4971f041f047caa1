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
    const item = link.closest("li");
    const words = classWords[Number(item.dataset.c)];
    part("#viewer-h").textContent = words.charAt(0).toUpperCase() + words.slice(1);
    for (const [view, from] of [[".viewer-crop", ".photo"], [".viewer-model", ".model"]]) {
      const picture = part(view);
      const source = link.querySelector(from);
      picture.hidden = !source;
      if (source) { picture.src = source.src; picture.alt = source.alt; }
    }
    const facts = part(".viewer-facts");
    facts.replaceChildren();
    const probs = link.dataset.p.split(" ").filter(Boolean).map((entry) => {
      const [column, value] = entry.split(":");
      return classWords[Number(column)] + " " + value + "\u00a0%";
    });
    addFact(facts, "Probabilities", probs.join(", "));
    const said = [...link.querySelectorAll(".said > span")].map((span) => {
      const name = span.querySelector("b").textContent;
      return name.toLowerCase() + " " + span.textContent.slice(name.length).trim();
    });
    if (said.length) addFact(facts, "Words", said.join("; "));
    addFact(facts, "Suspicion", (100 * Number(item.dataset.s)).toFixed(0) + "\u00a0%");
    addFact(facts, "Patient", link.closest(".patient").querySelector("h2 bdi").textContent);
    addFact(facts, "Field", link.dataset.file);
    addFact(facts, "Cell", "number " + number + " of the field in cells.csv");
    const shown = showField(fieldIndex, number);
    const note = part(".viewer-note");
    note.textContent = shown ? "" : "This field is not among the annotated ones in this report.";
    const full = shown && document.querySelector("#fig-" + fieldIndex + " a.full");
    if (full) {
      note.append("Full resolution: ");
      note.append(full.cloneNode(true));
    }
    if (!viewer.open) viewer.showModal();
    centre();
  }

  function neighbour(link, step) {
    const all = [...link.closest(".patient").querySelectorAll("a.cell")];
    return all[all.indexOf(link) + step];
  }

  function move(step) {
    const next = current && neighbour(current, step);
    if (next) show(next);
  }

  // One stop for the Tab key a list; the arrow keys go on from there.
  for (const list of document.querySelectorAll(".cells")) {
    [...list.children].slice(1).forEach((item) => { item.firstElementChild.tabIndex = -1; });
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

  // Other orders of a patient's cells. A long list is cut into blocks, so that the page lays out only those in sight.
  const homes = new WeakMap();
  const blockCells = 60;
  const bySuspicion = (one, other) => other.dataset.s - one.dataset.s;
  for (const list of document.querySelectorAll(".cells")) {
    for (const item of list.children) homes.set(item, list);
  }

  function goHome(patient) {
    const returning = new Map();
    for (const item of patient.querySelectorAll(".cells > li")) {
      const home = homes.get(item);
      if (!returning.has(home)) returning.set(home, []);
      returning.get(home).push(item);
    }
    for (const [home, items] of returning) home.append(...items.sort(bySuspicion));
    for (const block of patient.querySelectorAll(".flat")) block.remove();
  }

  function arrange(patient, order) {
    if (patient.dataset.order) goHome(patient);
    patient.dataset.order = order === "worst" ? "" : order;
    const worst = patient.querySelector(".worst");
    const gallery = patient.querySelector(".gallery");
    worst.hidden = order !== "worst";
    for (const group of gallery.querySelectorAll(".group")) group.hidden = order === "suspicion";
    if (order === "class") {
      for (const group of gallery.querySelectorAll(".group")) {
        const list = group.querySelector(".cells");
        const mine = worst.querySelectorAll('li[data-c="' + group.dataset.column + '"]');
        list.prepend(...[...mine].sort(bySuspicion));
      }
    }
    if (order === "suspicion") {
      const items = [...patient.querySelectorAll(".cells > li")].sort(bySuspicion);
      for (let at = 0; at < items.length; at += blockCells) {
        const block = document.createElement("div");
        const list = document.createElement("ul");
        block.className = "group flat";
        list.className = "cells";
        list.append(...items.slice(at, at + blockCells));
        block.append(list);
        gallery.append(block);
      }
    }
  }

  for (const select of document.querySelectorAll("select.order")) {
    select.addEventListener("change", () => arrange(select.closest(".patient"), select.value));
  }
})();
