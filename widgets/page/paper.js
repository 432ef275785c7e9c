// The ECG paper of the notebooks on this page: what Python tells the widget there, told here.

import ecgPaper from "ecg_paper";
import { h } from "./dom.js";
import { LAYOUTS, page } from "./paper_layout.js";
import { inTwoBytes, leadOf, leadsOf, quantile, sortedOf } from "./signal.js";
import { LEADS, LIMB } from "./state.js";
import { WidgetModel } from "./widget_model.js";

export const FOR = "#D55E00", AGAINST = "#0072B2", LIMIT = 2;
const NARROW_PX = 600, HEAD_MM = 25;
const COLORS = {
  ink: "#1b1b1b", paper: "#fffdfc", fine: "#f9e0e0", bold: "#ecb4b4", overlay: "#0072B2", flag: "#a63a00",
  shade: "rgba(70,70,80,0.17)", caliper: "#6a3d9a", faint: "#696969",
};
/** On a narrow page the words above the ECG have no room; they stand next to it. */
const narrow = () => window.innerWidth < NARROW_PX;

/** What is to be known of an ECG on paper in words. */
function describe(ecg, t) {
  const leads = leadsOf(ecg), seconds = t.number(ecg.n_samples / ecg.rate_hz, 1);
  const absent = LEADS.filter((lead) => !leads.includes(lead));
  return t("paper.text", { leads: leads.length, seconds, rate: ecg.rate_hz }) +
    (absent.length ? ` ${t("paper.absent", { leads: absent.join(", ") })}` : "");
}

/** All that the widget shows of an ECG; terms: what is written about a code, from `termsOnPaper`. */
function values(ecg, t, terms) {
  const leads = leadsOf(ecg), rows = leads.map((lead) => leadOf(ecg, lead));
  const text = describe(ecg, t);
  const head = ["lead", "recorded", "lowest", "highest", "flags"].map((name) => t(`paper.${name}`));
  const table = LEADS.map((lead) => {
    const there = leads.includes(lead), sorted = there && sortedOf(leadOf(ecg, lead));
    return [lead, t(there ? "yes" : "no"), ...(there ? [sorted[0], sorted.at(-1)].map((mv) => t.number(mv, 2)) : ["", ""]), ""];
  });
  return {
    _ecg: {
      leads, rate_hz: ecg.rate_hz, samples: ecg.n_samples, duration_s: ecg.n_samples / ecg.rate_hz, ...inTwoBytes(rows),
      levels: rows.map((row) => quantile(sortedOf(row), 0.5)), flags: {}, table: [head, ...table],
    },
    _pages: Object.fromEntries(Object.keys(LAYOUTS).map((name) => [name, page(ecg, name, terms && !narrow() ? HEAD_MM : 0)])),
    _terms: terms, _text: text, _note: "", start_s: 0, calipers: null, view: null,
  };
}

/** What is written on the paper about a code; prediction: of `Prediction.of`; fall: of the log-odds without each lead. */
export function termsOnPaper(ecg, prediction, t, fall = {}) {
  const { code, terms, probability, usual } = prediction, name = t.code(code);
  const leads = Object.fromEntries(Object.entries(terms)
    .map(([lead, term]) => [lead, { term, lost: fall[lead] ?? null, label: t.signed(term), of_no_patch: "", cells: [t.signed(term, 2)] }]));
  const heading = t("terms.heading", { name, probability: t.percent(probability), prevalence: t.percent(usual) });
  const sentence = prediction.sentence(t), limb = LIMB.filter((lead) => lead in terms);
  const sum = limb.reduce((total, lead) => total + terms[lead], 0);
  const words = [`${heading}.`, sentence, `${t("terms.list")} ${Object.entries(leads).map(([lead, one]) => `${lead} ${one.label}`).join(", ")}.`];
  return {
    codes: [{
      code: code.code, choice: name, heading, sentence, leads, words: words.join(" "),
      limb_label: limb.length > 1 ? t("terms.limb", { sum: t.signed(sum) }) : "",
    }],
    leads: Object.keys(terms), duration_s: ecg.n_samples / ecg.rate_hz, limit: LIMIT, tint: 0.5, bar_mm: 9, bar_height_mm: 2.4,
    for: FOR, against: AGAINST, explained: [t("terms.explained"), ""], not_for_diagnosis: narrow() ? "" : t("notice"), data: null,
  };
}

/** An ECG on paper: its element, and `show` for another ECG or other terms. */
export function paper(t, ecg, terms = null) {
  const layout = narrow() ? "6x2" : "3x4";
  const model = new WidgetModel({
    lead_layout: layout, mm_per_s: 25, mm_per_mv: 10, _speeds: [25, 50], _gains: [5, 10, 20], _colors: COLORS, _mask: null,
    _overlay: null, _given: [], _keywords: {}, icd10_code: null, over_time: false, rate_bpm: null, title: "",
    _words: t.widgets, ...values(ecg, t, terms),
  });
  const el = h("div", { className: "paper" });
  const remove = ecgPaper.render({ model, el });
  let shown = ecg, before = terms;
  return {
    el, model, remove,
    show(next, nextTerms = null) {
      if (next !== shown || !nextTerms !== !before) model.put(values(next, t, nextTerms));
      else model.put({ _terms: nextTerms });
      [shown, before] = [next, nextTerms];
    },
  };
}
