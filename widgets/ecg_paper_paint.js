// The page of an ECG in millimetres and how it is painted. Python joins this file, ecg_paper_save.js and ecg_paper.js
// to one module. The strips come from lamae_toolkit/paper.py, and the arithmetic of `geometry` is that of its Page.

const EDGE_MM = 5, CALIBRATION_S = 0.2, PAGE_S = 10, TEXT_MM = 3.2, TRACE_MM = 0.35;

/** Whole large squares of 5 mm that hold at least this much. */
const largeSquares = (mm) => 5 * Math.ceil(Number((mm / 5).toFixed(9)));

/** Millimetres of the page of a layout at a speed and a gain. */
function geometry(sheet, speed, gain) {
  const left = 2 * EDGE_MM + CALIBRATION_S * speed;
  const pitch = Math.max(15, largeSquares(sheet.pitch_mv * gain + 2));
  const rowY = (row) => largeSquares(sheet.top_mv * gain + 8) + row * pitch;
  return {
    left, pitch, rowY, speed, gain,
    width: largeSquares(left + sheet.width_s * speed + EDGE_MM),
    height: rowY(sheet.rows - 1) + largeSquares(sheet.bottom_mv * gain + 8),
  };
}

/** A signal that Python sent, its bytes copied to where numbers of two bytes may lie. */
function decoded(signal) {
  if (!signal) return null;
  const { buffer, byteOffset, byteLength } = signal.data;
  return { ...signal, values: new Int16Array(buffer.slice(byteOffset, byteOffset + byteLength)) };
}

/** The samples of one lead. */
function samplesOf(signal, lead) {
  const row = signal.leads.indexOf(lead);
  return signal.values.subarray(row * signal.samples, (row + 1) * signal.samples);
}

/** Stretches of hidden patches of a lead as [start, end] in seconds, neighbours joined. */
function hiddenStretches(hidden, row) {
  const stretches = [];
  for (let patch = 0; patch < hidden.patches; patch++) {
    if (!hidden.data.getUint8(row * hidden.patches + patch)) continue;
    const start = patch * hidden.patch_s, last = stretches.at(-1);
    if (last && Math.abs(last[1] - start) < 1e-9) last[1] += hidden.patch_s;
    else stretches.push([start, start + hidden.patch_s]);
  }
  return stretches;
}

/** What calipers measure, in words. */
function reading([, start, end, startMv, endMv]) {
  const ms = 1000 * Math.abs(end - start), mv = endMv - startMv;
  const rate = ms ? `${(60000 / ms).toFixed(0)}/min` : "no time between the ends";
  return `${ms.toFixed(0)} ms    ${rate}    ${mv < 0 ? "" : "+"}${mv.toFixed(2)} mV`;
}

/** Paint the page with a pen, which knows the part of the page that it sees. */
function paint(pen, state) {
  const { geo, sheet, ecg, overlay, hidden, calipers, startS, colours: colour, title, rate } = state;
  pen.fill(0, 0, geo.width, geo.height, colour.paper);
  pen.grid(1, geo, colour.fine, 0.15);
  pen.grid(5, geo, colour.bold, 0.2);
  for (const strip of sheet.strips) {
    const y = geo.rowY(strip.row), x = geo.left + strip.at_s * geo.speed;
    const end = x + (strip.to_s - strip.from_s) * geo.speed;
    const { left, right, top, bottom } = pen.view;
    if (end < left || x > right || y + 2 * geo.pitch < top || y - 2 * geo.pitch > bottom) continue;
    const xOf = (time) => x + (time - startS - strip.from_s) * geo.speed;
    if (strip.recorded) {
      const row = ecg.leads.indexOf(strip.lead), level = ecg.levels[row];
      const from = startS + strip.from_s, to = startS + strip.to_s;
      const whole = [[from, to]], within = ([a, b]) => [Math.max(a, from), Math.min(b, to)];
      const stretches = hidden ? hiddenStretches(hidden, row).map(within).filter(([a, b]) => a < b) : whole;
      const fillHidden = ([a, b]) =>
        pen.fill(xOf(a), y - geo.pitch / 2, (b - a) * geo.speed, geo.pitch, colour.shade);
      if (hidden) stretches.forEach(fillHidden);
      const draw = (signal, a, b, ink) => pen.trace(samplesOf(signal, strip.lead), {
        first: Math.max(0, Math.ceil(a * signal.rate_hz - 1e-6)),
        last: Math.min(signal.samples - 1, Math.floor(b * signal.rate_hz + 1e-6)),
        x0: xOf(0), dx: geo.speed / signal.rate_hz,
        y0: y + strip.sign * level * geo.gain, dy: -strip.sign * signal.scale_mv * geo.gain,
      }, ink);
      draw(ecg, from, to, colour.ink);
      if (overlay && overlay.leads.includes(strip.lead))
        for (const [a, b] of stretches) draw(overlay, a, b, colour.overlay);
    } else {
      pen.line([[x, y], [end, y]], colour.faint, true);
    }
    if (strip.at_s) for (const up of [-1, 1]) pen.line([[x, y + 4 * up], [x, y + 7 * up]], colour.ink);
    // The name stays in sight while any of its strip does.
    const nameX = Math.max(x, Math.min(left, end - 30)) + 1, flags = ecg.flags[strip.lead];
    const width = pen.text(nameX, y - 0.32 * geo.pitch, strip.name.replace("-", "−"), colour.ink, { bold: true });
    if (flags) pen.text(nameX + width + 1, y - 0.32 * geo.pitch, `⚑ ${flags.join(", ")}`, colour.flag);
    if (!strip.recorded) pen.text(nameX, y - 2, "not recorded", colour.faint);
    if (calipers && calipers[0] === strip.lead) paintCalipers(pen, state, strip, xOf, y);
  }
  for (let row = 0; row < sheet.rows; row++) {
    const start = EDGE_MM + 2.5, end = geo.left - 2.5, y = geo.rowY(row), up = y - geo.gain;
    pen.line([[EDGE_MM, y], [start, y], [start, up], [end, up], [end, y], [geo.left, y]], colour.ink);
  }
  const shown = Math.min(PAGE_S, ecg.duration_s - startS);
  const footer = [`${geo.speed} mm/s`, `${geo.gain} mm/mV`, `${ecg.rate_hz} Hz`,
    `${startS.toFixed(1)} to ${(startS + shown).toFixed(1)} s of ${ecg.duration_s.toFixed(1)} s`];
  if (rate) footer.push(`${rate.toFixed(0)}/min`);
  pen.text(EDGE_MM, geo.height - 2.5, footer.join("    "), colour.faint);
  const legend = [overlay && "blue: overlay", hidden && "shaded: hidden"].filter(Boolean).join("    ");
  pen.text(geo.width - EDGE_MM, geo.height - 2.5, legend, colour.overlay, { end: true });
  pen.text(EDGE_MM, 3.5, title, colour.ink, { bold: true });
  pen.text(geo.width - EDGE_MM, 3.5, (ecg.flags.ECG || []).join(", "), colour.flag, { end: true });
}

