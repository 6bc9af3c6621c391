"use strict";
// What one target is judged by, as pictures: each with a sentence that says what it shows, and its numbers as a table.
const evidence = (() => {
  const COLOURS = { decoupled: "own", equivalent: "own", l2: "rival" };
  const SYMBOLS = { decoupled: "circle", equivalent: "circle", l2: "diamond" };
  const digits = (value, count = 3) => (value === null ? "-" : String(Number(value.toPrecision(count))));

  function extent(values) {
    let [least, most] = [Infinity, -Infinity];
    for (const value of values) {
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
    return [least, most];
  }

  // Decay displacement against theta, all tensors of one trace, or the one that is chosen.
  function decoupling(rows, tensor) {
    const shown = tensor ? rows.filter((row) => row[1] === tensor) : rows;
    const kinds = [...new Set(shown.map((row) => row[6]))];
    const data = kinds.map((kind) => {
      const own = shown.filter((row) => row[6] === kind);
      return {
        type: "scatter",
        mode: "markers",
        name: kind,
        x: own.flatMap((row) => row[3]),
        y: own.flatMap((row) => row[4]),
        text: own.flatMap((row) => row[3].map(() => `${figures.text(row[1])}, step ${row[2]}`)),
        hovertemplate: "%{text}<br>θ %{x:.3g}, r %{y:.3g}<extra></extra>",
        marker: { size: 6, opacity: 0.75, symbol: SYMBOLS[kind] ?? "square", color: theme.colour(COLOURS[kind] ?? "third") },
      };
    });
    const fitted = Map.groupBy(shown.filter((row) => row[5] !== null), (row) => digits(row[5]));
    for (const [c, rows] of fitted) {
      const [least, most] = extent(rows.flatMap((row) => row[3]));
      const ends = [Math.min(least, 0), Math.max(most, 0)];
      const line = { color: theme.colour("ink"), width: 1.25 };
      data.push({ type: "scatter", mode: "lines", x: ends, y: ends.map((end) => -c * end), hoverinfo: "skip", line });
    }
    const coefficients = [...fitted.keys()];
    const said = coefficients.length ? `r = −c·θ, c = ${coefficients.slice(0, 3).join(", ")}${coefficients.length > 3 ? " …" : ""}` : "no multiple of θ";
    const shape = figures.layout(figures.axis(shown[0][7] === "updated" ? "θ after the step" : "θ before the step", { zeroline: true }), figures.axis("displacement r by decay", { zeroline: true }), {
      annotations: [figures.note(kinds.length > 1 ? `${said}<br>● ${kinds[0]}, ◆ ${kinds.slice(1).join(", ")}` : said)],
    });
    return { data, layout: shape };
  }

  function decouplingText(trace, rows) {
    const tensors = new Set(rows.map((row) => row[1])).size;
    const points = rows.reduce((sum, row) => sum + row[3].length, 0);
    const on = rows.filter((row) => row[5] !== null).length;
    const where = on === rows.length ? "on a line through the origin" : on ? `on a line through the origin in ${on} of ${rows.length} steps of tensors` : "in a cloud, on no line through the origin";
    return `Trace ${trace}: decay displacement of ${points} elements of ${tensors} tensors against theta lies ${where}.`;
  }

  // The names of its rule and of the nearest other, on the panel's own width.
  const short = (name, otherwise) => figures.text((name || otherwise).replace(/^(.{32}).+$/, "$1…"));

  function distance([, steps, own, rival, ownRule, rivalRule]) {
    const points = (name, y, colour, symbol) => ({
      type: "scatter",
      mode: steps.length > 24 ? "lines" : "lines+markers",
      name,
      x: steps,
      y,
      connectgaps: false,
      hovertemplate: `step %{x}<br>${name} %{y:.3g}<extra></extra>`,
      line: { width: 1.5, color: theme.colour(colour) },
      marker: { size: 6, symbol, color: theme.colour(colour) },
    });
    const data = [points(short(rivalRule, "nearest rival"), rival, "rival", "diamond-open"), points(short(ownRule, "own"), own, "own", "circle")].filter((each) => each.y.some((value) => value !== null));
    const bound = { type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: { color: theme.colour("fail"), width: 1.25, dash: "dash" } };
    const told = { xref: "paper", x: 0.01, y: 0, xanchor: "left", yanchor: "bottom", text: "the bound", showarrow: false, font: { color: theme.colour("fail"), size: 11 } };
    // Labels at the lines themselves need no key to be looked up in.
    const labels = data.map(({ name, x, y, line, marker }) => {
      const last = y.findLastIndex((value) => value !== null);
      const below = marker.symbol === "circle";
      return { x: x[last], y: Math.log10(y[last]), text: name, xanchor: "right", yanchor: below ? "top" : "bottom", showarrow: false, yshift: below ? -5 : 5, font: { color: line.color } };
    });
    return {
      data,
      layout: figures.layout(figures.axis("step", { dtick: steps.length < 8 ? 1 : undefined }), figures.axis("distance in bounds", { type: "log", range: spread([...own, ...rival]) }), {
        shapes: [bound],
        annotations: [told, ...labels],
      }),
    };
  }

  // The bound is always in sight, and a label has room above the largest.
  function spread(values) {
    const [least, most] = extent(values.filter((value) => value !== null).map((value) => Math.log10(value)).concat(0));
    return [Math.min(least - Math.max(0.6, (most - least) / 9), -1), most + Math.max(1, (most - least) / 5)];
  }

  function distanceText([trace, steps, own, rival]) {
    const largest = (values) => digits(Math.max(...values.filter((value) => value !== null)), 2);
    const has = (values) => values.some((value) => value !== null);
    const nearest = has(rival) ? `, and from the nearest rival at least ${digits(Math.min(...rival.filter((value) => value !== null)), 2)}` : "";
    return `Trace ${trace}: over ${steps.length} steps the distance from its own rule is at most ${has(own) ? largest(own) : "unknown"} bounds${nearest}.`;
  }

  const LAWS = {
    "lr*wd": ["lr · η · wd", ([lr, wd, eta]) => lr * wd * eta],
    "schedule*wd": ["η · wd", ([, wd, eta]) => wd * eta],
    wd: ["wd", ([, wd]) => wd],
  };
  const FORMS = { proximal: (x) => x / (1 + x) };

  function law(found) {
    const [title, product] = LAWS[found.law] ?? LAWS["lr*wd"];
    const factor = found.law in LAWS ? (found.factor ?? 1) : 1;
    const form = FORMS[found.form] ?? ((x) => x);
    const grid = found.grid.filter((row) => product(row) > 0 && row[3] > 0);
    const parts = [
      ["η = 1", (eta) => eta === 1, "own", "circle"],
      ["η ≠ 1, as the schedule goes on", (eta) => eta !== 1, "rival", "diamond"],
    ];
    const data = parts.map(([name, belongs, colour, symbol]) => {
      const rows = grid.filter((row) => belongs(row[2]));
      return {
        type: "scatter",
        mode: "markers",
        name,
        x: rows.map(product),
        y: rows.map((row) => row[3]),
        error_y: { type: "data", array: rows.map((row) => row[4]), color: theme.colour("edge"), thickness: 1, width: 3 },
        text: rows.map(([lr, wd, eta]) => `lr ${digits(lr)}, wd ${digits(wd)}, η ${digits(eta)}`),
        hovertemplate: "%{text}<br>c %{y:.4g}<extra></extra>",
        marker: { size: 8, opacity: 0.85, symbol, color: theme.colour(colour) },
      };
    });
    const [least, most] = extent(grid.map(product));
    const ticks = { type: "log", dtick: most > 100 * least ? 1 : "D2" };
    const line = Array.from({ length: 25 }, (_, index) => least * (most / least) ** (index / 24));
    data.unshift({ type: "scatter", mode: "lines", name: "law", showlegend: false, x: line, y: line.map((x) => form(factor * x)), hoverinfo: "skip", line: { color: theme.colour("ink"), width: 1.25, dash: found.law in LAWS ? "solid" : "dot" } });
    return {
      data,
      layout: figures.layout(figures.axis(title, ticks), figures.axis("measured coefficient c", ticks), {
        showlegend: true,
        annotations: [figures.note(found.law ? `law ${figures.text(found.law)}` : "no law found", 0.02)],
      }),
    };
  }

  function pictures(found) {
    const blocks = [];
    if (found.displacements.length) {
      blocks.push({
        title: "Decoupling",
        caption: "How far decay alone moves an element in one step, against the element itself. Decoupled decay is −c·θ for all of a tensor: one line through the origin. L2 goes through the moments, and is a cloud.",
        panels: Array.from(Map.groupBy(found.displacements, (row) => row[0]), ([trace, rows]) => ({
          title: trace,
          sentence: decouplingText(trace, rows),
          choices: [...new Set(rows.map((row) => row[1]))],
          make: (tensor) => decoupling(rows, tensor),
        })),
        head: ["trace", "tensor", "step", "θ", "r", "c"],
        rows: () => found.displacements.flatMap(([trace, tensor, step, theta, moved, c]) => theta.map((each, index) => [trace, tensor, step, digits(each, 6), digits(moved[index], 6), digits(c, 6)])),
        figures: [2, 3, 4, 5],
      });
    }
    if (found.distances.length) {
      blocks.push({
        title: "Distance over the steps",
        caption: "From the rule that it follows, or comes nearest to, and from the nearest other rule, at the hyperparameters that were set. Below 1 rounding explains every difference.",
        panels: found.distances.map((row) => ({ title: row[0], sentence: distanceText(row), make: () => distance(row) })),
        head: ["trace", "step", "own", "nearest rival"],
        rows: () => found.distances.flatMap(([trace, steps, own, rival]) => steps.map((step, index) => [trace, step, digits(own[index]), digits(rival[index])])),
        figures: [1, 2, 3],
      });
    }
    if (found.grid.length) {
      blocks.push({
        title: "Law",
        caption: "The coefficient measured at several learning rates lr, weight decays wd and multipliers η of the schedule, against what the law makes of them: on the line it holds.",
        panels: [{ title: found.law ?? "no law", sentence: `Coefficient of decay measured at ${found.grid.length} points; law ${found.law ?? "not found"}.`, make: () => law(found) }],
        head: ["lr", "wd", "η", "c", "±"],
        rows: () => found.grid.map((row) => row.map((each) => digits(each, 6))),
        figures: [0, 1, 2, 3, 4],
      });
    }
    return blocks;
  }

  return { pictures };
})();
