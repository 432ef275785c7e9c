// The page of an ECG in millimetres and how it is painted. Python joins this file and the others to one module. The strips come from lamae_toolkit/plots/paper_layout.py, and the arithmetic of `geometry` is that of its Page.

const EDGE_MM = 5, CALIBRATION_S = 0.2, PAGE_S = 10, TEXT_MM = 3.2, LARGE = 1.3, TRACE_MM = 0.35;

/** Whole large squares of 5 mm that hold at least this much. */
const largeSquares = (mm) => 5 * Math.ceil(Number((mm / 5).toFixed(9)));

/** Millimetres of the page of a layout at a speed and a gain. */
function geometry(sheet, speed, gain) {
  const left = 2 * EDGE_MM + CALIBRATION_S * speed;
  const pitch = Math.max(15, largeSquares(sheet.pitch_mv * gain + 2));
  // The words above keep clear of the first row's field.
  const first = sheet.head_mm + largeSquares(Math.max(sheet.top_mv * gain + 8, sheet.head_mm && pitch / 2));
  const rowY = (row) => first + row * pitch;
  return {
    left, pitch, rowY, speed, gain,
    width: largeSquares(left + sheet.width_s * speed + EDGE_MM),
    height: rowY(sheet.rows - 1) + largeSquares(sheet.bottom_mv * gain + 8),
  };
}

/** A signal that Python sent, its bytes copied to where numbers of two bytes may lie, and each lead's range in mV. */
function decoded(signal) {
  if (!signal) return null;
  const { buffer, byteOffset, byteLength } = signal.data;
  const values = new Int16Array(buffer.slice(byteOffset, byteOffset + byteLength));
  const copied = { ...signal, values };
  copied.ranges = signal.leads.map((lead) => {
    const samples = samplesOf(copied, lead), extreme = (choose) => samples.reduce((a, b) => choose(a, b));
    return (extreme(Math.max) - extreme(Math.min)) * signal.scale_mv;
  });
  return copied;
}

/** The samples of one lead. */
function samplesOf(signal, lead) {
  const row = signal.leads.indexOf(lead);
  return signal.values.subarray(row * signal.samples, (row + 1) * signal.samples);
}

/** Stretches of masked patches of a lead as [start, end] in seconds, neighbors joined. */
function maskedStretches(mask, row) {
  const stretches = [];
  for (let patch = 0; patch < mask.patches; patch++) {
    if (!mask.data.getUint8(row * mask.patches + patch)) continue;
    const start = patch * mask.patch_s, last = stretches.at(-1);
    if (last && Math.abs(last[1] - start) < 1e-9) last[1] += mask.patch_s;
    else stretches.push([start, start + mask.patch_s]);
  }
  return stretches;
}

/** What calipers measure, in words; word: from English to the language of the page. */
function reading([, start, end, startMv, endMv], word) {
  const ms = 1000 * Math.abs(end - start), mv = endMv - startMv;
  const rate = ms ? `${(60000 / ms).toFixed(0)}/min` : word("no time between the ends");
  return `${ms.toFixed(0)} ms    ${rate}    ${mv < 0 ? "" : "+"}${mv.toFixed(2).replace(".", word("."))} mV`;
}

/** The strips that reach into what a pen sees, each with where it lies on the page in millimetres. */
function inSight({ geo, sheet, ecg, startS }, { left, right, top, bottom }) {
  const placed = sheet.strips.map((strip) => {
    const x = geo.left + strip.at_s * geo.speed, end = x + (strip.to_s - strip.from_s) * geo.speed;
    const row = ecg.leads.indexOf(strip.lead), reach = Math.max(geo.pitch, (ecg.ranges[row] || 0) * geo.gain);
    const xOf = (time) => x + (time - startS - strip.from_s) * geo.speed;
    return { strip, row, x, end, y: geo.rowY(strip.row), reach, xOf };
  });
  return placed.filter(({ x, end, y, reach }) => end >= left && x <= right && y + reach >= top && y - reach <= bottom);
}

