"use strict";
// Draws the figures of a report; in dark mode each light colour is swapped for its dark counterpart, and prints are light.
(() => {
  const swap = JSON.parse(document.getElementById("dark-colours").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const sources = [...document.querySelectorAll("script[data-figure]")];
  const options = {
    responsive: true,
    displaylogo: false,
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false, // it would cover legends where it cannot hide
    plotlyServerURL: "",
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["resetScale2d"]], // and none that sends a chart anywhere
  };
  const PRINT_WIDTH = 660; // CSS pixels between the margins of a portrait page

  function draw(printing) {
    const swapped = dark.matches && !printing;
    for (const source of sources) {
      let text = source.textContent;
      if (swapped) text = text.replace(/#[0-9A-F]{6}/g, (colour) => swap[colour] ?? colour);
      const { data, layout } = JSON.parse(text);
      if (printing) layout.width = PRINT_WIDTH;
      Plotly.react(source.dataset.figure, data, layout, options);
      if (!printing) Plotly.Plots.resize(source.dataset.figure);
    }
  }

  draw(false);
  dark.addEventListener("change", () => draw(false));
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => requestAnimationFrame(() => draw(false))); // once the page is wide again
})();
