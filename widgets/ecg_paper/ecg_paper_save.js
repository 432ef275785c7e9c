// What the buttons save: the view as PNG or SVG, the widget with its present state as a page of its own.

/** The part of the page in sight, without what lies beyond its edges. */
const onPage = (view, geo) =>
  ({ ...view, right: Math.min(view.right, geo.width), bottom: Math.min(view.bottom, geo.height) });

/** Hand a file to the browser. */
function download(blob, title, ending) {
  const name = `${(title || "ecg").replace(/[^\w-]+/g, "_")}.${ending}`;
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** The view as a canvas with so many dots a millimetre. */
function pngOf(state, seen, scale) {
  const view = onPage(seen, state.geo);
  const width = (view.right - view.left) * scale, height = (view.bottom - view.top) * scale;
  const picture = element("canvas", { width, height });
  paint(canvasPen(picture.getContext("2d"), view, scale, scale / 4), state);
  return picture;
}

/** Save the view as a picture of at least 300 dots an inch. */
const savePng = (state, seen, pxPerMm) =>
  pngOf(state, seen, Math.max(300 / 25.4, pxPerMm)).toBlob((blob) => download(blob, state.title, "png"));

/** The view as SVG, in millimetres. */
function svgOf(state, seen) {
  const pen = svgPen(onPage(seen, state.geo), state.text);
  paint(pen, state);
  return pen.svg();
}

const saveSvg = (state, seen) =>
  download(new Blob([svgOf(state, seen)], { type: "image/svg+xml" }), state.title, "svg");

/** The labels as the file that `write_annotations` writes, too. */
const saveNotes = ({ annotations, fingerprint }) => download(new Blob([JSON.stringify({
  format: "lamae annotations 1", ecg_sha256: fingerprint, annotations,
}, null, 1) + "\n"], { type: "application/json" }), "ecg_labels", "json");

/** The labels in such a file, of an ECG with this fingerprint; an Error with a sentence for the reader otherwise. */
function readNotes(text, fingerprint, ecg, word) {
  let kept;
  try { kept = JSON.parse(text); } catch { /* no JSON */ }
  if (kept?.format !== "lamae annotations 1" || !Array.isArray(kept.annotations))
    throw new Error(word("The file holds no labels of this program; choose another."));
  if (kept.ecg_sha256 !== fingerprint) throw new Error(word("These labels are of another ECG; open that one first."));
  const fits = ({ lead, time_s: time, text: words }) => ecg.leads.includes(lead) && Number.isFinite(time)
    && time >= 0 && time <= ecg.duration_s && typeof words === "string" && words && words.length <= 200;
  if (!kept.annotations.every(fits)) throw new Error(word("A label in the file lies outside this ECG; the file is damaged."));
  return kept.annotations.map(({ lead, time_s, text: words }) => ({ lead, time_s, text: words }));
}

/** A page that works without Python; `save` in ecg_paper.py fills the same template. */
function saveHtml(model) {
  const letters = (view) => Array.from(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  const base64 = (view) => btoa(letters(view).map((byte) => String.fromCharCode(byte)).join(""));
  const plain = (_, value) => (value instanceof DataView ? { base64: base64(value) } : value);
  const state = Object.fromEntries(model.get("_kept").map((name) => [name, model.get(name)]));
  const parts = {
    CSS: model.get("_css"), ESM: model.get("_esm"), STATE: JSON.stringify(state, plain).replaceAll("<", "\\u003c"),
  };
  const page = model.get("_template").replace(/\/\*(CSS|ESM|STATE)\*\//g, (_, name) => parts[name]);
  download(new Blob([page], { type: "text/html" }), model.get("title"), "html");
}

/** A pen that writes a view as SVG in millimetres; `svg()` gives the file. */
function svgPen(view, description) {
  const parts = [], width = view.right - view.left, height = view.bottom - view.top;
  const escaped = (words) => words.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const path = (d, color, mm, more = "") =>
    parts.push(`<path d="${d}" stroke="${color}" stroke-width="${mm}"${more}/>`);
  const at = ([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`;
  return {
    view,
    fill(x, y, w, h, color, opacity = 1) {
      const place = `x="${x.toFixed(2)}" y="${y.toFixed(2)}" width="${w.toFixed(2)}" height="${h.toFixed(2)}"`;
      const look = opacity < 1 ? ` fill-opacity="${opacity.toFixed(3)}" shape-rendering="crispEdges"` : "";
      parts.push(`<rect ${place} fill="${color}"${look}/>`);
    },
    grid(step, geo, color, mm) {
      let d = "";
      for (let x = 0; x <= geo.width; x += step) d += `M${x} 0v${geo.height}`;
      for (let y = 0; y <= geo.height; y += step) d += `M0 ${y}h${geo.width}`;
      path(d, color, mm);
    },
    line(points, color, dashed) {
      path(`M${points.map(at).join("L")}`, color, TRACE_MM, dashed ? ' stroke-dasharray="1 1"' : "");
    },
    trace(samples, { first, last, x0, dx, y0, dy }, color) {
      const points = [];
      for (let i = first; i <= last; i++) points.push(at([x0 + i * dx, y0 + samples[i] * dy]));
      if (points.length) path(`M${points.join("L")}`, color, TRACE_MM);
    },
    text(x, y, words, color, { bold = false, end = false, large = false, fit = Infinity } = {}) {
      if (!words) return 0;
      const size = (large ? LARGE : 1) * TEXT_MM, width = 0.55 * size * words.length;
      const place = `x="${x.toFixed(2)}" y="${(y + TEXT_MM / 3).toFixed(2)}" xml:space="preserve"`;
      const narrow = width > fit ? ` textLength="${fit}" lengthAdjust="spacingAndGlyphs"` : "";
      const look = `fill="${color}"${large ? ` font-size="${size}"` : ""}${narrow}`
        + `${bold ? ' font-weight="bold"' : ""}${end ? ' text-anchor="end"' : ""}`;
      parts.push(`<text ${place} ${look}>${escaped(words)}</text>`);
      return width;
    },
    svg: () => [
      `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="${width}mm" height="${height}mm"`,
      ` viewBox="${view.left} ${view.top} ${width} ${height}" font-family="Arial, Helvetica, sans-serif"`,
      ` font-size="${TEXT_MM}" fill="none" stroke-linejoin="round">\n<title>${escaped(description)}</title>\n`,
      `${parts.join("\n")}\n</svg>\n`,
    ].join(""),
  };
}
