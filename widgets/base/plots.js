// Plotly figures of one or two groups, side by side. Python sends each figure whole at first and then what differs.
// `plotly()`, which stands before this text, loads the library.
let Plotly;
const KINDS = { f4: Float32Array, f8: Float64Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array,
  i4: Int32Array, u4: Uint32Array };

function render({ model, el }) {
  Plotly ??= plotly();
  el.classList.add("lamae-plots");
  const groups = new Map(); // by name: its element, heading and figures

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
      group.figures.set(name, { root, data: [], layout: {} });
    }
    return group.figures.get(name);
  }

  const image = (format, scale) => (graph) =>
    Plotly.downloadImage(graph, { format, scale, filename: graph.parentElement.dataset.name });
  const config = {
    displaylogo: false,
    modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d"],
    modeBarButtonsToAdd: [
      { name: "Save as SVG", icon: Plotly.Icons.camera, click: image("svg", 1) },
      { name: "Save as PNG", icon: Plotly.Icons.disk, click: image("png", 2) },
    ],
  };

  function draw({ group: of, name, heading, narrow, words, stale, data, layout }) {
    const group = groupOf(of);
    group.heading.textContent = heading;
    group.root.classList.toggle("lamae-narrow", narrow);
    const figure = figureOf(group, name);
    figure.root.classList.toggle("lamae-stale", stale);
    figure.root.setAttribute("aria-label", words);
    if (!data) return;
    // What differs, key by key: null takes a key away, and a trace without keys stays as it is.
    if (data.length !== figure.data.length) Object.assign(figure, { data: [], layout: {} });
    figure.data = data.map((keys, number) => merged(figure.data[number], keys));
    figure.layout = merged(figure.layout, layout);
    if (!figure.graph) {
      figure.root.dataset.name = `${of}_${name}`;
      figure.graph = figure.root.appendChild(document.createElement("div"));
    }
    Plotly.react(figure.graph, figure.data, { ...figure.layout, width: fitting(figure) }, config);
  }

  // As wide as Python says, or as there is room.
  let room = Infinity;
  const fitting = (figure) => Math.min(figure.layout.width, room);
  const observer = new ResizeObserver(() => {
    if (!el.clientWidth) return; // out of sight
    room = el.clientWidth;
    for (const group of groups.values())
      for (const figure of group.figures.values())
        if (figure.graph && figure.graph.layout.width !== fitting(figure))
          Plotly.relayout(figure.graph, { width: fitting(figure) });
  });
  observer.observe(el);

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
    for (const figure of group.figures.values()) if (figure.graph) Plotly.purge(figure.graph);
    group.root.remove();
    groups.delete(name);
  }

  let begun = false; // what differs is of use only to a page that has all the rest

  function receive(message) {
    begun ||= message.all;
    if (!begun) return;
    for (const part of message.parts) {
      if (part.gone) remove(part.group);
      else draw(part);
    }
    el.dataset.shown = message.number; // by which tests and benchmarks know that the page has got so far
  }

  model.on("msg:custom", receive);
  model.send("here");
  return () => {
    model.off("msg:custom", receive);
    observer.disconnect();
    for (const name of [...groups.keys()]) remove(name);
  };
}

export default { render };
