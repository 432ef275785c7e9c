"""How long a person waits for a first result, next to what cannot be avoided.

    python benchmarks/waiting.py [--rounds 5] [--only explain kernel lab demo]

Seconds on the clock, in fresh processes; median and range over rounds in which the cases take turns, and the median of
their ratios to the unavoidable in the same round. The load is that of the computer before each round: on a busy one
every row is longer, and the ratios are what to read.

- *explain*: `lamae explain FILE`, from the command to the end, by its parts. Unavoidable: `import torch`.
- *kernel*: a cold kernel, from its start to the reply to a cell that shows an ECG on paper. Unavoidable: the same
  kernel and an empty cell.
- *lab*: the command of `python start.py lab`, from its start to the reply to the first cell of the first notebook.
  Unavoidable: the server and the same kernel with an empty cell.
- *demo*: `lamae demo`, from the command to the first picture in its report. Unavoidable: `import torch`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.request import Request, urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import nbformat
from jupyter_client import BlockingKernelClient, KernelManager

from import_time import write_record
from lab import jupyterlab
from lamae_toolkit.parallel import machine
from measuring import head, median_and_range, row

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "00_start_here.ipynb"
PAPER = """
import lamae_toolkit as lt
from lamae_toolkit.simulate.conditions import Patient
import numpy as np
ecg = lt.simulate_ecg(Patient(0, 67.0, "F", (), 0), np.random.default_rng(0)).recording
lt.ECGPaper(ecg)
"""
PARTS = """
import json, sys, time
start = time.perf_counter()
from lamae_toolkit.cli import commands
import lamae_toolkit.plots.ecg_report, lamae_toolkit.plots.report as report
import lamae_toolkit.widgets.ecg_paper.widget as widget
from lamae_toolkit.cli.main import main
from lamae_toolkit.explain.encoded import EncodedECG
from lamae_toolkit.model.lamae import LAMAE
taken, runs = {"imports": time.perf_counter() - start}, [0]

def timed(part, function):
    def call(*arguments, **options):
        begin = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            taken[part] = taken.get(part, 0.0) + time.perf_counter() - begin
    return call

def counted(function):
    def call(*arguments, **options):
        runs[0] += 1
        return function(*arguments, **options)
    return call

commands.load_model = timed("model and probe", commands.load_model)
commands.Probe.load = timed("model and probe", commands.Probe.load)
commands.read_own = timed("reading the file", commands.read_own)
commands.encode_ecg = timed("encoding, terms, attention", commands.encode_ecg)
EncodedECG.lead_terms = timed("encoding, terms, attention", EncodedECG.lead_terms)
EncodedECG.attention_summary = timed("encoding, terms, attention", EncodedECG.attention_summary)
widget.ECGPaper.page = timed("paper", widget.ECGPaper.page)
report.write_report = timed("writing the page", report.write_report)
LAMAE.encode_leads = counted(LAMAE.encode_leads)
code = main(["explain", "record.hea", "--out", "page.html"])
taken["all parts"] = time.perf_counter() - start
taken["the rest: figures, tables"] = taken["all parts"] - sum(s for part, s in taken.items() if part != "all parts")
print(json.dumps({"taken": taken, "runs": runs[0]}), file=sys.stderr)
sys.exit(code)
"""


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    """A Python process that must succeed."""
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments[:2]} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return done


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def explain(folder: Path) -> dict[str, float]:
    """`lamae explain`, its parts, and a bare import of torch."""
    torch_s = seconds(lambda: run(["-c", "import torch"], folder))
    command = ["-m", "lamae_toolkit.cli", "explain", "record.hea", "--out", "page.html"]
    found = {"import torch": torch_s, "lamae explain FILE": seconds(lambda: run(command, folder))}
    parts = json.loads(run(["-c", PARTS], folder).stderr.splitlines()[-1])
    assert parts["runs"] == 2, "the leads are encoded once, and once when the weights are checked after loading"
    return found | {f"of it {part}": part_s for part, part_s in parts["taken"].items() if part != "all parts"}


def execute(client: BlockingKernelClient, code: str) -> None:
    """Run a cell and wait for its reply; an error in it is one here."""
    reply = client.execute_interactive(code, timeout=300, output_hook=lambda message: None)["content"]
    if reply["status"] != "ok":
        raise RuntimeError("\n".join(reply["traceback"]))


def cold_kernel_s(code: str) -> float:
    """From the start of a kernel to the reply to a cell."""
    start = time.perf_counter()
    manager = KernelManager()
    manager.start_kernel()
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=300)
        execute(client, code)
        return time.perf_counter() - start
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def kernel(folder: Path) -> dict[str, float]:
    """A kernel with an empty cell, one that imports torch, and one that shows a widget."""
    cells = {"a kernel and an empty cell": "", "... import torch": "import torch", "... lt.ECGPaper(ecg)": PAPER}
    return {name: cold_kernel_s(code) for name, code in cells.items()}


@contextmanager
def lab_client(folder: Path) -> Iterator[tuple[BlockingKernelClient, float]]:
    """A kernel of a new JupyterLab, and after how many seconds the server answered."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as own, jupyterlab(Path(own)) as server:
        urlopen(f"{server.address}lab?token=secret").read()
        up_s = time.perf_counter() - start
        started = json.load(urlopen(Request(f"{server.address}api/kernels?token=secret", data=b"{}", method="POST")))
        file = Path(own) / "JUPYTER_RUNTIME_DIR" / f"kernel-{started['id']}.json"
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        client.start_channels(hb=False)  # on a busy computer a heart beat comes late
        try:
            client.wait_for_ready(timeout=300)
            yield client, up_s
        finally:
            client.stop_channels()


