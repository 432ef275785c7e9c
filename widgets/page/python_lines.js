// The lines of Python that give the same view in a notebook.

import { leadsOf } from "./signal.js";
import { fitted, maskToRanges } from "./state.js";

const list = (values) => `(${values.map((one) => JSON.stringify(one)).join(", ")}${values.length === 1 ? "," : ""})`;

/** An ECG of the page in Python. */
function ofEcg(ecg, t) {
  if (ecg.own) return `lt.read_ecg(${[JSON.stringify(t("python.path")), ...ofOwn(ecg)].join(", ")})`;
  const name = JSON.stringify(ecg.name);
  return ecg.simulated ? `lt.data.simulated_examples()[${name}]` : `lt.example_ecg(${name})`;
}

/** What was said of one's own file, and the part that is read. */
function ofOwn({ told, start_s, duration_s }) {
  return [
    ...(told.rate ? [`sampling_rate_hz=${told.rate}`] : []),
    ...(told.unit ? [`unit=${JSON.stringify(told.unit)}`] : []),
    ...(told.leads ? [`leads=${JSON.stringify(told.leads)}`] : []),
    ...(start_s ? [`start_s=${start_s}`, `duration_s=${duration_s}`] : []),
  ];
}

/** The dictionary of masked ranges. */
const ofMask = (mask, patches, leads) => `{${maskToRanges(mask, patches).filter(([lead]) => leads.includes(lead))
  .map(([lead, ranges]) => `${JSON.stringify(lead)}: [${ranges.map((pair) => `(${pair.join(", ")})`).join(", ")}]`).join(", ")}}`;

/** A mask on an ECG, in the mask playground. */
export function maskLines(ctx, mask) {
  const ecg = ctx.ecg(), leads = leadsOf(ecg), patches = ecg.n_samples / ctx.about.patch_samples;
  const shape = `(1, ${leads.length}, ${patches})`, ranges = ofMask(fitted(mask, ctx.about.n_patches, patches), patches, leads);
  return [
    "import lamae_toolkit as lt",
    `ecg = ${ofEcg(ecg, ctx.t)}.select(${list(leads)})`,
    "playground = lt.MaskPlayground(ecg)",
    `playground.set_mask(lt.model.range_mask(${shape}, ecg.leads, ${ranges})[0].clone().numpy())`,
    "playground",
  ].join("\n");
}

/** A code's lead terms on an ECG, from the leads that are used. */
export function termsLines(ctx, one) {
  const ecg = ctx.ecg(), name = JSON.stringify(ctx.about.models.lamae.name);
  return [
    "import lamae_toolkit as lt",
    `ecg = ${ofEcg(ecg, ctx.t)}.select(${list(Object.keys(one.terms))})`,
    `model, probe = lt.LAMAE.from_pretrained(${name}), lt.Probe.load(${name})`,
    "terms = lt.explain.encode_ecg(model, ecg, probe).lead_terms()",
    `lt.ECGPaper(ecg, terms=terms, code=${JSON.stringify(one.code.code)})`,
  ].join("\n");
}
