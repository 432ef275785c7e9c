// HL7 annotated ECG (aECG): the rhythm series, each lead as scaled integers in text.

import { agreedRate, matchLeads, mvPerUnit, readLeads } from "./channels.js";
import { withoutMarks } from "./checks.js";
import { finiteNumber } from "./numbers.js";
import { ReadError } from "./phrase.js";
import { tables } from "./tables.js";
import { chooseWaveforms } from "./waveforms.js";
import { parseXML } from "./xml.js";

const hl7 = (name) => `{urn:hl7-org:v3}${name}`;
const XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type";

export function readAECG(bytes, told) {
  const root = parseXML(bytes, "aECG XML");
  const series = [...root.every(hl7("series"))].filter((one) => attribute(one, "code", "code") === "RHYTHM");
  const sets = series.flatMap((one) => one.all(hl7("component"), hl7("sequenceSet"))).slice(0, tables.max_waveforms);
  if (!sets.length) throw new ReadError("aecg-no-rhythm");
  const recorded = sets.map(describe);
  const [chosen, notes] = chooseWaveforms(recorded);
  const channels = chosen.flatMap((index) => recorded[index].sequences);
  const [channelOf, leadNotes] = matchLeads(chosen.flatMap((index) => recorded[index].names), told.leads);
  const { time } = recorded[chosen[0]];
  const rate = agreedRate(time ? rateOf(time) : null, told.rate);
  return readLeads(channelOf, rate, [...notes, ...leadNotes], (channel, lead) =>
    readLead(channels[channel], lead, told.unit));
}

// A set of leads that were recorded together: what it is, its time, and the element of each lead.
function describe(sequenceSet) {
  const coded = sequenceSet.all(hl7("component"), hl7("sequence"))
    .map((sequence) => ({ code: attribute(sequence, "code", "code") ?? "", sequence }));
  const named = coded.filter(({ code }) => !code.startsWith("TIME_"));
  const time = coded.find(({ code }) => code === "TIME_ABSOLUTE" || code === "TIME_RELATIVE")?.sequence ?? null;
  const value = time?.first(hl7("value")) ?? null;
  const start = value ? attribute(value, "head", "value") ?? "" : "";
  const step = value ? attribute(value, "increment", "value") ?? "" : "";
  const digits = named.length ? named[0].sequence.textOf("", hl7("value"), hl7("digits")) : "";
  return {
    names: named.map(({ code }) => code),
    rate: 0,
    samples: digits.match(/\S+/g)?.length ?? 0,
    start: `${start} ${step}`,
    time,
    sequences: named.map(({ sequence }) => sequence),
  };
}

function attribute(element, name, key) {
  return element.first(hl7(name))?.get(key) ?? null;
}

// The values of a sequence, of one of these types, which may carry a prefix, as in "hl7:SLIST_PQ".
function valuesOf(sequence, kinds, where) {
  const value = sequence.first(hl7("value"));
  const kind = (value?.get(XSI_TYPE) ?? "").split(":").at(-1);
  if (!value || !kinds.includes(kind)) throw new ReadError("aecg-type", { where, kind: kinds[0] });
  return value;
}

// The sampling rate by the time between samples.
function rateOf(sequence) {
  const value = valuesOf(sequence, ["GLIST_TS", "GLIST_PQ"], "time");
  const unit = attribute(value, "increment", "unit");
  const step = finiteNumber(attribute(value, "increment", "value"), "increment");
  if (!Object.hasOwn(tables.aecg_s_per_unit, unit ?? "") || step <= 0) throw new ReadError("aecg-time");
  return Number((1 / (step * tables.aecg_s_per_unit[unit])).toPrecision(9)); // 1/0.002 is 500
}

// Origin + scale * digits, in mV, and the factor from the unit of the scale to millivolts.
function readLead(sequence, lead, unit) {
  const value = valuesOf(sequence, ["SLIST_PQ"], lead);
  const scale = finiteNumber(attribute(value, "scale", "value"), "scale");
  const origin = finiteNumber(attribute(value, "origin", "value") || 0, "origin");
  if (scale === 0) throw new ReadError("aecg-no-scale", { lead });
  const factor = mvPerUnit(attribute(value, "scale", "unit"), unit, lead);
  const originMV = origin && origin * mvPerUnit(attribute(value, "origin", "unit"), null, lead);
  const text = value.textOf("", hl7("digits"));
  if (/[^\s\d+-]/.test(text)) throw new ReadError("aecg-sample", { lead });
  const words = text.match(/\S+/g) ?? [];
  if (!words.every((word) => /^[+-]?\d+$/.test(word))) throw new ReadError("damaged", { kind: "aECG XML" });
  const counts = withoutMarks(Float64Array.from(words, Number));
  return [counts.map((count) => originMV + count * (scale * factor)), factor];
}
