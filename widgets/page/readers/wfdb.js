// WFDB records of one segment whose samples have 16 bits (format 16), as MIMIC-IV-ECG, PTB-XL and most archives have.

import { agreedRate, matchLeads, mvPerUnit, unitNotes } from "./channels.js";
import { finiteNumber, float, narrow } from "./numbers.js";
import { ReadError, digits, warning } from "./phrase.js";
import { decoded } from "./text.js";
import { fullMatch, tables } from "./tables.js";

const BLOCK_BYTES = 4; // a writer may fill up its last block
const FORMAT = /^(\d{1,9})(?:x(\d{1,9}))?(?::(\d{1,9}))?(?:\+(\d{1,9}))?$/;
const GAIN = /^(-?\d*\.?\d*(?:e[+-]?\d+)?)(?:\((-?\d+)\))?(?:\/(.*))?$/i;
const INTEGER = /^-?[0-9]{1,9}$/;
// Resolution, count of 0 mV, first value, checksum and block size of a signal, each of which may be absent at the end.
const FIELDS = [/^[0-9]+$/, /^-?[0-9]+$/, /^-?[0-9]+$/, /^-?[0-9]+$/, /^[0-9]+$/];

// header: the .hea file. fileOf: gives the File with this name that was dropped, or undefined.
export async function readWFDB(header, fileOf, told) {
  if (header.size > tables.max_header_bytes) {
    throw new ReadError("header-too-large", { mb: digits(header.size / 1e6, 3), max: tables.max_header_bytes / 1e6 });
  }
  const lines = decoded(new Uint8Array(await header.arrayBuffer())).split(/\r\n?|\n/)
    .map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
  const [record, ...signals] = lines.map((line) => line.split(/\s+/));
  if (record?.[0].includes("/")) throw new ReadError("segments");
  const n = Number(/^\d{1,9}$/.test(record?.[1] ?? "") ? record[1] : NaN);
  if (!(n === signals.length && n > 0)) throw new ReadError("header");
  const isSignal = (words) => [GAIN, ...FIELDS].every((field, i) => words[i + 2] === undefined || field.test(words[i + 2]));
  if (!signals.every(isSignal)) throw new ReadError("header");
  const rateText = record[2]?.split("/")[0];
  if (rateText !== undefined && !/^[0-9]+(\.[0-9]+)?$/.test(rateText)) throw new ReadError("header-rate");
  const framesPerSecond = agreedRate(rateText === undefined ? null : finiteNumber(rateText, "rate"), told.rate);
  const length = record[3] ?? "0";
  if (!/^[0-9]{1,15}$/.test(length)) throw new ReadError("header-length");
  const layout = layoutOf(signals);
  const names = signals.map((words) => words.slice(8).join(" "));
  const [channelOf, notes] = matchLeads(names, told.leads);
  const scales = scalesOf(channelOf, signals, told.unit);
  const perFrames = new Set([...channelOf.values()].map((channel) => layout.perFrame[channel]));
  if (perFrames.size > 1) throw new ReadError("different-rates");
  const [perFrame] = perFrames;

  const file = fileOf(signals[0][0]);
  if (!file) throw new ReadError("no-signal-file");
  const plain = fullMatch("wfdb_record", lines[0]) && lines.slice(1).every((line) => fullMatch("wfdb_signal", line));
  const frameBytes = 2 * layout.frameSamples;
  const frames = Number(length) || Math.floor(Math.max(0, file.size - layout.offset) / frameBytes);
  const promised = layout.offset + frames * frameBytes;
  if (file.size < promised) throw new ReadError("cut-off", { bytes: file.size, promised });
  const start = new Uint8Array(await file.slice(0, 6).arrayBuffer());
  if (layout.offset && String.fromCharCode(...start) === "MATLAB") throw new ReadError("matlab-resaved");
  if (file.size > promised + (plain ? 0 : BLOCK_BYTES)) throw new ReadError("too-long", { bytes: file.size, promised });
  if (!frames) throw new ReadError("empty-record");

  const bytes = await file.slice(layout.offset, promised).arrayBuffer();
  const view = new DataView(bytes);
  const read = new Map();
  const damaged = [];
  for (const [lead, channel] of channelOf) {
    const counts = countsOf(view, frames, frameBytes, layout.before[channel], perFrame);
    const { gain, baseline, factor } = scales.get(lead);
    const inMV = (count) => (count === tables.invalid_count ? NaN : narrow(((count - baseline) / gain) * factor));
    read.set(lead, Float32Array.from(counts, inMV));
    if (isDamaged(signals[channel], counts)) damaged.push(lead);
  }
  const factors = [...scales.values()].map((scale) => scale.factor);
  const damage = damaged.length ? [warning("checksum", { leads: damaged.join(", ") })] : [];
  return { signals: read, rate: framesPerSecond * perFrame, notes: [...notes, ...unitNotes(factors), ...damage] };
}

// Where the samples of each channel are: samples of it in a frame, and of others before them; all in one file.
function layoutOf(signals) {
  const formats = signals.map((words) => FORMAT.exec(words[1] ?? ""));
  if (formats.some((format) => !format)) throw new ReadError("damaged", { kind: "WFDB" });
  const others = formats.filter(([, code, , skew]) => Number(code) !== 16 || Number(skew ?? 0));
  const files = new Set(signals.map((words) => words[0]));
  if (others.length || files.size > 1) throw new ReadError("wfdb-kind");
  const perFrame = formats.map(([, , samples]) => Number(samples ?? 1) || 1);
  let frameSamples = 0;
  const before = perFrame.map((samples) => (frameSamples += samples) - samples);
  return { perFrame, before, frameSamples, offset: Number(formats[0][4] ?? 0) };
}

// Gain, baseline and the factor from the unit to millivolts of each lead.
function scalesOf(channelOf, signals, unit) {
  const scales = new Map();
  for (const [lead, channel] of channelOf) {
    const words = signals[channel];
    const match = GAIN.exec(words[2] ?? "");
    const gain = match ? float(match[1]) : null;
    // A wrong gain is as bad as a wrong unit, so the 200 units per mV that WFDB assumes are not good enough.
    if (!gain || !Number.isFinite(gain)) throw new ReadError("no-gain", { lead });
    const zero = INTEGER.test(words[4] ?? "") ? Number(words[4]) : 0;
    const baseline = match[2] === undefined ? zero : Number(match[2]);
    scales.set(lead, { gain, baseline, factor: mvPerUnit(match[3] ?? null, unit, lead) });
  }
  return scales;
}

function countsOf(view, frames, frameBytes, before, perFrame) {
  const counts = new Int16Array(frames * perFrame);
  for (let frame = 0, t = 0; frame < frames; frame++) {
    for (let i = 0; i < perFrame; i++) counts[t++] = view.getInt16(frame * frameBytes + 2 * (before + i), true);
  }
  return counts;
}

// Whether the samples do not have the checksum, or for want of one the first value, in the header.
function isDamaged(words, counts) {
  if (!INTEGER.test(words[5] ?? "") || !INTEGER.test(words[6] ?? "")) return false;
  const [first, checksum] = [Number(words[5]), Number(words[6])];
  if (checksum === 0) return first !== 0 && first !== counts[0];
  let sum = 0;
  for (const count of counts) sum = (sum + count) & 0xffff;
  return ((sum - checksum) & 0xffff) !== 0;
}
