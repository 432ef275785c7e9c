// What the page carries next to its script: about the models, the example ECGs, the models and the runtime.

import { fromBase64, unpacked } from "./packed.js";

/** The text of an element of data, which goes, once the browser has read the page that far. */
async function textOf(name) {
  const id = `asset-${name}`;
  if (!document.getElementById(id) && document.readyState === "loading")
    await new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no part ${name}; build it again.`);
  element.remove();
  return element.textContent;
}

/**
 * What the page carries: { about, examples, text }.
 *
 * about: what `content.py` says of the models, the codes and where the examples are from. examples: ECGs, see `ecgOf`.
 * text(name): "wasm" or a part of a model as text of `packed.js`, once each: they are for `Engine.load`.
 */
export async function openAssets() {
  const { about, examples } = JSON.parse(new TextDecoder().decode(await unpacked(await textOf("content"))));
  return { about, examples: examples.map((one) => ecgOf(one, about.leads)), text: textOf };
}

/** An ECG as the model reads it, from what is kept of it: 16-bit numbers of its valid leads. */
function ecgOf({ signal, mv_per_unit: mvPerUnit, ...ecg }, leads) {
  const bytes = fromBase64(signal), view = new DataView(bytes.buffer);
  const signalMv = new Float32Array(leads.length * ecg.n_samples), valid = new Uint8Array(leads.length);
  ecg.leads.forEach((lead, row) => {
    const index = leads.indexOf(lead);
    valid[index] = 1;
    for (let t = 0; t < ecg.n_samples; t++)
      signalMv[index * ecg.n_samples + t] = view.getInt16(2 * (row * ecg.n_samples + t), true) * mvPerUnit;
  });
  return { ...ecg, signal: signalMv, valid };
}
