/* A figure becomes interactive when its button is pressed: plotly and the data of the figure are loaded only then. */
"use strict";
window.landscopeFigures = {};

(() => {
  const loading = new Map();

  // Scripts, and not fetch(): a page opened from a folder may load no other files.
  const load = (source) => {
    if (!loading.has(source)) {
      loading.set(source, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = source;
        script.onload = resolve;
        script.onerror = () => {
          loading.delete(source);
          script.remove();
          reject(new Error(`${source} could not be loaded`));
        };
        document.head.append(script);
      }));
    }
    return loading.get(source);
  };

  const draw = async (button, plot) => {
    const { figure, folder } = button.dataset;
    await Promise.all([load(`${folder}/plotly.min.js`), load(`${folder}/${figure}.js`)]);
    const { data, layout } = window.landscopeFigures[figure];
    const place = document.createElement("div");
    plot.append(place);
    const size = { width: plot.clientWidth, height: plot.clientHeight, autosize: true };
    await Plotly.newPlot(place, data, { ...layout, ...size }, { displaylogo: false });
    return place;
  };

  const press = async (button) => {
    const plot = button.parentElement.querySelector(".gallery-plot");
    const picture = plot.firstElementChild;
    if (button.getAttribute("aria-pressed") === "true") {
      Plotly.purge(plot.lastElementChild);
      plot.lastElementChild.remove();
      picture.hidden = false;
      plot.style.height = "";
      button.setAttribute("aria-pressed", "false");
      return;
    }
    // The room is taken before anything is loaded, so that nothing moves when the plot comes; it is that of the picture,
    // unless that is small, as that of a wide figure on a telephone.
    const room = plot.clientHeight;
    plot.style.height = `${room > 0.8 * button.dataset.height ? room : button.dataset.height}px`;
    button.setAttribute("aria-pressed", "true");
    button.disabled = true;
    try {
      picture.hidden = true;
      await draw(button, plot);
    } catch (error) {
      picture.hidden = false;
      button.setAttribute("aria-pressed", "false");
      console.error(error);
    } finally {
      button.disabled = false;
      button.focus({ preventScroll: true });
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".gallery-button");
    if (button) press(button);
  });

  // A plot keeps the width of the text when the window changes.
  window.addEventListener("resize", () => {
    for (const place of document.querySelectorAll(".gallery-plot > .js-plotly-plot")) {
      Plotly.relayout(place, { width: place.parentElement.clientWidth });
    }
  });
})();
