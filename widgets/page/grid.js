// The mask grid of the notebooks on this page: leads and their patches, what is masked, and how the models fill it in.

import maskGrid from "../mask_playground/mask_grid.js";
import { button, h } from "./dom.js";
import { beatWindow, errorsMv, inTwoBytes, leadOf, leadsOf, quantile, samplesOf, sortedOf } from "./signal.js";
import { LEADS, fitted, maskToRanges } from "./state.js";
import { WidgetModel } from "./widget_model.js";

export const LOOKS = { lamae: { color: "#0072B2", dash: [] }, twin: { color: "#D55E00", dash: [6, 4] } };
const NARROW_PX = 600, FOUR_S = 4;

/**
 * A grid of these leads (all that the ECG has if null). onmask: gets the mask as the reader changed it. more: further
 * values of the widget, such as _gap.
 */
export function grid(ctx, { leads = null, onmask, more = {} }) {
  const { t, about } = ctx, el = h("div", { className: "grid" });
  let ecg, mask, patches, shown, model = null, remove = () => {}, coded = {};

  const columns = () => window.innerWidth < NARROW_PX;

  /** The widget, made again for another ECG. */
  function build(lead) {
    remove();
    el.replaceChildren();
    model = new WidgetModel({
      _words: t.widgets, cursor: [lead, 0], _window: null, _text: "", _ecg: ofEcg(), _models: [], masked: words(),
      _reconstructed: answer({}), ...more,
    });
    model.on("change:_edit", () => {
      mask = new Uint8Array(mask);
      model.get("_edit").masked.forEach((word, row) => {
        const start = LEADS.indexOf(shown[row]) * patches;
        for (let patch = 0; patch < patches; patch++) mask[start + patch] = Number(word[patch]);
      });
      onmask(fitted(mask, patches, about.n_patches));
    });
    model.on("change:cursor", () => follow(model.get("cursor")[1]));
    remove = maskGrid.render({ model, el });
  }

  function ofEcg() {
    const rows = shown.map((lead) => leadOf(ecg, lead)), all = Float64Array.from(rows.flatMap((row) => [...row])).sort();
    return {
      leads: shown, patches, patch_s: ecg.n_samples / ecg.rate_hz / patches, samples: ecg.n_samples,
      bottom_mv: quantile(all, 0.0005) * 1.15 - 0.15, top_mv: quantile(all, 0.9995) * 1.15 + 0.15, ...inTwoBytes(rows),
    };
  }

  const words = () => shown.map((lead) => {
    const start = LEADS.indexOf(lead) * patches;
    return mask.subarray(start, start + patches).join("");
  });

  /** Reconstructions by model as the widget takes them; stale: those of an earlier mask, which have no error here. */
  function answer(reconstructed, stale) {
    const names = Object.keys(reconstructed), none = { leads: LEADS.map(() => null), all: null };
    const errors = names.map((name) => (stale ? none : errorsMv(ecg, reconstructed[name], mask, patches)));
    const signals = names.map((name) => reconstructed[name]), of = [ecg, String(shown), ...signals];
    // An earlier answer is shown again until the next one comes.
    if (coded.of?.length !== of.length || of.some((one, index) => one !== coded.of[index]))
      coded = { of, bytes: inTwoBytes(signals.flatMap((signal) => shown.map((lead) => samplesOf(ecg, signal, lead)))) };
    return {
      ...coded.bytes, means: errors.map((one) => one.all),
      errors: errors.map((one) => shown.map((lead) => one.leads[LEADS.indexOf(lead)])),
    };
  }

  /** The window in time moves along with the cursor. */
  function follow(patch) {
    const window = model.get("_window");
    if (!window || (patch >= window[0] && patch < window[1])) return;
    const by = patch < window[0] ? patch - window[0] : patch - window[1] + 1;
    model.set("_window", window.map((one) => one + by));
  }

  return {
    el,
    get model() { return model; },
    /** Show an ECG, its mask and reconstructions by model; stale: of an earlier mask; only: these leads. */
    show(next, nextMask, reconstructed, { stale = false, only = leads } = {}) {
      const before = ecg, beforeShown = shown;
      [ecg, patches, shown] = [next, next.n_samples / about.patch_samples, only || leadsOf(next)];
      mask = fitted(nextMask, about.n_patches, patches);
      if (before !== ecg || String(beforeShown) !== String(shown)) {
        const lead = model && shown.includes(model.get("cursor")[0]) ? model.get("cursor")[0] : shown.includes("V3") ? "V3" : shown[0];
        build(lead);
        if (columns()) model.set("_window", around(ecg, patches, mask, shown, FOUR_S));
      }
      const names = Object.keys(reconstructed);
      model.values._models = names.map((name) => ({ name: t(`model.${name}`), ...LOOKS[name] }));
      model.values.masked = words();
      model.values._text = describe(ecg, mask, stale ? {} : reconstructed, shown, patches, t);
      model.set("_reconstructed", answer(reconstructed, stale));
    },
    /** Buttons for the part of time that is seen. */
    timeButtons() {
      const move = (by) => {
        const [first, end] = model.get("_window") || [0, patches], far = Math.round(by * (end - first));
        const to = Math.min(Math.max(first + far, 0), patches - (end - first));
        model.set("_window", [to, to + end - first]);
      };
      const seconds = (length) => around(ecg, patches, mask, shown, length);
      return h("div", { className: "row", role: "group", ariaLabel: t("time.label") },
        button("◀", () => move(-0.5), { ariaLabel: t("time.earlier") }),
        button("▶", () => move(0.5), { ariaLabel: t("time.later") }),
        button(t("time.beat"), () => model.set("_window", beatWindow(ecg, patches, model.get("cursor")[1]))),
        button(t("time.four"), () => model.set("_window", seconds(FOUR_S))),
        button(t("time.all"), () => model.set("_window", null)));
    },
    remove: () => remove(),
  };
}

/** So many seconds around the middle of what is masked, as [first, end] patches. */
function around(ecg, patches, mask, leads, seconds) {
  const perSecond = patches / (ecg.n_samples / ecg.rate_hz), length = Math.min(patches, Math.round(seconds * perSecond));
  const masked = maskToRanges(mask, patches).filter(([lead]) => leads.includes(lead)).flatMap(([, ranges]) => ranges);
  const middle = masked.length ? (Math.min(...masked.map(([a]) => a)) + Math.max(...masked.map(([, b]) => b))) / 2 : patches / 2;
  const first = Math.min(Math.max(Math.round(middle - length / 2), 0), patches - length);
  return [first, first + length];
}

/** The mask and the errors in words. */
function describe(ecg, mask, reconstructed, leads, patches, t) {
  const masked = maskToRanges(mask, patches).filter(([lead]) => leads.includes(lead) && ecg.valid[LEADS.indexOf(lead)]);
  if (!masked.length) return t("grid.nothing");
  const isAll = ([, [[first, end]]]) => end - first === patches;
  const parts = masked.map((one) => (isAll(one) ? t("grid.complete", { lead: one[0] }) : one[0]));
  const errors = Object.entries(reconstructed)
    .map(([name, signal]) => t("grid.error", { model: t(`model.${name}`), mv: t.mv(errorsMv(ecg, signal, mask, patches).all ?? 0) }));
  return [t("grid.masked", { leads: parts.join(", ") }), ...errors].join(" ");
}
