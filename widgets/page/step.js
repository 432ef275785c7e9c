// What all steps share: their frame, the choice of an ECG, the button for the answer, and what copies lines.

import { button, choice, h } from "./dom.js";

/** A step with its number and heading. */
export function step(ctx, number, name, children) {
  const { t } = ctx, id = `step-${name}`;
  const heading = h("h2", { id: `${id}-title` }, h("span", { className: "step-number", ariaHidden: "true" }, String(number)), t(`${name}.title`));
  return h("section", { id, className: "step", "aria-labelledby": `${id}-title` }, heading, children);
}

/** A button that shows the answer to a question. */
export const answerButton = (ctx, key, onclick) => button(ctx.t(key), onclick, { className: "primary" });

/** The choice of an ECG; name: of the state's value. */
export function ecgChoice(ctx, name, none = null) {
  const { t, store } = ctx;
  const holder = h("div", {});
  const show = () => {
    const options = [...(none ? [["", none]] : []), ...ctx.ecgs().map((ecg) => [ecg.name, ctx.titleOf(ecg)])];
    holder.replaceChildren(choice(t(none ? "ecg.other" : "ecg.choose"), options, store.state[name] || "", (value) => store.set({ [name]: value || null })));
  };
  ctx.on([name, "ecgs"], show);
  show();
  return holder;
}

/** A button that copies lines; where the browser does not allow that, it shows them to be copied. */
export function copyButton(ctx, key, lines) {
  const { t } = ctx;
  return button(t(key), async () => {
    const text = lines();
    if (!text) return; // there is no answer yet
    ctx.lastCopied = text;
    try {
      await navigator.clipboard.writeText(text);
      ctx.notify(t("copy.done"), text);
    } catch {
      ctx.notify(t("copy.byHand"), text);
    }
  }, { className: "quiet" });
}