/** Paint grid, masked patches and traces: what moves with the paper. */
function paintPaper(pen, state) {
  const { geo, sheet, ecg, overlay, mask, terms, startS, colors: color } = state;
  pen.fill(0, 0, geo.width, geo.height, color.paper);
  pen.grid(1, geo, color.fine, 0.15);
  pen.grid(5, geo, color.bold, 0.2);
  const placed = inSight(state, pen.view);
  if (terms) placed.forEach((one) => paintTints(pen, state, one));
  for (const { strip, row, x, end, y, xOf } of placed) {
    if (strip.at_s) for (const up of [-1, 1]) pen.line([[x, y + 4 * up], [x, y + 7 * up]], color.ink);
    if (!strip.recorded) {
      pen.line([[x, y], [end, y]], color.faint, true);
      continue;
    }
    const from = startS + strip.from_s, to = startS + strip.to_s;
    const within = ([a, b]) => [Math.max(a, from), Math.min(b, to)];
    const shaded = mask ? maskedStretches(mask, row).map(within).filter(([a, b]) => a < b) : [];
    for (const [a, b] of shaded)
      pen.fill(xOf(a), y - geo.pitch / 2, (b - a) * geo.speed, geo.pitch, color.shade);
    const draw = (signal, [a, b], ink) => pen.trace(samplesOf(signal, strip.lead), {
      first: Math.max(0, Math.ceil(a * signal.rate_hz - 1e-6)),
      last: Math.min(signal.samples - 1, Math.floor(b * signal.rate_hz + 1e-6)),
      x0: xOf(0), dx: geo.speed / signal.rate_hz,
      y0: y + strip.sign * ecg.levels[row] * geo.gain, dy: -strip.sign * signal.scale_mv * geo.gain,
    }, ink);
    draw(ecg, [from, to], color.ink);
    if (overlay && overlay.leads.includes(strip.lead))
      for (const stretch of mask ? shaded : [[from, to]]) draw(overlay, stretch, color.overlay);
  }
  for (let row = 0; row < sheet.rows; row++) {
    const start = EDGE_MM + 2.5, end = geo.left - 2.5, y = geo.rowY(row), up = y - geo.gain;
    pen.line([[EDGE_MM, y], [start, y], [start, up], [end, up], [end, y], [geo.left, y]], color.ink);
  }
}

/** Paint names, flags, calipers and what stands on the edges: what is written on the paper. */
function paintSigns(pen, state) {
  const { geo, sheet, ecg, overlay, mask, terms, calipers, startS, colors: color, title, rate, word } = state;
  for (const { strip, x, end, y, xOf } of inSight(state, pen.view)) {
    // The name stays in sight while any of its strip does.
    const nameX = Math.max(x, Math.min(pen.view.left, end - 30)) + 1, flags = ecg.flags[strip.lead];
    const width = pen.text(nameX, y - 0.32 * geo.pitch, strip.name.replace("-", "−"), color.ink, { bold: true });
    let right = nameX + width + 1;
    if (terms && strip.recorded) right = paintTerm(pen, state, strip.lead, right, y - 0.32 * geo.pitch);
    if (flags) pen.text(right, y - 0.32 * geo.pitch, `⚑ ${flags.join(", ")}`, color.flag);
    if (!strip.recorded) pen.text(nameX, y - 2, word("not recorded"), color.faint);
    if (calipers && calipersFit(strip, startS, calipers)) paintCalipers(pen, state, strip, xOf, y);
    if (state.measured && strip.recorded) paintMarks(pen, state, strip, xOf, y);
    for (const note of state.annotations || [])
      if (noteFits(strip, startS, note)) paintNote(pen, state, strip, xOf, y, note);
  }
  const shown = Math.min(PAGE_S, ecg.duration_s - startS), seconds = (s) => s.toFixed(1).replace(".", word("."));
  const footer = [`${geo.speed} mm/s`, `${geo.gain} mm/mV`, `${ecg.rate_hz} Hz`,
    `${seconds(startS)} ${word("to")} ${seconds(startS + shown)} s ${word("of")} ${seconds(ecg.duration_s)} s`];
  if (state.measured) footer.push(...state.measured.written.filter(([, value]) => value !== "–").map((one) => one.join(" ")));
  else if (rate) footer.push(`${rate.toFixed(0)}/min`);
  pen.text(EDGE_MM, geo.height - 2.5, footer.join("    "), color.faint, { fit: geo.width * (terms || overlay || mask ? 0.7 : 0.95) });
  const legend = [overlay && word("overlay"), mask && word("shaded: masked")].filter(Boolean).join("    ");
  pen.text(geo.width - EDGE_MM, geo.height - 2.5, legend, color.overlay, { end: true });
  if (terms) {
    if (sheet.head_mm) paintTermsHead(pen, state);
    pen.text(geo.width - EDGE_MM, geo.height - 2.5, terms.not_for_diagnosis, color.ink, { end: true });
  }
  pen.text(EDGE_MM, 3.5, title, color.ink, { bold: true });
  pen.text(geo.width - EDGE_MM, 3.5, (ecg.flags.ECG || []).join(", "), color.flag, { end: true });
}

