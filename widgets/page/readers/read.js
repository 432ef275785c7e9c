// Reading an ECG from dropped files, under the rules of `lt.read_ecg`; nothing leaves the page.
//
// Files are recognized by their content, leads are matched by name, and what a file does not say (rate, unit, lead
// names) is never guessed.

import { prepare } from "../prepare.js";
import { readAECG } from "./aecg.js";
import { checkedTold } from "./channels.js";
import { usableLeads } from "./checks.js";
import { readMUSE } from "./muse.js";
import { ReadError, digits } from "./phrase.js";
import { readSierra } from "./sierra.js";
import { kindOf } from "./sniff.js";
import { readTable } from "./table.js";
import { tables } from "./tables.js";
import { readWatch } from "./watch.js";
import { readWFDB } from "./wfdb.js";

export { ReadError, useSentences } from "./phrase.js";

const READERS = {
  "CSV": readTable,
  "Apple Watch CSV": readWatch,
  "MUSE XML": readMUSE,
  "Sierra XML": readSierra,
  "aECG XML": readAECG,
};
const MAX_MB = { WFDB: 50, CSV: 25, ...tables.max_mb };
const OF_PYTHON = ["NumPy", "EDF", "BDF", "MATLAB", "DICOM", "SCP-ECG", "ISHNE", "MFER"];

// The ECG in these Files (one file, or a WFDB header with its signal file), as the model reads it; ReadError if it
// cannot be read.
// told: { rate, unit, leads } where the file does not say; about: { rate_hz, patch_samples, n_patches } of the model;
// start: the second at which the part that is read begins.
export async function readFiles(files, { told, about, start = 0 } = {}) {
  try {
    return { ...prepare(await readRecording(files, told), about, start), told: checkedTold(told) };
  } catch (error) {
    if (error instanceof ReadError) throw error;
    throw new ReadError(error instanceof DOMException ? "cannot-open" : "fault");
  }
}

// The complete recording: { kind, leads, signals: Map of lead to Float32Array in mV, rate in Hz, notes }.
export async function readRecording(files, told) {
  const own = [...files];
  const given = checkedTold(told);
  if (given.rate !== null && !(given.rate > 0)) throw new ReadError("told-rate", {}, "rate");
  const headers = own.filter((file) => suffixOf(file) === ".hea");
  if (!own.length) throw new ReadError("no-file");
  if (headers.length > 1 || (!headers.length && own.length > 1)) throw new ReadError("several-files");
  const [file] = headers.length ? headers : own;
  const kind = headers.length ? "WFDB" : checkedKind(await kindOf(file), file);
  if (!file.size) throw new ReadError("empty-file");
  for (const one of headers.length ? own : [file]) {
    if (one.size > MAX_MB[kind] * 1e6) {
      throw new ReadError("too-many-mb", { mb: digits(one.size / 1e6, 3), kind, max: MAX_MB[kind] });
    }
  }
  const read = kind === "WFDB"
    ? await readWFDB(file, (name) => own.find((one) => one.name === name), given)
    : READERS[kind](new Uint8Array(await file.arrayBuffer()), given);
  const lengths = [...read.signals.values()].map((signal) => signal.length);
  const [shortest, longest] = [Math.min(...lengths), Math.max(...lengths)];
  if (shortest !== longest) throw new ReadError("lengths", { shortest, longest });
  if (!longest) throw new ReadError("empty-record");
  const [signals, leadNotes] = usableLeads(read.signals);
  if (!(read.rate >= tables.min_rate_hz && read.rate <= tables.max_rate_hz)) {
    throw new ReadError("rate-range", { rate: digits(read.rate), min: tables.min_rate_hz, max: tables.max_rate_hz });
  }
  return { kind, signals, rate: read.rate, notes: [...read.notes, ...leadNotes] };
}

function suffixOf(file) {
  return (/\.[^.]*$/.exec(file.name) ?? [""])[0].toLowerCase();
}

// The kind of a file that is read here; ReadError with the way out for any other.
function checkedKind(kind, file) {
  const suffix = suffixOf(file);
  if (Object.hasOwn(READERS, kind ?? "")) return kind;
  if (suffix === ".mat" || suffix === ".dat") {
    if (kind === null || kind === "MATLAB") throw new ReadError("no-header");
  }
  if (OF_PYTHON.includes(kind)) throw new ReadError("of-python", { kind });
  if (kind === "picture" || kind === "PDF") throw new ReadError("picture");
  if (kind === "archive") throw new ReadError("archive");
  if (kind === "XML") throw new ReadError("other-xml");
  if (kind !== null) throw new ReadError("not-read", { kind });
  if (!file.size) throw new ReadError("empty-file");
  if (tables.csv_suffixes.includes(suffix)) return "CSV";
  throw new ReadError("unknown-kind");
}
