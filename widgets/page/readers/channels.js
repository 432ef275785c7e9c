// What the channels of a file mean: lead names, units, sampling rates, and the leads that a device computes itself.

import { float, narrow } from "./numbers.js";
import { ReadError, digits, note, warning } from "./phrase.js";
import { LEADS, fullMatch, tables } from "./tables.js";

const LONGEST_NAME = 200;

// The lead that a name means, or null if it is none of the twelve.
export function leadName(text) {
  if (text.length > LONGEST_NAME) return null;
  const match = fullMatch("lead_name", text.trim().toLowerCase());
  if (!match) return null;
  const { limb, augmented, chest } = match.groups;
  return limb ? limb.toUpperCase() : augmented ? `aV${augmented.toUpperCase()}` : `V${chest}`;
}

// The lead of each channel. C1 to C6 are V1 to V6 only with all six, limb leads, and no Cz of an EEG.
function leadsOf(names) {
  const leads = names.map(leadName);
  const isC = names.map((name, i) => leads[i] !== null && /c[ _]?[1-6]/i.test(name));
  const chest = new Set(leads.filter((_, i) => isC[i]));
  const isECG = chest.size === 6 && tables.limb_leads.some((lead) => leads.includes(lead));
  const keeps = isECG && !names.some((name) => name.toLowerCase().includes("cz"));
  return keeps ? leads : leads.map((lead, i) => (isC[i] ? null : lead));
}

// The channel of each of the twelve leads among these names, as a Map, and notes on the others.
// given: the name of each channel by the reader of the page, for names that are none of the twelve leads.
export function matchLeads(names, given) {
  let leads = leadsOf(names);
  if (given) {
    if (given.length !== names.length) {
      throw new ReadError("leads-count", { n: names.length, given: given.length }, "leads");
    }
    const named = given.map(leadName);
    leads.forEach((lead, i) => {
      if (lead !== null && lead !== named[i]) throw new ReadError("leads-contradict", { lead }, "leads");
    });
    [names, leads] = [given, named];
  }
  const channelOf = new Map();
  leads.forEach((lead, i) => {
    if (channelOf.has(lead)) throw new ReadError("lead-twice", { lead });
    if (lead !== null) channelOf.set(lead, i);
  });
  if (!channelOf.size) throw new ReadError("unknown-leads", { n: names.length, leads: LEADS.join(", ") }, "leads");
  const notes = leads.flatMap((lead, i) =>
    lead && names[i].toLowerCase().includes("ml") ? [note("torso", { lead })] : []);
  const others = names.filter((_, i) => leads[i] === null);
  const complete = Boolean(given) || channelOf.size === LEADS.length;
  const suspicious = complete ? [] : others.filter((name) => fullMatch("like_a_lead", name.trim().slice(0, 50)));
  if (suspicious.length) notes.push(warning("like-leads", { n: suspicious.length }));
  const harmless = others.length - suspicious.length;
  if (harmless) notes.push(note("dropped-channels", { n: harmless }));
  return [channelOf, notes];
}

// The factor from the unit of this lead to millivolts, by the file (null if it does not say) or by the reader.
export function mvPerUnit(inFile, given, lead) {
  const factors = [inFile, given].filter((unit) => unit !== null && unit !== undefined).map((unit) => {
    const plain = unit.trim().replaceAll("µ", "u").replaceAll("μ", "u"); // the micro sign and the Greek letter
    if (!Object.hasOwn(tables.mv_per_unit, plain)) throw new ReadError("not-a-voltage", { lead });
    return tables.mv_per_unit[plain];
  });
  if (!factors.length) throw new ReadError("no-unit", { lead }, "unit");
  if (factors[0] !== factors.at(-1)) throw new ReadError("unit-contradicts", { lead }, "unit");
  return factors[0];
}

export function unitNotes(factors) {
  const units = ["V", "nV", "uV"].filter((unit) => factors.includes(tables.mv_per_unit[unit]));
  return units.length ? [note("converted", { units: units.join(", ") })] : [];
}

// The sampling rate, from the file or the reader of the page.
export function agreedRate(inFile, given, tolerance = 1e-6) {
  if (given === null) {
    if (inFile === null) throw new ReadError("no-rate", {}, "rate");
    return inFile;
  }
  if (inFile === null) return given;
  if (!(Math.abs(inFile - given) <= tolerance * given)) {
    throw new ReadError("rate-contradicts", { file: digits(inFile), given: digits(given) }, "rate");
  }
  return given;
}

// Twelve leads from the eight that a 12-lead device stores, and a note; any other set of leads stays as it is.
export function completeLimbLeads(signals) {
  const eight = ["I", "II", ...tables.chest_leads];
  if (signals.size !== 8 || !eight.every((lead) => signals.has(lead))) return [signals, []];
  const [I, II] = [signals.get("I"), signals.get("II")];
  const all = new Map();
  for (const lead of LEADS) {
    const sums = tables.from_I_and_II[lead];
    all.set(lead, sums ? Float32Array.from(I, (value, t) => sums[0] * value + sums[1] * II[t]) : signals.get(lead));
  }
  return [all, [note("computed-limb-leads")]];
}

// Without a calibration pulse at the end, and a note: as III = II - I, leads that are equal and not 0 are not an ECG.
function withoutCalibration(signals, rate) {
  const complete = tables.limb_leads.every((lead) => signals.has(lead))
    || ["I", "II", ...tables.chest_leads].every((lead) => signals.has(lead));
  const [first, ...others] = signals.values();
  if (!complete || others.some((other) => other.length !== first.length)) return [signals, []];
  let end = first.length;
  while (end > 0 && others.every((other) => other[end - 1] === first[end - 1])) end--;
  const n = first.length - end;
  if (n < tables.min_pulse_s * rate || !first.subarray(end).some((value) => value !== 0)) return [signals, []];
  const cut = new Map([...signals].map(([lead, signal]) => [lead, signal.subarray(0, end)]));
  return [cut, [note("calibration", { seconds: digits(n / rate, 3) })]];
}

// What a reader returns: { signals: Map of lead to Float32Array in mV, rate in Hz, notes }, lead by lead.
// readLead: gives, for a channel and the lead that it is, the values in mV and the factor from the file's unit to mV.
export function readLeads(channelOf, rate, notes, readLead) {
  let signals = new Map();
  const factors = [];
  let calibration, computed;
  for (const [lead, channel] of channelOf) {
    const [values, factor] = readLead(channel, lead);
    signals.set(lead, Float32Array.from(values, narrow));
    factors.push(factor);
  }
  [signals, calibration] = withoutCalibration(signals, rate);
  [signals, computed] = completeLimbLeads(signals);
  return { signals, rate, notes: [...notes, ...unitNotes(factors), ...calibration, ...computed] };
}

// What the reader of the page says of a file that does not say it: { rate, unit, leads }, each may be absent.
export function checkedTold(told = {}) {
  const rate = told.rate === undefined || told.rate === null || told.rate === "" ? null : float(told.rate);
  return { rate, unit: told.unit || null, leads: told.leads?.length ? told.leads.map(String) : null };
}
