// The page around the steps: its head, what all of them share, and the address.

import { Answers } from "./answers.js";
import { button, choice, h } from "./dom.js";
import { OWN, fileButton, listenToDrops } from "./own_file.js";
import { playground } from "./playground.js";
import { Store, beginning, fromAddress, toAddress } from "./state.js";
import { attention, terms } from "./steps_explain.js";
import { gap, leads, look } from "./steps_reconstruct.js";
import { LANGUAGES, usualLanguage, wordsOf } from "./words.js";

const STEPS = { look, gap, leads, terms, attention };
const FIRST = "anterior infarction", ADDRESS_MS = 300;
const COMPUTED_PX = 600, PAINTED_PX = 100; // so far from what is in sight

export class Page {
  constructor(root, assets) {
    Object.assign(this, { root, assets, about: assets.about, languages: LANGUAGES, own: null, removers: [] });
    const { examples, about } = assets;
    this.known = {
      ecgs: examples.map((one) => one.name), codes: about.codes.map((one) => one.code), languages: Object.keys(LANGUAGES),
    };
    this.language = usualLanguage();
    this.store = new Store(beginning(about.n_patches, examples.some((one) => one.name === FIRST) ? FIRST : examples[0].name));
    this.readAddress();
    addEventListener("hashchange", () => {
      if (location.hash === this.written) return;
      const language = this.language, changes = this.readAddress();
      if (this.language !== language) this.build();
      else this.store.tell(Object.keys(changes));
    });
    this.listenToKeys();
    listenToDrops(this);
  }

  /** engine: a promise of the models. */
  start(engine) {
    this.answers = new Answers(engine, this.about);
    engine.then(() => this.ready(), (error) => this.failed(error));
    this.build();
  }

  readAddress() {
    const { language, ...changes } = fromAddress(location.hash, this.about.n_patches, this.known);
    if (language) this.language = language;
    Object.assign(this.store.state, changes);
    return changes;
  }

  address() {
    const state = { ...this.store.state, ecg: this.store.state.ecg === OWN ? null : this.store.state.ecg };
    return `#${toAddress(state, this.about.n_patches, this.language)}`;
  }

