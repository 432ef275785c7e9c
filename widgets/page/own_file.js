// The reader's own ECG: chosen or dropped, read in the page, and what the file does not say is asked.

import { button, choice, h } from "./dom.js";
import german from "./readers/sentences.de.json";
import { Remote } from "./remote.js";
import readerWorker from "worker:reader_worker.js";

export const OWN = "own";
const UNITS = ["mV", "uV", "V"];
/** The readers' sentences in other languages than English. */
const SENTENCES = { de: german };

/** A button to choose files. */
export function fileButton(page, t) {
  const input = h("input", { type: "file", multiple: true, className: "visually-hidden" });
  input.onchange = () => input.files.length && open(page, [...input.files]).then(() => (input.value = ""));
  return h("label", { className: "file" }, t("drop.button"), input);
}

/** Files may be dropped anywhere on the page. */
export function listenToDrops(page) {
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    const files = [...(event.dataTransfer?.files || [])];
    if (files.length) open(page, files);
  });
}

/** Read files as an ECG and show it; what cannot be read is one sentence. told: what the file does not say. */
async function open(page, files, told = {}) {
  const { t } = page;
  try {
    const ecg = await read(page, files, told);
    if (!ecg) return;
    page.own = { ...ecg, name: OWN, own: true };
    page.store.state.ecg = OWN;
    page.store.tell(["ecgs", "ecg"]);
    const isLonger = ecg.seconds > ecg.duration_s;
    page.notify([`${ecg.title}.`, ...ecg.warnings].join(" "), null, isLonger ? question(page, files, told, "start") : null);
  } catch (error) {
    page.notify(error.message, null, error.asks ? question(page, files, told, error.asks) : null);
  }
}

let reading = null;

/** The ECG of these files, read in a worker; null if other files came meanwhile. */
async function read(page, files, told) {
  reading?.end();
  const own = (reading = new Remote(readerWorker)), { rate_hz, patch_samples, n_patches } = page.about;
  const given = { told, about: { rate_hz, patch_samples, n_patches }, start: told.start };
  try {
    const ecg = await own.call("read", [files, given, SENTENCES[page.language] || {}]);
    return own === reading ? ecg : null;
  } finally {
    own.end();
  }
}

/** A form for what the file does not say. */
function question(page, files, told, asks) {
  const { t } = page, answer = { ...told };
  const field = asks === "unit"
    ? choice(t("ask.unit"), UNITS.map((unit) => [unit, unit]), (answer.unit = UNITS[0]), (unit) => (answer.unit = unit))
    : h("label", { className: "choice" }, t(`ask.${asks}`),
      h("input", { type: "text", value: answer[asks] ?? (asks === "start" ? 0 : ""), oninput: ({ target }) => (answer[asks] = valueOf(asks, target.value)) }));
  return h("form", { onsubmit: (event) => { event.preventDefault(); open(page, files, answer); } },
    field, button(t("ask.again"), null, { type: "submit" }));
}

function valueOf(asks, text) {
  if (asks === "leads") return text.split(/[\s,;]+/).filter(Boolean);
  return asks === "start" ? Number(text.replace(",", ".")) : text.replace(",", ".");
}
