// In the place of Python: what a widget of the notebooks asks of its model, with values of the page.

export class WidgetModel {
  constructor(values) {
    this.values = values;
    this.heard = new Map();
  }

  get(name) {
    return this.values[name];
  }

  /** A change by the widget, or of one value by the page. */
  set(name, value) {
    this.values[name] = value;
    this.tell(name);
  }

  /** Changes by the page, of which the widget hears once all are made. */
  put(values) {
    const changed = Object.keys(values).filter((name) => this.values[name] !== values[name]);
    Object.assign(this.values, values);
    changed.forEach((name) => this.tell(name));
  }

  tell(name) {
    for (const deed of this.heard.get(`change:${name}`) || []) deed();
  }

  on(event, deed) {
    if (!this.heard.has(event)) this.heard.set(event, new Set());
    this.heard.get(event).add(deed);
  }

  off(event, deed) {
    this.heard.get(event)?.delete(deed);
  }

  save_changes() {}
  send() {}
}
