// Leads and their patches, to be masked by mouse or keyboard. Shading is painted here at once; Python (or the web page)
// gets the mask as a numbered _edit, lets the models reconstruct, and sends `masked`, reconstructions, errors and the
// number of the last edit that it knows: an answer to an earlier one does not undo a later one.
//
// A page sets what it needs of these: _words, what to write instead of an English text; _window, the first patch in sight and
// the first beyond; _row_px, the height of a row; _gap, that the ECG is not shown where it is masked; _all_leads, that a
// patch is masked in all leads at once; _bare, that name and errors are written elsewhere; _drawing, that the mouse draws
// a guess on what is masked. _guess goes to Python: for each lead its samples in mV, null where nothing was drawn.

const WIDE_GUTTER = 96, NARROW_GUTTER = 64, NARROW_PX = 600, ROW_PX = 92, GAP = 16, PATIENCE_MS = 2500;
const INK = "#222222", SHADE = "rgba(119, 119, 119, 0.2)", LINE = "#eeeeee", LINE_SECOND = "#d5d5d5", PLATE = "#f2f2f2", GUESS = "#009E73";
const HOW = "Click or drag over patches to mask or show them; click a lead's name for the complete lead. " +
  "Keys on the grid: arrows move, space masks or shows the patch, m the complete lead.";
const NO_ANSWER = "Python does not answer: it is busy or stopped, and the reconstructions belong to the patches masked before.";

