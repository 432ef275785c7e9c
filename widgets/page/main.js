// Where the page begins: the first ECG at once, the models once they are started.

import "./page.css";
import { openAssets } from "./assets.js";
import { Engine } from "./engine.js";
import { Page } from "./page.js";
import { wordsOf, usualLanguage } from "./words.js";

async function begin() {
  const root = document.getElementById("page");
  try {
    const assets = await openAssets(), page = new Page(root, assets);
    globalThis.lamae = { assets, page };
    globalThis.lamae.engine = Engine.load(assets, (share) => page.progress(share));
    page.start(globalThis.lamae.engine);
  } catch (error) {
    root.append(wordsOf(usualLanguage())("error.page", { reason: error.message }));
  }
}

begin();
