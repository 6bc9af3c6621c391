"use strict";
// Light or dark: as the system says, until the button does.
const theme = (() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];

  // A page from a file may have no storage, and then forgets.
  function stored(value) {
    try {
      if (value !== undefined) localStorage.setItem("optconform-theme", value);
      return localStorage.getItem("optconform-theme");
    } catch {
      return null;
    }
  }

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  function apply(name) {
    if (name === "light" || name === "dark") root.dataset.theme = name;
    else delete root.dataset.theme;
    // What it does, and so not pressed besides: a name that changes and a state would say the reverse together.
    button.textContent = isDark() ? "Light theme" : "Dark theme";
    for (const listener of listeners) listener();
  }

  // What var(--name) is at present, as a colour that Plotly reads.
  function colour(name, opacity = 1) {
    button.style.setProperty("outline-color", `var(--${name})`);
    const found = getComputedStyle(button).outlineColor;
    button.style.removeProperty("outline-color");
    return opacity === 1 ? found : found.replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
  }

  button.addEventListener("click", () => {
    const name = isDark() ? "light" : "dark";
    stored(name);
    apply(name);
  });
  system.addEventListener("change", () => apply(root.dataset.theme));
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    apply("light");
  });
  addEventListener("afterprint", () => apply(before));
  apply(stored());
  return { colour, onChange: (listener) => listeners.push(listener) };
})();
