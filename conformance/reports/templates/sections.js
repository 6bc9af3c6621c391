"use strict";
// Sections of targets: filled in when they are opened, and opened when something leads to them.
(() => {
  function make(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  function table(head, rows, figureColumns = []) {
    const cell = (name, value, column) => make(name, figureColumns.includes(column) ? { className: "figure" } : {}, String(value));
    const heading = make("tr", {}, ...head.map((each, column) => Object.assign(cell("th", each, column), { scope: "col" })));
    const body = rows.map((row) => make("tr", {}, ...row.map((each, column) => cell("td", each, column))));
    return make("table", {}, make("thead", {}, heading), make("tbody", {}, ...body));
  }

  // A table of hundreds of rows is made when it is asked for.
  function folded(title, head, rows, figureColumns, note = "") {
    const details = make("details", { className: "more" }, make("summary", {}, title));
    details.addEventListener(
      "toggle",
      () => {
        const around = make("div", { tabIndex: 0, role: "group", ariaLabel: title }, table(head, rows(), figureColumns));
        details.append(around, make("p", { className: "soft" }, note));
      },
      { once: true },
    );
    return details;
  }

  function panel({ title, sentence, choices = [], make: maker }) {
    const plot = make("div", { className: "plot", role: "img", ariaLabel: sentence });
    const heading = make("div", { className: "title" }, make("span", {}, title));
    let chosen = "";
    if (choices.length > 1) {
      const all = make("option", { value: "" }, `all ${choices.length} tensors`);
      const select = make("select", { ariaLabel: `Tensor of ${title}` }, all, ...choices.map((each) => make("option", { value: each }, each)));
      select.addEventListener("change", () => {
        chosen = select.value;
        figures.add(plot, () => maker(chosen));
      });
      heading.append(select);
    }
    figures.add(plot, () => maker(chosen));
    return make("figure", { className: "plot-block" }, heading, plot, make("figcaption", { className: "unseen" }, sentence));
  }

  function fill(section) {
    const place = section.querySelector(".evidence");
    if (place.childElementCount) return;
    const found = JSON.parse(section.querySelector("script").textContent);
    for (const { title, caption, panels, head, rows, figures: columns } of evidence.pictures(found)) {
      place.append(make("h4", {}, title), make("p", { className: "caption" }, caption));
      place.append(make("div", { className: "panels" }, ...panels.map(panel)), folded("The numbers", head, rows, columns));
    }
    const tables = found.tables.map((each) => folded(`${each.title} (${each.rows.length})`, each.head, () => each.rows, each.figures, each.note));
    place.append(make("div", { className: "tables" }, ...tables));
  }

  function explain(details) {
    const rule = document.getElementById(`rule-${details.dataset.rule}`);
    if (rule && !details.querySelector("dl")) details.lastElementChild.replaceWith(rule.querySelector("dl").cloneNode(true));
  }

  document.addEventListener(
    "toggle",
    ({ target }) => {
      if (!target.open) return;
      if (target.matches(".target")) fill(target);
      if (target.matches(".why")) explain(target);
    },
    true,
  );

  function follow() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.matches(".target")) return;
    target.open = true;
    fill(target);
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  }
  addEventListener("hashchange", follow);
  document.querySelectorAll(".target[open]").forEach(fill);
  if (location.hash) follow();

  document.getElementById("overview")?.addEventListener("click", ({ target }) => {
    if (target.dataset.target) location.hash = target.dataset.target;
  });

  document.addEventListener("click", async ({ target }) => {
    if (!target.matches(".copy")) return;
    const code = target.parentElement.querySelector("code");
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      target.textContent = "Copied";
    } catch {
      target.textContent = "Selected";
    }
    setTimeout(() => (target.textContent = "Copy"), 1500);
  });
})();
