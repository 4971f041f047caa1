// Notes on the patient or on a cell: sent like every operation, shown again by the server.
import { base, send } from "./common.js";

async function renewNotes() {
  const response = await fetch(`${base}/notes`);
  if (response.ok) document.getElementById("notes").innerHTML = await response.text();
}

/** Forms of class "note", now and later: `data-about` is "patient" or a cell's id. */
export function takeNotes() {
  addEventListener("submit", async (e) => {
    const form = e.target;
    if (!form.matches("form.note")) return;
    e.preventDefault();
    const box = form.elements.text, text = box.value.trim(), about = form.dataset.about;
    if (!text) return;
    const note = { kind: "note", text, ...(about === "patient" ? {} : { cell: Number(about) }) };
    if (!(await send("/notes", note))) return;
    box.value = "";
    form.closest("details.cellnote")?.removeAttribute("open");
    renewNotes();
  });
}
