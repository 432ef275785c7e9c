// Steps 4 and 5: which leads carry a prediction, and between which leads there is attention.

import { newest } from "./answers.js";
import { body } from "./body.js";
import { button, choice, h } from "./dom.js";
import { leadBars } from "./lead_bars.js";
import { lines } from "./lines.js";
import { paper, termsOnPaper } from "./paper.js";
import { termsLines } from "./python_lines.js";
import { LEADS } from "./state.js";
import { answerButton, copyButton, step } from "./step.js";

/** The choice of a code, those first whose probability lies furthest above what is usual. */
export function codeChoice(ctx, onchange) {
  const { t } = ctx, holder = h("div", {});
  return {
    el: holder,
    show(prediction, code) {
      const options = prediction.ranked().map((one) => {
        const { probability } = prediction.of(one.code);
        return [one.code, t("terms.option", { name: t.code(one), probability: t.percent(probability) })];
      });
      const focused = holder.contains(document.activeElement);
      holder.replaceChildren(choice(t("terms.code"), options, code, onchange));
      if (focused) holder.querySelector("select").focus();
    },
  };
}

/** Take a lead away, or bring it back; one always stays. */
export function toggleLead(ctx, ecg, lead) {
  const { store } = ctx, { off } = store.state, there = LEADS.filter((one, index) => ecg.valid[index]);
  const next = off.includes(lead) ? off.filter((one) => one !== lead) : [...off, lead];
  if (there.every((one) => next.includes(one))) return ctx.say(ctx.t("terms.last"));
  store.set({ off: LEADS.filter((one) => next.includes(one)) });
}

/** 4: which leads carry the prediction. */
export function terms(ctx) {
  const { t, store } = ctx, shown = paper(t, ctx.ecg());
  let prediction = null, revealed = false, guess = null, fall = null; // of the log-odds, without each lead
  const press = (lead) => {
    if (revealed) return toggleLead(ctx, ctx.ecg(), lead);
    guess = lead;
    reveal();
  };
  const bars = leadBars(t, press), figure = body(t, press);
  const headline = h("p", { className: "probability" }), verdict = h("p", { className: "answer", hidden: true });
  const codes = codeChoice(ctx, (code) => store.set({ code }));
  const back = button(t("terms.back"), () => store.set({ off: [] }));
  const open = answerButton(ctx, "terms.reveal", () => reveal());
  const question = h("p", { className: "question" }), legend = h("p", { className: "note", hidden: true });

  function reveal() {
    revealed = true;
    show();
    compare(ctx.ecg(), store.state.off);
    ctx.say(`${verdict.textContent} ${headline.textContent}`);
  }

  function show() {
    if (!prediction) return;
    const ecg = ctx.ecg(), one = prediction.of(store.state.code);
    codes.show(prediction, one.code.code);
    const ofCode = Object.fromEntries(Object.entries(fall || {}).map(([lead, values]) => [lead, values[one.index]]));
    bars.show(ecg, one, !revealed, ofCode);
    figure.show(ecg, one, !revealed);
    shown.show(ecg, revealed ? termsOnPaper(ecg, one, t, ofCode) : null);
    legend.hidden = !revealed || prediction.leads.length < 2;
    legend.textContent = t(fall ? "terms.loo" : "terms.loo.wait");
    headline.textContent = t("terms.headline", { name: t.code(one.code), probability: t.percent(one.probability), usual: t.percent(one.usual) });
    question.textContent = t("terms.question", { name: t.code(one.code) });
    const ordered = Object.entries(one.terms).sort((a, b) => b[1] - a[1]), rank = ordered.findIndex(([lead]) => lead === guess) + 1;
    const guessed = rank ? t("terms.guess", { lead: guess, term: t.signed(one.terms[guess], 2), rank, of: ordered.length }) : "";
    verdict.hidden = !revealed;
    verdict.textContent = revealed ? `${guessed} ${one.sentence(t)}`.trim() : "";
    open.hidden = revealed;
    back.hidden = !revealed;
    back.disabled = !store.state.off.length;
  }
  /** The check of the terms: the prediction without each lead, while nobody asks for something else. */
  async function compare(ecg, off) {
    const isWanted = () => revealed && ecg === ctx.ecg() && off === store.state.off;
    const found = await ctx.answers.withoutEach(ecg, off, isWanted).catch((error) => { if (!error.key) throw error; });
    if (!found || !isWanted()) return;
    fall = found;
    paint();
  }
  const ask = newest((ecg, off) => ctx.answers.prediction(ecg, off), (result) => {
    const before = prediction;
    prediction = result;
    paint();
    if (revealed) compare(ctx.ecg(), store.state.off);
    if (revealed && before) ctx.say(headline.textContent);
  });
  const soon = ctx.soon(bars.el), changed = () => {
    fall = null; // of other leads
    soon(() => ask(ctx.ecg(), store.state.off));
  };
  ctx.on(["ecg"], () => {
    prediction = guess = null;
    revealed = false; // another ECG, another question
    shown.show(ctx.ecg());
  });
  ctx.on(["ecg", "off"], changed);
  ctx.on(["code"], () => paint());
  changed();
  ctx.onremove(shown.remove);
  const section = step(ctx, 4, "terms", [
    h("p", {}, t("terms.text")), h("p", {}, t("terms.unit")), codes.el, headline, question,
    h("div", { className: "row" }, open, back, copyButton(ctx, "copy.python", () => prediction && termsLines(ctx, prediction.of(store.state.code)))),
    verdict, h("div", { className: "beside" }, h("div", {}, bars.el, legend), figure.el), shown.el, h("p", { className: "note" }, t("terms.note")),
  ]);
  const paint = ctx.painter(section, show);
  return section;
}

/** 5: latent attention between leads. */
export function attention(ctx) {
  const { t, store } = ctx, drawn = lines(t, (from) => {
    store.set({ from }, false);
    if (revealed) ctx.say(drawn.el.querySelector(".attention-words").textContent);
  });
  let prediction = null, revealed = false;
  const question = h("p", { className: "question" });
  const open = answerButton(ctx, "attention.reveal", () => {
    revealed = true;
    show();
    ctx.say(drawn.el.querySelector(".attention-words").textContent);
  });
  const honest = h("p", { className: "answer" }, t("attention.honest"));
  function show() {
    question.textContent = t("attention.question", { lead: store.state.from });
    open.hidden = revealed;
    if (prediction) drawn.show(prediction, store.state.from, !revealed);
  }
  const ask = newest((ecg, off) => ctx.answers.prediction(ecg, off), (result) => { prediction = result; paint(); });
  const soon = ctx.soon(drawn.el), changed = () => soon(() => ask(ctx.ecg(), store.state.off));
  ctx.on(["ecg"], () => (revealed = false));
  ctx.on(["ecg", "off"], changed);
  ctx.on(["from"], () => paint());
  changed();
  show();
  const section = step(ctx, 5, "attention", [
    h("p", {}, t("attention.text")), question, h("div", { className: "row" }, open), drawn.el,
    h("h3", {}, t("attention.not")), honest,
  ]);
  const paint = ctx.painter(section, show);
  return section;
}
