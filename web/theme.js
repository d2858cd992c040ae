// @ts-check
// Sets the colours before the first paint, so that no page flashes in the wrong theme. A classic script, not a module:
// modules run after parsing. The toggle is in ui.js.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("crosspoint.theme");
  } catch {
    // Storage is refused in some embedded frames: the system's preference then decides.
  }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