/** All of a page. */
function paint(pen, state) {
  paintPaper(pen, state);
  paintSigns(pen, state);
}

/** A painter that keeps its picture: when the view was only moved, it shifts it and paints what has come into sight. */
function keptPaper() {
  let picture = document.createElement("canvas"), other = document.createElement("canvas"), last = {};
  return (state, view, scale, dpr, width, height) => {
    const same = last.state === state && last.scale === scale && picture.width === width && picture.height === height;
    const dx = Math.round((last.left - view.left) * scale), dy = Math.round((last.top - view.top) * scale);
    last = { state, scale, left: view.left, top: view.top };
    if (same && !dx && !dy) return picture;
    [picture, other] = [other, picture];
    if (picture.width !== width || picture.height !== height) Object.assign(picture, { width, height });
    const ctx = picture.getContext("2d", { alpha: false });
    const part = (x, y, wide, high) => {
      if (wide <= 0 || high <= 0) return;
      ctx.save();
      ctx.beginPath();
      ctx.rect(x, y, wide, high);
      ctx.clip();
      ctx.fillStyle = "#fff";
      ctx.fillRect(x, y, wide, high);
      const left = view.left + (x - 3) / scale, top = view.top + (y - 3) / scale; // a stroke is wider than its line
      const seen = { left, top, right: left + (wide + 6) / scale, bottom: top + (high + 6) / scale };
      paintPaper(canvasPen(ctx, view, scale, dpr, seen), state);
      ctx.restore();
    };
    if (same && Math.abs(dx) < width && Math.abs(dy) < height) {
      ctx.drawImage(other, dx, dy);
      part(dx > 0 ? 0 : width + dx, 0, Math.abs(dx), height);
      part(0, dy > 0 ? 0 : height + dy, width, Math.abs(dy));
    } else {
      part(0, 0, width, height);
    }
    return picture;
  };
}

/** The calipers and what they measure, in a strip that shows both their ends. */
function paintCalipers(pen, { geo, ecg, calipers, colors, word }, strip, xOf, y) {
  const [lead, start, end, startMv, endMv] = calipers, level = ecg.levels[ecg.leads.indexOf(lead)];
  const yOf = (mv) => y - strip.sign * (mv - level) * geo.gain;
  for (const [time, mv] of [[start, startMv], [end, endMv]]) {
    pen.line([[xOf(time), y - geo.pitch / 2], [xOf(time), y + geo.pitch / 2]], colors.caliper);
    pen.line([[xOf(start), yOf(mv)], [xOf(end), yOf(mv)]], colors.caliper);
  }
  const top = Math.max(y - 0.42 * geo.pitch, Math.min(pen.view.top + 3, y + 0.42 * geo.pitch));
  pen.text(xOf(Math.max(start, end)) + 1, top, reading(calipers, word), colors.caliper);
}

/** Whether a strip shows both ends of the calipers. */
function calipersFit(strip, startS, [lead, start, end]) {
  const from = startS + strip.from_s - 1e-6, to = startS + strip.to_s + 1e-6;
  return strip.recorded && strip.lead === lead && Math.min(start, end) >= from && Math.max(start, end) <= to;
}

/** The lead, time and voltage at a point of the page, in the given strip or the nearest that was recorded. */
function place({ geo, sheet, ecg, startS }, x, y, strip = null) {
  const left = (one) => geo.left + one.at_s * geo.speed;
  const right = (one) => left(one) + (one.to_s - one.from_s) * geo.speed;
  const far = (one) => Math.abs(geo.rowY(one.row) - y) + Math.max(0, left(one) - x, x - right(one));
  strip ||= sheet.strips.filter((one) => one.recorded).sort((a, b) => far(a) - far(b))[0];
  const level = ecg.levels[ecg.leads.indexOf(strip.lead)], from = startS + strip.from_s, to = startS + strip.to_s;
  const time = Math.min(Math.max(from + (x - left(strip)) / geo.speed, from), to);
  return { strip, level, from, to, time, mv: level + (strip.sign * (geo.rowY(strip.row) - y)) / geo.gain };
}

