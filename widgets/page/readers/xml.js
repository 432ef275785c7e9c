// A small and strict parser of XML: no entities, limited depth, limited number of elements.
//
// The browser's own parser would first build all of a file that has millions of elements.

import { ReadError } from "./phrase.js";
import { tables } from "./tables.js";

// An element: its name and attributes as {namespace}name, its children, and its text up to the first child.
class Element {
  constructor(tag, attributes) {
    this.tag = tag;
    this.attributes = attributes;
    this.children = [];
    this.text = "";
  }

  get(name) {
    return this.attributes.get(name) ?? null;
  }

  // The children with this name, or those of the children along a path of names.
  all(...path) {
    return path.reduce((found, tag) => found.flatMap((one) => one.children.filter((child) => child.tag === tag)), [this]);
  }

  first(...path) {
    return this.all(...path)[0] ?? null;
  }

  // The text of the first such child, or the other one where there is none.
  textOf(other, ...path) {
    const found = this.first(...path);
    return found === null ? other : found.text;
  }

  // This element and all below with this name, in the order of the file.
  *every(tag) {
    if (this.tag === tag) yield this;
    for (const child of this.children) yield* child.every(tag);
  }
}

class Malformed extends Error {}

// The root element of a file.
export function parseXML(bytes, kind) {
  let equals = 0;
  for (const byte of bytes) equals += byte === 0x3d;
  if (equals > tables.max_equals_signs) throw new ReadError("xml-attributes", { max: tables.max_equals_signs });
  return orElse(() => tree(textOf(bytes, true)), () => {
    throw new ReadError("damaged", { kind });
  });
}

// The name of the root element, by the beginning of a file; "" if it comes later.
export function rootTag(bytes) {
  return orElse(() => tree(textOf(bytes, false), true).tag, () => "");
}

function orElse(parse, other) {
  try {
    return parse();
  } catch (error) {
    if (error instanceof Malformed) return other();
    throw error;
  }
}

// The text of a child that must occur exactly once. where: who lacks it, for the sentence.
export function onlyText(element, name, where) {
  const found = element.all(name);
  if (found.length !== 1) throw new ReadError(found.length ? "element-twice" : "no-element", { ...where, name });
  return found[0].text.trim();
}

export function bytesOfBase64(text, where) {
  const [, letters, padding] = /^([A-Za-z0-9+/]*)(={0,2})$/.exec(text.replace(/\s+/g, "")) ?? [];
  const lacks = letters === undefined ? 3 : (4 - (letters.length % 4)) % 4;
  if (lacks === 3 || lacks > padding.length) throw new ReadError("base64", where);
  return Uint8Array.from(atob(letters + "=".repeat(lacks)), (letter) => letter.charCodeAt(0));
}

// The text in the encoding that its bytes are in, whatever the file declares: converters often keep an old declaration.
// complete: whether these are all bytes, or the last letter may be cut.
function textOf(bytes, complete) {
  let start = 0;
  while ([9, 10, 11, 12, 13, 32].includes(bytes[start])) start++;
  const content = bytes.subarray(start);
  const wide = wideEncoding(content);
  if (wide) {
    try {
      return new TextDecoder(wide, { fatal: complete }).decode(content);
    } catch {
      throw new Malformed();
    }
  }
  const head = String.fromCharCode(...content.subarray(0, 200));
  const declared = /^(?:\xef\xbb\xbf)?<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']/.exec(head)?.[1];
  const own = declared && !/^(utf|ucs|iso-10646)/i.test(declared) ? [declared] : [];
  for (const encoding of [...own, "utf-8"]) {
    try {
      return new TextDecoder(encoding, { fatal: true }).decode(content);
    } catch {
      // It is not in this encoding, or the browser does not know it.
    }
  }
  return new TextDecoder("iso-8859-1").decode(content);
}

// UTF-16 by a mark or by the zeros of Latin letters, or null.
export function wideEncoding(content) {
  const [a, b] = content;
  if (a === 0xff && b === 0xfe) return "utf-16le";
  if (a === 0xfe && b === 0xff) return "utf-16be";
  if (a === 0x3c && b === 0) return "utf-16le";
  return a === 0 && b === 0x3c ? "utf-16be" : null;
}

const S = "[ \\t\\r\\n]";
const NAME = "[A-Za-z_\\u0080-\\uffff][\\w.\\-\\u00b7\\u0080-\\uffff]*";
const START = new RegExp(`<(${NAME}(?::${NAME})?)`, "y");
const END = new RegExp(`</(${NAME}(?::${NAME})?)${S}*>`, "y");
const ATTRIBUTE = new RegExp(`${S}+(${NAME}(?::${NAME})?)${S}*=${S}*(?:"([^<"]*)"|'([^<']*)')`, "y");
const CLOSE = /[ \t\r\n]*(\/?)>/y;
const QUOTED = `(?:"[\\w.:-]+"|'[\\w.:-]+')`;
const EQUALS = `${S}*=${S}*`;
const DECLARATION = new RegExp(
  `<\\?xml${S}+version${EQUALS}${QUOTED}(?:${S}+encoding${EQUALS}${QUOTED})?`
    + `(?:${S}+standalone${EQUALS}${QUOTED})?${S}*\\?>`,
  "y",
);
const DOCTYPE = new RegExp(
  `<!DOCTYPE${S}+${NAME}(?:${S}+(?:SYSTEM|PUBLIC${S}+(?:"[^"]*"|'[^']*'))${S}+(?:"[^"]*"|'[^']*'))?${S}*`,
  "y",
);
const FORBIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/;
const PREDEFINED = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };
const OUTER_SPACES = { own: new Map([["", ""], ["xml", "http://www.w3.org/XML/1998/namespace"]]), outer: null };

