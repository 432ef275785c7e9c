// Steps 1 to 3: an ECG with its finding; a piece is hidden, guessed and looked at; whole leads are hidden.

import { newest } from "./answers.js";
import { choice, h, toggle } from "./dom.js";
import { grid } from "./grid.js";
import { maskLines } from "./python_lines.js";
import { paper } from "./paper.js";
import { errorsMv, leadsOf } from "./signal.js";
import { CHEST, LEADS, LIMB, fitted, maskOf } from "./state.js";
import { answerButton, copyButton, ecgChoice, step } from "./step.js";

/** 1: the ECG on paper, and its finding in plain words. */
export function look(ctx) {
  const { t } = ctx, shown = paper(t, ctx.ecg());
  const finding = h("div", { className: "answer", hidden: true });
  const reveal = answerButton(ctx, "look.reveal", () => {
    finding.hidden = false;
    reveal.hidden = true;
    ctx.say(finding.textContent);
  });
  const about = h("p", { className: "source" });
  const show = () => {
    const ecg = ctx.ecg(), key = `example.${ecg.name}`;
    shown.show(ecg);
    finding.hidden = true;
    reveal.hidden = false;
    finding.replaceChildren(...(ecg.own
      ? [h("p", {}, t("look.own"))]
      : [h("p", {}, h("strong", {}, t.has(key) ? t(key) : ecg.title), " ", t.has(`${key}.plain`) ? t(`${key}.plain`) : "")]));
    about.textContent = ctx.sourceOf(ecg);
  };
  ctx.on(["ecg"], show);
  show();
  ctx.onremove(shown.remove);
  return step(ctx, 1, "look", [
    h("div", { className: "row" }, ecgChoice(ctx, "ecg"), ctx.fileButton()), h("p", {}, t("look.text")),
    h("p", { className: "question" }, t("look.question")), shown.el, h("div", { className: "row" }, reveal), finding, about,
  ]);
}

/** The mask with only this row of one lead. */
const maskOfRow = (state, patches) => {
  const mask = new Uint8Array(LEADS.length * patches);
  mask.set(state.gap, LEADS.indexOf(state.lead) * patches);
  return mask;
};

/** How far each model is off, as lines with bars: what the connection buys. models: those to show. */
function errorBars(ctx, el, errors, models) {
  const { t } = ctx, most = Math.max(0.01, ...Object.values(errors));
  el.replaceChildren(...models.map((name) => h("div", { className: `error-row ${name}` },
    h("span", { className: "name" }, t(`model.${name}`)),
    h("span", { className: "track" }, h("span", { className: "bar", style: `width:${(100 * errors[name]) / most}%` })),
    h("span", { className: "number" }, t("error.off", { mv: t.mv(errors[name]), squares: t.number(errors[name] / 0.1, 1) })))));
}

/** 2: hide a piece, guess, look. */
export function gap(ctx) {
  const { t, store, about } = ctx, patches = about.n_patches, bars = h("div", { className: "error-bars" });
  const open = { lamae: false, twin: false, truth: false };
  let answers = null;
  const drawn = grid(ctx, {
    onmask: (mask) => {
      const row = LEADS.indexOf(store.state.lead) * patches;
      Object.assign(open, { lamae: false, twin: false, truth: false });
      store.set({ gap: mask.slice(row, row + patches) });
    },
    more: { _gap: true, _bare: true, _row_px: 190 },
  });
  const verdict = h("p", { className: "verdict" });
  const names = ["lamae", "twin", "truth"];
  const buttons = names.map((name) => toggle(t(`gap.show.${name}`), false, () => {
    open[name] = !open[name];
    show();
    ctx.say(verdict.textContent || bars.textContent || t("gap.truth.shown"));
  }, { className: `reveal ${name}` }));

  const show = () => {
    const ecg = ctx.ecg(), { lead } = store.state, mask = maskOfRow(store.state, patches);
    const models = ["lamae", "twin"].filter((name) => open[name] && answers);
    drawn.show(ecg, mask, Object.fromEntries(models.map((name) => [name, answers[name]])), { only: [lead] });
    drawn.model.put({ _gap: !open.truth });
    buttons.forEach((one, index) => {
      one.setAttribute("aria-pressed", String(open[names[index]]));
      one.classList.toggle("next", names[index] === names.find((name) => !open[name]));
    });
    const own = ecg.n_samples / about.patch_samples, of = fitted(mask, patches, own);
    const errors = Object.fromEntries(models.map((name) => [name, errorsMv(ecg, answers[name], of, own).all]));
    const any = models.filter((name) => errors[name] !== null);
    errorBars(ctx, bars, errors, any);
    verdict.textContent = open.truth && any.length === 2
      ? t(errors.lamae < 0.9 * errors.twin ? "gap.verdict.better" : errors.lamae > errors.twin / 0.9 ? "gap.verdict.worse" : "gap.verdict.same",
        { lamae: t.mv(errors.lamae), twin: t.mv(errors.twin) }) : "";
  };
  const ask = newest((ecg, mask) => ctx.answers.reconstructions(ecg, mask), (result) => { answers = result; paint(); });
  const soon = ctx.soon(drawn.el);
  let paint = show;
  const changed = () => {
    answers = null;
    paint();
    soon(() => ask(ctx.ecg(), maskOfRow(store.state, patches)));
  };
  const leadChoice = h("div", {});
  const choices = () => {
    const leads = leadsOf(ctx.ecg());
    if (!leads.includes(store.state.lead)) store.state.lead = leads[0];
    leadChoice.replaceChildren(choice(t("gap.lead"), leads.map((lead) => [lead, lead]), store.state.lead, (lead) => {
      Object.assign(open, { lamae: false, twin: false, truth: false });
      store.set({ lead });
    }));
  };
  ctx.on(["ecg"], () => Object.assign(open, { lamae: false, twin: false, truth: false }));
  ctx.on(["ecg", "lead"], choices);
  ctx.on(["ecg", "gap", "lead"], changed);
  choices();
  changed();
  ctx.onremove(drawn.remove);
  const section = step(ctx, 2, "gap", [
    h("p", {}, t("gap.text")), h("p", {}, t("gap.models")), h("p", { className: "question" }, t("gap.question")),
    h("div", { className: "row" }, leadChoice, drawn.timeButtons()), drawn.el,
    h("div", { className: "row" }, buttons, copyButton(ctx, "copy.python", () => maskLines(ctx, maskOfRow(store.state, patches)))),
    bars, verdict, h("p", { className: "note" }, t("gap.note")),
  ]);
  paint = ctx.painter(section, show);
  return section;
}

