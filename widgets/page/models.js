// The two models: ONNX Runtime on one thread, from the bytes that the page carries.
//
// They come in parts (see lamae_toolkit/export/onnx_parts.py). Each lead is encoded on its own and kept, so that a click
// costs only the leads whose mask it changed; a lead that is taken away costs no encoding at all.

import * as ort from "onnxruntime-web/wasm";

import { EngineError } from "./engine_error.js";
import { unpacked } from "./packed.js";

const KEPT_ECGS = 4, KEPT_LEADS = 60;

const flags = (values) => Uint8Array.from(values, (value) => (value ? 1 : 0));

/** The newest things of a number, by their keys. */
class Newest {
  constructor(most) {
    this.most = most;
    this.map = new Map();
  }

  get(key, make) {
    const value = this.map.has(key) ? this.map.get(key) : make?.();
    if (value !== undefined) this.set(key, value);
    return value;
  }

  set(key, value) {
    this.map.delete(key);
    this.map.set(key, value);
    if (this.map.size > this.most) this.map.delete(this.map.keys().next().value);
  }
}

export class Models {
  #sessions;
  #last = Promise.resolve();
  #kept = new Newest(KEPT_ECGS);

  constructor(about, sessions) {
    this.about = about;
    this.#sessions = sessions;
  }

  /** about: what `content.py` says. packed: the runtime and the parts of the models as texts of `packed.js`. */
  static async load(about, packed, progress) {
    ort.env.wasm.wasmBinary = await unpacked(packed.wasm);
    ort.env.wasm.numThreads = 1; // more threads would need a page that a server sends
    ort.env.logLevel = "error";
    progress(0.4);
    const sessions = {};
    for (const [number, name] of about.parts.entries()) {
      sessions[name] = await ort.InferenceSession.create(await unpacked(packed[name]), { executionProviders: ["wasm"], logSeverityLevel: 3 });
      progress(0.4 + 0.6 * (number + 1) / about.parts.length);
    }
    ort.env.wasm.wasmBinary = undefined;
    return new Models(about, sessions);
  }

  /**
   * The ECG in mV as a model reconstructs it from the patches that are not masked, visible ones included.
   *
   * name: "lamae" or "twin". ecg: { number, signal, valid, n_samples }. mask: Uint8Array(12 * patches of this ECG), 1
   * for a masked patch. Returns Float32Array(12 * n_samples); rows of absent leads are 0. EngineError "masked" if
   * nothing is visible.
   */
  async reconstruct(name, ecg, mask) {
    const n = this.#patches(ecg), masked = flags(mask);
    if (masked.length !== ecg.valid.length * n) throw new RangeError(`A mask of ${masked.length} patches does not fit ${ecg.valid.length} leads of ${n}.`);
    if (!masked.some((one, index) => !one && ecg.valid[Math.floor(index / n)]))
      throw new EngineError("masked", "Everything is masked; leave at least one patch visible.");
    if (name === "twin") return withoutRows(await this.#byLead("twin", "reconstruct", ecg, ecg.valid, masked), ecg.valid);
    const tokens = await this.#byLead("lamae", "encode", ecg, ecg.valid, masked);
    const { reconstruction_mv: output } = await this.#run("lamae-reconstruct", { ...this.#given(ecg, ecg.valid, masked), tokens });
    return withoutRows(output.data, ecg.valid);
  }

  /**
   * The prediction of the probe if the ECG had only some of its leads.
   *
   * on: Uint8Array(12), 1 for a lead that is used. Returns { codes, probabilities, log_odds, terms, bias, weights,
   * attention }: terms Float32Array(codes * 12), log-odds of each lead for each code, which sum with the bias to the
   * log-odds; weights Float32Array(12), the share of each lead in the heart token, mean over heads; attention
   * Float32Array(12 * 12), how much each lead (row) attends to each (column), mean over layers and heads. What belongs
   * to a lead that is not used is 0. Without any lead the log-odds are the bias.
   */
  async predict(ecg, on) {
    const codes = this.about.codes.map(({ code }) => code), leads = ecg.valid.length;
    const bias = Float32Array.from(this.about.codes, (one) => one.bias);
    const used = flags(ecg.valid.map((valid, lead) => valid && on[lead]));
    const terms = new Float32Array(codes.length * leads), attention = new Float32Array(leads * leads);
    const weights = new Float32Array(leads);
    let logOdds = bias;
    if (used.some(Boolean)) {
      const mask = new Uint8Array(leads * this.#patches(ecg)), { signal_mv, lead_mask } = this.#given(ecg, used, mask);
      // A lead that is taken away stays encoded.
      const encoded = this.about.models.lamae.leads_alone ? ecg.valid : used;
      const tokens = await this.#byLead("lamae", "encode", ecg, encoded, mask, "unmasked");
      const outputs = await this.#run("lamae-read", { tokens, signal_mv, lead_mask });
      logOdds = outputs.log_odds.data;
      const byLead = outputs.lead_terms.data;
      for (let c = 0; c < codes.length; c++)
        for (let lead = 0; lead < leads; lead++) if (used[lead]) terms[c * leads + lead] = byLead[lead * codes.length + c];
      addMean(weights, outputs.lead_weights);
      if (outputs.lead_attention) addMean(attention, outputs.lead_attention);
      for (let lead = 0; lead < leads; lead++)
        if (!used[lead]) for (let other = 0; other < leads; other++) attention[lead * leads + other] = 0;
    }
    const probabilities = Float32Array.from(logOdds, (value) => 1 / (1 + Math.exp(-value)));
    return { codes, probabilities, log_odds: Float32Array.from(logOdds), terms, bias, weights, attention };
  }

  #patches(ecg) {
    return ecg.n_samples / this.about.patch_samples;
  }

  /** What the parts read of an ECG, of these of its leads. */
  #given(ecg, leads, mask, rows = [...leads.keys()]) {
    const n = this.#patches(ecg), cut = (values, length) => joined(rows.map((row) => values.subarray(row * length, (row + 1) * length)));
    return {
      signal_mv: new ort.Tensor("float32", cut(ecg.signal, ecg.n_samples), [1, rows.length, ecg.n_samples]),
      lead_mask: new ort.Tensor("bool", Uint8Array.from(rows, (row) => leads[row]), [1, rows.length]),
      mask: new ort.Tensor("bool", cut(mask, n), [1, rows.length, n]),
    };
  }

