// The two models, as the page asks them; they run in a worker.

import engineWorker from "worker:engine_worker.js";
import { EngineError } from "./engine_error.js";
import { Remote } from "./remote.js";

// The smallest module with an instruction of SIMD: a function that makes a vector.
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);

const hasSimd = () => typeof WebAssembly === "object" && WebAssembly.validate(SIMD);

export class Engine {
  #remote;
  #numbers = new WeakMap();
  #number = 0;

  constructor(about, remote) {
    this.about = about;
    this.#remote = remote;
  }

  /** assets: of `openAssets`. progress(share): how much is loaded, from 0 to 1. */
  static async load(assets, progress = () => {}) {
    if (!hasSimd())
      throw new EngineError("simd", "This browser lacks WebAssembly SIMD, which the models need; use a current version of Chrome, Edge, Firefox or Safari.");
    try {
      progress(0);
      const packed = {};
      for (const name of ["wasm", ...assets.about.parts]) packed[name] = await assets.text(name);
      const remote = new Remote(engineWorker);
      await remote.call("load", [assets.about, packed], progress);
      return new Engine(assets.about, remote);
    } catch (error) {
      throw new EngineError("runtime", `The models could not be started in this browser (${error.message}); close other tabs and reload the page.`);
    }
  }

  /** As `Models.reconstruct`. */
  reconstruct(name, ecg, mask) {
    return this.#remote.call("reconstruct", [name, this.#plain(ecg), Uint8Array.from(mask)]);
  }

  /** As `Models.predict`. */
  predict(ecg, on) {
    return this.#remote.call("predict", [this.#plain(ecg), Uint8Array.from(on)]);
  }

  /** What the worker needs of an ECG; by its number it knows again what it has encoded of it. */
  #plain(ecg) {
    if (!this.#numbers.has(ecg)) this.#numbers.set(ecg, ++this.#number);
    return { number: this.#numbers.get(ecg), signal: ecg.signal, valid: Uint8Array.from(ecg.valid), n_samples: ecg.n_samples };
  }
}
