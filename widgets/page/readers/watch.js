// The table that the Health app exports of an ECG of an Apple Watch, in the language of the phone: lead I.
//
// A dozen lines with a heading and a value each, among them the name of the wearer, the sampling rate, the lead and the
// unit; then one value a line. Headings are translated, so they are not looked at.

import { agreedRate, matchLeads, mvPerUnit, unitNotes } from "./channels.js";
import { narrow } from "./numbers.js";
import { ReadError } from "./phrase.js";
import { decoded } from "./text.js";
import { fullMatch, tables } from "./tables.js";

export function isWatch(lines) {
  const values = headOf(lines);
  return values.length >= 4 && values.some(isUnit) && values.some((value) => fullMatch("watch_rate", value));
}

export function readWatch(bytes, told) {
  const lines = decoded(bytes).replace(/^\ufeff/, "").split(/\r\n?|\n/);
  const values = headOf(lines);
  const rates = values.map((value) => fullMatch("watch_rate", value)?.[1]).filter(Boolean);
  const units = values.filter(isUnit);
  if (rates.length !== 1 || units.length !== 1) throw new ReadError("watch-head");
  if (!values.some((value) => fullMatch("watch_lead", value))) throw new ReadError("watch-lead");
  const first = lines.findIndex((line) => fullMatch("watch_number", cellOf(line)));
  const start = first < 0 ? lines.length : first;
  const cells = lines.slice(start).map(cellOf);
  while (cells.length && !cells.at(-1)) cells.pop();
  const wrong = cells.findIndex((cell) => !fullMatch("watch_number", cell));
  if (wrong >= 0 || !cells.length) throw new ReadError("watch-row", { row: start + Math.max(wrong, 0) + 1 });
  const has = (sign) => cells.some((cell) => cell.includes(sign));
  if (has(",") && has(".")) throw new ReadError("watch-signs");
  const factor = mvPerUnit(units[0], told.unit, "I");
  const rate = agreedRate(Number(rates[0].replace(",", ".")), told.rate);
  matchLeads(["I"], told.leads);
  const signal = Float32Array.from(cells, (cell) => narrow(Number(cell.replace(",", ".")) * factor));
  return { signals: new Map([["I", signal]]), rate, notes: unitNotes([factor]) };
}

const isUnit = (value) => fullMatch("watch_unit", value) !== null;

// The values behind the headings, which end where the numbers begin.
function headOf(lines) {
  const head = lines.slice(0, tables.watch_max_head);
  const end = head.findIndex((line) => fullMatch("watch_number", cellOf(line)));
  return head.slice(0, Math.max(end, 0)).map((line) => {
    const at = line.includes(",") ? line.indexOf(",") : line.indexOf(";");
    return at < 0 ? "" : line.slice(at + 1).replace(/^[ "\t]+|[ "\t]+$/g, "");
  });
}

const cellOf = (line) => line.replace(/^[ ",;\t]+|[ ",;\t]+$/g, "");
