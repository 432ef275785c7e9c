// Where each lead lies on the paper: `page` of lamae_toolkit/plots/paper_layout.py, with which the tests compare it.

import { leadOf, leadsOf, quantile, sortedOf } from "./signal.js";
import { CHEST, LEADS, LIMB } from "./state.js";

const PAGE_S = 10, QRS_QUANTILE = 0.0005, LEAST_MV = 0.4, MOST_MV = 3, CALIBRATION_MV = 1, ROOM_MV = 24, LEAST_ROOM_MV = 2;
const RHYTHM = "rhythm", RHYTHM_LEADS = ["II", "V1", "V5", ...LEADS];
const pairs = (left) => left.map((lead, index) => [lead, CHEST[index]]);
export const LAYOUTS = {
  "3x4": [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"], [RHYTHM]],
  "6x2": pairs(LIMB),
  "12x1": LEADS.map((lead) => [lead]),
  cabrera: pairs(["aVL", "I", "-aVR", "II", "aVF", "III"]),
};

/** Strips of a layout, and the room in millivolts above, between and below its rows. */
export function page(ecg, layout, headMm = 0) {
  const rows = LAYOUTS[layout], columns = Math.max(...rows.map((row) => row.length)), recorded = leadsOf(ecg);
  const shownS = Math.min(PAGE_S, ecg.n_samples / ecg.rate_hz), columnS = Math.min(PAGE_S / columns, shownS);
  const rhythm = RHYTHM_LEADS.find((lead) => recorded.includes(lead)), strips = [];
  rows.forEach((row, number) => {
    const widthS = row[0] === RHYTHM ? shownS : columnS;
    row.forEach((slot, column) => {
      const name = slot === RHYTHM ? rhythm : slot, lead = name.replace(/^-/, ""), at = column * widthS;
      const from = at + widthS / 2 <= shownS ? at : shownS - widthS;
      strips.push({
        name, lead, sign: name.startsWith("-") ? -1 : 1, row: number, at_s: at, from_s: from,
        to_s: Math.min(from + widthS, shownS), recorded: recorded.includes(lead),
      });
    });
  });
  const up = rows.map(() => LEAST_MV), down = rows.map(() => LEAST_MV);
  for (const { lead, sign, row, recorded: there } of strips) {
    if (!there) continue;
    const sorted = sortedOf(leadOf(ecg, lead)), level = quantile(sorted, 0.5);
    const ends = [quantile(sorted, 1 - QRS_QUANTILE) - level, level - quantile(sorted, QRS_QUANTILE)];
    const [high, low] = sign > 0 ? ends : ends.reverse();
    up[row] = Math.max(up[row], Math.min(high, MOST_MV));
    down[row] = Math.max(down[row], Math.min(low, MOST_MV));
  }
  const between = Math.max(0, ...down.slice(0, -1).map((below, row) => below + up[row + 1]));
  return {
    strips, width_s: columns * columnS, rows: rows.length, top_mv: Math.max(up[0], CALIBRATION_MV),
    pitch_mv: Math.min(between, Math.max(ROOM_MV / rows.length, LEAST_ROOM_MV)), bottom_mv: down.at(-1), head_mm: headMm,
  };
}