const PRESETS = ["lead", "chest", "limb", "time"];

/** 3: hide a whole lead, all chest leads, all limb leads, a second of all leads. */
export function leads(ctx) {
  const { t, store, about } = ctx, patches = about.n_patches, bars = h("div", { className: "error-bars" });
  const perSecond = about.rate_hz / about.patch_samples;
  const time = new Uint8Array(LEADS.length * patches).map((_, bit) => {
    const patch = bit % patches;
    return Number(patch >= 0.4 * patches && patch < 0.4 * patches + perSecond);
  });
  const masks = { lead: maskOf(patches, ["V2"]), chest: maskOf(patches, CHEST), limb: maskOf(patches, LIMB), time };
  let answers = null, revealed = false, stale = false;
  // An ECG of one's own may lack the leads of a preset.
  const hides = { lead: ["V2"], chest: CHEST, limb: LIMB, time: LEADS };
  const offered = () => PRESETS.filter((name) => hides[name].some((lead) => leadsOf(ctx.ecg()).includes(lead)));
  const chosen = () => offered().find((name) => String(masks[name]) === String(store.state.mask));
  const drawn = grid(ctx, { onmask: (mask) => store.set({ mask }), more: { _gap: true } });
  const buttons = PRESETS.map((name) => toggle(t(`leads.hide.${name}`), false, () => store.set({ mask: masks[name] })));
  const question = h("p", { className: "question" }), lesson = h("p", { className: "answer" });
  const reveal = answerButton(ctx, "leads.reveal", () => {
    revealed = true;
    show();
    ctx.say(`${bars.textContent} ${lesson.textContent}`);
  });

  const show = () => {
    const ecg = ctx.ecg(), name = chosen(), { mask } = store.state;
    const shown = revealed && answers ? answers : {};
    drawn.show(ecg, mask, shown, { stale });
    drawn.model.put({ _gap: !revealed });
    buttons.forEach((one, index) => {
      one.setAttribute("aria-pressed", String(PRESETS[index] === name));
      one.hidden = !offered().includes(PRESETS[index]);
    });
    question.textContent = t(`leads.question.${name || "own"}`);
    lesson.textContent = revealed && answers && !stale ? t(`leads.lesson.${name || "own"}`) : "";
    lesson.hidden = !lesson.textContent;
    reveal.hidden = revealed;
    const own = ecg.n_samples / about.patch_samples, of = fitted(mask, patches, own);
    const errors = stale ? {} : Object.fromEntries(Object.keys(shown).map((one) => [one, errorsMv(ecg, shown[one], of, own).all]));
    errorBars(ctx, bars, errors, Object.keys(errors).filter((one) => errors[one] !== null));
  };
  const ask = newest((ecg, mask) => ctx.answers.reconstructions(ecg, mask), (result) => {
    answers = result;
    stale = false;
    if (!result) ctx.say(t("error.masked"));
    paint();
  });
  const soon = ctx.soon(drawn.el);
  let paint = show;
  const changed = () => {
    stale = true;
    paint();
    soon(() => ask(ctx.ecg(), store.state.mask));
  };
  ctx.on(["ecg"], () => {
    answers = null;
    revealed = false; // another ECG, another question
  });
  ctx.on(["ecg", "mask"], changed);
  changed();
  ctx.onremove(drawn.remove);
  const section = step(ctx, 3, "leads", [
    h("p", {}, t("leads.text")), h("div", { className: "row", role: "group", ariaLabel: t("leads.presets") }, buttons), question,
    h("div", { className: "row" }, reveal, drawn.timeButtons()), bars, lesson, drawn.el,
    h("div", { className: "row" }, copyButton(ctx, "copy.python", () => maskLines(ctx, store.state.mask))),
    h("p", { className: "note" }, t("gap.note")),
  ]);
  paint = ctx.painter(section, show);
  return section;
}
