// Which of several waveforms in one file is the ECG: one rule for aECG and MUSE; a Sierra file has one.

import { leadName } from "./channels.js";
import { note, warning } from "./phrase.js";
import { LEADS, tables } from "./tables.js";

// The waveforms to read as one ECG, by their indices, and notes on the others.
// waveforms: each { names, rate, samples, start } of channels that were sampled together.
//
// The most leads, then the longest, then the first. Waveforms that start together, of equal rate and length and with
// different leads, are parts of one.
export function chooseWaveforms(waveforms) {
  const all = waveforms.slice(0, tables.max_waveforms)
    .map((waveform) => ({ ...waveform, leads: new Set(waveform.names.map(leadName).filter(Boolean)) }));
  const leadsIn = (indices) => new Set(indices.flatMap((index) => [...all[index].leads]));
  const joined = all.map((one, first) => {
    const group = [first];
    all.forEach((other, index) => {
      const alike = other.rate === one.rate && other.samples === one.samples && other.start === one.start;
      const own = leadsIn(group);
      const differs = [...other.leads].every((lead) => !own.has(lead));
      if (index !== first && alike && one.leads.size && other.leads.size && differs) group.push(index);
    });
    return group.sort((a, b) => a - b);
  });
  const rank = (group) => [leadsIn(group).size, all[group[0]].samples / (all[group[0]].rate || 1)];
  const beats = ([leads, length], [otherLeads, otherLength]) =>
    leads > otherLeads || (leads === otherLeads && length > otherLength);
  const best = joined.reduce((chosen, group) => (beats(rank(group), rank(chosen)) ? group : chosen));
  const others = all.flatMap((waveform, index) => (!best.includes(index) && waveform.leads.size ? [index] : []));
  if (!others.length) return [best, []];
  const n = all.length;
  const lost = LEADS.filter((lead) => leadsIn(others).has(lead) && !leadsIn(best).has(lead));
  if (lost.length) return [best, [warning("one-waveform-lost", { n, leads: lost.join(", ") })]];
  const equal = others.some((index) => !beats(rank(best), rank([index])) && !beats(rank([index]), rank(best)));
  return [best, [equal ? warning("first-waveform", { n }) : note("one-waveform", { n })]];
}
