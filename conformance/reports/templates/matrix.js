"use strict";
// Sorting, filtering and searching of the matrix.
(() => {
  const table = document.getElementById("matrix");
  const form = document.querySelector(".controls");
  const [search, state, group, code] = ["search", "state", "group", "code"].map((id) => document.getElementById(id));
  const rows = [...table.tBodies[0].rows];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const { state: itsState, group: itsGroup, codes } = row.dataset;
      row.hidden =
        (state.value !== "" && itsState !== state.value) ||
        (group.value !== "" && itsGroup !== group.value) ||
        (code.value !== "" && !codes.split(" ").includes(code.value)) ||
        !words.every((word) => texts.get(row).includes(word));
      count += !row.hidden;
    }
    document.getElementById("shown").textContent = `${count} of ${rows.length} shown`;
    document.getElementById("none").hidden = count > 0 || rows.length === 0;
    document.getElementById("clear").hidden = count === rows.length && !words.length;
  }

  // A state sorts by how bad it is and then by its text; an empty figure stays below whichever way it is sorted.
  function compare(kind, column, sign) {
    return (one, other) => {
      const [a, b] = [one.cells[column], other.cells[column]];
      const byText = () => sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
      if (kind === "text") return byText();
      const [x, y] = [a, b].map((cell) => (cell.dataset.key ? Number(cell.dataset.key) : null));
      if (x === null || y === null) return (x === null) - (y === null);
      return x === y ? (kind === "state" ? byText() : 0) : sign * (x - y);
    };
  }

  function sort(button) {
    const heading = button.closest("th");
    const before = heading.getAttribute("aria-sort");
    const first = button.dataset.kind === "number" ? "descending" : "ascending";
    const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    rows.sort(compare(button.dataset.kind, heading.cellIndex, order === "ascending" ? 1 : -1));
    table.tBodies[0].append(...rows);
  }

  function clear() {
    form.reset();
    search.focus();
  }

  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("clear-none").addEventListener("click", clear);
  search.addEventListener("keydown", (event) => event.key === "Escape" && clear());
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) sort(button);
  });
  show();
})();
