"""The engine of the web page: it computes what PyTorch computes, sends no request, and is built or says why not."""

import base64
import gzip
import json
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

import lamae_toolkit as lt
from lab import browser_page
from lamae_toolkit.cli.main import main
from lamae_toolkit.data.download import DownloadError, Published
from lamae_toolkit.ecg.preprocess import resample
from lamae_toolkit.errors import ECGError
from lamae_toolkit.explain.encoded import encode_ecg
from lamae_toolkit.explain.reconstruction import reconstruct_masked, shipped_pair
from lamae_toolkit.widgets.page import build
from lamae_toolkit.widgets.page.content import example_ecgs, example_recordings
from small_models import ONE_BLOCK, probe_of

READY = "async () => { await globalThis.lamae.engine }"

COMPUTE = """async (cases) => {
  const engine = await lamae.engine, results = [];
  const text = (values) => {
    const bytes = new Uint8Array(new Float32Array(values).buffer);
    let binary = "";
    for (let i = 0; i < bytes.length; i += 0x8000) binary += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
    return btoa(binary);
  };
  for (const { name, samples, valid, mask, on } of cases) {
    const example = lamae.assets.examples.find((one) => one.name === name), signal = new Float32Array(12 * samples);
    for (let lead = 0; lead < 12; lead++) {
      const start = lead * example.n_samples;
      if (valid[lead]) signal.set(example.signal.subarray(start, start + samples), lead * samples);
    }
    const ecg = { ...example, signal, n_samples: samples, valid: Uint8Array.from(valid) };
    const result = {}, masked = Uint8Array.from(mask);
    for (const model of ["lamae", "twin"]) result[model] = text(await engine.reconstruct(model, ecg, masked));
    const predicted = await engine.predict(ecg, Uint8Array.from(on));
    for (const part of ["probabilities", "terms", "bias", "weights", "attention"]) result[part] = text(predicted[part]);
    results.push({ ...result, codes: predicted.codes });
  }
  return results;
}"""


def numbers(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(shape)


def content(web_page: Path) -> dict:
    """What the page carries besides the models, read from the file."""
    text = re.search(r'id="asset-content">([^<]*)<', web_page.read_text(encoding="utf-8"))
    return json.loads(gzip.decompress(base64.b64decode(text[1])))


def recording_of(example: dict) -> lt.Recording:
    units = np.frombuffer(base64.b64decode(example["signal"]), dtype="<i2").reshape(len(example["leads"]), -1)
    signal_mv = (units * example["mv_per_unit"]).astype(np.float32)
    return lt.Recording(signal_mv, example["rate_hz"], tuple(example["leads"]))


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["web_page", "web_page_of_real_ecgs"])
def test_page_computes_what_torch_computes(chromium, request, fixture):
    """Every example with a random mask and random leads turned off; one of 5 s and one of six leads as well."""
    page_file, rng = request.getfixturevalue(fixture), np.random.default_rng(0)
    examples = content(page_file)["examples"]
    assert {one["simulated"] for one in examples} == {fixture == "web_page"}
    cases = [{"name": one["name"], "samples": 1000, "valid": [1] * 12} for one in examples]
    cases += [{"name": cases[0]["name"], "samples": 500, "valid": [1] * 12}]
    cases += [{"name": cases[1]["name"], "samples": 1000, "valid": [0, 1] * 6}]
    for number, case in enumerate(cases):
        patches = case["samples"] // 25
        mask = rng.random((12, patches)) < (0.3, 0.75)[number % 2]
        mask[1, 0] = False
        case["mask"] = mask.astype(int).ravel().tolist()
        case["on"] = [1] * 12 if number % 2 else [int(lead) for lead in rng.random(12) < 0.6]
        case["on"][1] = 1
    with browser_page(chromium) as page:
        page.goto(page_file.as_uri())
        results = page.evaluate(COMPUTE, cases)
    models, probe = shipped_pair(), lt.Probe.load("lamae-mini-ptbxl")
    recordings = {one["name"]: recording_of(one) for one in examples}
    for case, result in zip(cases, results, strict=True):
        leads = [lead for lead, valid in zip(lt.LEADS, case["valid"], strict=True) if valid]
        rows = [lt.LEADS.index(lead) for lead in leads]
        complete = recordings[case["name"]].select(leads)
        ecg = lt.Recording(complete.signal_mv[:, : case["samples"]], complete.sampling_rate_hz, complete.leads)
        mask = np.array(case["mask"], dtype=bool).reshape(12, -1)
        expected = reconstruct_masked(models, ecg, mask[rows])
        for key, name in (("lamae", "LAMAE"), ("twin", "independent leads")):
            reconstructed = numbers(result[key], 12, -1)
            np.testing.assert_allclose(reconstructed[rows], expected[name].signal_mv, rtol=0, atol=1e-4)
            assert not np.delete(reconstructed, rows, axis=0).any()
        used = [lead for lead in leads if case["on"][lt.LEADS.index(lead)]]
        at = [lt.LEADS.index(lead) for lead in used]
        encoded = encode_ecg(models["LAMAE"], ecg, probe)
        summary, terms = encoded.attention_summary(used), encoded.lead_terms(used)
        assert tuple(result["codes"]) == probe.codes
        c = len(probe.codes)
        np.testing.assert_allclose(numbers(result["probabilities"], c), summary.probabilities, rtol=0, atol=1e-4)
        np.testing.assert_allclose(numbers(result["terms"], c, 12)[:, at].T, terms.terms, rtol=0, atol=1e-3)
        np.testing.assert_allclose(numbers(result["bias"], c), probe.bias, rtol=1e-6)
        weights, attention = numbers(result["weights"], 12), numbers(result["attention"], 12, 12)
        np.testing.assert_allclose(weights[at], summary.lead_weights.mean(axis=0), rtol=0, atol=1e-5)
        np.testing.assert_allclose(attention[np.ix_(at, at)], summary.attention_table(), rtol=0, atol=1e-5)
        for values in (numbers(result["terms"], c, 12).T, weights, attention, attention.T):
            assert not np.delete(values, at, axis=0).any()


