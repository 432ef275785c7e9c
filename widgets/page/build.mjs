// Puts the page together as one HTML file: node build.mjs --modules DIR --assets DIR --out FILE
//
// modules: the folder with node_modules. assets: content.json and the models (*.onnx), which build.py writes. Scripts and
// styles are bundled by esbuild; what is large is compressed and unpacked by the browser's DecompressionStream.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

const { values: given } = parseArgs({ options: { modules: { type: "string" }, assets: { type: "string" }, out: { type: "string" } } });
const HERE = dirname(fileURLToPath(import.meta.url));
const NODE_MODULES = join(given.modules, "node_modules");
const fromModules = createRequire(join(NODE_MODULES, "page.js"));
const WASM = "ort-wasm-simd-threaded.wasm";

// The ECG paper is one module of four scripts, joined as widgets/ecg_paper/widget.py joins them.
const ECG_PAPER = ["ecg_paper_paint", "ecg_paper_marks", "ecg_paper_terms", "ecg_paper_save", "ecg_paper"];
const ecgPaper = {
  name: "ecg_paper",
  setup(build) {
    build.onResolve({ filter: /^ecg_paper$/ }, () => ({ path: "ecg_paper", namespace: "joined" }));
    build.onLoad({ filter: /.*/, namespace: "joined" }, () => ({
      contents: ECG_PAPER.map((name) => readFileSync(join(HERE, "..", "ecg_paper", `${name}.js`), "utf8")).join("\n"),
    }));
  },
};

const SHARED = {
  nodePaths: [NODE_MODULES], bundle: true, minify: true, write: false, format: "iife", target: "es2022", charset: "utf8",
  legalComments: "eof", logLevel: "error",
  // The runtime would ask for its own address, to load more of itself. It gets all of itself from the page.
  define: { "import.meta.url": '"http://localhost/lamae.js"' },
};

// "worker:name.js" is the text of a script for a worker, with all that it imports.
const workers = {
  name: "worker",
  setup(build) {
    build.onResolve({ filter: /^worker:/ }, ({ path }) => ({ path: path.slice("worker:".length), namespace: "worker" }));
    build.onLoad({ filter: /.*/, namespace: "worker" }, async ({ path }) => {
      const { outputFiles } = await fromModules("esbuild").build({ ...SHARED, entryPoints: [join(HERE, path)] });
      return { contents: outputFiles[0].text, loader: "text" };
    });
  },
};

/** The script and the style sheet of the page. */
async function bundle() {
  const { outputFiles } = await fromModules("esbuild").build({
    ...SHARED, entryPoints: [join(HERE, "main.js")], plugins: [ecgPaper, workers], outdir: "out",
  });
  const of = (ending) => outputFiles.find((file) => file.path.endsWith(ending))?.text ?? "";
  // A comment of HTML would begin in a string of ours; escaped, it is the same string.
  return { script: of(".js").replaceAll("<!--", "\\x3c!--"), style: of(".css") };
}

const sha256 = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** An element of data, which the browser neither runs nor shows. */
const data = (name, bytes) =>
  `<script type="text/plain" id="asset-${name}">${gzipSync(bytes, { level: 9 }).toString("base64")}</script>`;

/** The page may run its own script and its own workers and nothing else, and reach nobody: not by a request, a form or a frame. */
const policy = (script) => `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; ` +
  `script-src ${sha256(script)} 'wasm-unsafe-eval'; worker-src blob:; style-src 'unsafe-inline'; img-src data: blob:; ` +
  `base-uri 'none'; form-action 'none'">`;

const { script, style } = await bundle();
if (/<\/script|<!--/i.test(script) || /<\/style/i.test(style)) throw new Error("A script or style would end inside of its element.");
const models = readdirSync(given.assets).filter((name) => name.endsWith(".onnx")).sort();
const content = data("content", readFileSync(join(given.assets, "content.json")));
const large = [
  ...models.map((name) => data(name.replace(".onnx", ""), readFileSync(join(given.assets, name)))),
  data("wasm", readFileSync(join(dirname(fromModules.resolve("onnxruntime-web")), WASM))),
];
const parts = {
  policy: policy(script),
  style: `<style>${style}</style>`,
  // The first ECG is drawn before the browser has read the models.
  script: `${content}\n<script>${script}</script>`,
  assets: large.join("\n"),
};
const page = readFileSync(join(HERE, "index.html"), "utf8").replace(/<!-- build: (\w+) -->/g, (_, name) => parts[name]);
writeFileSync(given.out, page);
