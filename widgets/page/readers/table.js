// Tables with a column per lead: comma, semicolon or tab between the columns.

import { agreedRate, leadName, matchLeads, mvPerUnit, unitNotes } from "./channels.js";
import { extremes, float, narrow, round } from "./numbers.js";
import { ReadError } from "./phrase.js";
import { decoded, isUTF16 } from "./text.js";
import { fullMatch, tables } from "./tables.js";

const COLUMN_WITH_UNIT = /^(.*?)(?:[ _]+|\s*[([])([munµμ]?[vV])[)\]]?$/;
const MAX_ROWS = 2_000_000; // more than an hour at 500 Hz
// What pandas takes for a missing value.
const MISSING = new Set(["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
  "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]);

class NoNumber extends Error {}

// A table with lead names in the first row and one row per sample. Comments above the names (#), a row of units below
// them, quotes and decimal commas are understood.
export function readTable(bytes, told) {
  const lines = linesOf(bytes);
  const head = headOf(lines);
  const { delimiter } = head;
  const firstRow = lines[head.lines];
  let { columns, units } = head;
  if (!columns.length) {
    if (!told.leads) throw new ReadError("no-lead-row", {}, "leads");
    columns = firstRow.split(delimiter).map((_, i) => `column ${i + 1}`);
    units = columns.map(() => null);
  }
  const all = columns.map((_, i) => i);
  const times = all.filter((i) => fullMatch("time", columns[i]));
  const channels = all.filter((i) => !times.includes(i) && !["", "sample", "index"].includes(columns[i].toLowerCase()));
  if (!told.leads && !channels.some((i) => leadName(columns[i]))) {
    throw new ReadError("unknown-leads", { n: columns.length, leads: tables.leads.join(", ") }, "leads");
  }
  const [channelOf, notes] = matchLeads(channels.map((i) => columns[i]), told.leads);
  for (const [lead, index] of channelOf) channelOf.set(lead, channels[index]);
  const factors = new Map([...channelOf].map(([lead, i]) => [lead, mvPerUnit(units[i], told.unit, lead)]));
  if (firstRow === undefined) throw new ReadError("no-samples");

  const cells = cellsOf(firstRow, delimiter);
  const clocks = times.filter((i) => cells[i]?.includes(":"));
  const rows = rowsOf(lines, head.lines, delimiter, columns.length);
  const ofTime = new Map(times.map((i) => [i, clocks.includes(i) ? "s" : units[i] || columns[i]]));
  const signalsWith = (decimal) => {
    const numbers = (i) => rows.map((row) => numberOf(row[i], decimal, clocks.includes(i)));
    const signals = new Map([...channelOf].map(([lead, i]) =>
      [lead, Float32Array.from(numbers(i), (value) => narrow(value * factors.get(lead)))]));
    let { rate } = told;
    for (const [i, name] of ofTime) rate = rateOfTimes(name, numbers(i), rate);
    return { signals, rate: agreedRate(rate, told.rate), notes: [...notes, ...unitNotes([...factors.values()])] };
  };
  // A decimal comma goes with a semicolon or tab between the columns; the first value may be whole.
  const hasComma = lines.slice(head.lines).some((line) => line.includes(","));
  const decimals = delimiter === "," && !isQuoted(firstRow) ? "." : hasComma ? ",." : ".,";
  for (const decimal of decimals) {
    try {
      return signalsWith(decimal);
    } catch (error) {
      if (!(error instanceof NoNumber)) throw error;
    }
  }
  throw new ReadError("not-a-number");
}

// What stands above the first sample: names and, in the name or in a row of their own, units of the columns.
// No columns if they hold no names.
export function headOf(lines) {
  let first = lines.findIndex((line) => line.trim() && !line.startsWith("#"));
  if (first < 0) throw new ReadError("empty-table");
  if (first && lines[first - 1].startsWith("#")) {
    // numpy.savetxt writes the row of names as a comment.
    const commented = cellsOf(lines[first - 1].replace(/^[# ]+/, ""));
    if (commented.some(leadName) && isNumbers(cellsOf(lines[first]))) first--;
  }
  const line = lines[first].replace(/^[# ]+/, "");
  const delimiter = delimiterOf(line);
  const columns = cellsOf(line, delimiter);
  if (isNumbers(columns)) return { delimiter, columns: [], units: [], lines: first };
  const below = first + 1 < lines.length ? cellsOf(lines[first + 1], delimiter) : [];
  const hasUnits = below.some(Boolean) && !isNumbers(below) && below.every((cell) => fullMatch("unit_row", cell));
  // "II_mV" and "II (mV)" are lead and unit.
  const matches = columns.map((column) => COLUMN_WITH_UNIT.exec(column.slice(0, 1000)));
  const units = matches.map((match, i) => match?.[2] ?? ((hasUnits && below[i]) || null));
  return { delimiter, columns: columns.map((column, i) => matches[i]?.[1] ?? column), units, lines: first + 1 + hasUnits };
}

function delimiterOf(line) {
  const counts = [...tables.delimiters].map((delimiter) => line.split(delimiter).length);
  return tables.delimiters[counts.indexOf(Math.max(...counts))];
}

// The cells of a row without quotes.
function cellsOf(line, delimiter = delimiterOf(line)) {
  return line.split(delimiter).map((cell) => cell.trim().replace(/^["']+|["']+$/g, "").trim());
}

const isNumbers = (cells) => cells.every((cell) => fullMatch("number", cell));

const isQuoted = (line) => [...tables.quotes].some((quote) => line.includes(quote));

// The rows below the head as cells; a row that is empty is a missing sample.
function rowsOf(lines, nHead, delimiter, n) {
  const rows = lines.slice(nHead).filter((line) => !line.startsWith("#"));
  const counts = [...tables.quotes].map((quote) => (lines[nHead] ?? "").split(quote).length);
  const quote = counts[1] > counts[0] ? tables.quotes[1] : tables.quotes[0];
  const split = isQuoted(lines[nHead]) ? (line) => unquoted(line, delimiter, quote) : (line) => line.split(delimiter);
  return rows.map((line, index) => {
    const cells = split(line);
    if (cells.length !== n) throw new ReadError("row-length", { row: nHead + index + 1, cells: cells.length, n });
    return cells;
  });
}

// The cells of a row in which a cell between quotes may hold the delimiter.
function unquoted(line, delimiter, quote) {
  if (!line.includes(quote)) return line.split(delimiter);
  const cells = [];
  let at = 0;
  for (;;) {
    let cell = "";
    if (line[at] === quote) {
      for (;;) {
        const end = line.indexOf(quote, at + 1);
        if (end < 0) throw new ReadError("quotes");
        cell += line.slice(at + 1, end);
        at = end + 1;
        if (line[at] !== quote) break;
        cell += quote;
      }
    }
    const end = line.indexOf(delimiter, at);
    cells.push(cell + line.slice(at, end < 0 ? undefined : end));
    if (end < 0) return cells;
    at = end + 1;
  }
}

function numberOf(cell, decimal, isClock) {
  const inside = cell.replace(/^"(.*)"$/, "$1");
  if (isClock) return secondsOf(inside);
  if (MISSING.has(inside)) return NaN;
  const plain = inside.trim();
  const other = decimal === "." ? "," : ".";
  const number = plain.includes(other) || plain.includes("_") ? null : float(plain.replace(decimal, "."));
  if (number === null || (!Number.isFinite(number) && /\d/.test(plain))) throw new NoNumber(); // as 1e400
  return number;
}

// Seconds of a time like "0:00:01.250" or "01:02.5".
function secondsOf(clock) {
  return clock.replace(/^[ '"]+|[ '"]+$/g, "").replaceAll(",", ".").split(":").reduce((seconds, part) => {
    const number = float(part);
    if (number === null) throw new NoNumber();
    return 60 * seconds + number;
  }, 0);
}

// The lines of a text, without empty ones at its end.
function linesOf(bytes) {
  if (!isUTF16(bytes) && bytes.includes(0)) throw new ReadError("zero-bytes");
  let ends = 0;
  for (const byte of bytes) ends += byte === 0x0a || byte === 0x0d;
  if (ends > MAX_ROWS) throw new ReadError("too-many-rows", { max: MAX_ROWS });
  const lines = decoded(bytes).split(/\r\n?|\n/);
  if (lines.some((line) => line.length > tables.max_row_characters)) throw new ReadError("row-too-long");
  while (lines.length && !lines.at(-1)) lines.pop();
  return lines;
}

function rateOfTimes(name, times, given) {
  const n = times.length;
  const step = (times[n - 1] - times[0]) / Math.max(n - 1, 1);
  const [, error] = extremes(times.map((time, t) => Math.abs(time - (times[0] + step * t)))); // of those that are there
  if (!(step > 0) || !(error <= 0.6 * step)) throw new ReadError("uneven-times");
  const unit = /(?:^|[^a-z])(m)?(?:s|sec|seconds|illiseconds)[)\]]?$/i.exec(name);
  if (!unit && given === null) throw new ReadError("time-unit", {}, "rate");
  // Printed times are rounded: within 0.1 % the rate is a whole number, within 1 % it is the reader's.
  const rates = unit ? [(unit[1] ? 1000 : 1) / step] : [1 / step, 1000 / step];
  const [near] = rates.sort((a, b) => Math.abs(a - (given ?? a)) - Math.abs(b - (given ?? b)));
  return agreedRate(Math.abs(near - round(near)) <= 1e-3 * near ? round(near) : near, given, 0.01);
}
