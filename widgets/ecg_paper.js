// ECG paper in the browser: pan, zoom, calipers, keys and export all happen here; Python hears of settled views only.

const HOME_MM = 270, SETTLED_MS = 150, MAX_HEIGHT_PX = 800, MIN_VIEW_MM = 15;
const KEYS = [
  ["arrow keys", "pan; with calipers: move their end (with Shift both ends)"], ["+ and −, wheel", "zoom"],
  ["0, double click", "whole page"], ["c", "calipers on and off; drag from point to point"], ["l", "next layout"],
  ["s", "25 or 50 mm/s"], ["g", "5, 10 or 20 mm/mV"], ["Page Up, Page Down", "turn the page of a long ECG"],
  ["?", "these keys"], ["Esc", "close these keys or put the calipers away"],
];

/** An element with properties and children. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) name in made ? (made[name] = value) : made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const view = { left: 0, top: 0, scale: 4 }; // scale: CSS pixels a millimetre
  let state, home, measuring = false, own = false, settle = 0, measured = 0, frame = 0, drag = null;

  const canvas = element("canvas", { tabIndex: 0, role: "img" });
  const status = element("p", { className: "ecg-paper-status", role: "status" });
  const table = element("table", { className: "ecg-paper-hidden" });
  const help = element("dl", { className: "ecg-paper-help", hidden: true, role: "note" });
  for (const [key, what] of KEYS) help.append(element("dt", {}, key), element("dd", {}, what));
  const code = element("pre", { className: "ecg-paper-code", hidden: true, tabIndex: 0 });
  const choice = (name, trait, options, written) => {
    const select = element("select", { title: name, "aria-label": name, onchange: () => set(trait, options[select.selectedIndex]) });
    select.append(...options.map((option) => element("option", {}, written(option))));
    select.show = () => (select.selectedIndex = options.indexOf(get(trait)));
    return select;
  };
  const button = (label, title, onclick) => element("button", { type: "button", title, "aria-label": title, onclick }, label);
  const choices = [
    choice("Layout", "lead_layout", Object.keys(get("_pages")), (name) => (name === "cabrera" ? "Cabrera" : name)),
    choice("Speed", "mm_per_s", get("_speeds"), (speed) => `${speed} mm/s`),
    choice("Gain", "mm_per_mv", get("_gains"), (gain) => `${gain} mm/mV`),
  ];
  const caliperButton = button("Calipers", "Calipers (c)", () => measure(!measuring));
  const turners = [button("◀", "Earlier page (Page Up)", () => turn(-1)), button("▶", "Later page (Page Down)", () => turn(1))];
  const bar = element("div", { className: "ecg-paper-bar", role: "toolbar", "aria-label": "ECG paper" }, ...choices,
    button("−", "Zoom out (-)", () => zoom(1 / 1.25)), button("+", "Zoom in (+)", () => zoom(1.25)),
    button("Page", "Whole page (0)", goHome), caliperButton, ...turners, element("span", { className: "ecg-paper-gap" }),
    button("PNG", "Save what is shown as PNG", () => savePng()), button("SVG", "Save what is shown as SVG, in millimetres", () => saveSvg()),
    button("HTML", "Save as a page that works without Python", () => saveHtml()),
    button("Code", "The line of Python for this view", () => (code.hidden = !code.hidden)), button("?", "Keys (?)", () => (help.hidden = !help.hidden)));
  const root = element("div", { className: "ecg-paper", role: "group", "data-lm-suppress-shortcuts": "true" }, bar, help, canvas, status, code, table);
  el.append(root);

  /** Take over all that Python says. */
  function read() {
    const sheet = get("_pages")[get("lead_layout")], overlay = decoded(get("_overlay"));
    state = {
      ecg: decoded(get("_ecg")), overlay, hidden: get("_hidden"), calipers: get("calipers"), startS: get("start_s"),
      sheet, geo: geometry(sheet, get("mm_per_s"), get("mm_per_mv")), colours: get("_colours"), title: get("title"), rate: get("rate_bpm"),
    };
    choices.forEach((select) => select.show());
    turners.forEach((turner) => (turner.hidden = state.ecg.duration_s <= PAGE_S));
    table.replaceChildren(element("caption", {}, get("_text")), ...state.ecg.table.map((row, index) =>
      element("tr", {}, ...row.map((cell) => element(index ? "td" : "th", {}, cell)))));
    const words = `${get("_text")} On paper as ${get("lead_layout")}, ${state.geo.speed} mm/s, ${state.geo.gain} mm/mV.`;
    canvas.setAttribute("aria-label", words);
    root.setAttribute("aria-label", get("title") || "ECG on paper");
    resize();
    say();
  }

  /** Below the paper: what the calipers measure, or what is to be known of the page. */
  function say(words) {
    const { calipers, sheet, startS } = state;
    if (!words && calipers) {
      words = `${calipers[0]}: ${reading(calipers)}`;
      if (!sheet.strips.some((strip) => calipersFit(strip, startS, calipers))) words += " (not on this page)";
    }
    status.textContent = words || (measuring ? "Calipers: drag from one point to another." : get("_note"));
    code.textContent = line();
    caliperButton.setAttribute("aria-pressed", measuring);
  }

  /** The line of Python that makes this view; `code()` in ecg_paper.py writes the same. */
  function line() {
    const written = (value) => (Array.isArray(value) ? `[${value.map((one) => JSON.stringify(one)).join(", ")}]` : JSON.stringify(value));
    const words = get("_given").map((name) => `${name}=${name}`);
    for (const [keyword, [trait, usual]] of Object.entries(get("_keywords")))
      if (written(get(trait)) !== written(usual)) words.push(`${keyword}=${written(get(trait))}`);
    return `ECGPaper(${["recording", ...words].join(", ")})`;
  }

  /** Fit the canvas to the page and to the room that there is; what was seen stays in sight. */
  function resize() {
    const { geo } = state, width = root.clientWidth, wasHome = !home || atHome(), shown = canvas.clientWidth / view.scale;
    if (!width) return;
    const dpr = window.devicePixelRatio, widest = width / HOME_MM;
    const fits = Math.max(Math.min(widest, MAX_HEIGHT_PX / geo.height), Math.min(widest, 3));
    // A whole number of device pixels a millimetre, if there are some, makes all small squares the same.
    home = { left: 0, top: 0, scale: fits * dpr >= 3 ? Math.floor(fits * dpr) / dpr : fits };
    const height = Math.min(geo.height * home.scale, 1.2 * MAX_HEIGHT_PX);
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * dpr);
    canvas.height = Math.round(height * dpr);
    Object.assign(view, wasHome ? home : { scale: width / shown });
    hold();
    draw();
  }

  /** Look at the part of the page that Python names. */
  function look() {
    const given = get("view");
    Object.assign(view, given ? { left: given[0], top: given[1], scale: canvas.clientWidth / given[2] } : home);
    hold();
    draw();
    say();
  }

  const atHome = () => ["left", "top", "scale"].every((name) => Math.abs(view[name] - home[name]) < 1e-6);
  const shownMm = (scale = view.scale) => [canvas.clientWidth / scale, canvas.clientHeight / scale];

  /** Keep the page in sight, between all of it and 15 mm. */
  function hold() {
    const { geo } = state, widest = Math.max(geo.width, shownMm(home.scale)[0]);
    view.scale = Math.min(Math.max(view.scale, canvas.clientWidth / widest), canvas.clientWidth / MIN_VIEW_MM);
    const [width, height] = shownMm();
    view.left = Math.max(0, Math.min(view.left, geo.width - width));
    view.top = Math.max(0, Math.min(view.top, geo.height - height));
  }

  /** Paint with the next frame. */
  function draw() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const dpr = window.devicePixelRatio, ctx = canvas.getContext("2d", { alpha: false });
      ctx.fillStyle = "#fff";
      ctx.fillRect(0, 0, canvas.width, canvas.height);
      paint(canvasPen(ctx, seen(), view.scale * dpr, dpr), state);
    });
  }

  const seen = () => ({ left: view.left, top: view.top, right: view.left + shownMm()[0], bottom: view.top + shownMm()[1] });

  /** Tell Python, which may be gone: then all but this goes on. */
  function send(values) {
    own = true;
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    own = false;
    try {
      model.save_changes();
    } catch {
      say("Python is not reached; the paper works on without it.");
    }
  }

  /** Change one of the traits and all that follows from it. */
  function set(trait, value) {
    send({ [trait]: value, view: null });
    read();
    look();
  }

  const next = (trait, options) => set(trait, options[(options.indexOf(get(trait)) + 1) % options.length]);

  /** The view has moved: paint it now, and tell Python once it rests. */
  function moved() {
    hold();
    draw();
    clearTimeout(settle);
    settle = setTimeout(() => {
      const rounded = (mm) => Math.round(mm * 10) / 10, [width, height] = shownMm();
      send({ view: atHome() ? null : [view.left, view.top, width, height].map(rounded) });
      say();
    }, SETTLED_MS);
  }

  function pan(mmX, mmY) {
    view.left += mmX;
    view.top += mmY;
    moved();
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const { left, top, scale: before } = view;
    view.scale *= factor;
    hold();
    view.left = left;
    view.top = top;
    view.left += x / before - x / view.scale;
    view.top += y / before - y / view.scale;
    moved();
  }

  function goHome() {
    Object.assign(view, home);
    moved();
  }

  function turn(pages) {
    const last = Math.max(0, state.ecg.duration_s - PAGE_S);
    set("start_s", Math.min(Math.max(state.startS + PAGE_S * pages, 0), last));
  }

  /** Take the calipers out, or put them away. */
  function measure(on) {
    measuring = on;
    canvas.classList.toggle("measuring", on);
    if (!on) setCalipers(null);
    else if (!state.calipers) setCalipers(inTheMiddle());
    else say();
  }

  function setCalipers(calipers, later = false) {
    state.calipers = calipers && [calipers[0], ...calipers.slice(1).map((value) => Math.round(value * 1e4) / 1e4)];
    draw();
    say();
    clearTimeout(measured);
    measured = setTimeout(() => {
      send({ calipers: state.calipers });
      say();
    }, later ? SETTLED_MS : 0);
  }

  /** Calipers of 0.4 s in the middle of the strip that is nearest to the middle of what is seen. */
  function inTheMiddle() {
    const [width, height] = shownMm(), at = place(view.left + width / 2, view.top + height / 2);
    return at && [at.strip.lead, Math.max(at.from, at.time - 0.2), Math.min(at.to, at.time + 0.2), at.level, at.level];
  }

  /** The lead, time and voltage at a point of the page, in the nearest strip that was recorded. */
  function place(x, y, strip = null) {
    const { geo, sheet, ecg, startS } = state;
    const left = (one) => geo.left + one.at_s * geo.speed, right = (one) => left(one) + (one.to_s - one.from_s) * geo.speed;
    const far = (one) => Math.abs(geo.rowY(one.row) - y) + Math.max(0, left(one) - x, x - right(one));
    strip ||= sheet.strips.filter((one) => one.recorded).sort((a, b) => far(a) - far(b))[0];
    if (!strip) return null;
    const level = ecg.levels[ecg.leads.indexOf(strip.lead)], from = startS + strip.from_s, to = startS + strip.to_s;
    const time = Math.min(Math.max(from + (x - left(strip)) / geo.speed, from), to);
    return { strip, level, from, to, time, mv: level + (strip.sign * (geo.rowY(strip.row) - y)) / geo.gain };
  }

  canvas.onpointerdown = (event) => {
    if (event.button) return;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    drag = { x: event.offsetX, y: event.offsetY };
    if (measuring) drag.from = place(view.left + drag.x / view.scale, view.top + drag.y / view.scale);
  };
  canvas.onpointermove = ({ offsetX: x, offsetY: y }) => {
    if (!drag) return;
    if (measuring && drag.from) {
      const { strip, time, mv } = drag.from, to = place(view.left + x / view.scale, view.top + y / view.scale, strip);
      setCalipers([strip.lead, time, to.time, mv, to.mv], true);
    } else if (!measuring) {
      pan((drag.x - x) / view.scale, (drag.y - y) / view.scale);
      Object.assign(drag, { x, y });
    }
  };
  canvas.onpointerup = canvas.onpointercancel = () => (drag = null);
  canvas.ondblclick = goHome;
  canvas.addEventListener("wheel", (event) => {
    // The wheel scrolls the notebook until the paper was clicked.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.03 : 0.0015)), event.offsetX, event.offsetY);
  }, { passive: false });

  root.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.target.tagName === "SELECT" || (arrow && event.target !== canvas)) return;
    const deeds = {
      "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(1 / 1.25), 0: goHome, Home: goHome,
      c: () => measure(!measuring), l: () => next("lead_layout", Object.keys(get("_pages"))),
      s: () => next("mm_per_s", get("_speeds")), g: () => next("mm_per_mv", get("_gains")),
      PageUp: () => turn(-1), PageDown: () => turn(1), "?": () => (help.hidden = !help.hidden),
      Escape: () => (help.hidden ? measure(false) : (help.hidden = true)),
    };
    const deed = arrow ? () => (measuring && state.calipers ? moveCalipers(...arrow, event.shiftKey) : pan(10 * arrow[0], 10 * arrow[1])) : deeds[event.key];
    if (!deed) return;
    event.preventDefault();
    event.stopPropagation();
    deed();
  };

  /** Move the end of the calipers, or both ends, by 10 ms or 0.05 mV, inside the strip that shows them. */
  function moveCalipers(right, down, both) {
    const { calipers, ecg, sheet, startS } = state, [lead, start, end, startMv, endMv] = calipers;
    const strip = sheet.strips.findLast((one) => calipersFit(one, startS, calipers));
    const from = strip ? startS + strip.from_s : 0, to = strip ? startS + strip.to_s : ecg.duration_s;
    const seconds = (time) => Math.min(Math.max(time + 0.01 * right, from), to), mv = -0.05 * down;
    setCalipers([lead, both ? seconds(start) : start, seconds(end), startMv + (both ? mv : 0), endMv + mv], true);
  }

  function save(blob, ending) {
    const link = element("a", { href: URL.createObjectURL(blob), download: `${(get("title") || "ecg").replace(/[^\w-]+/g, "_")}.${ending}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  /** The part of the page in sight, at least 300 dots an inch. */
  function savePng() {
    const part = seen(), scale = Math.max(300 / 25.4, view.scale * window.devicePixelRatio);
    part.right = Math.min(part.right, state.geo.width);
    part.bottom = Math.min(part.bottom, state.geo.height);
    const picture = element("canvas", { width: (part.right - part.left) * scale, height: (part.bottom - part.top) * scale });
    paint(canvasPen(picture.getContext("2d"), part, scale, scale / 4), state);
    picture.toBlob((blob) => save(blob, "png"));
  }

  function saveSvg() {
    const part = seen();
    part.right = Math.min(part.right, state.geo.width);
    part.bottom = Math.min(part.bottom, state.geo.height);
    const pen = svgPen(part);
    paint(pen, state);
    save(new Blob([pen.svg()], { type: "image/svg+xml" }), "svg");
  }

  /** This widget with its present state as one page; ecg_paper.py fills the same template. */
  function saveHtml() {
    const bytes = (value) => btoa(Array.from(new Uint8Array(value.buffer, value.byteOffset, value.byteLength), (byte) => String.fromCharCode(byte)).join(""));
    const json = JSON.stringify(Object.fromEntries(get("_kept").map((name) => [name, get(name)])),
      (_, value) => (value instanceof DataView ? { base64: bytes(value) } : value)).replaceAll("<", "\\u003c");
    const parts = { CSS: get("_css"), ESM: get("_esm"), STATE: json };
    save(new Blob([get("_template").replace(/\/\*(CSS|ESM|STATE)\*\//g, (_, name) => parts[name])], { type: "text/html" }), "html");
  }

  const changed = () => own || read(), seenElsewhere = () => own || (read(), look());
  const heard = [..."_ecg _overlay _hidden _text _note _given start_s calipers title rate_bpm".split(" ").map((name) => [name, changed]),
    ..."_pages lead_layout mm_per_s mm_per_mv view".split(" ").map((name) => [name, seenElsewhere])];
  for (const [name, deed] of heard) model.on(`change:${name}`, deed);
  const observer = new ResizeObserver(resize);
  observer.observe(root);
  measuring = Boolean(get("calipers"));
  read();
  look();
  return () => {
    observer.disconnect();
    for (const [name, deed] of heard) model.off(`change:${name}`, deed);
  };
}

export default { render };
