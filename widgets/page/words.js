// What the page says, in the language of the reader: all of it is in strings/*.json.

import de from "./strings/de.json";
import en from "./strings/en.json";

export const LANGUAGES = { en, de };
const OF_WIDGETS = "widget:";

/** The language to begin with: that of the browser, where there is one. */
export const usualLanguage = () => Object.keys(LANGUAGES).find((one) => navigator.language.startsWith(one)) || "en";

/** The words of a language: t(key, values) is a text with its {placeholders} filled in. */
export function wordsOf(language) {
  const table = LANGUAGES[language];
  const t = (key, values = {}) => {
    if (!(key in table)) throw new Error(`There is no text ${key}.`);
    return table[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  };
  t.language = language;
  t.has = (key) => key in table;
  /** A number as it is written in this language. */
  t.number = (value, digits) =>
    value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
  /** A number with its sign; zero has none. */
  t.signed = (value, digits = 1) => {
    const size = t.number(Math.abs(value), digits);
    return size === t.number(0, digits) ? size : (value < 0 ? "−" : "+") + size;
  };
  /** A probability in percent, with a decimal where it is small or close to 1; never 0 % or 100 %. */
  t.percent = (p) => {
    if (p < 0.0005) return `< ${t.number(0.1, 1)}\u00a0%`;
    if (p >= 0.9995) return `> ${t.number(99.9, 1)}\u00a0%`;
    return `${t.number(100 * p, p >= 0.0995 && p < 0.995 ? 0 : 1)}\u00a0%`;
  };
  t.mv = (value) => t("unit.mv", { value: t.number(value, 2) });
  /** The name of a code: ours where there is one, else that of the model. */
  t.code = ({ code, name }) => (t.has(`code.${code}`) ? t(`code.${code}`) : name);
  /** For the widgets: from an English text to that of this language. */
  t.widgets = Object.fromEntries(Object.entries(table).filter(([key]) => key.startsWith(OF_WIDGETS))
    .map(([key, text]) => [key.slice(OF_WIDGETS.length), text]));
  return t;
}