const MASKED = "{lead}, patch {patch} of {patches} ({start} to {end} s): masked.";
const VISIBLE = "{lead}, patch {patch} of {patches} ({start} to {end} s): visible.";

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
  const word = (english) => get("_words")?.[english] ?? english;
  const canvas = element("canvas", { tabIndex: 0, role: "application", "aria-roledescription": word("grid of ECG patches") });
  const legend = element("p", { className: "mask-grid-legend" });
  const status = element("p", { className: "mask-grid-status", role: "status" });
  const table = element("table");
  // JupyterLab leaves the keys alone under an element that asks for it.
  const root = element("div", { className: "mask-grid", "data-lm-suppress-shortcuts": "true" },
    element("p", {}, word(HOW)), legend, canvas, status, element("div", { className: "mask-grid-table" }, table));
  el.append(root);
  let ecg, truth, reconstructed, mask, at, drag = null, hover = null, frame = 0, waiting = 0, silence = "";
  let guess = {}, pen = null; // of a person: samples by lead, and where the mouse was last

  /** Another ECG. */
  function readEcg() {
    ecg = get("_ecg");
    drag = hover = pen = null;
    truth = decoded(ecg.data);
    resize();
  }

  /** What Python knows: ECG, mask, cursor and reconstructions, which come together. */
  function read() {
    const other = ecg !== get("_ecg");
    if (other) readEcg();
    const { data, errors, means, scale_mv: scaleMv, edit: answeredEdit } = get("_reconstructed");
    reconstructed = { data: decoded(data), errors, scaleMv };
    paintLegend(means);
    at = { index: Math.max(0, ecg.leads.indexOf(get("cursor")[0])), patch: get("cursor")[1] };
    // While dragging, and until Python has answered the last edit, the page knows more.
    if (other || (!drag && (answeredEdit ?? edits()) >= edits())) mask = get("masked").map((row) => [...row].map(Number));
    canvas.setAttribute("aria-label", `${get("_text")} ${word(HOW)}`);
    const names = get("_models").map((one) => one.name);
    const counted = (index) => word("{n} of {all}").replace("{n}", count(index)).replace("{all}", ecg.patches);
    const rows = ecg.leads.map((lead, index) => [lead, counted(index), ...errors.map((of) => figure(of[index]))]);
    const head = [word("Lead"), word("Masked"), ...names];
    table.replaceChildren(element("caption", {}, word("Masked patches and errors")), ...[head, ...rows].map((row, number) =>
      element("tr", {}, ...row.map((cell) => element(number ? "td" : "th", {}, cell)))));
    draw();
  }

  /** How each trace looks, and each model's error over all that is masked. */
  function paintLegend(means) {
    const known = get("_models").map((one, number) =>
      ({ ...one, words: one.name + (means[number] === null ? "" : `: ${word("error")} ${figure(means[number])}`) }));
    legend.replaceChildren();
    for (const { color, dash, words } of [{ color: INK, dash: [], words: word("the ECG") }, ...known]) {
      const look = element("span", {}, element("b", {}, words));
      look.insertAdjacentHTML("afterbegin", `<svg width="28" height="6" aria-hidden="true"><path d="M0 3h28" ` +
        `stroke="${color}" stroke-width="2" stroke-dasharray="${dash.join(" ")}"/></svg>`);
      legend.append(look, " ");
    }
    const units = word("; a column is {s} s, a line 0.5 mV").replace("{s}", decimal(String(ecg.patch_s)));
    const meaning = word(" (on what is masked, gray; 0 is exact, 1 is guessing the mean)");
    legend.append(known.length ? meaning + units : units.replace(/^; /, ""));
  }

  const edits = () => get("_edit")?.number ?? 0;
  const count = (index) => mask[index].reduce((sum, one) => sum + one, 0);
  const decimal = (text) => text.replace(".", word("."));
  const figure = (error) => (error === null ? "" : decimal(error.toFixed(2)));

  // Where things lie: two columns, first down the left one; on a narrow page one column.
  const narrow = () => canvas.clientWidth < NARROW_PX;
  const rows = () => Math.ceil(ecg.leads.length / columns());
  const columns = () => (ecg.leads.length > 1 && !narrow() ? 2 : 1);
  const columnWidth = () => (canvas.clientWidth - GAP * (columns() - 1)) / columns();
  const gutter = () => (get("_bare") ? 0 : narrow() ? NARROW_GUTTER : WIDE_GUTTER);
  const rowHeight = () => get("_row_px") || ROW_PX;
  const inWindow = () => get("_window") || [0, ecg.patches];
  const patchWidth = () => (columnWidth() - gutter()) / (inWindow()[1] - inWindow()[0]);
  const place = (index) => [Math.floor(index / rows()) * (columnWidth() + GAP), (index % rows()) * rowHeight()];

  /** The lead and patch at a point of the canvas; patch -1 is the lead's name. `column`: the nearest place in this one. */
  function cellAt(x, y, column = null) {
    const within = (value, last) => Math.min(Math.max(value, 0), last);
    const col = column ?? within(Math.floor(x / (columnWidth() + GAP)), columns() - 1);
    const index = col * rows() + within(Math.floor(y / rowHeight()), rows() - 1);
    const left = x - col * (columnWidth() + GAP) - gutter(), [first, end] = inWindow();
    const patch = within(first + Math.floor(left / patchWidth()), end - 1);
    if (index >= ecg.leads.length) return column === null ? null : { index: ecg.leads.length - 1, patch, column: col };
    return { index, patch: left < 0 && column === null ? -1 : patch, column: col };
  }

  function resize() {
    const dpr = window.devicePixelRatio;
    canvas.style.height = `${rows() * rowHeight()}px`;
    canvas.width = Math.round(canvas.clientWidth * dpr);
    canvas.height = Math.round(rows() * rowHeight() * dpr);
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
    const [x, y] = place(index), left = x + gutter(), width = patchWidth(), height = rowHeight() - 6;
    const [firstPatch, endPatch] = inWindow(), shown = endPatch - firstPatch;
    const yOf = (mv) => y + ((ecg.top_mv - mv) / (ecg.top_mv - ecg.bottom_mv)) * height;
    ctx.fillStyle = LINE;
    for (let mv = Math.ceil(ecg.bottom_mv * 2) / 2; mv <= ecg.top_mv; mv += 0.5)
      ctx.fillRect(left, Math.round(yOf(mv)), width * shown, 1);
    for (let patch = firstPatch; patch <= endPatch; patch++) {
      const px = left + (patch - firstPatch) * width;
      ctx.fillStyle = Number.isInteger(patch * ecg.patch_s) ? LINE_SECOND : LINE;
      ctx.fillRect(Math.round(px), y, 1, height);
      if (patch < endPatch && mask[index][patch]) {
        ctx.fillStyle = SHADE;
        ctx.fillRect(px, y, width, height);
      }
    }
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, y, width * shown, height);
    ctx.clip();
    const from = index * ecg.samples, perPatch = ecg.samples / ecg.patches;
    // part: 1 where masked, 0 where not, null for all of the line.
    const line = (values, start, scaleMv, color, dash, part) => {
      ctx.beginPath();
      let down = false;
      for (let i = firstPatch * perPatch; i < endPatch * perPatch; i++) {
        const outside = part !== null && mask[index][Math.floor(i / perPatch)] !== part;
        if (outside || !Number.isFinite(values[start + i])) { down = false; continue; }
        const px = left + (i / perPatch - firstPatch) * width, py = yOf(values[start + i] * scaleMv);
        down ? ctx.lineTo(px, py) : ctx.moveTo(px, py);
        down = true;
      }
      ctx.setLineDash(dash);
      ctx.strokeStyle = color;
      ctx.lineWidth = part ? 1.7 : 1.2;
      ctx.stroke();
      ctx.setLineDash([]);
    };
    line(truth, from, ecg.scale_mv, INK, [], get("_gap") ? 0 : null);
    get("_models").forEach(({ color, dash }, number) =>
      line(reconstructed.data, (number * ecg.leads.length + index) * ecg.samples, reconstructed.scaleMv, color, dash, 1));
    if (guess[ecg.leads[index]]) line(guess[ecg.leads[index]], 0, 1, GUESS, [], 1);
    ctx.restore();
    if (!get("_bare")) paintName(ctx, index, x, y);
    const focused = document.activeElement === canvas && at.index === index;
    const boxed = (patch, color, thick) => {
      if (patch >= firstPatch && patch < endPatch)
        box(ctx, left + (patch - firstPatch) * width, y, width, height, color, thick);
    };
    if (focused) boxed(at.patch, "#000", 2);
    if (hover?.index === index) boxed(hover.patch, "#777", 1);
  }

  /** The lead's name as something to press, and the models' errors below it. */
  function paintName(ctx, index, x, y) {
    const whole = count(index) === ecg.patches;
    ctx.fillStyle = whole ? "#777777" : PLATE;
    ctx.fillRect(x, y + 2, gutter() - 8, 22);
    box(ctx, x, y + 2, gutter() - 8, 22, hover?.index === index && hover.patch < 0 ? "#000" : "#bbbbbb", 1);
    ctx.fillStyle = whole ? "#ffffff" : INK;
    ctx.font = "bold 13px system-ui, sans-serif";
    const complete = ecg.leads[index] + word(" masked"), fits = ctx.measureText(complete).width < gutter() - 18;
    ctx.fillText(whole && fits ? complete : ecg.leads[index], x + 7, y + 14);
    ctx.font = "13px system-ui, sans-serif";
    get("_models").forEach(({ color, dash }, number) => {
      const error = reconstructed.errors[number][index], height = y + 36 + 16 * number;
      if (error === null || !count(index)) return;
      ctx.strokeStyle = color;
      ctx.lineWidth = 2;
      ctx.setLineDash(dash);
      ctx.beginPath();
      ctx.moveTo(x + 4, height);
      ctx.lineTo(x + (narrow() ? 18 : 30), height);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.fillStyle = INK; // small letters in the model's color would be too pale
      ctx.fillText(figure(error), x + (narrow() ? 24 : 38), height);
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
    const filled = { lead, patch: at.patch + 1, patches: ecg.patches, start: decimal(start.toFixed(2)), end: decimal(end.toFixed(2)) };
    const words = word(mask[at.index][at.patch] ? MASKED : VISIBLE).replace(/\{(\w+)\}/g, (_, name) => filled[name]);
    status.textContent = [words, silence].filter(Boolean).join(" ");
  }

  /** Mask or show, and let Python reconstruct. */
  function put(changed) {
    mask = changed;
    draw();
    say();
    model.set("_edit", { number: edits() + 1, masked: mask.map((row) => row.join("")) });
    tell();
  }

  function tell() {
    clearTimeout(waiting);
    if (model.widget_manager) waiting = setTimeout(() => { silence = NO_ANSWER; say(); }, PATIENCE_MS);
    send();
  }

  function send() {
    const manager = model.widget_manager;
    if (!manager || ("kernel" in manager && !manager.kernel)) return; // it would only log an error
    model.save_changes();
  }

  /** Python has thrown the guess away. */
  function forget() {
    if (Object.keys(get("_guess") ?? {}).length) return;
    guess = {};
    draw();
  }

  function answered() {
    clearTimeout(waiting);
    silence = "";
    read();
    say();
  }

  const filled = (base, indices, first, last, value) => base.map((row, index) =>
    indices.includes(index) ? row.map((one, patch) => (patch >= first && patch <= last ? value : one)) : row);
  /** The rows from this one to that, or all of them. */
  const touched = (top, bottom) => ecg.leads.map((_, index) => index)
    .filter((index) => get("_all_leads") || (index >= top && index <= bottom));
  const toggleLead = (index) => put(filled(mask, [index], 0, ecg.patches - 1, count(index) < ecg.patches ? 1 : 0));

  function goTo(index, patch) {
    at = { index, patch };
    model.set("cursor", [ecg.leads[index], patch]);
  }

  /** Draw the guess from where the mouse was last to here. */
  function sketch(x, y) {
    const { index, column } = pen, [left, top] = place(index), [first] = inWindow(), perPatch = ecg.samples / ecg.patches;
    const share = (y - top) / (rowHeight() - 6), last = ecg.samples - 1;
    const to = { mv: ecg.top_mv - share * (ecg.top_mv - ecg.bottom_mv),
      sample: Math.min(Math.max(Math.round((first + (x - left - gutter()) / patchWidth()) * perPatch), 0), last) };
    const from = pen.at ?? to, values = (guess[ecg.leads[index]] ??= new Float32Array(ecg.samples).fill(NaN));
    for (let i = Math.min(from.sample, to.sample); i <= Math.max(from.sample, to.sample); i++) {
      const way = to.sample === from.sample ? 1 : (i - from.sample) / (to.sample - from.sample);
      if (mask[index][Math.floor(i / perPatch)]) values[i] = from.mv + way * (to.mv - from.mv);
    }
    pen = { index, column, at: to };
    draw();
  }

  canvas.onpointerdown = (event) => {
    const cell = cellAt(event.offsetX, event.offsetY);
    if (event.button || !cell) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    goTo(cell.index, Math.max(cell.patch, 0));
    if (cell.patch < 0) return toggleLead(cell.index);
    canvas.setPointerCapture(event.pointerId);
    if (get("_drawing")) {
      pen = cell;
      return sketch(event.offsetX, event.offsetY);
    }
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
    put(filled(drag.base, touched(top, bottom), first, last, drag.value));
  }

  canvas.onpointermove = ({ offsetX: x, offsetY: y }) => {
    if (pen) return sketch(x, y);
    if (drag) return stretch(cellAt(x, y, drag.column));
    hover = cellAt(x, y);
    draw();
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (pen) {
      pen = null;
      const plain = (values) => Array.from(values, (mv) => (Number.isFinite(mv) ? Math.round(mv * 1e4) / 1e4 : null));
      model.set("_guess", Object.fromEntries(Object.entries(guess).map(([lead, values]) => [lead, plain(values)])));
      return send();
    }
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
      " ": () => put(filled(mask, touched(at.index, at.index), at.patch, at.patch, mask[at.index][at.patch] ? 0 : 1)),
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
  model.on("change:_window", draw);
  model.on("change:_gap", draw);
  model.on("change:_guess", forget);
  const observer = new ResizeObserver(() => ecg && resize());
  observer.observe(root);
  read();
  return () => {
    observer.disconnect();
    clearTimeout(waiting);
    model.off("change:_reconstructed", answered);
    model.off("change:_window", draw);
    model.off("change:_gap", draw);
    model.off("change:_guess", forget);
  };
}

export default { render };
