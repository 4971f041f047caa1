// The worklist by keyboard: j k rows, Enter open, / find, f next filter.
const links = [...document.querySelectorAll("a.open")];
let at = -1;

function go(step) {
  if (!links.length) return;
  at = Math.max(0, Math.min(links.length - 1, at + step));
  links[at].focus();
  links[at].closest("tr").scrollIntoView({ block: "nearest" });
}

document.getElementById("sort")?.addEventListener("change", (e) => e.target.form.requestSubmit());
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches("input, select, textarea")) return;
  if (e.key === "j") go(1);
  else if (e.key === "k") go(-1);
  else if (e.key === "/") document.getElementById("search").focus();
  else if (e.key === "f") {
    const states = [...document.querySelectorAll(".states a")];
    const here = states.findIndex((a) => a.getAttribute("aria-current"));
    location.href = states[(here + 1) % states.length].href;
  } else return;
  e.preventDefault();
});
