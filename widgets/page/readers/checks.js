// Which leads can be used, and whether what was read can be an ECG.

import { extremes } from "./numbers.js";
import { ReadError, digits, warning } from "./phrase.js";
import { tables } from "./tables.js";

// The values of a lead, NaN where a -32768 stands for a missing one: it is the lowest, and no other is near it.
export function withoutMarks(values) {
  const [low] = extremes(values);
  if (!tables.missing_marks.some((mark) => Math.abs(low - mark) <= -1e-6 * mark)) return values;
  const [next, high] = extremes(Array.from(values).filter((value) => value > low));
  if (next === Infinity || next - low <= (high - next) / 2) return values;
  return values.map((value) => (value === low ? NaN : value));
}

// The leads that can be used, gaps filled, and a warning for every lead that was left out or filled.
export function usableLeads(signals) {
  const usable = new Map();
  const notes = [];
  for (const [lead, stored] of signals) {
    const signal = withoutMarks(stored);
    const valid = signal.reduce((n, value) => n + Number.isFinite(value), 0);
    const missing = signal.length ? 1 - valid / signal.length : 1;
    const finite = missing ? signal.filter(Number.isFinite) : signal;
    const [low, high] = finite.length ? extremes(finite) : [0, 0];
    if (Math.max(-low, high) > tables.max_mv) {
      throw new ReadError("impossible", { lead, mv: digits(Math.max(-low, high), 3) });
    }
    const percent = digits(100 * missing, 3);
    if (missing > tables.max_missing) notes.push(warning("left-out-missing", { lead, percent }));
    else if (low === high) notes.push(warning("left-out-flat", { lead }));
    else {
      if (missing) notes.push(warning("gaps", { lead, percent }));
      usable.set(lead, missing ? interpolated(signal) : signal);
    }
  }
  if (!usable.size) throw new ReadError("no-usable-lead");
  return [usable, [...notes, ...implausible(usable)]];
}

// The signal with its gaps filled linearly; at its ends, with the nearest sample.
function interpolated(signal) {
  const filled = signal.slice();
  let before = -1;
  for (let t = 0; t <= signal.length; t++) {
    if (t < signal.length && !Number.isFinite(signal[t])) continue;
    for (let gap = before + 1; gap < t; gap++) {
      const [left, right] = [signal[before], signal[t]];
      if (before < 0 || t === signal.length) filled[gap] = before < 0 ? right : left;
      else filled[gap] = left + ((right - left) * (gap - before)) / (t - before);
    }
    before = t;
  }
  return filled;
}

// What is to be warned of in the leads of an ECG, in mV and without gaps.
export function implausible(signals) {
  const span = (signal) => {
    const [low, high] = extremes(signal);
    return high - low;
  };
  const spans = new Map([...signals].map(([lead, signal]) => [lead, span(signal)]));
  const largest = Math.max(...spans.values());
  const high = [...spans.keys()].filter((lead) => spans.get(lead) > tables.max_span_mv);
  const notes = [];
  if (high.length) notes.push(warning("too-large", { leads: high.join(", "), mv: digits(largest, 3) }));
  else if (largest < tables.min_span_mv) notes.push(warning("too-small", { mv: digits(largest, 2) }));
  const error = einthovenError(signals, span);
  if (error !== null) notes.push(warning("einthoven", { mv: digits(error, 2) }));
  return notes;
}

// By how many mV the limb leads contradict Einthoven's and Goldberger's relations; null if they do not.
function einthovenError(signals, span) {
  const compared = Object.keys(tables.from_I_and_II).filter((lead) => signals.has(lead));
  const [I, II] = [signals.get("I"), signals.get("II")];
  if (!compared.length || !I || !II) return null;
  const step = Math.max(1, Math.floor(I.length / 200)); // some hundred time steps are enough
  const some = (signal) => signal.filter((_, t) => t % step === 0);
  const errors = some(I).map((_, k) => Math.max(...compared.map((lead) => {
    const [ofI, ofII] = tables.from_I_and_II[lead];
    return Math.abs(signals.get(lead)[k * step] - ofI * I[k * step] - ofII * II[k * step]);
  })));
  const limit = Math.max(tables.einthoven_mv, tables.einthoven_span * Math.max(span(some(I)), span(some(II))));
  const wrong = errors.filter((error) => error > limit).length / errors.length;
  return wrong > tables.einthoven_time ? extremes(errors)[1] : null;
}
