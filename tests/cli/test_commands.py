"""Each command as a user runs it, on real files (the demo: test_demo.py)."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from scipy.special import expit

import lamae_toolkit
import lamae_toolkit as lt
from lamae_toolkit.cli.main import _parser, main
from lamae_toolkit.cli.options import COMMANDS, RESEARCH
from lamae_toolkit.data.store import Store
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import SHIPPED, WEIGHTS

TINY = ["--width", "48", "--decoder-width", "16", "--encoder-depth", "1", "--latent-depth", "1", "--decoder-depth", "1"]
CHECKPOINT = WEIGHTS / SHIPPED[0]


def lines(capsys) -> str:
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    """The message of a refused command: one line on stderr, exit code 2, no traceback."""
    assert main([str(word) for word in words]) == 2
    message = capsys.readouterr().err.strip()
    last = message.splitlines()[-1]
    assert last.startswith("lamae: ") and last.endswith("."), message
    assert "Traceback" not in message
    return last


def without_scripts(page: str) -> str:
    """An HTML page without its scripts, of which plotly's own has addresses in it."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_explain_prints_five_codes_and_writes_the_rest_as_a_page(tmp_path, capsys, real_data):
    record = real_data / "ptb-xl" / "records500" / "00000" / "00001_hr.hea"
    out = tmp_path / "shown.html"
    assert main(["explain", str(record), "--out", str(out)]) == 0
    *codes, empty, sentence, where = lines(capsys).splitlines()
    carried = r" [A-Z]\d\d\S* .* \(prevalence [\d.]+ %\): " + ", ".join([r"(I{1,3}|aV[RLF]|V\d) [+-]\d\.\d"] * 3)
    assert len(codes) == 5 and all(re.fullmatch(rf" *[\d.]+ % {carried}", line) for line in codes)
    assert empty == "" and where == f"Open {out} in a browser."
    code = codes[0].split()[2]
    assert sentence.startswith(f"{code} ") and "Without it: " in sentence
    page = out.read_text(encoding="utf-8")
    for words in (
        "12 leads at 500 Hz",
        "ecg-paper",
        "Each row sums to the log-odds of its code",
        "Share in the heart token",
    ):
        assert words in page
    for words in ("average ECG that the probe was fitted on", "prevalence", "loss without", "not for diagnosis"):
        assert words in page
    for path in (tmp_path, record.parent, Path.home(), CHECKPOINT.parent):
        assert str(path) not in page
    rows = re.findall(
        r"<tr>(.*?)</tr>", page[page.index("Lead terms of all codes") :].partition("</table>")[0], re.DOTALL
    )
    terms = {re.search("<th>(.*)</th>", row)[1]: re.findall(r"<td>(\S+)</td>", row) for row in rows}
    probe = Probe.load(CHECKPOINT)
    predicted = lt.predict(LAMAE.from_pretrained(CHECKPOINT), probe, lt.collate([lt.read_ecg(record)])).iloc[0]
    assert len(terms) == 14 and all(len(numbers) == 13 for numbers in terms.values())
    for code, probability in predicted.items():
        assert expit(np.sum(np.array(terms[lt.name_of(code)], dtype=float))) == pytest.approx(probability, abs=0.002)


def test_explain_shows_the_code_that_is_asked_for(tmp_path, capsys):
    np.save(tmp_path / "two.npy", np.random.default_rng(0).normal(0, 0.2, (2, 1000)))
    words = ["explain", tmp_path / "two.npy", "--sampling-rate-hz", "100", "--unit", "mV", "--leads", "II,V2"]
    assert main([str(word) for word in [*words, "--code", "I45.10", "--out", tmp_path / "two.html"]]) == 0
    assert "\n\nI45.10 Right bundle-branch block, unspecified: " in lines(capsys)
    assert "What the prediction rests on" in (tmp_path / "two.html").read_text(encoding="utf-8")
    assert "The probe does not predict 'I10'; choose from I25.2" in refused(capsys, *words, "--code", "I10")


