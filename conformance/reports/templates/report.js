"use strict";
(() => {
  const table = document.getElementById("results");
  const rows = [...table.tBodies[0].rows];
  const filter = document.getElementById("filter");
  const state = document.getElementById("state");

  function show() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = (state.value !== "" && row.dataset.state !== state.value) || !words.every((word) => text.includes(word));
      count += !row.hidden;
    }
    document.getElementById("shown").textContent = `${count} of ${rows.length} shown`;
  }

  // An empty figure stays below whichever way the column is sorted; Python's inf and nan are larger than all others.
  function figure(cell) {
    const value = cell.dataset.value;
    if (value === "") return null;
    return Number.isNaN(Number(value)) ? Infinity : Number(value);
  }

  function sort(button) {
    const heading = button.closest("th");
    const column = heading.cellIndex;
    const descending = heading.ariaSort === "ascending" || (heading.ariaSort === null && button.dataset.kind === "number");
    for (const other of heading.parentElement.cells) other.ariaSort = null;
    heading.ariaSort = descending ? "descending" : "ascending";
    const sign = descending ? -1 : 1;
    rows.sort((one, other) => {
      const [a, b] = [one.cells[column], other.cells[column]];
      if (button.dataset.kind !== "number") return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
      const [x, y] = [figure(a), figure(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return x === y ? 0 : sign * (x < y ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  }

  filter.addEventListener("input", show);
  state.addEventListener("change", show);
  for (const button of table.tHead.querySelectorAll("button")) button.addEventListener("click", () => sort(button));
  show();

  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", () => {
      const code = button.parentElement.querySelector("code");
      getSelection().selectAllChildren(code);
      if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).catch(() => {});
    });
  }

  function open() {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  }
  addEventListener("hashchange", open);
  open();

  // Figures come without colours; those of the page are put in, and changed when the system goes dark.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  function draw() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    for (const script of document.querySelectorAll("script[data-figure]")) {
      const { data, layout } = JSON.parse(script.textContent);
      [colour("--own"), colour("--rival")].forEach((each, index) => { if (data[index]) data[index].marker.color = each; });
      for (const axis of [layout.xaxis, layout.yaxis]) Object.assign(axis, { gridcolor: colour("--line"), linecolor: colour("--line") });
      for (const shape of layout.shapes ?? []) shape.line.color = colour("--bad");
      Object.assign(layout, { paper_bgcolor: colour("--page"), plot_bgcolor: colour("--page"), font: { color: colour("--ink"), size: 12 } });
      layout.yaxis.showticklabels = !narrow.matches;
      layout.dragmode = narrow.matches ? false : "zoom";
      Plotly.react(script.dataset.figure, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
    }
  }
  if (window.Plotly) {
    draw();
    dark.addEventListener("change", draw);
    narrow.addEventListener("change", draw);
  }
})();
