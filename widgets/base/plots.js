// Plotly figures of one or two groups, next to each other. Python sends each figure complete at first, then what differs.
const PLOTLY = Symbol.for("lamae.plotly"); // the library, once for all figures of a page
const LEAST_WIDTH = 470; // of a figure that is drawn where it cannot be seen yet
const KINDS = { f4: Float32Array, f8: Float64Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array,
  i4: Int32Array, u4: Uint32Array };

// The library as a module; it finds CommonJS in it, independent of other loaders on the page.
async function loaded(source) {
  const text = `const module = { exports: {} }, exports = module.exports, define = undefined;
${source}
export default module.exports;`;
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  try {
    return (await import(address)).default;
  } finally {
    URL.revokeObjectURL(address);
  }
}

// Reading 5 MB keeps a slow computer busy for seconds, longer than anywidget waits for the other widgets of the page.
const idle = () =>
  new Promise((done) => (globalThis.requestIdleCallback ? requestIdleCallback(done, { timeout: 5000 }) : setTimeout(done, 200)));

async function library(model) {
  const begin = async () => {
    const source = await model.widget_manager.get_model(model.get("_library").replace("IPY_MODEL_", ""));
    await idle();
    return loaded(source.get("code"));
  };
  globalThis[PLOTLY] ??= begin();
  try {
    return await globalThis[PLOTLY];
  } catch (error) {
    globalThis[PLOTLY] = undefined; // to be tried again
    throw error;
  }
}

function render({ model, el }) {
  let ended = false;
  let end = () => {};
  async function begin() {
    el.replaceChildren();
    try {
      const Plotly = await library(model);
      if (!ended) end = show(model, el, Plotly);
    } catch (error) {
      console.warn(error);
      const words = document.createElement("p");
      words.setAttribute("role", "alert");
      words.textContent = "The figure could not be drawn. ";
      const again = document.createElement("button");
      again.textContent = "Draw it again";
      again.onclick = begin;
      words.append(again);
      el.replaceChildren(words);
    }
  }
  begin();
  return () => {
    ended = true;
    end();
  };
}

function show(model, el, Plotly) {
  el.classList.add("lamae-plots");
  const groups = new Map(); // by name: its element, heading and figures

  // Each figure is as wide as its place on the page, which the style sheet gives it; out of sight it stays as it is.
  const roomOf = ({ root, graph }) => root.clientWidth || graph.layout?.width || LEAST_WIDTH;
  const observer = new ResizeObserver(() => {
    for (const group of groups.values())
      for (const figure of group.figures.values())
        if (figure.graph?.layout && figure.graph.layout.width !== roomOf(figure))
          Plotly.relayout(figure.graph, { width: roomOf(figure) });
  });

  function groupOf(name) {
    if (!groups.has(name)) {
      const root = document.createElement("section");
      root.className = `lamae-group lamae-group-${name}`;
      const heading = document.createElement("h3");
      root.append(heading);
      if (name === "pinned") el.prepend(root);
      else el.append(root);
      groups.set(name, { root, heading, figures: new Map() });
    }
    return groups.get(name);
  }

  function figureOf(group, name) {
    if (!group.figures.has(name)) {
      const root = document.createElement("div");
      root.className = `lamae-figure lamae-figure-${name}`;
      root.setAttribute("role", "img");
      group.root.append(root);
      observer.observe(root);
      group.figures.set(name, { root, data: [], layout: {} });
    }
    return group.figures.get(name);
  }

  const image = (format, scale) => (graph) =>
    Plotly.downloadImage(graph, { format, scale, filename: graph.parentElement.dataset.name });
  const config = {
    displaylogo: false,
    showSendToCloud: false, // by default a button uploads the figure, and with it the ECG, to plotly's server
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d"],
    modeBarButtonsToAdd: [
      { name: "Save as SVG", icon: Plotly.Icons.camera, click: image("svg", 1) },
      { name: "Save as PNG", icon: Plotly.Icons.disk, click: image("png", 2) },
    ],
  };

  function draw({ group: of, name, heading, narrow, words, stale, data, layout, unselect }, all) {
    const group = groupOf(of);
    group.heading.textContent = heading;
    group.root.classList.toggle("lamae-narrow", narrow);
    const figure = figureOf(group, name);
    figure.root.classList.toggle("lamae-stale", stale);
    figure.root.setAttribute("aria-label", words);
    if (!data) return;
    // What differs, key by key: null takes a key away, and a trace without keys stays as it is.
    if (all || data.length !== figure.data.length) Object.assign(figure, { data: [], layout: {} });
    figure.data = data.map((keys, number) => merged(figure.data[number], keys));
    figure.layout = merged(figure.layout, layout);
    if (!figure.graph) {
      figure.root.dataset.name = of === "only" ? name : `${of}_${name}`;
      figure.graph = figure.root.appendChild(document.createElement("div"));
    }
    // What the reader did stays: zoom (until Python says another range), and the outlines of what is selected.
    const kept = { uirevision: "reader", selections: (!unselect && figure.graph.layout?.selections) || [] };
    Plotly.react(figure.graph, figure.data, { ...kept, ...figure.layout, width: roomOf(figure) }, config);
    if (!figure.listens) listen(figure, name);
  }

  function listen(figure, name) {
    figure.listens = true;
    figure.graph.on("plotly_click", ({ points: [point] }) =>
      model.send({ event: "click", figure: name, trace: point.curveNumber, point: point.pointNumber }),
    );
    const select = (selected) => {
      const points = (selected?.points ?? []).filter((point) => point.curveNumber === 0);
      model.send({ event: "select", figure: name, points: points.map((point) => point.pointNumber) });
    };
    figure.graph.on("plotly_selected", select);
    figure.graph.on("plotly_deselect", () => select());
  }

  function merged(old, keys) {
    if (old && !Object.keys(keys).length) return old;
    const found = { ...old, ...keys };
    for (const key in found) {
      if (found[key] === null) delete found[key];
      else found[key] = decoded(found[key]);
    }
    return found;
  }

  // Numbers are decoded once, not by plotly at each change, which would then take them for new ones.
  function decoded(value) {
    if (!value.bdata || value.shape) return value;
    const bytes = Uint8Array.from(atob(value.bdata), (letter) => letter.charCodeAt(0));
    return new KINDS[value.dtype](bytes.buffer);
  }

  function remove(name) {
    const group = groups.get(name);
    if (!group) return;
    for (const figure of group.figures.values()) {
      observer.unobserve(figure.root);
      if (figure.graph) Plotly.purge(figure.graph);
    }
    group.root.remove();
    groups.delete(name);
  }

  let begun = false; // what differs is of use only to a page that has all the rest

  function receive(message) {
    begun ||= message.all;
    if (!begun) return;
    for (const part of message.parts) {
      if (part.gone) remove(part.group);
      else draw(part, message.all);
    }
    el.dataset.shown = message.number; // by which tests and benchmarks know that the page has got so far
  }

  // The state that Python keeps with the widget, so that a page need not wait for it while a cell is running.
  function receiveState() {
    const state = model.get("_state");
    if (state.parts) receive({ ...state, all: true });
  }

  model.on("msg:custom", receive);
  model.on("change:_state", receiveState);
  receiveState();
  model.send({ event: "here" });
  return () => {
    model.off("msg:custom", receive);
    model.off("change:_state", receiveState);
    observer.disconnect();
    for (const name of [...groups.keys()]) remove(name);
  };
}

export default { render };
