// The leads at their axes on the body, each with a disc for its term: the same picture as `geometry_figure` in Python.

import { h, svg } from "./dom.js";
import { AGAINST, FOR, LIMIT } from "./paper.js";
import { CHEST, LEADS, LIMB } from "./state.js";

const FRONTAL_DEG = { I: 0, II: 60, III: 120, aVR: -150, aVL: -30, aVF: 90 };
const HORIZONTAL_DEG = { V1: 115, V2: 94, V3: 75, V4: 60, V5: 30, V6: 0 };
const RADIUS = 100, SMALLEST = 4, LARGEST = 24, CHEST_X = 118, CHEST_Y = 84;

/** Of each label: its offset from the lead, and its anchor. */
const LABELS = {
  I: [28, 5, "start"], II: [22, 26, "start"], III: [-22, 26, "end"], aVR: [-22, -22, "end"], aVL: [22, -22, "start"], aVF: [0, 40, "middle"],
  V1: [-24, -18, "end"], V2: [4, -30, "end"], V3: [10, -30, "start"], V4: [28, -8, "start"], V5: [28, 2, "start"], V6: [28, 5, "start"],
};

/** Where a lead is, from the center of its plane. */
export function position(lead) {
  const angle = ((FRONTAL_DEG[lead] ?? HORIZONTAL_DEG[lead]) * Math.PI) / 180;
  if (LIMB.includes(lead)) return [RADIUS * Math.cos(angle), RADIUS * Math.sin(angle)];
  return [CHEST_X * Math.cos(angle), -CHEST_Y * Math.sin(angle)];
}

/** Both planes; onlead: gets a lead that was clicked, which the bars beside are for, too. */
export function body(t, onlead) {
  const marks = {};
  const figure = h("figure", { className: "body", role: "img", ariaLabel: t("body.hidden") },
    plane(t("body.frontal"), "-205 -150 415 312", frontal(t), LIMB), plane(t("body.horizontal"), "-205 -140 415 250", horizontal(t), CHEST));

  function plane(caption, viewBox, behind, leads) {
    const drawing = svg("svg", { viewBox, "aria-hidden": "true" }, ...behind);
    for (const lead of leads) {
      const [x, y] = position(lead), [dx, dy, anchor] = LABELS[lead];
      drawing.append(svg("line", { x1: 0, y1: 0, x2: x, y2: y, class: "axis" }));
      const disc = svg("circle", { cx: x, cy: y, r: SMALLEST });
      const cross = svg("path", { d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10`, class: "away" });
      const minus = svg("path", { d: `M${x - 4} ${y}h8`, class: "sign" }), plus = svg("path", { d: `M${x - 4} ${y}h8m-4 -4v8`, class: "sign" });
      const name = svg("tspan", { class: "lead-name" }), number = svg("tspan", { dx: 4 });
      name.textContent = lead;
      const label = svg("text", { x: x + dx, y: y + dy, style: `text-anchor: ${anchor}` }, name, number);
      const hit = svg("circle", { cx: x, cy: y, r: 26, class: "hit" });
      hit.addEventListener("click", () => onlead(lead));
      drawing.append(disc, plus, minus, cross, label, hit);
      marks[lead] = { disc, cross, number, plus, minus };
    }
    return h("div", {}, drawing, h("p", { className: "caption" }, caption));
  }

  return {
    el: figure,
    show(ecg, one, hidden = false) {
      LEADS.forEach((lead, index) => {
        const { disc, cross, number, plus, minus } = marks[lead], on = lead in one.terms, term = one.terms[lead] ?? 0;
        const share = hidden ? 0 : Math.min(1, Math.abs(term) / LIMIT), r = SMALLEST + (LARGEST - SMALLEST) * Math.sqrt(share);
        disc.style.r = on ? `${r}px` : "0px";
        disc.style.fill = hidden ? "#777" : term < 0 ? AGAINST : FOR;
        cross.style.display = on ? "none" : "";
        plus.style.display = on && r > 9 && term > 0 ? "" : "none";
        minus.style.display = on && r > 9 && term < 0 ? "" : "none";
        number.textContent = hidden || !ecg.valid[index] ? "" : on ? t.signed(term) : t("body.away");
      });
      const terms = Object.entries(one.terms).map(([lead, term]) => `${lead} ${t.signed(term)}`).join(", ");
      figure.setAttribute("aria-label", hidden ? t("body.hidden") : t("body.text", { terms }));
    },
  };
}

const side = (x, y, text) => {
  const made = svg("text", { x, y, class: "side" });
  made.textContent = text;
  return made;
};

/** A head, shoulders and heart from the front. The patient's left is on the right. */
const frontal = (t) => [
  svg("path", { d: "M-70 150 C-70 40 -96 -8 -58 -22 C-34 -32 -16 -36 -16 -52 L16 -52 C16 -36 34 -32 58 -22 C96 -8 70 40 70 150", class: "skin" }),
  svg("ellipse", { cx: 0, cy: -84, rx: 27, ry: 34, class: "skin" }),
  svg("path", { d: "M2 22 C-18 2 -12 -20 6 -14 C26 -22 42 0 30 18 C22 32 14 34 2 22Z", class: "heart" }),
  svg("circle", { cx: 0, cy: 0, r: RADIUS, class: "ring" }), side(-150, 4, t("body.right")), side(0, 154, t("body.feet")),
];

/** A slice through the chest, seen from the feet: the front is up. */
const horizontal = (t) => [
  svg("ellipse", { cx: 0, cy: 0, rx: CHEST_X, ry: CHEST_Y, class: "skin" }),
  svg("ellipse", { cx: 24, cy: -16, rx: 36, ry: 26, transform: "rotate(-25 24 -16)", class: "heart" }),
  svg("circle", { cx: 0, cy: 62, r: 9, class: "ring" }),
  side(0, 102, t("body.back")), side(-150, 4, t("body.right")),
];
