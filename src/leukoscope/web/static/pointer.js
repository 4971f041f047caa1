// The pointer: hovering chooses, shift takes a range, a frame picks, dragging onto a class calls.
import { choose, currentId, setPicked, shown } from "./choosing.js";
import { say } from "./common.js";
import { openPanel } from "./panel.js";
import { gallery, idOf, picked } from "./tiles.js";

/** Where the pointer is over the gallery. */
export let pointer = { x: -1, y: -1, on: false };
let drag = null;

/** Listen; `call` calls the chosen cells. */
export function followPointer(call) {
  gallery.addEventListener("pointermove", (e) => {
    if (e.pointerType !== "mouse" || (e.clientX === pointer.x && e.clientY === pointer.y)) return;
    pointer = { x: e.clientX, y: e.clientY, on: true };
    if (drag) return;
    const tile = e.target.closest(".tile");
    if (tile && !tile.classList.contains("current")) choose(idOf(tile), { focus: false, keep: picked.size > 0 });
  });
  gallery.addEventListener("pointerleave", () => { pointer.on = false; });
  gallery.addEventListener("click", (e) => {
    const tile = e.target.closest(".tile");
    if (!tile || drag?.moved) return;
    const id = idOf(tile);
    if (e.shiftKey) return choose(id, { extend: true });
    if (e.ctrlKey || e.metaKey) {
      choose(id, { keep: true });
      return setPicked(picked.has(id) ? [...picked].filter((p) => p !== id) : [...picked, id]);
    }
    if (e.pointerType === "touch" && id === currentId()) return openPanel();
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
        const id = idOf(drag.tile);
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
      }).map(idOf));
      say(`${picked.size} cells chosen.`);
    }
  });
}
