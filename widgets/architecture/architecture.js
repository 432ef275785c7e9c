// The blocks of a model as buttons, and below them a canvas: lanes of patches, the shared encoder, latent attention as lines
// between lanes, pooling, decoder and error. Python sends all numbers of all models once; hovering and switching stay here.
// `chosen` tells Python which model, attention and block are shown, so that description and code of the view follow.

const NAME = 44, ROW = 34, TOP = 22, WIDE_PX = 760, MOST_LINES = 14, CLS = -1;
const INK = "#1d1d1f", SOFT = "#555555", MASKED = "#e4e4e4", EDGE = "#c8c8c8";
const HOW = "Hover or tap a patch or a lead's name to see where it takes from. Keys on the picture: arrows move, Home goes to the complete lead.";

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    name in made ? (made[name] = value) : made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Floats of four bytes, copied to where they may lie. */
const floats = ({ buffer, byteOffset, byteLength }) => new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
const percent = (share) => (share > 0 && share < 0.0005 ? "<0.1%" : `${(100 * share).toFixed(1)}%`);
const within = (value, last) => Math.min(Math.max(value, 0), last);
let pictures = 0;

function render({ model, el }) {
  const group = `architecture-${pictures++}`;
  const switches = element("fieldset", { className: "architecture-choice", "aria-label": "Model and attention head" });
  const blocks = element("div", { className: "architecture-blocks", role: "group", "aria-label": "Blocks of the model" });
  const canvas = element("canvas", { tabIndex: 0, role: "application", "aria-roledescription": "architecture picture" });
  const status = element("p", { className: "architecture-status", role: "status" });
  const where = element("p", { className: "architecture-where" }), code = element("pre", { tabIndex: 0 });
  const table = element("table");
  const root = element("div", { className: "architecture", "data-lm-suppress-shortcuts": "true" }, switches, blocks,
    element("p", {}, HOW), canvas, status, where, code, element("div", { className: "architecture-table" }, table));
  el.append(root);
  let ecg, models, shown, at = null, hover = null, frame = 0;

  const chosen = () => model.get("chosen");
  function choose(change) {
    model.set("chosen", { ...chosen(), ...change });
    const manager = model.widget_manager;
    if (manager && !("kernel" in manager && !manager.kernel)) model.save_changes();
    choice();
  }

  /** Another ECG or mask. */
  function read() {
    const sent = model.get("_ecg");
    ecg = { ...sent, signal: floats(sent.signal), masked: new Uint8Array(sent.masked.buffer, sent.masked.byteOffset, sent.masked.byteLength) };
    models = model.get("_models").map((one, number) => {
      const tokens = new Map(one.tokens.map(([lead, patch], token) => [lead * (ecg.patches + 1) + patch + 1, token]));
      return { ...one, number, places: tokens, attention: floats(one.attention), errors: floats(one.errors),
        reconstruction: floats(one.reconstruction) };
    });
    at = at && at.index < ecg.leads.length ? at : { index: Math.max(0, ecg.leads.indexOf("V3")), patch: CLS };
    let low = Infinity, high = -Infinity;
    for (const mv of ecg.signal) { low = Math.min(low, mv); high = Math.max(high, mv); }
    Object.assign(ecg, { low, high });
    choice();
  }

  /** The model, head and block that are chosen. */
  function choice() {
    shown = models.find((one) => one.name === chosen().model) ?? models[0];
    root.style.setProperty("--model", shown.color);
    const focused = document.activeElement?.dataset?.key;
    const radios = models.map((one) => {
      const radio = element("input", { type: "radio", name: group, checked: one === shown, onchange: () => choose({ model: one.name, head: 0 }) });
      radio.dataset.key = one.name;
      const swatch = element("span", { className: "architecture-swatch" });
      swatch.style.borderTopColor = one.color;
      swatch.style.borderTopStyle = one.number ? "dashed" : "solid";
      return element("label", {}, radio, swatch, one.name);
    });
    const head = element("select", { onchange: () => choose({ head: Number(head.value) }) },
      ...["mean over heads", ...shown.heads].map((name, value) => element("option", { value, selected: value === chosen().head }, name)));
    head.dataset.key = "head";
    switches.replaceChildren(...radios, element("label", {}, "Attention: ", head));
    blocks.replaceChildren(...shown.blocks.map((block, number) => {
      const button = element("button", { type: "button", "aria-pressed": String(block.key === chosen().block), title: "Show its code",
        onclick: () => choose({ block: block.key }) },
        element("b", {}, `${number + 1} ${block.heading}`), element("span", {}, block.shape || "mV"), element("span", {}, block.note));
      button.dataset.key = block.key;
      return button;
    }));
    const block = shown.blocks.find((one) => one.key === chosen().block) ?? shown.blocks[0];
    where.textContent = `${block.heading}, from the source: ${block.where}`;
    code.textContent = block.code;
    if (focused) [...root.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus();
    const rows = ecg.leads.map((lead, index) => {
      const { leads } = taken({ index, patch: CLS });
      return [lead, percent(shown.lead_weights[index]), error(shown.lead_errors[index]), ...leads.map(percent)];
    });
    const heads = ["Lead", "Pooling weight", "Error in mV", ...ecg.leads.map((lead) => `takes from ${lead}`)];
    table.replaceChildren(element("caption", {}, `${shown.name}: pooling, error and latent attention of each lead`),
      ...[heads, ...rows].map((row, number) => element("tr", {}, ...row.map((cell) => element(number ? "td" : "th", {}, cell)))));
    resize();
    say();
  }

  const error = (mv) => (mv === null || Number.isNaN(mv) ? "none" : mv.toFixed(3));
  const focus = () => hover ?? at;

  /** How much a patch, or all tokens of a lead, take from each token and from each lead. */
  function taken({ index, patch }) {
    const q = shown.tokens.length, heads = shown.heads.length, chosenHead = chosen().head;
    const queries = shown.tokens.flatMap(([lead, of], token) => (lead === index && (patch === CLS || of === patch) ? [token] : []));
    const layers = chosenHead ? [chosenHead - 1] : shown.heads.map((_, head) => head);
    const tokens = new Float32Array(q), leads = ecg.leads.map(() => 0);
    for (const layer of layers) for (const query of queries) for (let key = 0; key < q; key++)
      tokens[key] += shown.attention[(layer * q + query) * q + key] / (layers.length * queries.length);
    tokens.forEach((share, key) => { leads[shown.tokens[key][0]] += share; });
    return { tokens, leads, seen: queries.length > 0, heads };
  }

  // Where things lie: the lanes, and next to them or, on a narrow page, below them the blocks.
  function places() {
    const width = canvas.clientWidth, wide = width >= WIDE_PX, all = ecg.leads.length * ROW;
    const right = wide ? Math.round(width * 0.55) : width - 2, net = wide ? right + 14 : NAME;
    const span = width - net, offset = wide ? 0 : TOP + all + 8;
    const from = net + 36, to = from + 0.33 * span, heart = to + 0.27 * span;
    return { width, wide, right, offset, net, from, to, heart, decoder: heart + 0.09 * span, height: TOP + all + 6 + offset,
      patch: (right - NAME) / ecg.patches, lane: (index) => TOP + index * ROW, middle: (index) => offset + TOP + (index + 0.5) * ROW };
  }

  function resize() {
    if (!ecg || !canvas.clientWidth) return;
    const dpr = window.devicePixelRatio, { height } = places();
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(canvas.clientWidth * dpr);
    canvas.height = Math.round(height * dpr);
    draw();
  }

  /** Paint with the next frame. */
  function draw() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      if (!canvas.clientWidth) return;
      const ctx = canvas.getContext("2d"), dpr = window.devicePixelRatio, where = places(), share = taken(focus());
      ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
      ctx.clearRect(0, 0, where.width, where.height);
      ctx.textBaseline = "middle";
      ecg.leads.forEach((_, index) => paintLane(ctx, where, share, index));
      paintTakenPatches(ctx, where, share);
      paintBlocks(ctx, where, share);
      canvas.dataset.painted = `${shown.name} ${ecg.leads[focus().index]} ${focus().patch}`;
    });
  }

  function words(ctx, text, x, y, { size = 12, bold = false, align = "left", color = INK } = {}) {
    ctx.font = `${bold ? "bold " : ""}${size}px system-ui, sans-serif`;
    ctx.textAlign = align;
    ctx.lineWidth = 3;
    ctx.lineJoin = "round";
    ctx.strokeStyle = "#ffffff"; // words stay readable over lines
    ctx.strokeText(text, x, y);
    ctx.fillStyle = color;
    ctx.fillText(text, x, y);
  }

  function curve(ctx, x0, y0, x1, y1, alpha, width, bend = (x1 - x0) / 2) {
    Object.assign(ctx, { strokeStyle: shown.color, globalAlpha: alpha, lineWidth: width });
    ctx.beginPath();
    ctx.moveTo(x0, y0);
    ctx.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
    ctx.stroke();
    ctx.globalAlpha = 1;
  }

  function paintLane(ctx, where, share, index) {
    const y = where.lane(index), { index: of, patch } = focus(), most = Math.max(...share.tokens, 1e-9);
    words(ctx, ecg.leads[index], 4, y + ROW / 2, { size: 13, bold: index === of });
    for (let n = 0; n < ecg.patches; n++) {
      const x = NAME + n * where.patch, token = shown.places.get(index * (ecg.patches + 1) + n + 1);
      ctx.fillStyle = ecg.masked[index * ecg.patches + n] ? MASKED : "#ffffff";
      ctx.fillRect(x, y + 1, where.patch, ROW - 2);
      if (token !== undefined) {
        Object.assign(ctx, { fillStyle: shown.color, globalAlpha: 0.55 * share.tokens[token] / most });
        ctx.fillRect(x, y + 1, where.patch, ROW - 2);
        ctx.globalAlpha = 1;
      }
      Object.assign(ctx, { strokeStyle: EDGE, lineWidth: 0.5 });
      ctx.strokeRect(x, y + 1, where.patch, ROW - 2);
    }
    const samples = ecg.signal.length / ecg.leads.length, perPatch = samples / ecg.patches;
    const trace = (values, color, dash, only) => {
      Object.assign(ctx, { strokeStyle: color, lineWidth: only ? 1.6 : 1 });
      ctx.setLineDash(dash);
      ctx.beginPath();
      for (let i = 0, pen = false; i < samples; i++) {
        const inside = !only || ecg.masked[index * ecg.patches + Math.floor(i / perPatch)];
        const at = y + 2 + within((ecg.high - values[index * samples + i]) / (ecg.high - ecg.low || 1), 1) * (ROW - 4);
        const x = NAME + ((i + 0.5) / samples) * (where.right - NAME);
        if (inside) pen ? ctx.lineTo(x, at) : ctx.moveTo(x, at);
        pen = inside;
      }
      ctx.stroke();
      ctx.setLineDash([]);
    };
    trace(ecg.signal, INK, [], false);
    trace(shown.reconstruction, shown.color, shown.number ? [5, 2] : [], true);
    if (index !== of) return;
    Object.assign(ctx, { strokeStyle: INK, lineWidth: 2 });
    const x = patch === CLS ? 1 : NAME + patch * where.patch;
    ctx.strokeRect(x, y + 1, patch === CLS ? NAME - 4 : where.patch, ROW - 2);
  }

  /** Lines over the lanes, to the tokens from which the most is taken. */
  function paintTakenPatches(ctx, where, share) {
    const { index, patch } = focus(), middle = (lead) => where.lane(lead) + ROW / 2;
    const x = (n) => (n === CLS ? NAME - 6 : NAME + (n + 0.5) * where.patch), most = Math.max(...share.tokens, 1e-9);
    const order = [...share.tokens.keys()].filter((token) => share.tokens[token] > 0).sort((a, b) => share.tokens[b] - share.tokens[a]);
    for (const token of order.slice(0, MOST_LINES)) {
      const [lead, n] = shown.tokens[token], strength = share.tokens[token] / most;
      curve(ctx, x(patch), middle(index), x(n), middle(lead), 0.25 + 0.6 * strength, 0.8 + 2 * strength);
    }
  }

  function paintBlocks(ctx, where, share) {
    const { net, from, to, heart, decoder, middle, width } = where, last = ecg.leads.length - 1;
    const bar = (x, text) => {
      Object.assign(ctx, { fillStyle: "#f2f2f2", strokeStyle: shown.color, lineWidth: 1.5 });
      ctx.fillRect(x, middle(0) - 14, 20, middle(last) - middle(0) + 28);
      ctx.strokeRect(x, middle(0) - 14, 20, middle(last) - middle(0) + 28);
      ctx.save();
      ctx.translate(x + 10, (middle(0) + middle(last)) / 2);
      ctx.rotate(-Math.PI / 2);
      words(ctx, text, 0, 0, { align: "center" });
      ctx.restore();
    };
    const caption = (text, x, align = "center") => words(ctx, text, x, where.offset + 9, { size: 11, color: SOFT, align });
    caption("latent attention", (from + to) / 2);
    caption("pooling", (to + heart) / 2);
    caption("error, mV", width - 3, "right");
    const most = Math.max(...share.leads, 1e-9), center = (middle(0) + middle(last)) / 2, { index: of } = focus();
    ecg.leads.forEach((lead, index) => {
      const y = middle(index), weight = shown.lead_weights[index];
      if (!where.wide) words(ctx, lead, 4, y, { size: 13, bold: index === of });
      curve(ctx, net + 20, y, from, y, 0.6, 1);
      taken({ index, patch: CLS }).leads.forEach((all, other) => index !== of && all > 0 && curve(ctx, from, middle(other), to, y, 0.12, 0.5 + 4 * all));
      curve(ctx, to, y, heart, center, 0.5, 0.5 + 14 * weight);
      curve(ctx, to, y, decoder, y, 0.25, 1);
    });
    share.leads.forEach((all, other) => all > 0 && curve(ctx, from, middle(other), to, middle(of), 0.3 + 0.6 * (all / most), 1 + 7 * (all / most)));
    if (shown.heart_to_decoder) curve(ctx, heart, center, decoder, center, 0.9, 3);
    bar(net, "the same encoder for every lead");
    bar(decoder, shown.heart_to_decoder ? "decoder: heart token and own latents" : "decoder: own latents only");
    ecg.leads.forEach((_, index) => {
      for (const x of [from, to]) {
        ctx.fillStyle = x === to && index === of ? INK : shown.color;
        ctx.beginPath();
        ctx.arc(x, middle(index), 4, 0, 7);
        ctx.fill();
      }
      if (share.seen) words(ctx, percent(share.leads[index]), from + 7, middle(index) - 8, { size: 11 });
      words(ctx, percent(shown.lead_weights[index]), to + 7, middle(index) - 8, { size: 11 });
      words(ctx, error(shown.lead_errors[index]), width - 3, middle(index), { align: "right" });
    });
    ctx.fillStyle = shown.color;
    ctx.beginPath();
    ctx.arc(heart, center, 8, 0, 7);
    ctx.fill();
    words(ctx, "heart token", heart + 4, center + 18, { size: 11, align: "center" });
  }

  /** What the patch or lead that is pointed at takes from whom. */
  function say() {
    const { index, patch } = focus(), lead = ecg.leads[index], share = taken(focus());
    const time = `patch ${patch + 1} (${(patch * ecg.patch_s).toFixed(2)} to ${((patch + 1) * ecg.patch_s).toFixed(2)} s)`;
    const head = chosen().head ? shown.heads[chosen().head - 1] : "mean over heads";
    const name = patch === CLS ? lead : `${lead}, ${time}`;
    const order = [...share.leads.keys()].sort((a, b) => share.leads[b] - share.leads[a]).slice(0, 4);
    const parts = order.filter((one) => share.leads[one] > 0).map((one) => `${percent(share.leads[one])} from ${ecg.leads[one]}`);
    let text = `${name}: takes ${parts.join(", ")} (${shown.name}, ${head}).`;
    if (parts.length === 1) text += ` ${shown.name}: no line leaves the lane, since each lead attends to itself only.`;
    if (patch === CLS) text += ` Pooling weight ${percent(shown.lead_weights[index])}; error ${error(shown.lead_errors[index])} mV.`;
    if (!share.seen) text = patch === CLS ? `${lead} is masked completely: it has no token.`
      : `${name} is masked: it has no token. ${shown.name} reconstructs it with an error of ${error(shown.errors[index * ecg.patches + patch])} mV.`;
    status.textContent = text;
    canvas.setAttribute("aria-label", `${text} ${HOW}`);
  }

  function pointed({ offsetX: x, offsetY: y }) {
    const where = places(), below = !where.wide && y >= where.offset + TOP;
    const index = Math.floor((y - TOP - (below ? where.offset : 0)) / ROW);
    if (index < 0 || index >= ecg.leads.length) return null;
    const patch = below || x < NAME || x > where.right ? CLS : within(Math.floor((x - NAME) / where.patch), ecg.patches - 1);
    return { index, patch };
  }

  function show(change) {
    change();
    draw();
    say();
  }

  canvas.onpointermove = (event) => {
    const to = pointed(event);
    if (to?.index !== hover?.index || to?.patch !== hover?.patch) show(() => { hover = to; });
  };
  canvas.onpointerleave = () => show(() => { hover = null; });
  canvas.onclick = (event) => show(() => { at = pointed(event) ?? at; });
  canvas.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    show(() => {
      hover = null;
      at = { index: within(at.index + step[0], ecg.leads.length - 1), patch: Math.max(Math.min(at.patch + step[1], ecg.patches - 1), CLS) };
    });
  };

  model.on("change:_models", read); // it comes with the ECG
  model.on("change:chosen", choice);
  const observer = new ResizeObserver(resize);
  observer.observe(root);
  read();
  return () => {
    observer.disconnect();
    model.off("change:_models", read);
    model.off("change:chosen", choice);
  };
}

export default { render };
