// Philips Sierra XML (PageWriter, TraceMaster): all leads in one Base64 text, compressed by Philips' method XLI.
//
// Each lead is a chunk of LZW codes of 10 bits, which give the high bytes and then the low bytes of second differences.

import { agreedRate, leadName, matchLeads, mvPerUnit, readLeads } from "./channels.js";
import { withoutMarks } from "./checks.js";
import { finiteNumber, round } from "./numbers.js";
import { ReadError } from "./phrase.js";
import { LEADS, tables } from "./tables.js";
import { bytesOfBase64, parseXML } from "./xml.js";

const named = (name) => `{http://www3.medical.philips.com}${name}`;
const [CODE_BITS, STOP_CODE] = tables.lzw;

export function readSierra(bytes, told) {
  const root = parseXML(bytes, "Sierra XML");
  const waveforms = [...root.every(named("parsedwaveforms"))];
  if (waveforms.length !== 1) throw new ReadError("sierra-waveforms", { n: waveforms.length });
  const [waveform] = waveforms;
  const [device] = root.every(named("signalcharacteristics"));
  const ofDevice = (element) => device?.textOf(null, named(element)) ?? null;
  // An attribute of the waveform or, in older files, an element of the complete acquisition.
  const setting = (attribute, element) => waveform.get(attribute) ?? ofDevice(element);

  const rateInFile = setting("samplespersecond", "samplingrate");
  const duration = finiteNumber(waveform.get("durationperchannel"), "durationperchannel") / 1000;
  const rate = agreedRate(rateInFile === null ? null : finiteNumber(rateInFile, "rate"), told.rate);
  const samples = round(duration * rate);
  let names = (waveform.get("leadlabels") ?? "").split(/\s+/).filter(Boolean);
  if (!names.length && tables.sierra_lead_sets.includes((ofDevice("leadset") ?? "").trim())) names = LEADS;
  names = names.slice(0, Math.trunc(finiteNumber(waveform.get("numberofleads") ?? names.length, "numberofleads")));
  if (!(samples > 0 && samples <= tables.sierra_max_samples)) throw new ReadError("sierra-samples", { n: samples });
  const isSigned = (setting("signalsigned", "signalsigned") ?? "").toLowerCase() === "true";
  if (setting("bitspersample", "bitspersample") !== "16" || !isSigned) throw new ReadError("sierra-bits");
  const [channelOf, notes] = matchLeads(names, told.leads);
  // In microvolts per count; signaloffset is the count of 0 mV.
  const inFile = setting("resolution", "resolution") || ofDevice("signalresolution");
  const resolution = finiteNumber(inFile, "resolution");
  const offset = finiteNumber(setting("signaloffset", "signaloffset") || 0, "signaloffset");
  if (resolution <= 0) throw new ReadError("sierra-resolution");
  const counts = countsOf(waveform, names.map((name) => leadName(name)), samples);
  return readLeads(channelOf, rate, notes, (channel, lead) => {
    const factor = mvPerUnit("uV", told.unit, lead);
    return [withoutMarks(counts[channel]).map((count) => (count - offset) * resolution * factor), factor];
  });
}

// The counts of each lead.
function countsOf(waveform, leads, samples) {
  const noCompression = (waveform.get("compressflag") ?? "").toLowerCase() === "false";
  const stated = waveform.get("compression") ?? waveform.get("compressmethod") ?? "Uncompressed";
  const method = noCompression ? "Uncompressed" : stated;
  const known = waveform.get("dataencoding") === "Base64" && ["XLI", "Uncompressed"].includes(method);
  if (!known) throw new ReadError("sierra-encoding");
  const content = bytesOfBase64(waveform.text, { where: "waveform" });
  const view = new DataView(content.buffer);
  if (method === "Uncompressed") {
    const needed = 2 * leads.length * samples;
    if (content.length !== needed) throw new ReadError("sierra-bytes", { bytes: content.length, needed });
    return leads.map((_, row) =>
      Float64Array.from({ length: samples }, (_, t) => view.getInt16(2 * (row * samples + t), true)));
  }
  const inOrder = tables.limb_leads.every((lead, row) => leads[row] === lead);
  if (!inOrder) throw new ReadError("sierra-order", { leads: tables.limb_leads.join(", ") });
  let at = 0;
  const counts = leads.map((lead, row) => { // there are 16 chunks, of which the last ones may be unused
    const size = at + 8 <= content.length ? view.getUint32(at, true) : 0;
    if (!(size > 0 && size <= content.length - at - 8)) throw new ReadError("sierra-cut", { channel: row + 1 });
    const unpacked = undoLZW(content.subarray(at + 8, at + 8 + size), 2 * samples);
    const signal = undoDifferences(unpacked, view.getInt16(at + 6, true));
    if (signal.length !== samples) {
      throw new ReadError("sierra-length", { channel: row + 1, n: signal.length, samples });
    }
    at += 8 + size;
    return signal;
  });
  // The other limb leads are stored as what is left after Einthoven's and Goldberger's relations.
  const [I, II, ...rest] = counts.slice(0, 6);
  // Half is rounded towards zero: only then do real files obey Goldberger to half a count.
  const half = (count) => Math.trunc(count / 2);
  counts[2] = I.map((_, t) => II[t] - I[t] - rest[0][t]);
  counts[3] = I.map((_, t) => -half(I[t] + II[t]) - rest[1][t]);
  counts[4] = I.map((_, t) => half(I[t] - counts[2][t]) - rest[2][t]);
  counts[5] = I.map((_, t) => half(II[t] + counts[2][t]) - rest[3][t]);
  return counts;
}

// LZW (Welch 1984) with codes of 10 bits, the highest bit first, and a table that stays when it is full.
function undoLZW(content, bytes) {
  const words = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const unpacked = new Uint8Array(bytes + 2);
  const limit = Math.floor(((bytes + 2) * CODE_BITS) / 8); // at worst, each byte takes a code
  const codes = Math.floor((Math.min(content.length, limit) * 8) / CODE_BITS);
  let length = 0;
  let before = null;
  for (let i = 0; i < codes && length <= bytes; i++) {
    const bit = i * CODE_BITS;
    const byte = bit >> 3;
    const three = (content[byte] << 16) | ((content[byte + 1] ?? 0) << 8) | (content[byte + 2] ?? 0);
    const code = (three >> (24 - CODE_BITS - (bit & 7))) & ((1 << CODE_BITS) - 1);
    if (code === STOP_CODE) break;
    if (code > words.length || (code === words.length && !before)) throw new ReadError("sierra-damaged");
    const word = code < words.length ? words[code] : Uint8Array.of(...before, before[0]);
    if (before && words.length < STOP_CODE) words.push(Uint8Array.of(...before, word[0]));
    unpacked.set(word.subarray(0, unpacked.length - length), length);
    length = Math.min(length + word.length, unpacked.length);
    before = word;
  }
  return unpacked.subarray(0, length);
}

// Samples from second differences: z[i] = 2 z[i-1] - z[i-2] - d[i-1], where d is stored with 64 added.
function undoDifferences(content, start) {
  const half = Math.floor((content.length + 1) / 2);
  const word = (i) => ((content[i] << 24) | ((content[half + i] ?? 0) << 16)) >> 16;
  const samples = Float64Array.from({ length: half }, (_, i) => word(i));
  let step = half > 1 ? samples[1] - samples[0] : 0;
  for (let i = 2; i < half; i++) {
    step -= i === 2 ? start : word(i - 1) - 64;
    samples[i] = samples[i - 1] + step;
  }
  return samples;
}
