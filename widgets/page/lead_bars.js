// The lead terms as bars, one row for each lead, which is also the button that takes the lead away.

import { button, h } from "./dom.js";
import { AGAINST, FOR, LIMIT } from "./paper.js";
import { LEADS } from "./state.js";

/** Rows of leads with signed bars; onlead: gets the lead that was clicked. */
export function leadBars(t, onlead) {
  const rows = LEADS.map((lead) => {
    const bar = h("span", { className: "bar" }), mark = h("span", { className: "mark", hidden: true }), number = h("span", { className: "number" });
    const name = h("span", { className: "name" }, lead);
    const row = button("", () => onlead(lead), { className: "lead-row" });
    row.append(name, h("span", { className: "track" }, bar, mark), number);
    return { lead, row, bar, mark, number };
  });
  const bias = h("p", { className: "sum" });
  const el = h("div", { className: "lead-bars" },
    h("div", { className: "bar-head" }, h("span", {}, t("bars.against")), h("span", {}, t("bars.for"))),
    h("div", { role: "group", ariaLabel: t("bars.label") }, rows.map(({ row }) => row)), bias);
  return {
    el,
    /** Show the terms of a code. ecg: whose leads there are. fall: by how much the log-odds fall without each lead. */
    show(ecg, one, hidden = false, fall = {}) {
      rows.forEach(({ lead, row, bar, mark, number }, index) => {
        const recorded = Boolean(ecg.valid[index]), on = lead in one.terms, term = one.terms[lead] ?? 0;
        const share = Math.min(1, Math.abs(term) / LIMIT) * 50;
        row.disabled = !recorded;
        row.setAttribute("aria-pressed", String(on));
        const text = !recorded ? t("bars.absent") : !on ? t("bars.away") : hidden ? "?" : t.signed(term, 2);
        number.textContent = text;
        const marked = on && !hidden && lead in fall;
        mark.hidden = !marked;
        mark.style.left = `${50 + 50 * Math.min(1, Math.max(-1, (fall[lead] ?? 0) / LIMIT))}%`;
        row.setAttribute("aria-label", marked ? t("bars.without", { lead, text, change: t.signed(-fall[lead], 2) }) : `${lead}: ${text}`);
        bar.style.width = on && !hidden ? `${share}%` : "0";
        bar.style.left = term < 0 ? `${50 - share}%` : "50%";
        bar.style.background = term < 0 ? AGAINST : FOR;
        bar.classList.toggle("against", term < 0);
      });
      const sum = Object.values(one.terms).reduce((total, term) => total + term, one.bias);
      bias.textContent = hidden ? "" : t("bars.sum", { bias: t.signed(one.bias, 2), sum: t.signed(sum, 2), probability: t.percent(one.probability) });
    },
  };
}
