"use strict";
// Pictures: what they have in common. Each is drawn when it comes into sight, and again when the colours change.
const figures = (() => {
  const nonce = document.currentScript.nonce;
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const narrow = matchMedia("(max-width: 40rem)");
  const makers = new Map();
  const drawn = new Set();
  let loading = null;

  // Plotly lies in the page compressed, and costs nothing before the first picture. As a file of its own the browser
  // compiles it beside the page, which goes on answering.
  function load() {
    loading ??= (async () => {
      const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (each) => each.charCodeAt(0));
      const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      const file = new Blob([await new Response(plain).blob()], { type: "text/javascript" });
      const script = Object.assign(document.createElement("script"), { nonce, src: URL.createObjectURL(file) });
      await new Promise((done, failed) => {
        Object.assign(script, { onload: done, onerror: failed });
        document.head.append(script);
      });
      URL.revokeObjectURL(script.src);
    })();
    return loading;
  }

  // Plotly takes some of HTML in text for markup.
  const text = (value) => String(value).replace(/[&<>]/g, (each) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[each]);

  function axis(title, more = {}) {
    const colours = { gridcolor: theme.colour("line"), zerolinecolor: theme.colour("edge"), linecolor: theme.colour("edge") };
    return { title: { text: title, standoff: 8 }, automargin: true, exponentformat: "power", nticks: 6, zeroline: false, ...colours, ...more };
  }

  function layout(x, y, more = {}) {
    return {
      template: "none",
      autosize: true,
      height: 272,
      margin: { l: 12, r: 12, t: 12, b: 12 },
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: theme.colour("soft") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: { bgcolor: theme.colour("card"), bordercolor: theme.colour("edge"), font: { color: theme.colour("ink") } },
      hovermode: "closest",
      showlegend: false,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
      dragmode: narrow.matches ? false : "zoom",
      xaxis: x,
      yaxis: y,
      ...more,
    };
  }

  // A note in the corner of the drawing, on the page's colour so that points behind it do not disturb it.
  function note(words, x = 0.98, y = 0.97) {
    const place = { xref: "paper", yref: "paper", x, y, xanchor: x > 0.5 ? "right" : "left", yanchor: "top", showarrow: false };
    return { ...place, text: words, bgcolor: theme.colour("card", 0.85), borderpad: 3, font: { color: theme.colour("ink") } };
  }

  async function draw(element) {
    await load();
    const { data, layout: shape } = makers.get(element)();
    await Plotly.react(element, data, shape, config);
    drawn.add(element);
  }

  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        draw(target);
      }
    },
    { rootMargin: "200px" },
  );

  function add(element, maker) {
    makers.set(element, maker);
    if (drawn.has(element)) draw(element);
    else seen.observe(element);
  }

  // What is printed has not been in sight.
  addEventListener("beforeprint", () => [...makers.keys()].filter((each) => each.checkVisibility()).forEach(draw));

  const again = () => drawn.forEach(draw);
  theme.onChange(again);
  narrow.addEventListener("change", again);
  return { add, axis, layout, note, text, narrow };
})();
