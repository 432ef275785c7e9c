// The worker of the models.

import { Models } from "./models.js";
import { serve } from "./remote.js";

let models = null;
serve({
  load: async (about, packed, progress) => { models = await Models.load(about, packed, progress); },
  reconstruct: (...words) => models.reconstruct(...words),
  predict: (...words) => models.predict(...words),
});
