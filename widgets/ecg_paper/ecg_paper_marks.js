// What was measured and what a reader wrote: marks of the beats, the median beat, and labels on the paper.

/** Beats and, where it is the median beat or a rhythm strip, the beginnings and ends of its waves. */
function paintMarks(pen, { geo, sheet, startS, measured, colors }, strip, xOf, y) {
  const from = startS + strip.from_s, to = startS + strip.to_s, top = y - geo.pitch / 2 + 1;
  const isLast = strip.row === sheet.rows - 1, waves = Object.values(measured.marks_s);
  measured.beats_s.forEach((beat, index) => {
    if (beat < from || beat > to) return;
    const usual = measured.prevailing[index], x = xOf(beat);
    if (measured.isMedian) {
      for (const mark of waves) {
        const at = xOf(beat + mark);
        if (mark !== 0) pen.line([[at, y - geo.pitch / 2], [at, y + geo.pitch / 2]], colors.mark, true);
      }
      return;
    }
    // A beat unlike the median beat has an open mark: a line below the tip instead of a point.
    pen.line([[x - 0.9, top], [x, top + 1.8], [x + 0.9, top], ...(usual ? [[x - 0.9, top]] : [])], colors.mark);
    if (!isLast || !usual) return;
    for (const mark of waves) {
      const at = xOf(beat + mark);
      if (beat + mark >= from && beat + mark <= to) pen.line([[at, y + 2], [at, y + 5]], colors.mark);
    }
  });
}

/** The median beat as a page of its own: every lead with the beginnings and ends that hold for all of them. */
function medianState(state, sent) {
  const { measured } = state, ecg = decoded(sent.median);
  const geo = geometry(sent.median_page, 50, state.geo.gain);
  return {
    ...state, ecg: { ...ecg, levels: sent.median_levels, flags: {} }, sheet: sent.median_page, geo, startS: 0, title: state.word("Median beat"),
    overlay: null, mask: null, terms: null, calipers: null, annotations: [],
    measured: { ...measured, isMedian: true, beats_s: [sent.before_s], prevailing: [true], written: [] },
  };
}

/** Paint the median beat as wide as there is room. */
function paintMedian(canvas, state) {
  const { geo } = state, dpr = window.devicePixelRatio, scale = Math.min(4, canvas.parentElement.clientWidth / geo.width);
  canvas.style.width = `${geo.width * scale}px`;
  canvas.style.height = `${geo.height * scale}px`;
  Object.assign(canvas, { width: Math.round(geo.width * scale * dpr), height: Math.round(geo.height * scale * dpr) });
  const view = { left: 0, top: 0, right: geo.width, bottom: geo.height };
  paint(canvasPen(canvas.getContext("2d", { alpha: false }), view, scale * dpr, dpr), state);
}

/** Whether a strip shows where a label was put. */
const noteFits = (strip, startS, { lead, time_s: time }) =>
  strip.recorded && strip.lead === lead && time >= startS + strip.from_s - 1e-6 && time <= startS + strip.to_s + 1e-6;

/** A label: a line at its time and its words next to it, or before it at the right edge. */
function paintNote(pen, { geo, colors }, strip, xOf, y, { time_s: time, text }) {
  const x = xOf(time), foot = y + 0.3 * geo.pitch, atEnd = x > geo.width - 40;
  pen.line([[x, y - 0.25 * geo.pitch], [x, foot]], colors.label);
  pen.text(x + (atEnd ? -1 : 1), foot, text, colors.label, { end: atEnd });
}

/** The label at most 3 mm from a place on the page, or undefined. */
function noteNear(state, x, y) {
  for (const { strip, y: row, xOf } of inSight(state, { left: -1e9, right: 1e9, top: -1e9, bottom: 1e9 }))
    for (const note of state.annotations)
      if (noteFits(strip, state.startS, note) && Math.abs(xOf(note.time_s) - x) < 3 && Math.abs(row - y) < state.geo.pitch / 2)
        return note;
  return undefined;
}