  writeAddress() {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => {
      this.written = this.address();
      history.replaceState(null, "", this.written);
    }, ADDRESS_MS);
  }

  find(name) {
    if (name === OWN && this.own) return this.own;
    return this.assets.examples.find((one) => one.name === name) || null;
  }

  /** What the steps are given. */
  context() {
    const { store, about } = this, t = wordsOf(this.language);
    return {
      t, store, about, answers: this.answers,
      ecg: () => this.find(store.state.ecg) || this.assets.examples[0],
      other: () => this.find(store.state.other),
      ecgs: () => [...this.assets.examples, ...(this.own ? [this.own] : [])],
      titleOf: (ecg) => (t.has(`example.${ecg.name}`) ? t(`example.${ecg.name}`) : ecg.title || ecg.name),
      on: (names, deed) => store.on(names, deed),
      onremove: (deed) => this.removers.push(deed),
      say: (text) => this.say(text),
      notify: (text, lines) => this.notify(text, lines),
      undo: () => store.undo() || this.say(t("play.undo.nothing")),
      link: () => location.href.split("#")[0] + this.address(),
      soon: (element) => this.soon(element, COMPUTED_PX),
      painter: (element, paint) => this.painter(element, paint),
      fileButton: () => fileButton(this, t),
      sourceOf: (ecg) => this.sourceOf(ecg, t),
    };
  }

  sourceOf(ecg, t) {
    const parts = [];
    if (ecg.own) parts.push(t("source.own"));
    else if (ecg.simulated) parts.push(t("source.simulated"));
    else parts.push(t("source.real", { record: ecg.record, source: this.about.source }), t(ecg.unseen ? "source.unseen" : "source.seen"));
    return [...parts, ...(ecg.warnings || []), ...(ecg.own ? ecg.notes : [])].join(" ");
  }

  /** All of the page in its language; what was on it goes. */
  build() {
    this.removers.forEach((deed) => deed());
    this.removers = [];
    this.store.heard = new Set([() => this.writeAddress()]);
    const ctx = this.context(), { t } = ctx;
    this.t = t;
    document.documentElement.lang = this.language;
    document.title = t("title");
    this.live = h("div", { className: "visually-hidden", role: "status", ariaLive: "polite", id: "live" });
    this.toast = h("div", { className: "toast", hidden: true });
    this.state = h("p", { className: "engine-state" });
    const sections = Object.entries(STEPS).map(([, step]) => step(ctx));
    const play = playground(ctx);
    const link = (id, text, label) => h("a", { href: `#${id}`, ariaLabel: label, onclick: (event) => this.go(event, id) }, text);
    const nav = h("nav", { ariaLabel: t("nav.label") },
      Object.keys(STEPS).map((name, index) => link(`step-${name}`, String(index + 1), `${index + 1}: ${t(`${name}.title`)}`)),
      link("playground", t("play.short"), t("play.title")));
    const language = choice(t("language"), Object.keys(LANGUAGES).map((one) => [one, LANGUAGES[one].name]), this.language, (one) => {
      this.language = one;
      this.build();
      this.writeAddress();
      this.root.querySelector("header select").focus();
    });
    this.root.replaceChildren(
      h("header", { className: "topbar" }, h("strong", { className: "notice" }, t("notice")), nav, language),
      h("div", { className: "intro" }, h("h1", {}, t("title")), h("p", {}, t("intro")), h("p", {}, t("privacy")), this.state,
        this.copyRow(ctx)),
      ...sections, play,
      h("footer", {}, h("p", {}, t("footer.model", { name: this.about.models.lamae.name, parameters: t.number(this.about.models.lamae.parameters, 0), version: this.about.version })),
        h("p", {}, t("footer.limits"))),
      this.live, this.toast);
    this.onlyOneLiveRegion();
    if (this.isReady) this.state.hidden = true;
    else this.progress(this.share || 0);
  }

  copyRow(ctx) {
    return h("div", { className: "row" }, button(ctx.t("copy.link"), async () => {
      const link = ctx.link();
      try {
        await navigator.clipboard.writeText(link);
        this.notify(ctx.t("copy.done"), link);
      } catch {
        this.notify(ctx.t("copy.byHand"), link);
      }
    }, { className: "quiet" }));
  }

  go(event, id) {
    event.preventDefault(); // what stands after # is the state
    const section = document.getElementById(id), heading = section.querySelector("h2");
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    section.scrollIntoView({ behavior: calm ? "auto" : "smooth" });
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }

  /** What the widgets would say is said by the one live region of the page. */
  onlyOneLiveRegion() {
    for (const region of this.root.querySelectorAll("[role=status]")) {
      if (region === this.live) continue;
      region.removeAttribute("role");
      const observer = new MutationObserver(() => region.parentElement?.contains(document.activeElement) && this.say(region.textContent));
      observer.observe(region, { childList: true, characterData: true, subtree: true });
      this.removers.push(() => observer.disconnect());
    }
  }

  say(text) {
    this.live.textContent = text;
  }

  /** A message that is seen, too, with lines to copy or a form to fill in. */
  notify(text, lines = null, form = null) {
    const before = document.activeElement, close = button(this.t("close"), () => {
      this.toast.hidden = true;
      before?.focus?.();
    });
    this.toast.replaceChildren(h("p", {}, text), ...(lines ? [h("pre", { tabIndex: 0 }, lines)] : []), ...(form ? [form] : []), close);
    this.toast.onkeydown = (event) => event.key === "Escape" && close.click();
    this.toast.hidden = false;
    (form?.querySelector("input, select") || close).focus({ preventScroll: true });
    this.say(text);
  }

  progress(share) {
    this.share = share;
    if (this.state) this.state.textContent = this.t("loading", { share: this.t.number(100 * share, 0) });
  }

  ready() {
    this.isReady = true;
    this.state.hidden = true;
    this.root.dataset.ready = "true";
  }

  failed(error) {
    const key = `error.${error.key}`;
    this.isReady = true;
    this.state.hidden = true;
    this.notify(this.t.has(key) ? this.t(key) : this.t("error.page", { reason: error.message }));
  }

  /** Do the newest deed once an element is nearly in sight: what nobody sees is not computed. */
  soon(element, px) {
    let deed = null, near = false;
    const observer = new IntersectionObserver(([entry]) => {
      near = entry.isIntersecting;
      if (near && deed) run();
    }, { rootMargin: `${px}px` });
    const run = () => {
      const now = deed;
      deed = null;
      now();
    };
    observer.observe(element);
    this.removers.push(() => observer.disconnect());
    return (next) => {
      deed = next;
      if (near) run();
    };
  }

  /** What paints an element: not before it is nearly in sight. */
  painter(element, paint) {
    const soon = this.soon(element, PAINTED_PX);
    return () => soon(paint);
  }

  listenToKeys() {
    addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "z" || event.shiftKey || event.target.type === "text") return;
      event.preventDefault();
      if (!this.store.undo()) this.say(this.t("play.undo.nothing"));
    });
  }
}