/** The calipers in a strip that shows both their ends. */
function paintCalipers(pen, { geo, ecg, calipers, startS, colours }, strip, xOf, y) {
  const [lead, start, end, startMv, endMv] = calipers, level = ecg.levels[ecg.leads.indexOf(lead)];
  if (!calipersFit(strip, startS, calipers)) return;
  const yOf = (mv) => y - strip.sign * (mv - level) * geo.gain;
  for (const [time, mv] of [[start, startMv], [end, endMv]]) {
    pen.line([[xOf(time), y - geo.pitch / 2], [xOf(time), y + geo.pitch / 2]], colours.caliper);
    pen.line([[xOf(start), yOf(mv)], [xOf(end), yOf(mv)]], colours.caliper);
  }
  const top = Math.max(y - 0.42 * geo.pitch, Math.min(pen.view.top + 3, y + 0.42 * geo.pitch));
  pen.text(xOf(Math.max(start, end)) + 1, top, reading(calipers), colours.caliper);
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

/** A pen that paints a view on a canvas, `scale` device pixels a millimetre; `dpr` of them are one CSS pixel. */
function canvasPen(ctx, view, scale, dpr) {
  const X = (mm) => (mm - view.left) * scale, Y = (mm) => (mm - view.top) * scale;
  const stroke = (colour, mm) => {
    ctx.strokeStyle = colour;
    ctx.lineWidth = Math.min(Math.max(mm * scale, 1.1 * dpr), 2 * dpr); // enlarged, a line shows more, not thicker
    ctx.stroke();
  };
  const fontPx = Math.min(Math.max(TEXT_MM * scale, 10 * dpr), 15 * dpr);
  ctx.lineJoin = "round";
  ctx.textBaseline = "middle";
  return {
    view,
    fill(x, y, width, height, colour) {
      ctx.fillStyle = colour;
      ctx.fillRect(X(x), Y(y), width * scale, height * scale);
    },
    grid(step, geo, colour) {
      if (step * scale < 2.5 * dpr) return; // finer than the eye
      const thick = Math.max(1, Math.round(dpr * Math.min(1, scale / dpr / 8)));
      const right = Math.min(geo.width, view.right), bottom = Math.min(geo.height, view.bottom);
      ctx.fillStyle = colour;
      for (let x = Math.max(0, Math.ceil(view.left / step) * step); x <= right; x += step)
        ctx.fillRect(Math.round(X(x)), Y(Math.max(0, view.top)), thick, (bottom - Math.max(0, view.top)) * scale);
      for (let y = Math.max(0, Math.ceil(view.top / step) * step); y <= bottom; y += step)
        ctx.fillRect(X(Math.max(0, view.left)), Math.round(Y(y)), (right - Math.max(0, view.left)) * scale, thick);
    },
    line(points, colour, dashed) {
      ctx.beginPath();
      for (const [x, y] of points) ctx.lineTo(X(x), Y(y));
      if (dashed) ctx.setLineDash([scale, scale]);
      stroke(colour, TRACE_MM);
      ctx.setLineDash([]);
    },
    trace(samples, { first, last, x0, dx, y0, dy }, colour) {
      first = Math.max(first, Math.floor((view.left - x0) / dx) - 1);
      last = Math.min(last, Math.ceil((view.right - x0) / dx) + 1);
      const x = X(x0), y = Y(y0), kx = dx * scale, ky = dy * scale;
      const step = Math.floor(0.75 / kx); // samples that fall on one pixel: their extremes are all there is to see
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
      stroke(colour, TRACE_MM);
    },
    text(x, y, words, colour, { bold = false, end = false } = {}) {
      if (!words) return 0;
      ctx.font = `${bold ? "bold " : ""}${fontPx}px Arial, Helvetica, sans-serif`;
      ctx.textAlign = end ? "right" : "left";
      ctx.strokeStyle = "rgba(255,253,252,0.8)";
      ctx.lineWidth = 4 * dpr;
      ctx.strokeText(words, X(x), Y(y));
      ctx.fillStyle = colour;
      ctx.fillText(words, X(x), Y(y));
      return ctx.measureText(words).width / scale;
    },
  };
}
