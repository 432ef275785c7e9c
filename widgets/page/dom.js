// Elements of the page.

const SVG = "http://www.w3.org/2000/svg";

/** An element: a property where it has one, else an attribute; null and undefined children are left out. */
export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    name in made && name !== "list" ? (made[name] = value) : made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const button = (label, onclick, properties = {}) => h("button", { type: "button", onclick, ...properties }, label);

/** A button that is pressed or not. */
export const toggle = (label, pressed, onclick, properties = {}) =>
  button(label, onclick, { "aria-pressed": String(pressed), ...properties });

/** A labelled choice; options: [value, text]. */
export function choice(label, options, value, onchange) {
  const select = h("select", {}, options.map(([key, text]) => h("option", { value: key }, text)));
  select.value = value;
  select.onchange = () => onchange(select.value);
  const shown = h("label", { className: "choice" }, h("span", {}, label), select);
  shown.select = select;
  return shown;
}
