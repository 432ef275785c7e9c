// What the models answer: the newest question only, and each question once.

import { LEADS, fitted, maskToWord } from "./state.js";

const EVEN = 0.1, KEPT = 80;

/** A job whose newest call alone is worked on; done gets its result, unless another call came meanwhile. */
export function newest(job, done) {
  let number = 0, running = null, waiting = null;
  const run = async (own, args) => {
    running = own;
    try {
      const result = await job(...args);
      if (own === number) done(result);
    } catch (error) {
      if (!error.key) throw error; // what stops the engine is said once, by the page
    } finally {
      running = null;
      if (waiting) {
        const next = waiting;
        waiting = null;
        run(...next);
      }
    }
  };
  return (...args) => {
    const next = [++number, args];
    if (running === null) run(...next);
    else waiting = next;
  };
}

/** The models with what they answered last. */
export class Answers {
  constructor(engine, about) {
    this.engine = engine; // or a promise of it
    this.about = about;
    this.kept = new Map();
  }

  async once(ecg, key, ask) {
    const own = this.kept.get(ecg) || new Map();
    this.kept.delete(ecg);
    this.kept.set(ecg, own);
    if (this.kept.size > 4) this.kept.delete(this.kept.keys().next().value);
    if (!own.has(key)) {
      if (own.size >= KEPT) own.delete(own.keys().next().value);
      own.set(key, ask());
      own.get(key).catch(() => own.delete(key));
    }
    return own.get(key);
  }

  /** The reconstructions by both models, in mV; null where nothing of the ECG would stay visible. */
  async reconstructions(ecg, mask) {
    const patches = ecg.n_samples / this.about.patch_samples, own = fitted(mask, this.about.n_patches, patches);
    const visible = own.some((masked, index) => !masked && ecg.valid[Math.floor(index / patches)]);
    if (!visible) return null;
    const engine = await this.engine;
    return this.once(ecg, `mask ${maskToWord(own, patches)}`, async () => ({
      lamae: await engine.reconstruct("lamae", ecg, own),
      twin: await engine.reconstruct("twin", ecg, own),
    }));
  }

  /** By how much the log-odds of each code fall without each lead that is used: { lead: Float32Array(codes) }; null
   * once isWanted() is false. */
  async withoutEach(ecg, off, isWanted) {
    const whole = await this.prediction(ecg, off), fall = {};
    for (const lead of whole.leads.length > 1 ? whole.leads : []) {
      if (!isWanted()) return null;
      const { answer } = await this.prediction(ecg, [...off, lead]);
      fall[lead] = answer.log_odds.map((value, index) => whole.answer.log_odds[index] - value);
    }
    return fall;
  }

  /** What is predicted from these leads. */
  async prediction(ecg, off) {
    const on = Uint8Array.from(LEADS, (lead, index) => Number(ecg.valid[index] && !off.includes(lead)));
    const engine = await this.engine;
    return this.once(ecg, `leads ${on.join("")}`, async () => new Prediction(this.about, on, await engine.predict(ecg, on)));
  }
}

/** A prediction from some leads: of each code, and between which leads there was attention. */
class Prediction {
  constructor(about, on, answer) {
    Object.assign(this, { codes: about.codes, on, answer, leads: LEADS.filter((_, index) => on[index]) });
  }

  /** The code whose log-odds lie furthest above those of its prevalence comes first. */
  ranked() {
    const logit = (p) => Math.log(p / (1 - p));
    const above = (index) => logit(this.answer.probabilities[index]) - this.codes[index].usual_log_odds;
    return this.codes.map((_, index) => index).sort((a, b) => above(b) - above(a)).map((index) => this.codes[index]);
  }

  /** One code (the first of `ranked` if null): its probability, bias, and the term of each lead that was used. */
  of(code) {
    const index = Math.max(0, this.codes.findIndex((one) => one.code === (code || this.ranked()[0].code)));
    const terms = Object.fromEntries(this.leads.map((lead) => [lead, this.answer.terms[index * LEADS.length + LEADS.indexOf(lead)]]));
    const probability = this.answer.probabilities[index], bias = this.answer.bias[index], one = this.codes[index];
    const usual = 1 / (1 + Math.exp(-one.usual_log_odds));
    return { code: one, index, terms, probability, bias, usual, sentence: (t) => sentence(t, terms, probability, usual) };
  }

  /** The attention of a lead to each of those that were used, as shares. */
  attention(lead) {
    const row = LEADS.indexOf(lead) * LEADS.length;
    return Object.fromEntries(this.leads.map((other) => [other, this.answer.attention[row + LEADS.indexOf(other)]]));
  }
}

/** On which leads a prediction rests, in a sentence. */
function sentence(t, terms, probability, usual) {
  const entries = Object.entries(terms), total = entries.reduce((sum, [, term]) => sum + term, 0);
  const size = ([, term]) => term * Math.sign(total || 1);
  const ordered = [...entries].sort((a, b) => size(b) - size(a)), [lead, term] = ordered[0];
  const below = probability < usual ? `${t("terms.below")} ` : "";
  if (Math.abs(term) < EVEN) return below + t("terms.even");
  const second = ordered[1] && Math.sign(ordered[1][1]) === Math.sign(term) && Math.abs(ordered[1][1]) > Math.abs(term) / 2;
  return below + t(`terms.${term > 0 ? "for" : "against"}${second ? ".two" : ""}`, { lead, second: second ? ordered[1][0] : "" });
}
