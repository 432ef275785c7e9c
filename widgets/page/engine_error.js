/** What stops the models; `key` names the reason: "simd", "runtime", "masked". */
export class EngineError extends Error {
  constructor(key, sentence) {
    super(sentence);
    this.key = key;
  }
}
