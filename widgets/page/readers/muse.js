// GE MUSE XML: the rhythm waveform of a resting ECG, eight leads as 16-bit counts in Base64.

import { agreedRate, matchLeads, mvPerUnit, readLeads } from "./channels.js";
import { withoutMarks } from "./checks.js";
import { finiteNumber } from "./numbers.js";
import { ReadError, warning } from "./phrase.js";
import { tables } from "./tables.js";
import { chooseWaveforms } from "./waveforms.js";
import { bytesOfBase64, onlyText, parseXML } from "./xml.js";

export function readMUSE(bytes, told) {
  const waveforms = parseXML(bytes, "MUSE XML").all("Waveform");
  const rhythms = waveforms
    .filter((waveform) => onlyText(waveform, "WaveformType", { where: "waveform" }).toLowerCase() === "rhythm")
    .slice(0, tables.max_waveforms);
  if (!rhythms.length) throw new ReadError("muse-no-rhythm");
  const described = rhythms.map(describe);
  const [chosen, notes] = chooseWaveforms(described);
  const elements = chosen.flatMap((index) => rhythms[index].all("LeadData"));
  for (const index of chosen) {
    const kind = onlyText(rhythms[index], "SampleType", { where: "waveform" });
    if (kind !== "CONTINUOUS_SAMPLES") throw new ReadError("muse-compressed");
  }
  const rate = agreedRate(described[chosen[0]].rate, told.rate);
  const [channelOf, leadNotes] = matchLeads(chosen.flatMap((index) => described[index].names), told.leads);
  const startOf = (channel) => tables.muse_starts.map((name) => elements[channel].textOf("0", name).trim()).join(" ");
  if (new Set([...channelOf.values()].map(startOf)).size > 1) throw new ReadError("muse-starts");
  const off = [...channelOf]
    .filter(([, channel]) => elements[channel].textOf("", "LeadOff").trim().toUpperCase() === "TRUE")
    .map(([lead]) => warning("electrode-off", { lead }));
  return readLeads(channelOf, rate, [...notes, ...off, ...leadNotes], (channel, lead) =>
    readLead(elements[channel], lead, told.unit));
}

function describe(rhythm) {
  const number = (name) => finiteNumber(onlyText(rhythm, name, { where: "waveform" }), name);
  const exponent = Math.min(9, Math.max(-9, number("SampleExponent")));
  const leads = rhythm.all("LeadData");
  const counts = leads.map((lead) => lead.textOf("0", "LeadSampleCountTotal").trim());
  return {
    names: leads.map((lead) => onlyText(lead, "LeadID", { where: "lead" })),
    rate: number("SampleBase") * 10 ** exponent,
    samples: Math.max(0, ...counts.filter((count) => /^\d+$/.test(count)).map((count) => Number(count.slice(0, 9)))),
    start: rhythm.textOf("", "WaveformStartTime").trim(),
  };
}

// The values of one lead in mV, and the factor from the unit of the file to millivolts.
function readLead(element, lead, unit) {
  const text = (name) => onlyText(element, name, { where: lead });
  if (text("LeadSampleSize") !== "2") throw new ReadError("muse-sample-size", { lead });
  const content = bytesOfBase64(text("WaveFormData"), { where: lead });
  for (const [name, n] of [["LeadByteCountTotal", content.length], ["LeadSampleCountTotal", content.length / 2]]) {
    const promised = text(name);
    if (!/^\d+$/.test(promised) || Number(promised) !== n) throw new ReadError("muse-count", { lead, n, name });
  }
  // Anonymizers and converters write 0 instead of a checksum.
  const checksum = element.textOf("0", "LeadDataCRC32").trim();
  if (checksum !== "0" && checksum !== String(crc32(content))) throw new ReadError("muse-checksum", { lead });
  const perBit = finiteNumber(text("LeadAmplitudeUnitsPerBit"), "LeadAmplitudeUnitsPerBit");
  if (perBit === 0) throw new ReadError("muse-no-gain", { lead });
  const inFile = element.textOf(null, "LeadAmplitudeUnits");
  const known = inFile === null ? undefined : tables.muse_units[inFile.trim().toUpperCase()];
  const factor = mvPerUnit(known ?? inFile, unit, lead);
  // The count of 0 mV, which nearly all files give as 0.
  const baseline = finiteNumber(element.textOf(null, "FirstSampleBaseline") || 0, "FirstSampleBaseline");
  const view = new DataView(content.buffer);
  const counts = Float64Array.from({ length: content.length / 2 }, (_, t) => view.getInt16(2 * t, true));
  return [withoutMarks(counts).map((count) => (count - baseline) * perBit * factor), factor];
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc >>> 0;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
