// Leads and their patches, to be masked by mouse or keyboard. Shading is painted here at once; Python gets the mask, lets
// the models reconstruct, and sends their reconstructions and errors.

const GUTTER = 96, ROW = 92, GAP = 16, PATIENCE_MS = 2500;
const INK = "#222222", SHADE = "rgba(119, 119, 119, 0.2)", LINE = "#eeeeee", LINE_SECOND = "#d5d5d5", PLATE = "#f2f2f2";
const HOW = "Click or drag over patches to mask or show them; click a lead's name for the complete lead. " +
  "Keys on the grid: arrows move, space masks or shows the patch, m the complete lead.";
const NO_ANSWER = "Python does not answer: it is busy or stopped, and the reconstructions belong to the patches masked before.";

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    name in made ? (made[name] = value) : made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Numbers of two bytes, copied to where they may lie. */
const decoded = ({ buffer, byteOffset, byteLength }) => new Int16Array(buffer.slice(byteOffset, byteOffset + byteLength));

function render({ model, el }) {
  const get = (name) => model.get(name);
  const canvas = element("canvas", { tabIndex: 0, role: "application", "aria-roledescription": "grid of ECG patches" });
  const legend = element("p", { className: "mask-grid-legend" });
  const status = element("p", { className: "mask-grid-status", role: "status" });
  const table = element("table", { className: "mask-grid-table" });
  // JupyterLab leaves the keys alone under an element that asks for it.
  const root = element("div", { className: "mask-grid", "data-lm-suppress-shortcuts": "true" },
    element("p", {}, HOW), legend, canvas, status, table);
  el.append(root);
  let ecg, truth, reconstructed, mask, at, drag = null, hover = null, frame = 0, waiting = 0, silence = "", moved = false;

  /** Another ECG. */
  function readEcg() {
    ecg = get("_ecg");
    drag = hover = null;
    truth = decoded(ecg.data);
    resize();
  }

  /** What Python knows: ECG, mask, cursor and reconstructions, which come together. */
  function read() {
    if (ecg !== get("_ecg")) readEcg();
    const { data, errors, means, scale_mv: scaleMv } = get("_reconstructed");
    reconstructed = { data: decoded(data), errors, scaleMv };
    paintLegend(means);
    at = { index: Math.max(0, ecg.leads.indexOf(get("cursor")[0])), patch: get("cursor")[1] };
    if (!drag) mask = get("masked").map((row) => [...row].map(Number)); // while dragging, the page knows more
    canvas.setAttribute("aria-label", `${get("_text")} ${HOW}`);
    const names = get("_models").map((one) => one.name);
    const rows = ecg.leads.map((lead, index) => [lead, `${count(index)} of ${ecg.patches}`, ...errors.map((of) => figure(of[index]))]);
    table.replaceChildren(element("caption", {}, "Masked patches and errors"), ...[["Lead", "Masked", ...names], ...rows]
      .map((row, number) => element("tr", {}, ...row.map((cell) => element(number ? "td" : "th", {}, cell)))));
    draw();
  }

  /** How each trace looks, and each model's error over all that is masked. */
  function paintLegend(means) {
    const known = get("_models").map((one, number) =>
      ({ ...one, words: one.name + (means[number] === null ? "" : `: error ${figure(means[number])}`) }));
    legend.replaceChildren();
    for (const { color, dash, words } of [{ color: INK, dash: [], words: "the ECG" }, ...known]) {
      legend.insertAdjacentHTML("beforeend", `<svg width="28" height="6" aria-hidden="true"><path d="M0 3h28" ` +
        `stroke="${color}" stroke-width="2" stroke-dasharray="${dash.join(" ")}"/></svg>`);
      legend.append(element("b", {}, words));
    }
    const units = `a column is ${ecg.patch_s} s, a line 0.5 mV`;
    legend.append(` (on what is masked, gray; 0 is exact, 1 is guessing the mean); ${units}`);
  }

  const count = (index) => mask[index].reduce((sum, one) => sum + one, 0);
  const figure = (error) => (error === null ? "" : error.toFixed(2));

  // Where things lie: two columns, first down the left one.
  const rows = () => Math.ceil(ecg.leads.length / columns());
  const columns = () => (ecg.leads.length > 1 ? 2 : 1);
  const columnWidth = () => (canvas.clientWidth - GAP * (columns() - 1)) / columns();
  const patchWidth = () => (columnWidth() - GUTTER) / ecg.patches;
  const place = (index) => [Math.floor(index / rows()) * (columnWidth() + GAP), (index % rows()) * ROW];

  /** The lead and patch at a point of the canvas; patch -1 is the lead's name. `column`: the nearest place in this one. */
  function cellAt(x, y, column = null) {
    const within = (value, last) => Math.min(Math.max(value, 0), last);
    const col = column ?? within(Math.floor(x / (columnWidth() + GAP)), columns() - 1);
    const index = col * rows() + within(Math.floor(y / ROW), rows() - 1), left = x - col * (columnWidth() + GAP) - GUTTER;
    const patch = within(Math.floor(left / patchWidth()), ecg.patches - 1);
    if (index >= ecg.leads.length) return column === null ? null : { index: ecg.leads.length - 1, patch, column: col };
    return { index, patch: left < 0 && column === null ? -1 : patch, column: col };
  }

  function resize() {
    const dpr = window.devicePixelRatio;
    canvas.style.height = `${rows() * ROW}px`;
    canvas.width = Math.round(canvas.clientWidth * dpr);
    canvas.height = Math.round(rows() * ROW * dpr);
    draw();
  }

  /** Paint with the next frame. */
  function draw() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      if (!canvas.clientWidth || !reconstructed) return;
      const ctx = canvas.getContext("2d"), dpr = window.devicePixelRatio;
      ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
      ctx.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
      ctx.textBaseline = "middle";
      ecg.leads.forEach((_, index) => paintLead(ctx, index));
    });
  }

  function paintLead(ctx, index) {
    const [x, y] = place(index), left = x + GUTTER, width = patchWidth(), height = ROW - 6;
    const yOf = (mv) => y + ((ecg.top_mv - mv) / (ecg.top_mv - ecg.bottom_mv)) * height;
    ctx.fillStyle = LINE;
    for (let mv = Math.ceil(ecg.bottom_mv * 2) / 2; mv <= ecg.top_mv; mv += 0.5)
      ctx.fillRect(left, Math.round(yOf(mv)), width * ecg.patches, 1);
    for (let patch = 0; patch <= ecg.patches; patch++) {
      ctx.fillStyle = Number.isInteger(patch * ecg.patch_s) ? LINE_SECOND : LINE;
      ctx.fillRect(Math.round(left + patch * width), y, 1, height);
      if (mask[index][patch]) {
        ctx.fillStyle = SHADE;
        ctx.fillRect(left + patch * width, y, width, height);
      }
    }
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, y, width * ecg.patches, height);
    ctx.clip();
    const from = index * ecg.samples, perPatch = ecg.samples / ecg.patches;
    const line = (values, start, scaleMv, color, dash, only) => {
      ctx.beginPath();
      let pen = false;
      for (let i = 0; i < ecg.samples; i++) {
        if (only && !mask[index][Math.floor(i / perPatch)]) { pen = false; continue; }
        const px = left + (i / perPatch) * width, py = yOf(values[start + i] * scaleMv);
        pen ? ctx.lineTo(px, py) : ctx.moveTo(px, py);
        pen = true;
      }
      ctx.setLineDash(dash);
      ctx.strokeStyle = color;
      ctx.lineWidth = only ? 1.7 : 1.2;
      ctx.stroke();
      ctx.setLineDash([]);
    };
    line(truth, from, ecg.scale_mv, INK, [], false);
    get("_models").forEach(({ color, dash }, number) =>
      line(reconstructed.data, (number * ecg.leads.length + index) * ecg.samples, reconstructed.scaleMv, color, dash, true));
    ctx.restore();
    paintName(ctx, index, x, y);
    const focused = document.activeElement === canvas && at.index === index;
    if (focused) box(ctx, left + at.patch * width, y, width, height, "#000", 2);
    if (hover?.index === index && hover.patch >= 0) box(ctx, left + hover.patch * width, y, width, height, "#777", 1);
  }

  /** The lead's name as something to press, and the models' errors below it. */
  function paintName(ctx, index, x, y) {
    const whole = count(index) === ecg.patches;
    ctx.fillStyle = whole ? "#777777" : PLATE;
    ctx.fillRect(x, y + 2, GUTTER - 8, 22);
    box(ctx, x, y + 2, GUTTER - 8, 22, hover?.index === index && hover.patch < 0 ? "#000" : "#bbbbbb", 1);
    ctx.fillStyle = whole ? "#ffffff" : INK;
    ctx.font = "bold 13px system-ui, sans-serif";
    ctx.fillText(ecg.leads[index] + (whole ? " masked" : ""), x + 7, y + 14);
    ctx.font = "13px system-ui, sans-serif";
    get("_models").forEach(({ color, dash }, number) => {
      const error = reconstructed.errors[number][index], height = y + 36 + 16 * number;
      if (error === null || !count(index)) return;
      ctx.strokeStyle = color;
      ctx.lineWidth = 2;
      ctx.setLineDash(dash);
      ctx.beginPath();
      ctx.moveTo(x + 4, height);
      ctx.lineTo(x + 30, height);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.fillStyle = INK; // small letters in the model's color would be too pale
      ctx.fillText(figure(error), x + 38, height);
    });
  }

  function box(ctx, x, y, width, height, color, thick) {
    ctx.strokeStyle = color;
    ctx.lineWidth = thick;
    ctx.strokeRect(x + thick / 2, y + thick / 2, width - thick, height - thick);
  }

  /** Below the grid: where the cursor is, and whether Python answers. */
  function say() {
    const start = at.patch * ecg.patch_s, end = start + ecg.patch_s, lead = ecg.leads[at.index];
    const state = mask[at.index][at.patch] ? "masked" : "visible";
    const words = `${lead}, patch ${at.patch + 1} of ${ecg.patches} (${start.toFixed(2)} to ${end.toFixed(2)} s): ${state}.`;
    status.textContent = [words, silence].filter(Boolean).join(" ");
  }

  /** Mask or show, and let Python reconstruct. */
  function put(changed) {
    mask = changed;
    draw();
    say();
    model.set("masked", mask.map((row) => row.join("")));
    tell();
  }

  function tell() {
    clearTimeout(waiting);
    waiting = setTimeout(() => { silence = NO_ANSWER; say(); }, PATIENCE_MS);
    send();
  }

  function send() {
    const manager = model.widget_manager;
    if (!manager || ("kernel" in manager && !manager.kernel)) return; // it would only log an error
    model.save_changes();
  }

  function answered() {
    clearTimeout(waiting);
    silence = "";
    read();
    say();
  }

  const filled = (base, indices, first, last, value) => base.map((row, index) =>
    indices.includes(index) ? row.map((one, patch) => (patch >= first && patch <= last ? value : one)) : row);
  const toggleLead = (index) => put(filled(mask, [index], 0, ecg.patches - 1, count(index) < ecg.patches ? 1 : 0));

  function goTo(index, patch) {
    at = { index, patch };
    model.set("cursor", [ecg.leads[index], patch]);
  }

  canvas.onpointerdown = (event) => {
    const cell = cellAt(event.offsetX, event.offsetY);
    if (event.button || !cell) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    goTo(cell.index, Math.max(cell.patch, 0));
    if (cell.patch < 0) return toggleLead(cell.index);
    canvas.setPointerCapture(event.pointerId);
    drag = { ...cell, base: mask, value: mask[cell.index][cell.patch] ? 0 : 1 };
    drag.to = null;
    stretch(cell);
  };

  /** Mask or show the rectangle from where the drag began to here. */
  function stretch(cell) {
    if (drag.to && drag.to.index === cell.index && drag.to.patch === cell.patch) return;
    drag.to = cell;
    const [top, bottom] = [drag.index, cell.index].sort((a, b) => a - b);
    const [first, last] = [drag.patch, cell.patch].sort((a, b) => a - b);
    const indices = Array.from({ length: bottom - top + 1 }, (_, i) => top + i);
    put(filled(drag.base, indices, first, last, drag.value));
  }

  canvas.onpointermove = ({ offsetX: x, offsetY: y }) => {
    if (drag) return stretch(cellAt(x, y, drag.column));
    hover = cellAt(x, y);
    draw();
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (!drag) return;
    drag = null;
    read(); // Python may have refused the mask meanwhile
  };
  canvas.onpointerleave = () => { hover = null; draw(); };
  canvas.onfocus = () => { say(); draw(); };
  canvas.onblur = draw;

  canvas.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const within = (value, last) => Math.min(Math.max(value, 0), last);
    const deeds = {
      " ": () => put(filled(mask, [at.index], at.patch, at.patch, mask[at.index][at.patch] ? 0 : 1)),
      m: () => toggleLead(at.index),
    };
    const move = () => {
      goTo(within(at.index + step[0], ecg.leads.length - 1), within(at.patch + step[1], ecg.patches - 1));
      draw();
      say();
      send();
    };
    const deed = step ? move : deeds[event.key];
    if (!deed) return;
    event.preventDefault();
    event.stopPropagation();
    deed();
  };

  model.on("change:_reconstructed", answered); // all that Python changes comes with it
  const observer = new ResizeObserver(() => ecg && resize());
  observer.observe(root);
  read();
  return () => {
    observer.disconnect();
    clearTimeout(waiting);
    model.off("change:_reconstructed", answered);
  };
}

export default { render };