@pytest.mark.slow
def test_page_is_one_small_file_that_asks_nobody(chromium, web_page):
    """No request but that of the file; the policy of the page refuses each way to send something."""
    assert web_page.stat().st_size < 15e6
    text = web_page.read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; ") and "connect-src" not in policy and "http" not in policy
    assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval'", "") and text.index(policy) < text.index("<style")
    requests: list[str] = []
    with browser_page(chromium) as page:
        page.on("request", lambda request: requests.append(request.url))
        page.goto(web_page.as_uri())
        page.evaluate(READY)
        assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [web_page.as_uri()]
    refused: dict = {}
    with suppress(AssertionError), browser_page(chromium) as page:  # each refusal is an error in the console
        page.goto(web_page.as_uri())
        refused = page.evaluate("""async () => {
          const refused = [];
          addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
          await fetch("http://127.0.0.1:9/").catch(() => {});
          const image = new Image();
          image.src = "http://127.0.0.1:9/a.png";
          try { new WebSocket("ws://127.0.0.1:9/"); } catch {}
          try { navigator.sendBeacon("http://127.0.0.1:9/", "x"); } catch {}
          const script = document.createElement("script");
          script.textContent = "globalThis.injected = true";
          document.body.append(script);
          await new Promise((done) => setTimeout(done, 300));
          return { refused, injected: globalThis.injected === true };
        }""")
    assert not refused["injected"]
    assert {"connect-src", "img-src", "script-src-elem"} <= set(refused["refused"])


@pytest.mark.slow
def test_engine_says_in_one_sentence_why_it_does_not_work(chromium, web_page):
    failed = "async () => lamae.engine.then(() => null, ({ key, message }) => ({ key, message }))"
    with browser_page(chromium) as page:
        page.add_init_script("WebAssembly.validate = () => false")
        page.goto(web_page.as_uri())
        page.wait_for_function("globalThis.lamae?.engine !== undefined")
        error = page.evaluate(failed)
        assert error["key"] == "simd" and re.fullmatch(r"This browser lacks WebAssembly SIMD, .*\.", error["message"])
    with browser_page(chromium) as page:
        page.goto(web_page.as_uri())
        page.wait_for_function("globalThis.lamae?.engine !== undefined")
        error = page.evaluate("""async () => {
          const ecg = lamae.assets.examples[0], everything = new Uint8Array(480).fill(1);
          const engine = await lamae.engine, report = ({ key, message }) => ({ key, message });
          return engine.reconstruct("lamae", ecg, everything).catch(report);
        }""")
        assert error == {"key": "masked", "message": "Everything is masked; leave at least one patch visible."}
        nothing = page.evaluate("""async () => {
          const engine = await lamae.engine, out = await engine.predict(lamae.assets.examples[0], new Uint8Array(12));
          const anyOf = (values) => values.some(Boolean);
          return { probabilities: [...out.probabilities], terms: anyOf(out.terms), weights: anyOf(out.weights) };
        }""")
        probe = lt.Probe.load("lamae-mini-ptbxl")
        np.testing.assert_allclose(nothing["probabilities"], 1 / (1 + np.exp(-probe.bias)), rtol=1e-5)
        assert not nothing["terms"] and not nothing["weights"]


