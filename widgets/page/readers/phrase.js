// The sentences of the readers, in the language of the page, and the error by which a file is refused.
//
// No sentence repeats text from a file or its name, which may hold the name of a person: only numbers and the names of
// the twelve leads are put into them.

import english from "./sentences.en.json" with { type: "json" };

let sentences = english;

// The sentences of another language; a sentence that it lacks stays in English.
export function useSentences(others) {
  sentences = { ...english, ...others };
}

export function phrase(key, values = {}) {
  return sentences[key].replace(/\{(\w+)\}/g, (_, name) => written(values[name]));
}

// A value in a sentence; a number with the decimal sign of the language.
function written(value) {
  return String(value).replace(/^(-?\d+)\.(\d)/, (_, whole, first) => whole + phrase("decimal-point") + first);
}

// The file is refused; the message says in one sentence what is wrong and what to do.
// key: of the sentence. asks: "rate", "unit" or "leads" if the file does not say it and the reader of the page can.
export class ReadError extends Error {
  constructor(key, values = {}, asks = null) {
    super(phrase(key, values));
    this.name = "ReadError";
    this.key = key;
    this.asks = asks;
  }
}

// A sentence of a recording. warns: what it says may change a value, or leaves out a lead or samples.
export function note(key, values = {}, warns = false) {
  return { key, text: phrase(key, values), warns };
}

export const warning = (key, values) => note(key, values, true);

// A number with at most so many digits, as Python's format "g" writes it.
export function digits(value, n = 6) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const [mantissa, power] = value.toExponential(n - 1).split("e");
  const exponent = Number(power);
  const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (exponent >= -4 && exponent < n) return trimmed(value.toFixed(Math.max(0, n - 1 - exponent)));
  return `${trimmed(mantissa)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}
