// What Python does between `lt.read_ecg` and a model: the part that is read, resampling, patches, absent leads.

import { round } from "./readers/numbers.js";
import { ReadError, digits, note, phrase } from "./readers/phrase.js";
import { LEADS } from "./readers/tables.js";

const OF_THE_MODEL = { rate_hz: 100, patch_samples: 25, n_patches: 40 };

// recording: { kind, signals: Map of lead to Float32Array in mV, rate in Hz, notes }.
// about: the sizes of the model; start: the second at which the part that is read begins.
//
// The result has only complete patches: a shorter ECG has fewer, as in Python.
export function prepare(recording, about = OF_THE_MODEL, start = 0) {
  const { rate_hz: rate, patch_samples: patch, n_patches: mostPatches } = about;
  const [{ length }] = recording.signals.values();
  const seconds = length / recording.rate;
  const first = round(start * recording.rate);
  const n = Math.min(round(((mostPatches * patch) / rate) * recording.rate), length - first);
  if (!(first >= 0 && n > 0)) throw new ReadError("start", { seconds: digits(seconds) }, "start");
  const resampledLeads = new Map([...recording.signals].map(([lead, signal]) =>
    [lead, resampled(signal.subarray(first, first + n), recording.rate, rate)]));
  const [{ length: nResampled }] = resampledLeads.values();
  const patches = Math.min(Math.floor(nResampled / patch), mostPatches);
  if (patches < 2) {
    const least = digits((2 * patch) / rate);
    throw new ReadError("too-short", { seconds: digits(n / recording.rate), least }, first ? "start" : null);
  }
  const nSamples = patches * patch;
  const signal = new Float32Array(LEADS.length * nSamples);
  const valid = new Uint8Array(LEADS.length);
  LEADS.forEach((lead, row) => {
    if (!resampledLeads.has(lead)) return;
    valid[row] = 1;
    signal.set(resampledLeads.get(lead).subarray(0, nSamples), row * nSamples);
  });
  const notes = [...recording.notes];
  const at = (sample) => digits(sample / recording.rate);
  if (n < length) notes.push(note("part", { from: at(first), to: at(first + n) }));
  const leads = LEADS.filter((_, row) => valid[row]);
  const absent = LEADS.filter((lead) => !leads.includes(lead));
  if (absent.length) notes.push(note("absent", { leads: absent.join(", ") }));
  const facts = { kind: recording.kind, n: leads.length, rate: digits(recording.rate), seconds: digits(seconds, 3) };
  return {
    name: "own",
    title: phrase("title", facts),
    leads,
    signal,
    valid,
    n_samples: nSamples,
    rate_hz: rate,
    seconds,
    start_s: first / recording.rate,
    duration_s: n / recording.rate,
    notes: notes.filter((one) => !one.warns).map((one) => one.text),
    warnings: notes.filter((one) => one.warns).map((one) => one.text),
  };
}

// The same lead with more or fewer samples per second: the polyphase low-pass filter of `lamae_toolkit.ecg.preprocess`
// (scipy's resample_poly). The ends are padded by point reflection.
export function resampled(signal, fromHz, toHz) {
  const [up, down] = ratioOf(toHz / fromHz);
  if (up === down) return signal;
  const n = Math.max(1, round((signal.length * up) / down));
  const taps = lowPass(Math.max(up, down), up);
  const half = (taps.length - 1) / 2;
  // The offset bypasses the filter, whose gain differs by 0.05 % from one new sample to the next.
  const offset = up === 1 ? 0 : signal.reduce((sum, value) => sum + value, 0) / signal.length;
  const at = reflecting(signal);
  return Float32Array.from({ length: n }, (_, k) => {
    // y_k = sum over j of h(k down - j up + half) x_j
    let sum = 0;
    const last = Math.floor((k * down + half) / up);
    for (let j = Math.ceil((k * down - half) / up); j <= last; j++) {
      sum += taps[k * down - j * up + half] * (at(j) - offset);
    }
    return sum + offset;
  });
}

// The sample at any time step, beyond the ends by point reflection about the first and last sample.
function reflecting(signal) {
  const last = signal.length - 1;
  return function at(j) {
    if (j >= 0 && j <= last) return signal[j];
    if (last === 0) return signal[0];
    return j < 0 ? 2 * signal[0] - at(-j) : 2 * signal[last] - at(2 * last - j);
  };
}

const filters = new Map();

// A windowed sinc that passes the frequencies below half of the slower rate (Kaiser window, beta 5).
function lowPass(slower, gain) {
  const key = `${slower} ${gain}`;
  if (!filters.has(key)) {
    const half = 10 * slower;
    const taps = Float64Array.from({ length: 2 * half + 1 }, (_, i) => {
      const x = (i - half) / slower;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      return sinc * bessel(5 * Math.sqrt(1 - ((i - half) / half) ** 2));
    });
    const sum = taps.reduce((total, tap) => total + tap, 0);
    filters.set(key, taps.map((tap) => (tap / sum) * gain));
  }
  return filters.get(key);
}

// The modified Bessel function of order 0, by its power series.
function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-17 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

// The fraction closest to a ratio with a denominator of at most 1000, as Python's Fraction.limit_denominator.
export function ratioOf(ratio, most = 1000n) {
  let [n, d] = exact(ratio);
  const [numerator, denominator] = [n, d];
  let [p0, q0, p1, q1] = [0n, 1n, 1n, 0n];
  const common = gcd(n, d);
  if (d / common <= most) return [Number(n / common), Number(d / common)];
  for (;;) {
    const a = n / d;
    const q2 = q0 + a * q1;
    if (q2 > most) break;
    [p0, q0, p1, q1] = [p1, q1, p0 + a * p1, q2];
    [n, d] = [d, n - a * d];
  }
  const k = (most - q0) / q1;
  const [pa, qa] = [p0 + k * p1, q0 + k * q1];
  const abs = (value) => (value < 0n ? -value : value);
  // |p1/q1 - ratio| <= |pa/qa - ratio|
  const near = abs(p1 * denominator - numerator * q1) * qa <= abs(pa * denominator - numerator * qa) * q1;
  return near ? [Number(p1), Number(q1)] : [Number(pa), Number(qa)];
}

// A number in (0, 2^60) as the fraction that it exactly is.
function exact(value) {
  let power = 0;
  while (!Number.isInteger(value)) {
    value *= 2;
    power++;
  }
  return [BigInt(value), 2n ** BigInt(power)];
}

function gcd(a, b) {
  while (b) [a, b] = [b, a % b];
  return a;
}
