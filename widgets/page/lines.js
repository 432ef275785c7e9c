// Attention between leads as lines: the leads on a circle, limb leads on the left half, chest leads on the right.

import { h, svg, toggle } from "./dom.js";
import { LEADS } from "./state.js";

const RADIUS = 120, WIDEST = 16, NAMED = 3;
const angle = (index) => ((index < 6 ? 195 - 30 * index + 60 : -75 + 30 * (index - 6)) * Math.PI) / 180;
const spot = (index) => [RADIUS * Math.cos(angle(index)), RADIUS * Math.sin(angle(index))];

/** The circle of leads; onlead: gets the lead whose attention is to be shown. */
export function lines(t, onlead) {
  const bonds = svg("g"), words = h("p", { className: "attention-words" });
  const drawing = svg("svg", { viewBox: "-170 -150 340 300", class: "attention", role: "img", "aria-label": t("lines.hidden") }, bonds);
  const knobs = LEADS.map((lead, index) => {
    const [x, y] = spot(index), group = svg("g", { class: "knob", transform: `translate(${x} ${y})` });
    const number = svg("text", { x: 0, y: y > 0 ? 34 : -25, class: "share" });
    const name = svg("text", { x: 0, y: 5 });
    name.textContent = lead;
    group.append(svg("circle", { r: 20 }), name, number);
    group.addEventListener("click", () => onlead(lead));
    drawing.append(group);
    return { group, number };
  });
  const buttons = LEADS.map((lead) => toggle(lead, false, () => onlead(lead), { className: "lead-choice" }));
  const el = h("div", { className: "attention-box" },
    h("div", { className: "row", role: "group", ariaLabel: t("lines.choose") }, buttons), drawing, words);
  return {
    el,
    /** Show where a lead looks; hidden: only which leads there are. */
    show(prediction, from, hidden = false) {
      const chosen = prediction.leads.includes(from) ? from : prediction.leads[0], shares = prediction.attention(chosen);
      bonds.replaceChildren();
      LEADS.forEach((lead, index) => {
        const there = lead in shares, { group, number } = knobs[index];
        group.classList.toggle("chosen", lead === chosen);
        group.classList.toggle("absent", !there);
        buttons[index].disabled = !there;
        buttons[index].setAttribute("aria-pressed", String(lead === chosen));
        number.textContent = hidden || !there ? "" : `${t.number(100 * shares[lead], 0)}\u00a0%`;
        if (hidden || !there || lead === chosen) return;
        const [x1, y1] = spot(LEADS.indexOf(chosen)), [x2, y2] = spot(index);
        bonds.append(svg("line", { x1, y1, x2, y2, class: shares[lead] * prediction.leads.length > 1 ? "bond more" : "bond", "stroke-width": Math.max(0.6, WIDEST * shares[lead] / 0.3) }));
      });
      const others = Object.entries(shares).filter(([lead]) => lead !== chosen).sort((a, b) => b[1] - a[1]);
      const list = others.slice(0, NAMED).map(([lead, share]) => `${lead} ${t.number(100 * share, 0)}\u00a0%`).join(", ");
      const own = `${t.number(100 * shares[chosen], 0)}\u00a0%`, even = `${t.number(100 / prediction.leads.length, 0)}\u00a0%`;
      words.textContent = hidden ? "" : t(others.length ? "lines.words" : "lines.alone", { lead: chosen, own, list, even });
      drawing.setAttribute("aria-label", hidden ? t("lines.hidden") : words.textContent);
    },
  };
}
