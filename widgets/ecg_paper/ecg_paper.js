// ECG paper in the browser: pan, zoom, calipers, keys and export all happen here; Python gets settled views only.
// The web page, which has no Python, sets _words: what to write instead of an English text.

const HOME_MM = 270, MIN_VIEW_MM = 15, MAX_HEIGHT_PX = 800, SETTLED_MS = 150, PATIENCE_MS = 2500;
const NO_ANSWER = "Python does not answer: it is busy or stopped. The paper works without it.";
const KEYS = [
  ["arrow keys", "pan; with calipers: move their end (with Shift both ends)"],
  ["+ and −, wheel", "zoom (the wheel over the paper once it was clicked; Ctrl and wheel at any time)"],
  ["0, double click", "complete page"],
  ["c", "calipers on and off; drag from point to point"],
  ["m", "beats, intervals and axis on and off"],
  ["a", "labels on and off: click a place, or Enter for the middle of what is shown, and write; empty: taken away"],
  ["l", "next layout"],
  ["s", "25 or 50 mm/s"],
  ["g", "5, 10 or 20 mm/mV"],
  ["n, N", "next or earlier code of the lead terms"],
  ["t", "lead terms over time, or of the complete lead"],
  ["Page Up, Page Down", "turn the page of a long ECG"],
  ["?", "these keys"],
  ["Esc", "close these keys, or put the calipers away"],
];