def test_explain_with_a_probe_that_has_no_terms_shows_the_rest(tmp_path, capsys):
    """A probe of version 0.1, on all latents and without prevalence."""
    checkpoint, old = tmp_path / "checkpoint", Probe.load(CHECKPOINT)
    shutil.copytree(CHECKPOINT, checkpoint)
    width, codes = 5 * LAMAE.from_pretrained(checkpoint).config.width, len(old.codes)
    replace(
        old,
        representation="per_lead",
        mean=np.concatenate([old.mean, np.zeros(width)]),
        scale=np.concatenate([old.scale, np.ones(width)]),
        weight=np.concatenate([old.weight, np.zeros((codes, width))], axis=1),
        prevalence=None,
    ).save(checkpoint)
    np.save(tmp_path / "two.npy", np.random.default_rng(0).normal(0, 0.2, (2, 1000)))
    words = ["explain", tmp_path / "two.npy", "--sampling-rate-hz", "100", "--unit", "mV", "--leads", "II,V2"]
    out = tmp_path / "two.html"
    assert main([str(word) for word in [*words, "--checkpoint", checkpoint, "--out", out]]) == 0
    *shown, empty, sentence, _ = lines(capsys).splitlines()
    assert len(shown) == 5 and empty == ""
    assert sentence.startswith("A probe on 'per_lead' is not a sum over leads, so leads have no terms; fit one with")
    page = without_scripts(out.read_text(encoding="utf-8"))
    assert "no terms" in page and "All codes" in page and "Share in the heart token" in page


