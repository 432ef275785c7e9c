// What the reader sees, how it is kept in the address after #, and how a step is taken back.

import { LEADS } from "./readers/tables.js";

export { LEADS };
export const LIMB = LEADS.slice(0, 6), CHEST = LEADS.slice(6);
const UNDO_STEPS = 100, BITS = ".";

/** The state at the beginning; patches: how many each lead has. */
export const beginning = (patches, ecg) => ({
  ecg,
  other: null, // a second ECG to compare with
  lead: "V3", // whose piece is hidden in the second step
  gap: rangesToRow([[0.4 * patches, 0.6 * patches]], patches),
  mask: maskOf(patches, ["V2"]),
  code: null, // the one furthest above its prevalence
  off: [], // leads that were clicked away
  from: "V1", // whose attention is shown
});

/** A mask of complete leads. */
export function maskOf(patches, leads) {
  const mask = new Uint8Array(LEADS.length * patches);
  for (const lead of leads) mask.fill(1, LEADS.indexOf(lead) * patches, (LEADS.indexOf(lead) + 1) * patches);
  return mask;
}

/** A mask whose leads have `to` patches from one whose leads have `from`: cut, or shown beyond. */
export function fitted(mask, from, to) {
  if (from === to) return mask;
  const rows = mask.length / from, made = new Uint8Array(rows * to);
  for (let row = 0; row < rows; row++) made.set(mask.subarray(row * from, row * from + Math.min(from, to)), row * to);
  return made;
}

/** The runs of masked patches of a row as [first, end], the end excluded. */
export function rowToRanges(row) {
  const ranges = [];
  row.forEach((masked, patch) => {
    if (!masked) return;
    if (ranges.length && ranges.at(-1)[1] === patch) ranges.at(-1)[1]++;
    else ranges.push([patch, patch + 1]);
  });
  return ranges;
}

function rangesToRow(ranges, patches) {
  const row = new Uint8Array(patches);
  for (const [first, end] of ranges) row.fill(1, Math.round(first), Math.round(end));
  return row;
}

/** The masked ranges of each lead that has any. */
export function maskToRanges(mask, patches) {
  const rows = LEADS.map((lead, index) => [lead, rowToRanges(mask.subarray(index * patches, (index + 1) * patches))]);
  return rows.filter(([, ranges]) => ranges.length);
}

/** A mask as a word: ranges as V1.0-40, or all bits where that is shorter. */
export function maskToWord(mask, patches) {
  const ranges = maskToRanges(mask, patches)
    .map(([lead, ofLead]) => `${lead}${ofLead.map(([first, end]) => `.${first}-${end}`).join("")}`).join(",");
  const bytes = new Uint8Array(Math.ceil(mask.length / 8));
  mask.forEach((masked, bit) => (bytes[bit >> 3] |= masked << (bit & 7)));
  const bits = BITS + btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return ranges.length <= bits.length ? ranges : bits;
}

/** The mask of a word; null for a word that is none. */
export function wordToMask(word, patches) {
  const mask = new Uint8Array(LEADS.length * patches);
  if (word.startsWith(BITS)) {
    if (!/^[\w-]*$/.test(word.slice(1))) return null;
    const letters = atob(word.slice(1).replaceAll("-", "+").replaceAll("_", "/"));
    if (letters.length !== Math.ceil(mask.length / 8)) return null;
    return mask.map((_, bit) => (letters.charCodeAt(bit >> 3) >> (bit & 7)) & 1);
  }
  for (const part of word.split(",").filter(Boolean)) {
    const [lead, ...ranges] = part.split("."), index = LEADS.indexOf(lead);
    const ends = ranges.map((range) => /^(\d+)-(\d+)$/.exec(range)?.slice(1).map(Number));
    const right = ends.every((pair) => pair && pair[0] < pair[1] && pair[1] <= patches);
    if (index < 0 || !right) return null;
    for (const [first, end] of ends) mask.fill(1, index * patches + first, index * patches + end);
  }
  return mask;
}

/** The state as the address has it after #. */
export function toAddress(state, patches, language) {
  const gap = new Uint8Array(LEADS.length * patches);
  gap.set(state.gap, LEADS.indexOf(state.lead) * patches);
  const parts = {
    ecg: state.ecg, with: state.other, gap: maskToWord(gap, patches) || state.lead, mask: maskToWord(state.mask, patches),
    code: state.code, off: state.off.join(","), from: state.from, lang: language,
  };
  return Object.entries(parts).filter(([, value]) => value)
    .map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%2C", ",").replaceAll("%20", "+")}`).join("&");
}

/** What an address says of the state; what it says wrongly is left as it was. known: names of ECGs, codes, languages. */
export function fromAddress(text, patches, known) {
  const said = new URLSearchParams(text.replace(/^#/, "")), state = {};
  const take = (name, key, fits) => said.has(name) && fits(said.get(name)) && (state[key] = said.get(name));
  take("ecg", "ecg", (name) => known.ecgs.includes(name));
  take("with", "other", (name) => known.ecgs.includes(name));
  take("code", "code", (code) => known.codes.includes(code));
  take("from", "from", (lead) => LEADS.includes(lead));
  take("lang", "language", (language) => known.languages.includes(language));
  const mask = said.has("mask") && wordToMask(said.get("mask"), patches);
  if (mask) state.mask = mask;
  const gap = said.has("gap") && wordToMask(said.get("gap"), patches), lead = gap && said.get("gap").split(".")[0];
  if (gap && LEADS.includes(lead)) {
    const index = LEADS.indexOf(lead);
    Object.assign(state, { lead, gap: gap.slice(index * patches, (index + 1) * patches) });
  }
  if (said.has("off")) state.off = LEADS.filter((one) => said.get("off").split(",").includes(one));
  if (state.off?.length === LEADS.length) state.off = [];
  return state;
}

/** The state with those who hear of its changes, and with undo. */
export class Store {
  constructor(state) {
    this.state = state;
    this.before = [];
    this.heard = new Set();
  }

  /** Change some values; `step`: one that can be taken back. */
  set(changes, step = true) {
    const before = Object.fromEntries(Object.keys(changes).map((name) => [name, this.state[name]]));
    if (step) this.before = [...this.before, before].slice(-UNDO_STEPS);
    Object.assign(this.state, changes);
    this.tell(Object.keys(changes));
  }

  undo() {
    const before = this.before.pop();
    if (!before) return false;
    Object.assign(this.state, before);
    this.tell(Object.keys(before));
    return true;
  }

  tell(names) {
    for (const deed of [...this.heard]) deed(names);
  }

  /** Hear of changes of these values. */
  on(names, deed) {
    this.heard.add((changed) => changed.some((name) => names.includes(name)) && deed());
  }
}
