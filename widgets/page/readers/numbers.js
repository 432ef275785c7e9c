// Numbers as Python reads and rounds them.

import { ReadError } from "./phrase.js";

const FLOAT = /^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?$/i;
const SPECIAL = /^[+-]?(?:inf(?:inity)?|nan)$/i;

// The number that a text is, or null.
export function float(text) {
  const trimmed = String(text).trim();
  if (FLOAT.test(trimmed)) return Number(trimmed.replaceAll("_", ""));
  if (!SPECIAL.test(trimmed)) return null;
  return /nan/i.test(trimmed) ? NaN : trimmed.startsWith("-") ? -Infinity : Infinity;
}

// A number of a header. what: the key of its name, for the sentence that refuses anything else.
export function finiteNumber(text, what) {
  const number = text === null || text === undefined ? null : float(text);
  if (number === null || !(Math.abs(number) <= 1e12)) throw new ReadError("number", { what });
  return number;
}

// To the nearest integer, and from the middle between two to the even one.
export function round(value) {
  const lower = Math.floor(value);
  const rest = value - lower;
  if (rest !== 0.5) return rest < 0.5 ? lower : lower + 1;
  return lower % 2 === 0 ? lower : lower + 1;
}

const FLOAT32_MAX = Math.fround(3.4028234663852886e38);

// float32, in which a voltage that is too high stays finite, since infinity is a gap.
export function narrow(value) {
  const close = Math.fround(value);
  if (Number.isFinite(close)) return close;
  return Number.isFinite(value) ? Math.sign(value) * FLOAT32_MAX : NaN;
}

// Lowest and highest of the values, NaN left out.
export function extremes(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
