// Values of a plot under the pointer, or chosen by arrow keys while it has the focus.
// Listens on the document, so that figures may be replaced at any time.
(() => {
  "use strict";
  const split = (text) => (text ? text.split(";") : []);

  function show(plot, index) {
    const xs = split(plot.dataset.xs), [start, end] = split(plot.dataset.span).map(Number);
    const at = Math.max(0, Math.min(xs.length - 1, index)), figure = plot.closest("figure");
    const time = new Date(start + (xs[at] / 600) * (end - start)).toLocaleTimeString();
    const values = plot.dataset.values.split("|").map((line) => split(line)[at]);
    plot.dataset.at = at;
    plot.querySelector(".cursor").setAttribute("d", `M${xs[at]} 0V140`);
    const said = [...figure.querySelectorAll(".legend li")].map((item, line) => {
      const place = item.querySelector("b");
      place.dataset.last ??= place.textContent;
      place.textContent = values[line];
      return `${item.querySelector("span").textContent} ${values[line]}`;
    });
    figure.querySelector("output").textContent = `${time}: ${said.join(", ")}`;
  }

  function hide(plot) {
    const figure = plot.closest("figure");
    delete plot.dataset.at;
    plot.querySelector(".cursor").removeAttribute("d");
    figure.querySelectorAll(".legend b[data-last]").forEach((place) => {
      place.textContent = place.dataset.last;
      delete place.dataset.last;
    });
    figure.querySelector("output").textContent = "";
  }

  const plotOf = (event) => event.target instanceof Element && event.target.closest(".plot-area");

  document.addEventListener("pointermove", (event) => {
    const plot = plotOf(event);
    if (!plot) return;
    const box = plot.getBoundingClientRect(), xs = split(plot.dataset.xs).map(Number);
    const x = (event.clientX - box.left) / box.width * 600;
    const nearest = xs.reduce((best, each, index) => (Math.abs(each - x) < Math.abs(xs[best] - x) ? index : best), 0);
    show(plot, nearest);
  });
  for (const name of ["pointerout", "focusout"])
    document.addEventListener(name, (event) => {
      const plot = plotOf(event);
      if (plot && !plot.contains(event.relatedTarget)) hide(plot);
    });
  document.addEventListener("keydown", (event) => {
    const plot = plotOf(event);
    if (!plot) return;
    const last = split(plot.dataset.xs).length - 1, at = Number(plot.dataset.at ?? last + 1);
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") hide(plot);
    if (next === undefined) return;
    event.preventDefault();
    show(plot, next);
  });
})();