@pytest.mark.filterwarnings("default::lamae_toolkit.errors.LeadWarning")
def test_explain_leaves_out_a_flat_lead(tmp_path, capsys):
    samples = np.round(np.random.default_rng(0).normal(0, 0.2, (1000, 3)), 3)
    samples[:, 1] = 0.0
    wfdb.wrsamp(
        "three",
        fs=100,
        units=["mV"] * 3,
        sig_name=["V2", "II", "I"],
        p_signal=samples,
        fmt=["16"] * 3,
        write_dir=str(tmp_path),
    )
    out = tmp_path / "three.html"
    assert main(["explain", str(tmp_path / "three.hea"), "--checkpoint", str(CHECKPOINT), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "II" in printed.err and "flat" in printed.err
    named = {lead for line in printed.out.splitlines()[:5] for lead in re.findall(r"(\w+) [+-]\d", line)}
    assert named == {"I", "V2"}


@pytest.mark.slow
def test_pretrain_evaluate_and_embed(tmp_path, capsys):
    store, folder = tmp_path / "store", tmp_path / "run"
    assert main(["simulate", "--out", str(store), "--ecgs", "260", "--seed", "4"]) == 0
    words = ["pretrain", "--store", str(store), "--out", str(folder), "--steps", "3", "--batch-size", "8", *TINY]
    assert main([*words, "--tokens", "cls", "--masked-leads", "2", "--device", "cpu"]) == 0
    checkpoint = folder / "checkpoint"
    config = LAMAE.from_pretrained(checkpoint).config
    assert (config.tokens, config.masked_leads, config.width) == ("cls", 2, 48)
    assert "no probe.json" in refused(capsys, "explain", store, "--checkpoint", checkpoint)
    metrics = tmp_path / "metrics.json"
    assert (
        main(
            [
                "evaluate",
                "--store",
                str(store),
                "--checkpoint",
                str(checkpoint),
                "--out",
                str(metrics),
                "--representation",
                "per_lead",
                "--min-records-per-code",
                "5",
                "--n-bootstrap",
                "10",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    assert "unseen patients" in lines(capsys)
    assert json.loads(metrics.read_text())["evaluations"][0]["representation"] == "per_lead"
    table = tmp_path / "embeddings.parquet"
    assert main(["embed", str(store), "--checkpoint", str(checkpoint), "--out", str(table), "--device", "cpu"]) == 0
    embedded = pd.read_parquet(table)
    assert len(embedded) == 260 and len(embedded.heart[0]) == 48
    assert sum(embedded.lead_weights[0]) == pytest.approx(1, abs=1e-5)
    assert (embedded.study_id == Store.open(store).index.study_id).all()


def test_pretrain_size_with_changed_settings(cohort, tmp_path, capsys):
    small = ["--width", "48", "--encoder-depth", "1", "--latent-depth", "1", "--decoder-depth", "1"]
    words = ["pretrain", "--store", cohort.folder, "--out", tmp_path / "run", "--size", "small", "--device", "cpu"]
    words += ["--batch-size", "8", "--steps", "2", *small]
    assert main([str(word) for word in words]) == 0
    state = torch.load(tmp_path / "run" / "checkpoint" / "training.pt", weights_only=True)
    assert state["precision"] == "bfloat16" and state["train_config"]["learning_rate"] == 1.5e-4 * 8 / 256
    config = LAMAE.from_pretrained(tmp_path / "run" / "checkpoint").config
    assert (config.heads, config.width, config.encoder_depth) == (3, 48, 1)
    capsys.readouterr()
    assert "do not fill a batch of 1024" in refused(capsys, *words[:7])
    assert "give one" in refused(capsys, *words[:5], "--epochs", "2")


@pytest.mark.filterwarnings("ignore:.*Einthoven:lamae_toolkit.errors.LeadWarning")
def test_embed_reads_a_folder_of_real_records(tmp_path, real_data, capsys):
    table = tmp_path / "embeddings.parquet"
    folder = tmp_path / "records"
    folder.mkdir()
    for name in ("1", "2"):
        for file in (real_data / "ludb" / "data").glob(f"{name}.*"):
            if file.suffix in (".hea", ".dat"):
                (folder / file.name).write_bytes(file.read_bytes())
    (folder / "README.txt").write_text("not an ECG, and passed over")
    (folder / "broken.csv").write_text("time_s,I_mV,II_mV\n0,1,2\n0.01,2\n")
    words = ["embed", str(folder), "--checkpoint", str(CHECKPOINT), "--device", "cpu", "--out", str(table)]
    assert main(words) == 0
    printed = capsys.readouterr().err
    assert "left out: broken.csv: Row 3 has 2 values for 3 columns" in printed and "README.txt" not in printed
    assert len(pd.read_parquet(table)) == 2


def test_invalid_input_is_refused_in_one_sentence(cohort, tmp_path, capsys):
    checkpoint = CHECKPOINT
    (tmp_path / "empty").mkdir()
    assert "is not a store" in refused(capsys, "pretrain", "--store", tmp_path, "--out", tmp_path / "x")
    assert "There is no checkpoint folder" in refused(
        capsys, "embed", cohort.folder, "--checkpoint", tmp_path / "absent"
    )
    assert "is not a checkpoint" in refused(capsys, "embed", cohort.folder, "--checkpoint", tmp_path)
    refused(capsys, "embed", tmp_path / "empty", "--checkpoint", checkpoint)
    refused(capsys, "explain", tmp_path / "absent.hea", "--checkpoint", checkpoint)
    refused(capsys, "pretrain", "--store", cohort.folder, "--out", tmp_path / "x", "--width", "32")
    refused(capsys, "pretrain", "--store", cohort.folder, "--out", tmp_path / "x", "--steps", "0")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("table", "option"),
    [
        ("1,2\n3,4\n", "as in --leads I,II."),
        ("I,II\n1,2\n3,4\n", "pass for example --unit mV."),
        ("I (mV),II (mV)\n" + "1,2\n" * 2000, "pass for example --sampling-rate-hz 500."),
    ],
)
def test_a_refused_file_is_answered_with_options_that_work(table, option, tmp_path, capsys):
    (tmp_path / "ecg.csv").write_text(table)
    message = refused(capsys, "explain", str(tmp_path / "ecg.csv"), "--out", str(tmp_path / "page.html"))
    assert option in message and not re.search(r"\b(leads|unit|sampling_rate_hz)=", message)


def test_help_of_every_command(capsys):
    """Every option is explained, an example is given that parses, and nothing required has a default of None."""
    for words in HELP_PAGES:
        with pytest.raises(SystemExit, match="0"):
            main([*words, "--help"])
        shown = capsys.readouterr().out
        listed = shown[shown.index("options:") :].partition("\nExample:")[0]
        options = re.findall(r"^  (--[a-z-]+)(.*\n(?:          .*\n?)*)", listed, flags=re.MULTILINE)
        assert all(len(text.split()) > 2 for _, text in options), f"an option of {words} is not explained"
        assert options or words in ([], ["prepare"], ["check"], ["research"]), words
        assert "None" not in listed and "SUPPRESS" not in listed, words
        (example,) = re.findall(r"^Example:\n  (lamae .*)", shown, flags=re.MULTILINE)
        assert _parser().parse_args(shlex.split(example)[1:]).run


HELP_PAGES = [
    [],
    *([name] for name in COMMANDS),
    *(["research", name] for name in RESEARCH),
    *(["prepare", source] for source in ("mimic", "ptbxl", "code15", "folder", "mimic-like")),
]


def test_help_lists_users_commands_first(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    listed = re.findall(r"^    ([a-z-]+)\s", capsys.readouterr().out, flags=re.MULTILINE)
    assert listed == [
        "demo",
        "explain",
        "app",
        "prepare",
        "simulate",
        "pretrain",
        "evaluate",
        "embed",
        "lead-terms",
        "export",
        "page",
        "check",
        "research",
    ]


def test_installed_program_shows_its_version_and_help_without_pytorch():
    """As a student would ask: through the installed program, which must answer at once."""
    program = Path(sys.executable).with_name("lamae")
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown == f"lamae {lamae_toolkit.__version__}\n"
    code = (
        "import sys; from lamae_toolkit.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print({'torch', 'pandas', 'scipy', 'numpy'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("set()\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "ptbxl"], "lamae compare is now lamae research compare."),
        (["audit", "--out", "x"], "lamae audit is now lamae research audit."),
        (["small"], "lamae small is now lamae research shipped-weights."),
        (["evaluate", "--minimum", "5"], "--minimum is now --min-records-per-code."),
        (["evaluate", "--replicates=5"], "--replicates is now --n-bootstrap."),
        (["pretrain", "--data", "resident"], "--data is now --data-location."),
        (["research", "compare", "ptbxl", "--variants", "A;B"], "--variants is now --variant, given once for each"),
    ],
)
def test_old_names_are_answered_with_the_new_ones(words, message, capsys):
    assert message in refused(capsys, *words)


def test_compare_refuses_missing_input_and_saves_its_plan(cohort, tmp_path, capsys):
    out, store = tmp_path / "out", ["--store", cohort.folder]
    message = refused(capsys, "research", "compare", "simulated", "--out", out, *store, "--variant", "nothing")
    assert "There is no variant 'nothing'; choose from LAMAE; independent leads;" in message
    assert "Give the folder of PTB-XL by --ptbxl" in refused(capsys, "research", "compare", "ptbxl", "--out", out)
    assert "is not PTB-XL" in refused(capsys, "research", "compare", "ptbxl", "--out", out, *store)
    assert not out.exists()
    message = refused(
        capsys, "research", "compare", "simulated", "--out", out, *store, "--seeds", "1", "--stop-after", "0"
    )
    assert "no variant with all its rotations yet" in message
    assert json.loads((out / "plan.json").read_text())["seeds"] == [0]


@pytest.mark.slow
def test_compare_of_untrained_models_writes_a_table(cohort, tmp_path, capsys):
    words = [
        "research",
        "compare",
        "simulated",
        "--out",
        tmp_path,
        "--store",
        cohort.folder,
        "--seeds",
        "1",
        "--workers",
        "1",
    ]
    assert main([str(word) for word in [*words, "--variant", "random encoder", "--n-bootstrap", "20"]]) == 0
    assert "silent_codes, all labels, all leads" in lines(capsys)
    results = json.loads((tmp_path / "results.json").read_text())
    assert {row["variant"] for row in results["macro"]} == {"random encoder"}
    assert (tmp_path / "report.html").is_file()
