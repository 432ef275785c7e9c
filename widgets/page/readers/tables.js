// What the readers share with the Python package: tables.json is written by tables.py.

import tables from "./tables.json" with { type: "json" };

export { tables };
export const LEADS = tables.leads;

const compiled = {};
for (const [name, [source, flags]] of Object.entries(tables.patterns)) {
  compiled[name] = new RegExp(`^(?:${source})$`, flags);
}

// The match of a complete text with one of the patterns, or null.
export const fullMatch = (name, text) => compiled[name].exec(text);
