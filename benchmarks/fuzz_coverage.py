"""Coverage-guided fuzzing of the readers: each must give an ECG or an ECGError, soon and in little memory.

    python -m pip install --group fuzz  # atheris, for Linux only
    python benchmarks/fuzz_coverage.py --minutes 10 --format all
    python benchmarks/fuzz_coverage.py --minutes 10 --format DICOM --corpus FOLDER  # resumes from the inputs there

libFuzzer changes the small files that the tests write, and keeps each input that reaches code which no input reached
before, in our readers or in the Python code of the packages behind them. The table counts executions, the inputs that
were read, edges and inputs kept. An input fails on anything but an ECG, an ECGError or a LeadWarning, on a refusal that
calls itself a fault of the toolkit, on more than 1 s of processor time, and on more than 200 MB of memory beyond its
own size; it counts only if it fails again alone and without the fuzzer, and is kept in FOLDER/failures. The exit code
is 1 if one does. `--again FILE --format NAME` repeats an input. Needs Linux, whose /proc gives the peak memory of each.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

BENCHMARKS = Path(__file__).resolve().parent
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS.parent / "tests")]

MAX_S, MAX_MB = 1.0, 200.0
MAX_INPUT_BYTES = 100_000
MAX_FAILURES = 20
"""Of one format, so that one fault which many inputs reach does not fill the disk."""

PACKAGES = {"WFDB": "wfdb", "DICOM": "pydicom", **dict.fromkeys(("SCP-ECG", "ISHNE", "MFER"), "ecgdatakit")}
"""The Python code behind a format, whose edges guide the fuzzer in addition to ours."""

FORMATS = (
    *("WFDB", "CSV", "Apple Watch CSV", "NumPy", "members of npz", "EDF and BDF", "MATLAB", "DICOM", "MUSE XML"),
    *("Sierra XML", "aECG XML", "SCP-ECG", "ISHNE", "MFER"),
)


class Target(NamedTuple):
    """What is fuzzed under one name: valid inputs, and the file that an input becomes."""

    seeds: list[bytes]
    write: Callable[[Path, bytes], Path]
    arguments: dict


def targets() -> dict[str, Target]:
    """What is fuzzed of each format, with every variant that the tests can write."""
    import written_ecgs as write

    n_samples = 60  # the smaller the seeds, the more executions
    some, eight = write.ecg_counts(("II", "V1"), n_samples), write.ecg_counts(write.EIGHT, n_samples)
    files, table, watch = write.small_files(n_samples), write.table(some), write.watch(some["II"])
    semicolons = table.replace(b",", b";").replace(b".", b",")
    no_times = b"\n".join(line.partition(b",")[2] for line in table.split(b"\n"))
    muse = write.muse_xml(eight)
    no_checksum = re.sub(rb"(?<=<LeadDataCRC32>)\d+", b"0", muse)
    header = write.wfdb_header(some)
    signals = write.wfdb_signals(some)
    of_three_bytes = b"".join(signals[at : at + 2] + bytes(1) for at in range(0, len(signals), 2))
    in_format = {16: signals, 24: of_three_bytes, 80: signals[:120], 212: signals[:180], 310: signals[:160]}
    records = [header.replace(b" 16 200", b" %d 200" % n) + b"\0" + content for n, content in in_format.items()]
    frames = header.replace(b" 16 200", b" 16x2 200").replace(b" 500 60", b" 250 30")
    records += [text + b"\0" + signals for text in (frames, header.replace(b" 500 60", b" 500"))]

    def seeds_of(kind: str) -> list[bytes]:
        return [files[kind]]

    def as_file(folder: Path, content: bytes) -> Path:
        (folder / "x").write_bytes(content)
        return folder / "x"

    def as_mfer(folder: Path, content: bytes) -> Path:
        (folder / "x.mwf").write_bytes(content)
        return folder / "x.mwf"

    def as_record(folder: Path, content: bytes) -> Path:
        text, _, samples = content.partition(b"\0")
        (folder / "rec.hea").write_bytes(text)
        (folder / "rec.dat").write_bytes(samples)
        return folder / "rec.hea"

    def as_members(folder: Path, content: bytes) -> Path:
        return as_file(folder, write.zipped(content))

    return {
        "WFDB": Target(records, as_record, {}),
        "CSV": Target(
            [table, no_times, semicolons, table.decode().encode("utf-16"), b"# 1\n" + table.replace(b",", b"\t")],
            as_file,
            {"sampling_rate_hz": 500},
        ),
        "Apple Watch CSV": Target([watch.encode(), watch.replace(".", ",").encode("utf-16")], as_file, {}),
        "NumPy": Target([files["npy"], files["npz"]], as_file, write.GIVEN),
        "members of npz": Target([write.joined_members(files["npz"])], as_members, {}),
        "EDF and BDF": Target([files["EDF"], files["BDF"]], as_file, {}),
        "MATLAB": Target([files["MATLAB"], write.mat(some), write.mat_4(some)], as_file, write.GIVEN),
        "DICOM": Target(
            [files["DICOM"], write.dicom(write.dicom_group(some), syntax="1.2.840.10008.1.2")], as_file, {}
        ),
        "MUSE XML": Target([muse, no_checksum], as_file, {}),
        "Sierra XML": Target([files["Sierra XML"], files["Sierra XML in UTF-16"]], as_file, {}),
        "aECG XML": Target(seeds_of("aECG XML"), as_file, {}),
        "SCP-ECG": Target([write.scp(some, way) for way in ("huffman", "differences", "plain")], as_file, {}),
        "ISHNE": Target(seeds_of("ISHNE"), as_file, {}),
        "MFER": Target([files["MFER"], write.mfer(some, preamble=False)], as_mfer, {}),
    }


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def problem_of(target: Target, folder: Path, content: bytes) -> tuple[str, bool]:
    """What is wrong with reading an input, "" if nothing, and whether it was read."""
    from fuzz_readers import outcome_of

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again
    before_mb, started = peak_mb(), time.process_time()
    path = target.write(folder, content)
    result = outcome_of(path, **target.arguments)
    seconds, grown_mb = time.process_time() - started, peak_mb() - before_mb
    if result not in ("read", "refused"):
        return result, False
    if seconds > MAX_S:
        return f"slow: {seconds:.2f} s", False
    if grown_mb > MAX_MB + len(content) / 1e6:
        return f"large: {grown_mb:.0f} MB", False
    return "", result == "read"


def fuzz(name: str, corpus: Path, failures: Path, seconds: float, seed: int) -> None:
    """Fuzz one format in this process, and end it."""
    import atheris

    packages = ["lamae_toolkit", *([PACKAGES[name]] if name in PACKAGES else [])]
    with atheris.instrument_imports(include=packages), folder_in_memory() as folder:
        target = targets()[name]
        for content in target.seeds:
            problem_of(target, folder, content)  # imports all that it takes
            problem, is_read = problem_of(target, folder, content)
            assert not problem and is_read, f"{name}: a seed is not read; {problem}"
            (corpus / hashlib.sha1(content).hexdigest()).write_bytes(content)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    counts = {"executions": 0, "read": 0}
    known: set[str] = set()

    def one_input(content: bytes) -> None:
        counts["executions"] += 1
        problem, is_read = problem_of(target, folder, content)
        counts["read"] += is_read
        # Inputs that fail in the same line are one fault.
        kind = problem.partition(":")[0] if problem.startswith(("slow", "large")) else problem
        if problem and kind not in known and len(known) < MAX_FAILURES:
            known.add(kind)
            (failures / f"{name}-{hashlib.sha1(content).hexdigest()}").write_bytes(content)
        if counts["executions"] % 100 == 0 and time.process_time() > end:
            print("COUNTS", counts["executions"], counts["read"], file=sys.stderr, flush=True)
            shutil.rmtree(folder)
            os._exit(0)  # libFuzzer only knows the time of the clock

    end = time.process_time() + seconds
    options = [
        f"-max_len={MAX_INPUT_BYTES}",
        "-timeout=60",
        "-rss_limit_mb=4096",
        f"-seed={seed}",
        f"-artifact_prefix={failures}/{name}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


def repeated(name: str, path: Path) -> str:
    """What is wrong with an input, alone, in a new process and without the fuzzer."""
    command = [sys.executable, __file__, "--format", name, "--again", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"


def again(name: str, path: Path) -> int:
    target = targets()[name]
    with folder_in_memory() as folder:
        for content in target.seeds:
            problem_of(target, folder, content)  # imports are not counted
        try:
            problem, _ = problem_of(target, folder, path.read_bytes())
        except BaseException:
            problem = traceback.format_exc()
    print(problem or f"{path.name}: nothing is wrong")
    return int(bool(problem))


def in_process_of_its_own(name: str, folder: Path, seconds: float, seed: int) -> tuple[int, int, int, int]:
    """Fuzz a format; executions, inputs read, edges and inputs kept. A crash leaves a failure."""
    corpus, failures = folder / name, folder / "failures"
    corpus.mkdir(parents=True, exist_ok=True)
    failures.mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--format", name, "--corpus", str(folder), "--seed", str(seed)]
    log = folder / f"{name}.log"
    with log.open("w", encoding="utf-8") as file:
        subprocess.run([*command, "--worker", f"{seconds}"], stdout=file, stderr=subprocess.STDOUT)
    text = log.read_text(encoding="utf-8", errors="replace")
    counts = re.findall(r"^COUNTS (\d+) (\d+)$", text, re.MULTILINE)
    edges = re.findall(r"\bcov: (\d+)", text)
    if not edges:
        raise SystemExit(f"{name}: the fuzzer did not start; see {log}:\n{text[-2000:]}")
    executions, read = counts[-1] if counts else (re.findall(r"^#(\d+)", text, re.MULTILINE)[-1], 0)  # it crashed
    return int(executions), int(read), int(edges[-1]), sum(1 for _ in corpus.iterdir())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="of processor time, for each format")
    parser.add_argument("--format", default="all", choices=["all", *FORMATS])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="the folder for inputs to keep and to resume from")
    parser.add_argument("--again", type=Path, help="repeat this input alone")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.again:
        return again(arguments.format, arguments.again)
    folder = (arguments.corpus or Path(tempfile.mkdtemp())).resolve()
    if arguments.worker:
        fuzz(arguments.format, folder / arguments.format, folder / "failures", arguments.worker, arguments.seed)
    names = FORMATS if arguments.format == "all" else [arguments.format]
    failed = []
    print(f"{'format':18}{'executions':>12}{'read':>10}{'edges':>8}{'kept':>7}{'failures':>10}", flush=True)
    for name in names:
        row = in_process_of_its_own(name, folder, 60 * arguments.minutes, arguments.seed)
        found = sorted((folder / "failures").glob(f"{name}-*"))
        of_name = [(path, problem) for path in found if (problem := repeated(name, path))]
        failed += of_name
        print(f"{name:18}{row[0]:>12}{row[1]:>10}{row[2]:>8}{row[3]:>7}{len(of_name):>10}", flush=True)
    print(f"{arguments.minutes:g} minutes of processor time a format, seed {arguments.seed}; inputs are in {folder}")
    for path, problem in failed[:10]:
        print(f"\n{path}:\n{problem[-1500:]}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