  /**
   * What a part makes of each lead on its own, as one tensor of twelve leads, 0 where `leads` has none.
   *
   * Leads whose mask was met before are taken from what is kept. purpose: what is kept for one does not push out what
   * is kept for another. Where a lead's encoding depends on the others (`leads_alone` is false) all are computed.
   */
  async #byLead(model, part, ecg, leads, mask, purpose = "") {
    const name = `${model}-${part}`, n = this.#patches(ecg), alone = this.about.models[model].leads_alone;
    const ofEcg = this.#kept.get(ecg.number, () => ({}));
    const kept = (ofEcg[name + purpose] ??= new Newest(KEPT_LEADS)), all = alone ? "" : `${leads.join("")} ${mask.join("")}`;
    const keyOf = (lead) => `${lead} ${alone ? mask.subarray(lead * n, (lead + 1) * n).join("") : all}`;
    const wanted = [...leads.keys()].filter((lead) => leads[lead]), missing = wanted.filter((lead) => !kept.map.has(keyOf(lead)));
    const found = new Map(wanted.filter((lead) => !missing.includes(lead)).map((lead) => [lead, kept.get(keyOf(lead))]));
    if (missing.length) {
      const asked = alone ? missing : [...leads.keys()];
      const lead = new ort.Tensor("int64", BigInt64Array.from(asked, BigInt), [asked.length]);
      const outputs = await this.#run(name, { ...this.#given(ecg, leads, mask, asked), lead });
      const [{ data, dims }] = Object.values(outputs), size = data.length / asked.length;
      asked.forEach((one, row) => {
        if (!leads[one]) return;
        found.set(one, { values: data.slice(row * size, (row + 1) * size), dims: dims.slice(2) });
        kept.set(keyOf(one), found.get(one));
      });
    }
    const [{ values: { length }, dims }] = found.values(), values = new Float32Array(leads.length * length);
    for (const [one, row] of found) values.set(row.values, one * length);
    return part === "encode" ? new ort.Tensor("float32", values, [1, leads.length, ...dims]) : values;
  }

  /** Run a part, after what was asked for before: the runtime does one thing at a time. */
  #run(name, given) {
    const session = this.#sessions[name], feeds = Object.fromEntries(session.inputNames.map((input) => [input, given[input]]));
    const ran = this.#last.then(() => session.run(feeds));
    this.#last = ran.catch(() => {});
    return ran;
  }
}

/** Some arrays of one kind as one. */
function joined(parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0), all = new parts[0].constructor(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The rows of valid leads, and 0 for the others. */
function withoutRows(values, valid) {
  const kept = Float32Array.from(values), row = values.length / valid.length;
  valid.forEach((one, lead) => one || kept.fill(0, lead * row, (lead + 1) * row));
  return kept;
}

/** Add the mean over the leading dimensions of a tensor to `total`, whose length is that of the others. */
function addMean(total, { data }) {
  const times = data.length / total.length;
  data.forEach((value, index) => (total[index % total.length] += value / times));
}