def test_examples_are_real_where_there_are_some_and_else_simulated(real_data, monkeypatch, capsys):
    monkeypatch.setenv("LAMAE_PTBXL", str(real_data / "ptb-xl"))
    real, simulated = example_recordings("ptbxl")
    assert list(real) == list(lt.examples().index) and not simulated
    kept = example_ecgs(real, False, lt.LAMAEConfig())
    for example, recording in zip(kept, real.values(), strict=True):
        assert example["record"] == lt.examples().record[example["name"]] and "simulated" in example
        expected = resample(recording, 100.0).select(lt.LEADS).signal_mv
        np.testing.assert_allclose(recording_of(example).signal_mv, expected, rtol=0, atol=example["mv_per_unit"])
    monkeypatch.delenv("LAMAE_PTBXL")
    monkeypatch.setattr(Published, "fetch", unreachable)
    made, simulated = example_recordings("ptbxl")
    assert simulated and set(made) < set(real) and "will hold simulated ECGs: no network." in capsys.readouterr().out
    assert {one["simulated"] for one in example_ecgs(made, True, lt.LAMAEConfig())} == {True}
    with pytest.raises(ECGError, match="There are no examples 'mine'; choose from ptbxl, simulated"):
        example_recordings("mine")


def unreachable(*_, **__):
    raise DownloadError("no network.")


def test_lock_file_names_versions_and_hashes_but_no_host():
    folder = Path(build.__file__).parent
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert {"node_modules/esbuild", "node_modules/onnxruntime-web"} <= set(packages)
    assert all(one["version"] and one["integrity"].startswith("sha512-") for one in packages.values())
    for name in ("package-lock.json", "package.json", ".npmrc"):
        assert "://" not in (folder / name).read_text(encoding="utf-8")
    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert packages[f"node_modules/{name}"]["version"] == version


def test_without_node_the_page_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert main(["page", "--out", str(tmp_path / "lamae.html")]) == 2
    assert capsys.readouterr().err == (
        "lamae: Node.js is not installed, which builds the page; install Node.js 20 or later with npm (nodejs.org), "
        "then try again.\n"
    )
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.19.1\n")
    old.chmod(0o755)
    monkeypatch.setattr(build.shutil, "which", lambda name: str(old))
    with pytest.raises(ECGError, match=r"This is Node.js v18.19.1, which is too old; install Node.js 20"):
        build.build_page(tmp_path / "lamae.html")


def test_models_that_do_not_fit_the_page_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_programs", lambda: ("node", "npm"))
    out = tmp_path / "lamae.html"
    torch.manual_seed(0)
    lt.LAMAE(ONE_BLOCK).save_pretrained(tmp_path / "lamae")
    lt.IndependentMAE(lt.LAMAEConfig(max_patches=20)).save_pretrained(tmp_path / "short")
    probe_of(12 * 64, "leads").save(tmp_path / "lamae")
    with pytest.raises(ECGError, match="holds a model of the kind LAMAE, but this one must be IndependentMAE"):
        build.build_page(out, tmp_path / "lamae", tmp_path / "lamae")
    with pytest.raises(ECGError, match="read patches of different rate, length or number"):
        build.build_page(out, tmp_path / "lamae", tmp_path / "short")
    probe_of(160, "summary").save(tmp_path / "lamae")
    with pytest.raises(ECGError, match="is not a sum over leads"):
        build.build_page(out, tmp_path / "lamae")
    assert not out.exists()
