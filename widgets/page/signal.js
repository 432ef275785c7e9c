// Numbers of an ECG: quantiles as NumPy has them, errors in mV, beats.

import { LEADS } from "./state.js";

/** The samples of a lead. */
export const leadOf = (ecg, lead) => samplesOf(ecg, ecg.signal, lead);
export const samplesOf = (ecg, signal, lead) =>
  signal.subarray(LEADS.indexOf(lead) * ecg.n_samples, (LEADS.indexOf(lead) + 1) * ecg.n_samples);

/** A quantile between 0 and 1, with numbers between neighbors as in NumPy. */
export function quantile(sorted, share) {
  const at = share * (sorted.length - 1), low = Math.floor(at), high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

export const sortedOf = (samples) => Float64Array.from(samples).sort();

/** The voltages of these leads in steps of a 32767th of the largest, as the widgets take them. */
export function inTwoBytes(parts) {
  let largest = 1e-6;
  for (const part of parts) for (const value of part) largest = Math.max(largest, Math.abs(value));
  const scale = largest / 32767, length = parts.reduce((sum, part) => sum + part.length, 0);
  const steps = new Int16Array(length);
  let at = 0;
  for (const part of parts) for (const value of part) steps[at++] = Math.round(value / scale);
  return { data: new DataView(steps.buffer), scale_mv: scale };
}

/** The leads that an ECG has, in order. */
export const leadsOf = (ecg) => LEADS.filter((_, index) => ecg.valid[index]);

/**
 * How far a reconstruction is off where it is masked, in mV: the root of the mean square, of each lead (null where
 * nothing is masked) and of all.
 */
export function errorsMv(ecg, reconstructed, mask, patches) {
  const perPatch = ecg.n_samples / patches, sums = LEADS.map(() => [0, 0]);
  LEADS.forEach((lead, index) => {
    if (!ecg.valid[index]) return;
    for (let i = 0; i < ecg.n_samples; i++) {
      if (!mask[index * patches + Math.floor(i / perPatch)]) continue;
      const difference = reconstructed[index * ecg.n_samples + i] - ecg.signal[index * ecg.n_samples + i];
      sums[index][0] += difference * difference;
      sums[index][1]++;
    }
  });
  const root = ([sum, count]) => (count ? Math.sqrt(sum / count) : null);
  const all = sums.reduce(([a, b], [sum, count]) => [a + sum, b + count], [0, 0]);
  return { leads: sums.map(root), all: root(all) };
}

/** The times of the beats in samples: where all leads together change fastest. */
export function beats(ecg) {
  const change = new Float64Array(ecg.n_samples), half = Math.round(0.04 * ecg.rate_hz);
  for (const lead of leadsOf(ecg)) {
    const x = leadOf(ecg, lead), sorted = sortedOf(x);
    const size = quantile(sorted, 0.99) - quantile(sorted, 0.01) + 0.01;
    for (let i = 1; i < x.length; i++) change[i] += Math.abs(x[i] - x[i - 1]) / size;
  }
  const smooth = change.map((_, i) => change.slice(Math.max(0, i - half), i + half + 1).reduce((a, b) => a + b, 0));
  const limit = 0.4 * quantile(sortedOf(smooth), 0.98), apart = Math.round(0.25 * ecg.rate_hz), found = [];
  for (let i = 0; i < smooth.length; i++) {
    if (smooth[i] < limit) continue;
    const last = found.at(-1);
    if (last !== undefined && i - last < apart) { if (smooth[i] > smooth[last]) found[found.length - 1] = i; }
    else found.push(i);
  }
  return found;
}

/** The patches of the beat that is nearest to a patch, as [first, end]. */
export function beatWindow(ecg, patches, patch) {
  const perPatch = ecg.n_samples / patches, middle = (patch + 0.5) * perPatch, found = beats(ecg);
  const beat = found.reduce((best, one) => (Math.abs(one - middle) < Math.abs(best - middle) ? one : best), found[0] ?? middle);
  const first = Math.max(0, Math.floor((beat - 0.3 * ecg.rate_hz) / perPatch));
  return [first, Math.min(patches, Math.ceil((beat + 0.6 * ecg.rate_hz) / perPatch))];
}
