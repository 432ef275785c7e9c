// Everything at once, for those who know what they see.

import { newest } from "./answers.js";
import { body } from "./body.js";
import { button, h } from "./dom.js";
import { grid } from "./grid.js";
import { leadBars } from "./lead_bars.js";
import { lines } from "./lines.js";
import { maskLines, termsLines } from "./python_lines.js";
import { errorsMv } from "./signal.js";
import { CHEST, LEADS, LIMB, fitted, maskOf } from "./state.js";
import { codeChoice, toggleLead } from "./steps_explain.js";
import { copyButton, ecgChoice } from "./step.js";

/** A mask that hides a share of the patches of each lead at random, the same number of each. */
export function randomMask(patches, ratio) {
  const visible = Math.min(Math.max(patches - Math.round(patches * ratio), 1), patches - 1), mask = maskOf(patches, LEADS);
  LEADS.forEach((_, row) => {
    const order = Array.from({ length: patches }, (_, patch) => [Math.random(), patch]).sort((a, b) => a[0] - b[0]);
    for (const [, patch] of order.slice(0, visible)) mask[row * patches + patch] = 0;
  });
  return mask;
}

/** One ECG with all that is known of it; ecgOf: which. */
function pane(ctx, ecgOf, allLeads) {
  const { t, store, about } = ctx, errors = h("p", { className: "errors" }), name = h("h3", {});
  const drawn = grid(ctx, { onmask: (mask) => store.set({ mask }), more: {} });
  const bars = leadBars(t, (lead) => toggleLead(ctx, ecgOf(), lead));
  const figure = body(t, (lead) => toggleLead(ctx, ecgOf(), lead));
  const attention = lines(t, (from) => store.set({ from }, false)), headline = h("p", { className: "probability" });
  const pane = { el: h("div", { className: "pane" }), drawn, prediction: null };
  let answers = null, stale = false; // an answer to an earlier mask is stale

  function show() {
    const ecg = ecgOf();
    if (!ecg) return;
    const patches = ecg.n_samples / about.patch_samples, mask = fitted(store.state.mask, about.n_patches, patches);
    name.textContent = ctx.titleOf(ecg);
    drawn.show(ecg, store.state.mask, answers || {}, { stale });
    drawn.model.values._all_leads = allLeads();
    const of = Object.entries((!stale && answers) || {}).map(([model, signal]) => [model, errorsMv(ecg, signal, mask, patches).all]);
    errors.textContent = of.filter(([, error]) => error !== null)
      .map(([model, error]) => t("grid.error", { model: t(`model.${model}`), mv: t.mv(error) })).join(" ");
    if (!pane.prediction) return;
    const one = pane.prediction.of(pane.code());
    headline.textContent = t("terms.headline", { name: t.code(one.code), probability: t.percent(one.probability), usual: t.percent(one.usual) });
    bars.show(ecg, one);
    figure.show(ecg, one);
    attention.show(pane.prediction, store.state.from);
  }
  const reconstruct = newest((ecg, mask) => ctx.answers.reconstructions(ecg, mask), (result) => {
    if (!result) ctx.say(t("error.masked"));
    answers = result;
    stale = false;
    paint();
    if (result) ctx.say(errors.textContent);
  });
  const predict = newest((ecg, off) => ctx.answers.prediction(ecg, off), (result) => {
    pane.prediction = result;
    pane.onprediction?.();
    paint();
  });
  const soon = ctx.soon(pane.el), later = ctx.soon(bars.el);
  const paint = ctx.painter(pane.el, show);
  pane.show = show;
  pane.code = () => store.state.code;
  pane.masked = () => { stale = true; paint(); soon(() => ecgOf() && reconstruct(ecgOf(), store.state.mask)); };
  pane.changed = () => {
    pane.el.hidden = !ecgOf();
    answers = null;
    show(); // also where it is not yet in sight, so that the page has its height
    pane.masked();
    pane.taken();
  };
  pane.taken = () => later(() => ecgOf() && predict(ecgOf(), store.state.off));
  pane.el.append(name, errors, drawn.el, headline, h("div", { className: "beside" }, bars.el, figure.el), attention.el);
  ctx.on(["mask"], pane.masked);
  ctx.on(["off"], pane.taken);
  ctx.on(["code", "from"], paint);
  ctx.onremove(drawn.remove);
  return pane;
}

export function playground(ctx) {
  const { t, store, about } = ctx, patches = about.n_patches;
  const all = h("input", { type: "checkbox" });
  const one = pane(ctx, ctx.ecg, () => all.checked), two = pane(ctx, ctx.other, () => all.checked);
  all.onchange = () => { one.show(); two.show(); };
  const codes = codeChoice(ctx, (code) => store.set({ code }));
  one.onprediction = () => {
    const shown = one.prediction.of(store.state.code).code.code;
    codes.show(one.prediction, shown);
    two.code = () => store.state.code || shown; // two ECGs are compared by one code
    two.show();
  };
  ctx.on(["code"], () => one.prediction && one.onprediction());
  ctx.on(["ecg"], one.changed);
  ctx.on(["other"], two.changed);

  const ratio = h("input", { type: "range", min: 5, max: 95, step: 5, value: 100 * about.mask_ratio });
  const shownRatio = h("output", {}, `${ratio.value} %`);
  const random = () => store.set({ mask: randomMask(patches, ratio.value / 100) });
  ratio.oninput = () => {
    shownRatio.textContent = `${ratio.value} %`;
    random();
  };
  const undo = button(t("play.undo"), () => ctx.undo(), { title: t("play.undo.keys") });
  const timesOf = () => (two.el.hidden ? [one] : [one, two]);
  const mask = (leads) => () => store.set({ mask: maskOf(patches, leads) });
  const el = h("section", { id: "playground", className: "step wide", "aria-labelledby": "playground-title" },
    h("h2", { id: "playground-title" }, t("play.title")), h("p", {}, t("play.text")),
    h("div", { className: "row" }, ecgChoice(ctx, "ecg"), ecgChoice(ctx, "other", t("ecg.none")), codes.el),
    h("div", { className: "drop", id: "drop" }, h("p", {}, t("drop.text")), ctx.fileButton(), h("p", { className: "note" }, t("drop.note"))),
    h("div", { className: "row", role: "group", ariaLabel: t("play.masks") },
      h("label", { className: "choice" }, h("span", {}, t("play.ratio")), ratio, shownRatio), button(t("play.random"), random),
      button(t("play.chest"), mask(CHEST)), button(t("play.limb"), mask(LIMB)), button(t("play.none"), mask([])), undo,
      h("label", { className: "check" }, all, t("play.all"))),
    one.drawn && h("div", { className: "row" }, timeRow(one, two, timesOf, t)),
    h("div", { className: "panes" }, one.el, two.el),
    h("div", { className: "row" }, button(t("terms.back"), () => store.set({ off: [] })),
      copyButton(ctx, "copy.link", ctx.link), copyButton(ctx, "copy.python", () => maskLines(ctx, store.state.mask)),
      copyButton(ctx, "copy.terms", () => one.prediction && termsLines(ctx, one.prediction.of(store.state.code)))));
  one.changed();
  two.changed();
  return el;
}

/** The buttons for the part of time that is seen, for both ECGs. */
function timeRow(one, two, shown) {
  const rows = [one, two].map((pane) => pane.drawn.timeButtons());
  const [first, second] = rows.map((row) => [...row.children]);
  first.forEach((made, index) => made.addEventListener("click", () => shown().length > 1 && second[index].click()));
  return rows[0];
}
