// Lead terms on the paper: a tint behind each lead, a number and a signed bar next to its name, and words above.
// Words, limits and colors come from terms.py, next to this file.

/** The terms that Python sent, with the chosen code (the first if there is no such code) and what is tinted. */
function chosenTerms(sent, code, overTime) {
  if (!sent) return null;
  const index = Math.max(0, sent.codes.findIndex((one) => one.code === code));
  return { ...sent, index, shown: sent.codes[index], overTime: Boolean(overTime && sent.data) };
}

/** Color and opacity of a term. */
const tintOf = (terms, term) =>
  [term > 0 ? terms.for : terms.against, terms.tint * Math.min(1, Math.abs(term) / terms.limit)];

/** What is tinted of a lead between two times: [start, end, term]. */
function tintedStretches(terms, lead, from, to) {
  const own = terms.shown.leads[lead], { patches, patch_s: patchS } = terms;
  if (!own) return [];
  const first = terms.overTime && 4 * patches * (terms.index * terms.leads.length + terms.leads.indexOf(lead));
  const stretches = !terms.overTime ? [[from, to, own.term]] : Array.from({ length: patches }, (_, patch) =>
    [patch * patchS, (patch + 1) * patchS, patches * terms.data.getFloat32(first + 4 * patch, true)]);
  const end = Math.min(to, terms.duration_s);
  return stretches.map(([a, b, term]) => [Math.max(a, from), Math.min(b, end), term]).filter(([a, b]) => a < b);
}

/** Tint the field of a strip. */
function paintTints(pen, { geo, terms, startS }, { strip, y, xOf }) {
  const from = startS + strip.from_s, to = startS + strip.to_s;
  for (const [a, b, term] of tintedStretches(terms, strip.lead, from, to))
    pen.fill(xOf(a), y - geo.pitch / 2, xOf(b) - xOf(a), geo.pitch, ...tintOf(terms, term));
}

/** A bar that begins in its middle: to the right for the code, to the left against it. Returns where it ends. */
function paintBar(pen, { terms, colors }, x, y, { term, lost }) {
  const reach = (value) => terms.bar_mm * Math.max(-1, Math.min(1, value / terms.limit));
  const zero = x + terms.bar_mm, up = terms.bar_height_mm / 2;
  pen.line([[x, y], [x + 2 * terms.bar_mm, y]], colors.faint);
  pen.fill(Math.min(zero, zero + reach(term)), y - up, Math.abs(reach(term)), 2 * up, tintOf(terms, term)[0]);
  pen.line([[zero, y - up - 0.4], [zero, y + up + 0.4]], colors.faint);
  if (lost !== null) pen.fill(zero + reach(lost) - 0.3, y - up - 0.4, 0.6, 2 * up + 0.8, colors.ink);
  return x + 2 * terms.bar_mm + 1.5;
}

/** The number and the bar of a lead, behind its name. Returns where they end. */
function paintTerm(pen, state, lead, x, y) {
  const { terms, colors, word } = state, own = terms.shown.leads[lead];
  if (!own) return x + 1 + pen.text(x, y, word("no term"), colors.faint);
  const label = own.label + (terms.overTime ? own.of_no_patch : "");
  return paintBar(pen, state, x + 1.5 + pen.text(x, y, label, colors.ink), y, own);
}

/** Above the ECG: the code, what its prediction rests on, and what tint, bar and number mean. */
function paintTermsHead(pen, state) {
  const { geo, terms, title, colors, word } = state, { shown, limit } = terms, top = title ? 8.5 : 5;
  const fit = geo.width - 2 * EDGE_MM, y = top + 11, steps = 40;
  pen.text(EDGE_MM, top, shown.heading, colors.ink, { bold: true, large: true, fit });
  pen.text(EDGE_MM, top + 5.5, shown.sentence, colors.ink, { large: true, fit });
  let x = EDGE_MM + 1.5 + pen.text(EDGE_MM, y, `${word("against")} −${limit}`, colors.ink);
  for (let step = 0; step < steps; step++)
    pen.fill(x + step, y - 1.6, 1, 3.2, ...tintOf(terms, limit * ((2 * step + 1) / steps - 1)));
  pen.line([[x + steps / 2, y - 2], [x + steps / 2, y + 2]], colors.faint);
  x += steps + 1.5;
  x += 8 + pen.text(x, y, `+${limit} ${word("for")}`, colors.ink);
  pen.text(x, y, shown.limb_label, colors.ink);
  pen.text(EDGE_MM, top + 15, terms.explained[Number(terms.overTime)], colors.faint, { fit });
}
