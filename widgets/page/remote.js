// Work that is done beside the page, in a Web Worker, so that the page never stands still.

/** The side of the page. source: the text of the worker's script, which ends in `serve`. */
export class Remote {
  constructor(source) {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.asked = new Map();
    this.number = 0;
    this.worker.onmessage = ({ data }) => this.#hear(data);
    this.worker.onerror = (event) => this.#fail(event.message || "the worker does not start");
    this.address = address;
  }

  /** What the worker's function of this name returns; it rejects with the error that it throws. */
  call(name, args, onprogress = () => {}) {
    const number = ++this.number;
    return new Promise((done, failed) => {
      this.asked.set(number, { done, failed, onprogress });
      this.worker.postMessage({ number, name, args });
    });
  }

  end() {
    this.worker.terminate();
    URL.revokeObjectURL(this.address);
  }

  #hear({ number, progress, error, result }) {
    const one = this.asked.get(number);
    if (progress !== undefined) return one.onprogress(progress);
    this.asked.delete(number);
    // What an error has besides its message, such as its key, does not survive the way otherwise.
    if (error) one.failed(Object.assign(new Error(error.message), error));
    else one.done(result);
  }

  #fail(reason) {
    for (const { failed } of this.asked.values()) failed(new Error(reason));
    this.asked.clear();
  }
}

/** The side of the worker. functions: by name; each gets what it was called with, and `progress`. */
export function serve(functions) {
  onmessage = async ({ data: { number, name, args } }) => {
    try {
      const result = await functions[name](...args, (progress) => postMessage({ number, progress }));
      postMessage({ number, result });
    } catch (error) {
      postMessage({ number, error: { ...error, message: error.message } });
    }
  };
}