/** An element with properties and children. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    name in made ? (made[name] = value) : made.setAttribute(name, value);
  made.append(...children);
  return made;
}


function render({ model, el }) {
  const get = (name) => model.get(name);
  const word = (english) => get("_words")?.[english] ?? english;
  const view = { left: 0, top: 0, scale: 4 }; // scale: CSS pixels a millimetre
  let state, home, drag = null, measuring = false, noting = false, own = false, silence = "";
  let settle = 0, waiting = 0, frame = 0;

  const button = (label, title, onclick) =>
    element("button", { type: "button", title: word(title), "aria-label": word(title), onclick }, word(label));

  const canvas = element("canvas", { tabIndex: 0, role: "img" }), paper = keptPaper();
  const status = element("p", { className: "ecg-paper-status", role: "status" });
  const table = element("table"); // for screen readers, in a box: a table itself is never smaller than what it holds
  const help = element("dl", { className: "ecg-paper-help", hidden: true, role: "note" });
  const lacking = { m: get("measured") === undefined, a: !get("_fingerprint") }; // on the web page
  for (const [key, what] of KEYS.filter(([one]) => !lacking[one])) help.append(element("dt", {}, word(key)), element("dd", {}, word(what)));
  const code = element("pre", { className: "ecg-paper-code", hidden: true, tabIndex: 0 });
  const choice = (name, trait, options, written) => {
    const select = element("select", { title: word(name), "aria-label": word(name) });
    select.append(...options.map((option) => element("option", {}, written(option))));
    select.onchange = () => set(trait, options[select.selectedIndex]);
    select.show = () => (select.selectedIndex = options.indexOf(get(trait)));
    return select;
  };
  const choices = [
    choice("Layout", "lead_layout", Object.keys(get("_pages")), (name) => (name === "cabrera" ? "Cabrera" : name)),
    choice("Speed", "mm_per_s", get("_speeds"), (speed) => `${speed} mm/s`),
    choice("Gain", "mm_per_mv", get("_gains"), (gain) => `${gain} mm/mV`),
  ];
  const codeChoice = element("select", { className: "ecg-paper-codes", title: word("Lead terms of which code (n)") });
  codeChoice.onchange = () => setTerms({ icd10_code: state.terms.codes[codeChoice.selectedIndex].code });
  const timeButton = button("Over time", "Which patches carry the lead terms (t)", () => toggleTime());
  const caliperButton = button("Calipers", "Calipers (c)", () => measure(!measuring));
  const measureButton = button("Measure", "Beats, intervals and axis (m)", () => toggleMeasured());
  const noteButton = button("Label", "Write labels on the ECG (a)", () => note(!noting));
  const median = element("canvas", { className: "ecg-paper-median", role: "img" });
  const results = element("dl", { className: "ecg-paper-results" }), unmeasured = element("p");
  const measuredBox = element("section", { className: "ecg-paper-measured", hidden: true, "aria-label": word("Measured") },
    results, unmeasured); // and the median beat, if there is one
  const writing = element("input", { className: "ecg-paper-writing", hidden: true, maxLength: 200, "aria-label": word("Label") });
  const noteList = element("ul", { className: "ecg-paper-notes", hidden: true });
  const opened = element("input", { type: "file", accept: ".json,application/json", hidden: true, "aria-label": word("Open labels") });
  const noteBar = element("div", { className: "ecg-paper-bar", hidden: true },
    button("Save labels", "Save the labels as a JSON file", () => saveNotes(state)),
    button("Open labels", "Read labels of this ECG from a JSON file", () => opened.click()), opened);
  const turners = [
    button("◀", "Earlier page (Page Up)", () => turn(-1)),
    button("▶", "Later page (Page Down)", () => turn(1)),
  ];
  const bar = element("div", { className: "ecg-paper-bar", role: "toolbar", "aria-label": word("ECG paper") },
    codeChoice,
    timeButton,
    ...choices,
    button("−", "Zoom out (-)", () => zoom(1 / 1.25)),
    button("+", "Zoom in (+)", () => zoom(1.25)),
    button("Page", "Whole page (0)", goHome),
    caliperButton,
    measureButton,
    noteButton,
    ...turners,
    element("span", { className: "ecg-paper-gap" }),
    button("PNG", "Save what is shown as PNG", () => savePng(state, seen(), view.scale * window.devicePixelRatio)),
    button("SVG", "Save what is shown as SVG, in millimetres", () => saveSvg(state, seen())),
    ...(get("_template") ? [
      button("HTML", "Save as an HTML page that works without Python", () => saveHtml(model)),
      button("Code", "Code: the line of Python for this view", () => (code.hidden = !code.hidden)),
    ] : []),
    button("?", "Keys (?)", () => (help.hidden = !help.hidden)));
  // JupyterLab leaves the keys alone under an element that asks for it.
  const ownKeys = { className: "ecg-paper", role: "group", "data-lm-suppress-shortcuts": "true" };
  const root = element("div", ownKeys, bar, noteBar, help, canvas, writing, status, noteList,
    measuredBox, code,
    element("div", { className: "ecg-paper-hidden" }, table));
  el.append(root);
  // For Python: the view as the buttons save it, PNG as a data address of so many dots an inch.
  root.picture = (kind, dpi) => {
    const shown = get("view") ? seen() : { left: 0, top: 0, right: state.geo.width, bottom: state.geo.height };
    return kind === "svg" ? svgOf(state, shown) : pngOf(state, shown, dpi / 25.4).toDataURL();
  };

  /** Take over all that Python says. */
  function read() {
    const sheet = get("_pages")[get("lead_layout")], overlay = decoded(get("_overlay"));
    state = {
      ecg: decoded(get("_ecg")), overlay, mask: get("_mask"), calipers: get("calipers"), sheet,
      geo: geometry(sheet, get("mm_per_s"), get("mm_per_mv")),
      startS: get("start_s"), colors: get("_colors"), title: get("title"), rate: get("rate_bpm"), word,
    };
    const sent = get("_measured");
    state.measured = get("measured") ? sent : null;
    state.annotations = get("_annotations") || [];
    state.fingerprint = get("_fingerprint");
    measureButton.hidden = get("measured") === undefined || (!sent && !model.widget_manager);
    noteButton.hidden = !get("_fingerprint");
    measureButton.setAttribute("aria-pressed", Boolean(get("measured")));
    showMeasured(sent);
    showNotes();
    const terms = (state.terms = chosenTerms(get("_terms"), get("icd10_code"), get("over_time")));
    state.text = [get("_text"), terms?.shown.words, state.measured?.words].filter(Boolean).join(" ");
    codeChoice.hidden = !terms || terms.codes.length < 2;
    codeChoice.replaceChildren(...(terms?.codes || []).map((one) => element("option", {}, one.choice)));
    codeChoice.selectedIndex = terms ? terms.index : -1;
    timeButton.hidden = !terms?.data;
    timeButton.setAttribute("aria-pressed", Boolean(terms?.overTime));
    choices.forEach((select) => select.show());
    turners.forEach((turner) => (turner.hidden = state.ecg.duration_s <= PAGE_S));
    const headings = terms &&
      [word("Term of {code}, log-odds").replace("{code}", terms.shown.code), word("Probability without the lead")];
    const more = (lead, index) => (index ? terms?.shown.leads[lead]?.cells : headings) || [];
    table.replaceChildren(element("caption", {}, state.text), ...state.ecg.table.map((row, index) =>
      element("tr", {}, ...[...row, ...more(row[0], index)].map((cell) => element(index ? "td" : "th", {}, cell)))));
    const scale = `${get("lead_layout")}, ${state.geo.speed} mm/s, ${state.geo.gain} mm/mV`;
    canvas.setAttribute("aria-label", `${state.text} ${word("On paper as {scale}.").replace("{scale}", scale)}`);
    if (state.calipers) measuring = true;
    canvas.classList.toggle("measuring", measuring);
    root.setAttribute("aria-label", get("title") || word("ECG on paper"));
    resize();
    say();
  }

  /** The numbers, why some are missing, and the median beat. */
  function showMeasured(sent) {
    measuredBox.hidden = !state.measured;
    if (measuredBox.hidden) return;
    results.replaceChildren(...sent.written.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value))));
    unmeasured.textContent = [...sent.sentences, word("For research and teaching, not for diagnosis.")].join(" ");
    median.remove();
    if (sent.median) {
      unmeasured.after(median);
      median.setAttribute("aria-label", word("Median beat of every lead, with the beginnings and ends of its waves"));
      paintMedian(median, medianState(state, sent));
    }
  }

  function toggleMeasured() {
    if (measureButton.hidden) return;
    put({ measured: !get("measured") });
    read();
    if (get("measured") && !get("_measured")) silence = word("Measuring …");
    tell();
    say();
  }

  /** Take the pen out to write labels, or put it away. */
  function note(on) {
    if (noteButton.hidden) return;
    if (on && measuring) measure(false);
    noting = on;
    writing.hidden = true;
    noteBar.hidden = !on;
    canvas.classList.toggle("noting", on);
    say();
  }

  /** The labels as a list, for those who do not see them, while they are written. */
  function showNotes() {
    noteList.hidden = !state.annotations.length;
    noteList.replaceChildren(...state.annotations.map((one) =>
      element("li", {}, `${one.lead}, ${one.time_s.toFixed(2)} s: ${one.text}`)));
  }

  /** Write a label at a place of the page, or change the one that is there. */
  function write(x, y) {
    const near = noteNear(state, x, y), at = place(state, x, y);
    if (!near && !at) return;
    const spot = near || { lead: at.strip.lead, time_s: Math.round(at.time * 1e4) / 1e4, text: "" };
    writing.hidden = false;
    writing.value = spot.text;
    writing.style.left = `${Math.max(0, Math.min(canvas.clientWidth - 220, canvas.offsetLeft + (x - view.left) * view.scale))}px`;
    writing.style.top = `${canvas.offsetTop + (y - view.top) * view.scale}px`;
    writing.focus();
    const done = (keep) => {
      if (writing.hidden) return;
      writing.hidden = true;
      if (keep) {
        const text = writing.value.trim(), others = state.annotations.filter((one) => one !== near);
        setNotes(text ? [...others, { ...spot, text }] : others);
      }
      canvas.focus({ preventScroll: true });
    };
    writing.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter" || event.key === "Escape") done(event.key === "Enter");
    };
    writing.onblur = () => done(true);
  }

  function setNotes(annotations) {
    put({ _annotations: annotations.toSorted((a, b) => a.time_s - b.time_s) });
    read();
    tell();
  }

  opened.onchange = async () => {
    const [file] = opened.files;
    opened.value = "";
    if (!file) return;
    try {
      setNotes(readNotes(await file.text(), get("_fingerprint"), state.ecg, word));
      silence = "";
    } catch (error) {
      silence = error.message;
      say();
    }
  };

  /** Below the paper: what the calipers measure, or what is to be known of the page. */
  function say() {
    const { calipers, sheet, startS } = state;
    let words = measuring ? word("Calipers: drag from one point to another.") : get("_note");
    if (noting) words = word("Labels: click a place and write; Enter keeps, an empty label is taken away.");
    if (calipers) {
      words = `${calipers[0]}: ${reading(calipers, word)}`;
      if (!sheet.strips.some((strip) => calipersFit(strip, startS, calipers))) words += word(" (not on this page)");
    }
    status.textContent = [words, silence].filter(Boolean).join(" ");
    code.textContent = line();
    caliperButton.setAttribute("aria-pressed", measuring);
  }

  /** The line of Python that makes this view; `code()` in ecg_paper.py writes the same. */
  function line() {
    const list = (values) => `[${values.map((one) => JSON.stringify(one)).join(", ")}]`;
    const plain = (value) => (value === true ? "True" : JSON.stringify(value));
    const written = (value) => (Array.isArray(value) ? list(value) : plain(value));
    const words = get("_given").map((name) => `${name}=${name}`);
    for (const [keyword, [trait, usual]] of Object.entries(get("_keywords")))
      if (written(get(trait)) !== written(usual)) words.push(`${keyword}=${written(get(trait))}`);
    return `lt.ECGPaper(${["recording", ...words].join(", ")})`;
  }

  /** Fit the canvas to the page and to the room that there is; what was seen stays in sight. */
  function resize() {
    const { geo } = state, width = root.clientWidth, shown = canvas.clientWidth / view.scale;
    const first = !home, wasHome = first || atHome();
    if (!width) return;
    const dpr = window.devicePixelRatio, widest = width / HOME_MM;
    const fits = Math.max(Math.min(widest, MAX_HEIGHT_PX / geo.height), Math.min(widest, 3));
    // A whole number of device pixels a millimetre makes all small squares the same, if that costs little room.
    const whole = Math.floor(fits * dpr) / dpr;
    home = { left: 0, top: 0, scale: whole > 0.92 * fits ? whole : fits };
    const height = Math.min(geo.height * home.scale, 1.2 * MAX_HEIGHT_PX);
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * dpr);
    canvas.height = Math.round(height * dpr);
    Object.assign(view, wasHome ? home : { scale: width / shown });
    hold();
    draw();
    if (state.measured?.median) paintMedian(median, medianState(state, state.measured));
    if (first) look();
  }

  /** Look at the part of the page that Python names. */
  function look() {
    if (!home) return; // not in the page yet; `resize` looks once it is
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
    // On whole device pixels, so that what is painted can be shifted.
    const pixel = 1 / (view.scale * window.devicePixelRatio), snapped = (mm) => Math.round(mm / pixel) * pixel;
    view.left = snapped(Math.max(0, Math.min(view.left, geo.width - width)));
    view.top = snapped(Math.max(0, Math.min(view.top, geo.height - height)));
  }

  /** Paint with the next frame. */
  function draw() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const dpr = window.devicePixelRatio, scale = view.scale * dpr, ctx = canvas.getContext("2d", { alpha: false });
      ctx.drawImage(paper(state, seen(), scale, dpr, canvas.width, canvas.height), 0, 0);
      paintSigns(canvasPen(ctx, seen(), scale, dpr), state);
    });
  }

  const seen = () => {
    const [width, height] = shownMm();
    return { left: view.left, top: view.top, right: view.left + width, bottom: view.top + height };
  };

  /** Change traits here; Python gets them with the next `tell`. */
  function put(values) {
    own = true;
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    own = false;
  }

  /** Tell Python once nothing has moved for a while, and say so if it does not answer: all else works without it. */
  function tell() {
    clearTimeout(settle);
    settle = setTimeout(() => {
      say();
      const manager = model.widget_manager;
      if (!manager) return; // a saved page
      clearTimeout(waiting);
      waiting = setTimeout(() => answered(NO_ANSWER), PATIENCE_MS);
      if ("kernel" in manager && !manager.kernel) return; // sending would only log an error
      model.save_changes();
      model.send({ asks: "are you there?" });
    }, SETTLED_MS);
  }

  function answered(words) {
    clearTimeout(waiting);
    silence = words;
    say();
  }

  /** Change how the page is laid out, and look at all of it. */
  function set(trait, value) {
    put({ [trait]: value, view: null });
    read();
    look();
    tell();
  }

  const next = (trait, options) => set(trait, options[(options.indexOf(get(trait)) + 1) % options.length]);

  /** Show the lead terms of another code, or over time; the view stays. */
  function setTerms(values) {
    put(values);
    read();
    tell();
  }

  const toggleTime = () => state.terms?.data && setTerms({ over_time: !state.terms.overTime });

  function turnCode(by) {
    const { codes, index } = state.terms || { codes: [] };
    if (codes.length) setTerms({ icd10_code: codes[(index + by + codes.length) % codes.length].code });
  }

  /** The view has moved. */
  function moved() {
    hold();
    draw();
    const rounded = (mm) => Math.round(mm * 10) / 10;
    put({ view: atHome() ? null : [view.left, view.top, ...shownMm()].map(rounded) });
    tell();
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
    view.left = left + x / before - x / view.scale;
    view.top = top + y / before - y / view.scale;
    moved();
  }

  function goHome() {
    Object.assign(view, home);
    moved();
  }

  function turn(pages) {
    const last = Math.max(0, state.ecg.duration_s - PAGE_S);
    put({ start_s: Math.min(Math.max(state.startS + PAGE_S * pages, 0), last) });
    read();
    tell();
  }

  /** Take the calipers out, or put them away. */
  function measure(on) {
    const [width, height] = shownMm();
    if (on && noting) note(false);
    measuring = on;
    setCalipers(on ? state.calipers || calipersAt(state, view.left + width / 2, view.top + height / 2) : null);
    canvas.classList.toggle("measuring", on);
  }

  function setCalipers(calipers) {
    const rounded = (value) => Math.round(value * 1e4) / 1e4;
    state.calipers = calipers && [calipers[0], ...calipers.slice(1).map(rounded)];
    put({ calipers: state.calipers });
    draw();
    say();
    tell();
  }

  canvas.onpointerdown = (event) => {
    if (event.button) return;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    drag = { x: event.offsetX, y: event.offsetY, startX: event.offsetX, startY: event.offsetY };
    if (measuring) drag.from = place(state, view.left + drag.x / view.scale, view.top + drag.y / view.scale);
  };
  canvas.onpointermove = ({ offsetX: x, offsetY: y }) => {
    if (!drag) return;
    if (measuring && drag.from) {
      const { strip, time, mv } = drag.from;
      const to = place(state, view.left + x / view.scale, view.top + y / view.scale, strip);
      setCalipers([strip.lead, time, to.time, mv, to.mv]);
    } else if (!measuring) {
      pan((drag.x - x) / view.scale, (drag.y - y) / view.scale);
      Object.assign(drag, { x, y });
    }
  };
  canvas.onpointerup = ({ offsetX: x, offsetY: y }) => {
    const clicked = drag && Math.hypot(x - drag.startX, y - drag.startY) < 4;
    drag = null;
    if (noting && clicked) write(view.left + x / view.scale, view.top + y / view.scale);
  };
  canvas.onpointercancel = () => (drag = null);
  canvas.ondblclick = () => noting || goHome();
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
      n: () => turnCode(1), N: () => turnCode(-1), t: toggleTime,
      PageUp: () => turn(-1), PageDown: () => turn(1), "?": () => (help.hidden = !help.hidden),
      m: toggleMeasured, a: () => note(!noting),
      Escape: () => (help.hidden ? (measure(false), note(false)) : (help.hidden = true)),
      ...(noting && event.target === canvas && { Enter: () => write(view.left + shownMm()[0] / 2, view.top + shownMm()[1] / 2) }),
    };
    const move = () =>
      measuring && state.calipers ? moveCalipers(...arrow, event.shiftKey) : pan(10 * arrow[0], 10 * arrow[1]);
    const deed = arrow ? move : deeds[event.key];
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
    setCalipers([lead, both ? seconds(start) : start, seconds(end), startMv + (both ? mv : 0), endMv + mv]);
  }

  const changed = () => own || read();
  const relaid = () => own || (read(), look());
  const listeners = (names, deed) => names.split(" ").map((name) => [`change:${name}`, deed]);
  const heard = [
    ...listeners("_ecg _overlay _mask _terms icd10_code over_time _text _note _given start_s calipers title rate_bpm measured _annotations", changed),
    ...listeners("_pages lead_layout mm_per_s mm_per_mv view", relaid),
    ["change:_measured", () => (own || read(), answered(""))],
    ["msg:custom", (message) => message?.refused ? answered(message.refused) : get("measured") && !get("_measured") || answered("")],
  ];
  for (const [event, deed] of heard) model.on(event, deed);
  const observer = new ResizeObserver(resize);
  observer.observe(root);
  read();
  look();
  return () => {
    observer.disconnect();
    for (const [event, deed] of heard) model.off(event, deed);
  };
}

export default { render };