// The namespace of a prefix where these are declared; undefined if none is.
function spaceOf(prefix, spaces) {
  for (let one = spaces; one; one = one.outer) {
    if (one.own.has(prefix)) return one.own.get(prefix);
  }
}

// The tree of a text; rootOnly: the root element without what is inside.
function tree(text, rootOnly = false) {
  if (!rootOnly && FORBIDDEN.test(text)) throw new Malformed();
  let at = 0;
  let root = null;
  let external = false;
  let elements = 0;
  const open = [];
  const match = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at = pattern.lastIndex;
    return found;
  };
  const until = (end) => {
    const found = text.indexOf(end, at);
    if (found < 0) throw new Malformed();
    const inside = text.slice(at, found);
    at = found + end.length;
    return inside;
  };
  const resolved = (raw) => {
    if (!raw.includes("&")) return raw;
    return raw.replace(/&([^;&\s]{0,40};)?/g, (_, name) => {
      if (name === undefined) throw new Malformed();
      const reference = name.slice(0, -1);
      if (Object.hasOwn(PREDEFINED, reference)) return PREDEFINED[reference];
      const code = /^#(?:x([0-9a-fA-F]+)|([0-9]+))$/.exec(reference);
      if (code) {
        const point = code[1] ? parseInt(code[1], 16) : Number(code[2]);
        if (!(point <= 0x10ffff) || (point >= 0xd800 && point < 0xe000)) throw new Malformed();
        const letter = String.fromCodePoint(point);
        if (FORBIDDEN.test(letter)) throw new Malformed();
        return letter;
      }
      if (external) throw new ReadError("xml-entities");
      throw new Malformed();
    });
  };
  const add = (part) => {
    const { element } = open.at(-1);
    if (!element.children.length) element.text += part;
  };

  if (text.startsWith("<?xml") && !match(DECLARATION)) throw new Malformed();
  while (at < text.length) {
    if (text[at] !== "<") {
      let end = text.indexOf("<", at);
      if (end < 0) end = text.length;
      const raw = text.slice(at, end);
      at = end;
      if (open.length) {
        if (raw.includes("]]>")) throw new Malformed();
        add(resolved(raw));
      } else if (!/^[ \t\r\n]*$/.test(raw)) throw new Malformed();
    } else if (text.startsWith("!--", at + 1)) { // with "<" it would hide the script inside of an HTML page
      at += 4;
      if (/--|-$/.test(until("-->"))) throw new Malformed();
    } else if (text.startsWith("<![CDATA[", at) && open.length) {
      at += 9;
      add(until("]]>"));
    } else if (text.startsWith("<?", at)) {
      at += 2;
      if (/^xml(\s|$)/i.test(until("?>").slice(0, 4))) throw new Malformed();
    } else if (text.startsWith("<!DOCTYPE", at) && !root && !external) {
      if (!match(DOCTYPE)) throw new Malformed();
      if (text[at] === "[") throw new ReadError("xml-declarations");
      if (text[at++] !== ">") throw new Malformed();
      external = true;
    } else if (text.startsWith("</", at)) {
      const found = match(END);
      if (!found || open.pop()?.name !== found[1]) throw new Malformed();
    } else {
      const found = match(START);
      if (!found || (root && !open.length)) throw new Malformed();
      if (open.length >= tables.max_depth) throw new ReadError("xml-depth", { max: tables.max_depth });
      if (++elements > tables.max_elements) throw new ReadError("xml-elements", { max: tables.max_elements });
      const raw = new Map();
      for (let one = match(ATTRIBUTE); one; one = match(ATTRIBUTE)) {
        if (raw.has(one[1])) throw new Malformed();
        raw.set(one[1], resolved((one[2] ?? one[3]).replace(/[\t\r\n]/g, " ")));
      }
      const close = match(CLOSE);
      if (!close) throw new Malformed();
      const declared = [...raw].filter(([name]) => name === "xmlns" || name.startsWith("xmlns:"));
      const outer = open.at(-1)?.spaces ?? OUTER_SPACES; // as a chain without copies, as there may be many
      const spaces = declared.length
        ? { own: new Map(declared.map(([name, value]) => [name.slice(6), value])), outer }
        : outer;
      const qualified = (name, own) => {
        const [prefix, local] = name.includes(":") ? name.split(":") : [own, name];
        const space = prefix === null ? "" : spaceOf(prefix, spaces);
        if (space === undefined) throw new Malformed();
        return space ? `{${space}}${local}` : local;
      };
      const attributes = new Map();
      for (const [name, value] of raw) {
        if (name === "xmlns" || name.startsWith("xmlns:")) continue;
        const full = qualified(name, null);
        if (attributes.has(full)) throw new Malformed();
        attributes.set(full, value);
      }
      const element = new Element(qualified(found[1], ""), attributes);
      if (rootOnly) return element;
      if (open.length) open.at(-1).element.children.push(element);
      root ??= element;
      if (!close[1]) open.push({ name: found[1], element, spaces });
    }
  }
  if (!root || open.length) throw new Malformed();
  return root;
}