/** Calipers of 0.4 s on the baseline of the strip that is nearest to a point of the page. */
function calipersAt(state, x, y) {
  const { strip, from, to, time, level } = place(state, x, y);
  return [strip.lead, Math.max(from, time - 0.2), Math.min(to, time + 0.2), level, level];
}

/**
 * A pen that paints a view on a canvas, `scale` device pixels a millimetre; `dpr` of them are one CSS pixel.
 * `seen`: the part of the view that has to be painted.
 */
function canvasPen(ctx, view, scale, dpr, seen = view) {
  const X = (mm) => (mm - view.left) * scale, Y = (mm) => (mm - view.top) * scale;
  const stroke = (color, mm) => {
    ctx.strokeStyle = color;
    ctx.lineWidth = Math.min(Math.max(mm * scale, 1.1 * dpr), 2 * dpr); // enlarged, a line shows more, not thicker
    ctx.stroke();
  };
  const fontPx = Math.min(Math.max(TEXT_MM * scale, 10 * dpr), 15 * dpr);
  ctx.lineJoin = "round";
  ctx.textBaseline = "middle";
  return {
    view: seen,
    fill(x, y, width, height, color, opacity = 1) {
      const left = Math.round(X(x)), top = Math.round(Y(y)); // on whole pixels: what adjoins shows no seam
      ctx.globalAlpha = opacity;
      ctx.fillStyle = color;
      ctx.fillRect(left, top, Math.round(X(x + width)) - left, Math.round(Y(y + height)) - top);
      ctx.globalAlpha = 1;
    },
    grid(step, geo, color) {
      if (step * scale < 2.5 * dpr) return; // finer than the eye
      const thick = Math.max(1, Math.round(dpr * Math.min(1, scale / dpr / 8)));
      const offX = Math.round(view.left * scale), offY = Math.round(view.top * scale);
      const left = Math.max(0, seen.left), right = Math.min(geo.width, seen.right);
      const top = Math.max(0, seen.top), bottom = Math.min(geo.height, seen.bottom);
      ctx.fillStyle = color;
      for (let x = Math.ceil(left / step) * step; x <= right; x += step)
        ctx.fillRect(Math.round(x * scale) - offX, Y(top), thick, (bottom - top) * scale);
      for (let y = Math.ceil(top / step) * step; y <= bottom; y += step)
        ctx.fillRect(X(left), Math.round(y * scale) - offY, (right - left) * scale, thick);
    },
    line(points, color, dashed) {
      ctx.beginPath();
      for (const [x, y] of points) ctx.lineTo(X(x), Y(y));
      if (dashed) ctx.setLineDash([scale, scale]);
      stroke(color, TRACE_MM);
      ctx.setLineDash([]);
    },
    trace(samples, { first, last, x0, dx, y0, dy }, color) {
      const x = X(x0), y = Y(y0), kx = dx * scale, ky = dy * scale;
      const step = Math.max(1, Math.floor(0.75 / kx)); // samples on one pixel: their extremes are all there is to see
      first = Math.max(first, step * (Math.floor((seen.left - x0) / dx / step) - 1));
      last = Math.min(last, step * (Math.ceil((seen.right - x0) / dx / step) + 1) - 1);
      ctx.beginPath();
      if (step < 3) {
        for (let i = first; i <= last; i++) ctx.lineTo(x + i * kx, y + samples[i] * ky);
      } else {
        for (let i = first; i <= last; i += step) {
          let low = i, high = i;
          for (let j = i + 1; j < Math.min(i + step, last + 1); j++) {
            if (samples[j] < samples[low]) low = j;
            if (samples[j] > samples[high]) high = j;
          }
          for (const j of low < high ? [low, high] : [high, low]) ctx.lineTo(x + j * kx, y + samples[j] * ky);
        }
      }
      stroke(color, TRACE_MM);
    },
    text(x, y, words, color, { bold = false, end = false, large = false, fit = Infinity } = {}) {
      if (!words) return 0;
      ctx.font = `${bold ? "bold " : ""}${(large ? LARGE : 1) * fontPx}px Arial, Helvetica, sans-serif`;
      ctx.textAlign = end ? "right" : "left";
      ctx.strokeStyle = "rgba(255,253,252,0.8)";
      ctx.lineWidth = 4 * dpr;
      const widest = Math.min(ctx.measureText(words).width, fit * scale);
      ctx.strokeText(words, X(x), Y(y), widest);
      ctx.fillStyle = color;
      ctx.fillText(words, X(x), Y(y), widest);
      return ctx.measureText(words).width / scale;
    },
  };
}