def lab(folder: Path) -> dict[str, float]:
    """JupyterLab with an empty cell, and with the first cell of the first notebook."""
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    found = {}
    for name, code in {"JupyterLab and an empty cell": "", "... the first cell of the course": cells[0]}.items():
        start = time.perf_counter()
        with lab_client(folder) as (client, up_s):
            execute(client, code)
            found[name] = time.perf_counter() - start
    return found | {"of it until the server answers": up_s}


def demo(folder: Path) -> dict[str, float]:
    """`lamae demo` until its report is there."""
    torch_s = seconds(lambda: run(["-c", "import torch"], folder))
    with tempfile.TemporaryDirectory(dir=folder) as own:
        start, report = time.perf_counter(), Path(own) / "run" / "report.html"
        command = [sys.executable, "-m", "lamae_toolkit.cli", "demo", "--out", str(report.parent)]
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not report.exists():
                if started.poll() is not None or time.perf_counter() - start > 300:
                    raise RuntimeError("The demo wrote no report.")
                time.sleep(0.02)
            return {"import torch": torch_s, "lamae demo, first picture": time.perf_counter() - start}
        finally:
            started.kill()
            started.wait()


CASES = {"explain": explain, "kernel": kernel, "lab": lab, "demo": demo}


def main() -> None:
    """Print a table per case; the first row of each is what cannot be avoided."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    chosen = parser.parse_args()
    times: dict[str, dict[str, list[float]]] = {case: {} for case in chosen.only}
    loads = []
    with tempfile.TemporaryDirectory() as name:
        write_record(Path(name))
        for _ in range(chosen.rounds):
            loads.append(os.getloadavg()[0])
            for case in chosen.only:
                for what, taken_s in CASES[case](Path(name)).items():
                    times[case].setdefault(what, []).append(taken_s)
    print(f"{machine()}; load {median_and_range(loads, 1)}, {chosen.rounds} rounds")
    for case in chosen.only:
        least = next(iter(times[case].values()))
        print(f"\n{head(case, 's', 'x the first row')}")
        for what, values in times[case].items():
            ratio = median(value / bare for value, bare in zip(values, least, strict=True))
            print(row(what, median_and_range(values), f"{ratio:.2f}"))


if __name__ == "__main__":
    main()
