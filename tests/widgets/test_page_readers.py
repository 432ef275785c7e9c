"""The readers of the web page, in a browser: the same values as `lt.read_ecg`, or a refusal for the same reason."""

import base64
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

import written_ecgs as write
from lab import browser_page
from lamae_toolkit.data.batch import collate
from lamae_toolkit.ecg.io.read import read_ecg
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.preprocess import crop
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError, WarningNote
from lamae_toolkit.widgets.page import tables
from reader_cases import Case, recorded_cases

PAGE = Path(tables.__file__).parent
SENTENCES = json.loads((PAGE / "readers" / "sentences.en.json").read_text(encoding="utf-8"))
KINDS = ("WFDB", "CSV", "Apple Watch CSV", "MUSE XML", "Sierra XML", "aECG XML")
"""What the page reads."""

REASONS = {
    "aecg-no-rhythm": "no series with the code RHYTHM",
    "aecg-no-scale": "has no scale",
    "aecg-sample": "which is not an integer",
    "aecg-time": "Its time goes by",
    "aecg-type": "is of the type",
    "archive": "an archive",
    "base64": "not valid Base64",
    "cut-off": "so it is cut off",
    "damaged": "is damaged or is not|does not describe|cut off|more than 2000 elements",
    "element-twice": "has \\d+ times",
    "empty-file": "The file is empty",
    "empty-record": "The record is empty",
    "empty-table": "no row of names and no samples",
    "header": "does not describe its signals",
    "header-length": "The length .* cannot be understood",
    "header-rate": "The sampling rate .* cannot be understood",
    "header-too-large": "no WFDB header has more than",
    "impossible": "which no ECG does; check the unit and the gain",
    "lead-twice": "is given twice",
    "leads-contradict": "leave out the argument leads",
    "leads-count": "but leads= names",
    "lengths": "not one length",
    "matlab-resaved": "saved again by MATLAB",
    "muse-checksum": "do not match their checksum",
    "muse-compressed": "not CONTINUOUS_SAMPLES",
    "muse-count": "but declares",
    "muse-no-gain": "has no gain",
    "muse-no-rhythm": "no rhythm waveform",
    "muse-sample-size": "but MUSE has 2",
    "muse-starts": "start at different times",
    "no-element": "has no",
    "no-gain": "has no gain|No lead can be used",
    "no-header": "header .* is missing|MATLAB file without its WFDB header",
    "no-lead-row": "numbers instead of lead names",
    "no-rate": "The sampling rate is not given",
    "no-samples": "no samples below the first row",
    "no-signal-file": "signal file .* is missing",
    "no-unit": "The unit of lead .* is not given",
    "no-usable-lead": "No lead can be used",
    "not-a-number": "Not every value below",
    "not-a-voltage": "which is not a voltage",
    "number": "which is not a usable number",
    "other-xml": "XML, but of no ECG",
    "picture": "This is a (PDF|picture)",
    "quotes": "The quotes around",
    "rate-contradicts": "Hz by the file but",
    "rate-range": "The sampling rate is .* Hz, (but an|which no)",
    "row-length": "Row .* has .* values for",
    "row-too-long": "longer than half a million characters",
    "sierra-bits": "not of 16 bits",
    "sierra-bytes": "samples need",
    "sierra-cut": "cut off or damaged",
    "sierra-damaged": "The compressed samples are damaged",
    "sierra-encoding": "not Base64 and XLI",
    "sierra-length": "samples instead of",
    "sierra-order": "Compressed leads begin with",
    "sierra-resolution": "resolution is not above zero",
    "sierra-samples": "samples a lead, which no resting ECG has",
    "sierra-waveforms": "rhythm waveforms .parsedwaveforms., not one",
    "time-unit": "does not say its unit",
    "too-long": "belongs to another record",
    "uneven-times": "not evenly spaced",
    "unit-contradicts": "by the file but in",
    "unknown-kind": "cannot be read; give|Its content is not",
    "unknown-leads": "Unknown lead names",
    "watch-head": "do not give one sampling rate",
    "watch-lead": "do not name lead I",
    "watch-row": "is not one number",
    "watch-signs": "commas as well as points",
    "xml-attributes": "more than 300000 attributes",
    "xml-declarations": "declares entities",
    "xml-depth": "goes deeper than",
    "xml-elements": "has more than 50000 elements",
    "xml-entities": "refers to entities",
    "zero-bytes": "holds zero bytes",
}
"""What Python says where the page refuses with each of its sentences."""

PYTHON_ONLY = ("of-python", "not-read", "segments", "wfdb-kind")
"""What Python may read, or refuse for a reason of its own."""

READ = """async ({files, told, start}) => {
  const {readRecording, ReadError} = await import("/readers/read.js");
  const {prepare} = await import("/prepare.js");
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const text = (signal) => {
    const raw = new Uint8Array(signal.buffer, signal.byteOffset, signal.byteLength);
    let latin = "";
    for (let i = 0; i < raw.length; i += 30000) latin += String.fromCharCode(...raw.subarray(i, i + 30000));
    return btoa(latin);
  };
  const list = Object.entries(files).map(([name, content]) => new File([bytes(content)], name));
  let read = {};
  const begin = performance.now();
  try {
    const recording = await readRecording(list, told);
    read = {kind: recording.kind, rate: recording.rate, warnings: recording.notes.filter((n) => n.warns).length,
            signals: Object.fromEntries([...recording.signals].map(([lead, signal]) => [lead, text(signal)]))};
    const ecg = prepare(recording, undefined, start);
    read.ecg = {...ecg, signal: text(ecg.signal), valid: [...ecg.valid]};
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    read.refusal = {key: error.key, text: error.message, asks: error.asks};
  }
  return {...read, ms: performance.now() - begin};
}"""


class Read:
    """Reads files by the page's modules in a browser."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def __call__(self, files: dict[str, bytes], told: dict[str, Any] | None = None, start: float = 0) -> dict[str, Any]:
        encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
        return self.page.evaluate(READ, {"files": encoded, "told": told or {}, "start": start})


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments) -> None:
        pass


@pytest.fixture(scope="module")
def read(chromium) -> Iterator[Read]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(PAGE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with browser_page(chromium) as page:
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.goto(f"http://127.0.0.1:{server.server_port}/readers/tables.json")

        yield Read(page)
    server.shutdown()
    server.server_close()


def signal_of(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def differences(recording: Recording, read: dict[str, Any]) -> list[str]:
    """What the browser read otherwise than Python."""
    if "signals" not in read:
        return [f"refused: {read['refusal']['text']}"]
    if set(read["signals"]) != set(recording.leads):
        return [f"leads {list(read['signals'])} instead of {recording.leads}"]
    wrong = []
    if abs(read["rate"] - recording.sampling_rate_hz) > 1e-9 * recording.sampling_rate_hz:
        wrong.append(f"{read['rate']} Hz instead of {recording.sampling_rate_hz}")
    for lead in recording.leads:
        signal_mv = signal_of(read["signals"][lead])
        if signal_mv.shape != recording.lead(lead).shape:
            return [*wrong, f"{signal_mv.shape} samples instead of {recording.lead(lead).shape}"]
        if not np.allclose(signal_mv, recording.lead(lead), rtol=1e-6, atol=1e-6):
            wrong.append(f"lead {lead} differs by {np.abs(signal_mv - recording.lead(lead)).max():.2g} mV")
    warned = sum(isinstance(note, WarningNote) for note in recording.notes)
    if read["warnings"] != warned:
        wrong.append(f"{read['warnings']} warnings instead of {warned}")
    return wrong + prepared_differences(recording, read)


def prepared_differences(recording: Recording, read: dict[str, Any], tolerance_mv: float = 1e-5) -> list[str]:
    """Where what the model reads differs from the batch that Python makes of the recording, in complete patches."""
    batch = collate([recording])
    n_samples = batch.signal_mv.shape[2] // 25 * 25
    if n_samples < 50:
        return [] if read.get("refusal", {}).get("key") == "too-short" else ["an ECG of less than two patches is read"]
    ecg = read["ecg"]
    if ecg["n_samples"] != n_samples or ecg["valid"] != batch.lead_mask[0].int().tolist():
        return [f"{ecg['n_samples']} samples of {ecg['leads']} instead of {n_samples}"]
    expected_mv = batch.signal_mv[0, :, :n_samples].numpy()
    signal_mv = signal_of(ecg["signal"]).reshape(len(LEADS), n_samples)
    largest_mv = max(1.0, float(np.abs(expected_mv).max()))
    error_mv = float(np.abs(signal_mv - expected_mv).max())
    return [] if error_mv <= tolerance_mv * largest_mv else [f"prepared differs by {error_mv:.2g} mV"]


def page_reads(case: Case) -> bool:
    """Whether the page reads this kind: of WFDB, one segment whose signals are all in one file in format 16."""
    if case.kind == "WFDB":
        header = next(content for name, content in case.files.items() if name.endswith(".hea")).decode("latin-1")
        lines = [line.split() for line in header.splitlines() if line.strip() and not line.startswith("#")]
        one_segment = bool(lines) and "/" not in lines[0][0]
        return one_segment and all(re.match(r"16(x\d+)?(\+\d+)?$", line[1]) for line in lines[1:] if len(line) > 1)
    return case.kind in KINDS


def case_differences(case: Case, read: Read) -> list[str]:
    """What the browser makes of a case otherwise than Python."""
    told = {"rate": case.arguments.get("sampling_rate_hz"), "unit": case.arguments.get("unit")}
    told["leads"] = list(case.arguments.get("leads") or []) or None
    result = read(case.files, told)
    refusal = result.get("refusal")
    wrong = [f"foreign text in {text!r}" for text in foreign(result)]
    if case.recording and page_reads(case):
        return wrong + differences(case.recording, result)
    if refusal is None:
        return [*wrong, f"is read, but in Python: {case.refusal or case.kind}"]
    if refusal["key"] in PYTHON_ONLY:
        return wrong if not page_reads(case) else [*wrong, f"{refusal['key']}, but in Python: {case.refusal}"]
    if not re.search(REASONS[refusal["key"]], case.refusal or ""):
        wrong.append(f"{refusal['key']}, but in Python: {case.refusal}")
    return wrong


OURS = [
    *[*LEADS, "nV", "uV", "V", *KINDS, "DICOM", "EDF", "BDF", "NumPy", "MATLAB", "SCP-ECG", "ISHNE", "MFER"],
    *["GLIST_TS", "SLIST_PQ", "waveform", "lead", "time", "rate", "increment", "scale", "origin", "resolution"],
    *["SampleBase", "SampleExponent", "LeadAmplitudeUnitsPerBit", "FirstSampleBaseline", "durationperchannel"],
    *["numberofleads", "signaloffset", "LeadID", "LeadSampleSize", "WaveFormData", "LeadByteCountTotal", "SampleType"],
    *["LeadSampleCountTotal", "WaveformType", "HDF5", "MATLAB 7.3", "Kardia", "CardioSoft", "Schiller"],
]
WORDS = "|".join(map(re.escape, sorted(OURS, key=len, reverse=True)))
VALUE = rf"(?:[-+\d.]+(?:e[-+]\d+)?|inf|(?:(?:{WORDS})(?:, |$|(?=\W)))+)"
TEMPLATES = [re.compile(re.sub(r"\\{\w+\\}", lambda _: VALUE, re.escape(text))) for text in SENTENCES.values()]


def foreign(read: dict[str, Any]) -> list[str]:
    """The sentences that are not one of ours with numbers, names of leads, units, and names of XML elements in them."""
    texts = [read["refusal"]["text"]] if "refusal" in read else []
    texts += [*read["ecg"]["notes"], *read["ecg"]["warnings"], read["ecg"]["title"]] if "ecg" in read else []
    return [text for text in texts if not any(pattern.fullmatch(text) for pattern in TEMPLATES)]


@pytest.mark.slow
def test_cases_of_the_python_readers(read, tmp_path):
    """Every file that a test of the Python readers writes: both read the same, or both refuse for the same reason."""
    cases = recorded_cases(tmp_path)
    wrong = {case.test: found for case in cases if (found := case_differences(case, read))}
    assert not wrong, json.dumps(wrong, indent=1)
    n_read = Counter(case.kind for case in cases if case.recording and page_reads(case))
    least = {"WFDB": 40, "CSV": 70, "Apple Watch CSV": 4, "MUSE XML": 30, "Sierra XML": 25, "aECG XML": 25}
    assert all(n_read[kind] >= n for kind, n in least.items()), n_read


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lamae_toolkit.errors.LeadWarning")
def test_damaged_files_are_read_as_in_python_or_refused(read, tmp_path):
    """The page may be stricter with the header of a WFDB record, and never reads what Python refuses."""
    intact = write.small_files()
    kinds = [kind for kind in intact if kind.split()[0] in ("WFDB", "CSV", "Apple", "MUSE", "Sierra", "aECG")]
    assert len(kinds) == 8
    wrong, outcomes = {}, Counter()
    for seed in range(300):
        random = Random(seed)
        kind, other = random.choice(kinds), random.choice(kinds)
        edits = [(random.choice(write.EDITS), random.random(), random.random()) for _ in range(random.randint(1, 3))]
        folder = tmp_path / str(seed)
        folder.mkdir()
        content = write.damaged_file(kind, intact, other, edits, random.randbytes(40))
        path = write.write_into(folder, kind, content)
        result = read({file.name: file.read_bytes() for file in folder.iterdir()})
        found = [f"foreign text in {text!r}" for text in foreign(result)]
        try:
            recording = read_ecg(path)
        except ECGError as error:
            if "signals" in result:
                found.append(f"is read, but in Python: {error}")
        else:
            if kind != "WFDB header" or "signals" in result:
                found += differences(recording, result)
        outcomes["signals" in result] += 1
        if found:
            wrong[f"{seed} {kind}"] = found
    assert not wrong, json.dumps(wrong, indent=1)
    assert min(outcomes[True], outcomes[False]) > 30


# ---- What the model reads


def table_of(ecg: Recording) -> bytes:
    """A table with enough digits for float32."""
    rows = [",".join(f"{lead}_mV" for lead in ecg.leads)]
    rows += [",".join(f"{value:.9g}" for value in values) for values in ecg.signal_mv.T]
    return "\n".join(rows).encode()


@pytest.mark.slow
@pytest.mark.parametrize("rate_hz", [50, 97.6, 100, 125, 200, 250, 257, 360, 500, 512, 1000, 2000])
@pytest.mark.parametrize("seconds", [0.55, 3.3, 10, 12])
def test_resampling_and_length_are_those_of_python(read, rate_hz, seconds):
    rng = np.random.default_rng(round(rate_hz))
    leads = ("V6", "II", "aVR") if seconds < 10 else LEADS
    walk_mv = np.cumsum(rng.normal(0, 0.05, (len(leads), round(seconds * rate_hz))), axis=1) + 3
    recording = Recording(walk_mv, rate_hz, leads)
    result = read({"x.csv": table_of(recording)}, {"rate": rate_hz})
    assert set(result["signals"]) == set(leads)
    assert prepared_differences(recording, result) == []


@pytest.mark.slow
def test_another_part_of_a_longer_ecg(read):
    """Ten seconds from a start that is chosen; what remains, if it is less."""
    rng = np.random.default_rng(1)
    recording = Recording(np.cumsum(rng.normal(0, 0.02, (12, 25 * 500)), axis=1), 500, LEADS)
    content = {"x.csv": table_of(recording)}
    for start_s, duration_s in ((7.2, 10), (20.006, 4.994)):
        result = read(content, {"rate": 500}, start=start_s)
        assert prepared_differences(crop(recording, start_s, duration_s), result) == []
        assert f"the part from {start_s:g} s to {start_s + duration_s:g} s is read" in result["ecg"]["notes"][0]
    assert read(content, {"rate": 500}, start=25)["refusal"]["key"] == "start"
    assert read(content, {"rate": 500}, start=24.8)["refusal"]["key"] == "too-short"


# ---- Bad input


NAME = "Müller_Erika_1950"
MARKUP = '<img src=x onerror="document.title=1">'
COUNTS = write.ecg_counts(n_samples=500)
TABLE, MUSE, SIERRA = write.table(COUNTS), write.muse_xml(COUNTS), write.sierra_xml(COUNTS, encoding="utf-8")
AECG, HEADER, SIGNALS = write.aecg_xml(COUNTS), write.wfdb_header(COUNTS), write.wfdb_signals(COUNTS)
LAUGHS = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))


def swapped(content: bytes, old: str, new: str) -> bytes:
    assert old.encode() in content
    return content.replace(old.encode(), new.encode())


BAD = {
    "picture": ({"x.png": b"\x89PNG\r\n\x1a\n" + bytes(500)}, "picture"),
    "picture called CSV": ({"x.csv": b"\xff\xd8\xff\xe0\0\x10JFIF"}, "picture"),
    "PDF": ({f"{NAME}.pdf": b"%PDF-1.7\n" + NAME.encode()}, "picture"),
    "archive": ({"x.zip": b"PK\x03\x04" + bytes(26) + b"ecg.csv"}, "archive"),
    "page": ({"x.html": b"<!DOCTYPE html><html><script>document.title=1</script></html>"}, "other-xml"),
    "picture in XML": ({"x.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="document.title=1"/>'}, "other-xml"),
    "EDF": ({"x.edf": write.edf(COUNTS)}, "of-python"),
    "DICOM": ({"x": write.dicom(write.dicom_group(COUNTS))}, "of-python"),
    "nothing": ({}, "no-file"),
    "empty": ({"x.csv": b""}, "empty-file"),
    "two ECGs": ({"x.csv": TABLE, "y.csv": TABLE}, "several-files"),
    "signals alone": ({f"{NAME}.dat": SIGNALS}, "no-header"),
    "header alone": ({f"{NAME}.hea": swapped(HEADER, "rec.dat", f"{NAME}.dat")}, "no-signal-file"),
    "header with markup": ({"rec.hea": swapped(HEADER, "rec.dat", "<b>Erika</b>.dat")}, "no-signal-file"),
    "signals of another record": ({"rec.hea": HEADER, "rec.dat": SIGNALS * 2}, "too-long"),
    "header of 2 MB": ({"rec.hea": HEADER + b"# Erika\n" * 250_000, "rec.dat": SIGNALS}, "header-too-large"),
    "header with huge numbers": (
        {"rec.hea": b"rec 1 500 999999999999999\n" + HEADER.splitlines()[1]},
        "no-signal-file",
    ),
    "header with many signals": ({"rec.hea": swapped(HEADER, "rec 12", "rec 999999999"), "rec.dat": SIGNALS}, "header"),
    "frames of many samples": (
        {"rec.hea": swapped(HEADER, ".dat 16", ".dat 16x999999999"), "rec.dat": SIGNALS},
        "cut-off",
    ),
    "offset beyond the file": (
        {"rec.hea": swapped(HEADER, ".dat 16", ".dat 16+99999999"), "rec.dat": SIGNALS},
        "cut-off",
    ),
    "table of names": ({"x.csv": "Name,Born\nErika Müller,1950\n".encode()}, "unknown-leads"),
    "table with a name among the values": ({"x.csv": swapped(TABLE, "0.004,", "Erika Müller,")}, "not-a-number"),
    "table with a name as unit": ({"x.csv": swapped(TABLE, "II_mV", "II_mV,Erika")}, "row-length"),
    "table of huge numbers": ({"x.csv": b"time_s,I_mV,II_mV\n0,1,1e300\n0.01,1e999,2\n"}, "not-a-number"),
    "table of large numbers": ({"x.csv": b"time_s,I_mV,II_mV\n0,1,1e300\n0.01,1e30,2\n"}, "impossible"),
    "row of a megabyte": ({"x.csv": b"I_mV,II_mV\n" + b"1," * 500_000}, "row-too-long"),
    "laughs": (
        {"x.xml": f"<!DOCTYPE RestingECG [{LAUGHS}]><RestingECG>&a11;</RestingECG>".encode()},
        "xml-declarations",
    ),
    "laughs in UTF-16": ({"x": f"<!DOCTYPE a [{LAUGHS}]><a>&a11;</a>".encode("utf-16")}, "xml-declarations"),
    "file of the system": (
        {"x": b'<!DOCTYPE RestingECG [<!ENTITY a SYSTEM "file:///etc/passwd">]><RestingECG>&a;</RestingECG>'},
        "xml-declarations",
    ),
    "entity of another file": ({"x.xml": swapped(MUSE, "<SampleBase>500<", "<SampleBase>&rate;<")}, "xml-entities"),
    "a million elements": ({"x.xml": b"<RestingECG>" + b"<a/>" * 1_000_000}, "xml-elements"),
    "deep elements": ({"x.xml": b"<RestingECG>" + b"<a>" * 100_000}, "xml-depth"),
    "many attributes": (
        {"x.xml": b"<RestingECG><a " + b" ".join(b'a%d=""' % i for i in range(400_000)) + b"/></RestingECG>"},
        "xml-attributes",
    ),
    "many namespaces": (
        {
            "x.xml": b"<RestingECG><a "
            + b" ".join(b'xmlns:a%d="b"' % i for i in range(250_000))
            + b">"
            + b'<b xmlns:c="d">' * 97
            + b"</b>" * 97
            + b"</a></RestingECG>"
        },
        "muse-no-rhythm",
    ),
    "name of a lead": ({"x.xml": swapped(MUSE, "<LeadID>", f"<LeadID>{NAME}")}, "unknown-leads"),
    "name as a unit": ({"x.xml": swapped(MUSE, "MICROVOLTS", NAME)}, "not-a-voltage"),
    "name as a number": ({"x.xml": swapped(MUSE, "<SampleBase>500", f"<SampleBase>{NAME}")}, "number"),
    "markup as a sample": ({"x.xml": swapped(AECG, "<digits>", "<digits>&lt;b&gt; ")}, "aecg-sample"),
    "huge scale": ({"x.xml": swapped(AECG, 'scale value="5"', 'scale value="1e300"')}, "number"),
    "huge Sierra": (
        {"x.xml": swapped(SIERRA, 'durationperchannel="1000"', 'durationperchannel="1e11"')},
        "sierra-samples",
    ),
    "many leads": ({"x.xml": swapped(SIERRA, 'numberofleads="12"', 'numberofleads="1e12"')}, None),
    "cut UTF-16": ({"x.xml": write.sierra_xml(COUNTS)[:-1]}, "damaged"),
    "name with markup": ({f"{MARKUP}.csv": TABLE}, None),
    "name of a person": ({f"{NAME}.xml": MUSE}, None),
    "name of a person in the file": (
        {"x.xml": swapped(MUSE, "<RestingECG>", "<RestingECG><PatientLastName>Erika Müller</PatientLastName>")},
        None,
    ),
    "name of a person as a channel": ({"x.csv": swapped(TABLE, "V6_mV", "Lead Erika Müller_mV")}, None),
}
"""Files, and the sentence by which they are refused; None if they are read."""


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_sentence_that_names_no_one(read, case):
    files, key = BAD[case]
    result = read(files)
    refusal = result.get("refusal")
    assert (refusal and refusal["key"]) == key, refusal
    assert foreign(result) == []
    assert not re.search("Erika|Müller|1950|<", json.dumps(result, ensure_ascii=False))
    assert result["ms"] < 10_000
    if refusal:
        assert re.fullmatch(r"[A-Z][^\n]{15,250}\.", refusal["text"])
        assert not re.search(r"[.!?]\s+[A-Z]", refusal["text"]), "more than one sentence"


FAILING = """async (names) => {
  const {readFiles} = await import("/readers/read.js");
  const keys = [];
  for (const name of names) {
    const fail = async () => { throw name === "folder" ? new DOMException("", "NotFoundError") : new TypeError("x"); };
    const file = {name, size: 4096, slice: () => ({arrayBuffer: fail}), arrayBuffer: fail};
    await readFiles([file]).catch((error) => keys.push([error.key, error.message]));
  }
  return keys;
}"""


@pytest.mark.slow
def test_folder_and_fault_of_a_reader(read):
    (opened, _), (fault, sentence) = read.page.evaluate(FAILING, ["folder", "x.csv"])
    assert (opened, fault) == ("cannot-open", "fault") and sentence == SENTENCES["fault"]


NOISE = """async ({name, code, size}) => {
  const {readRecording} = await import("/readers/read.js");
  const bytes = {
    any: () => new Uint8Array(size).map((_, i) => Math.imul(i + 1, 2654435761) >>> 13),
    letters: () => new Uint8Array(size).map((_, i) => 65 + (Math.imul(i + 1, 2654435761) >>> 13) % 26),
    lines: () => new Uint8Array(size).fill(10),
    elements: () => new TextEncoder().encode("<RestingECG>" + "<a>b</a>".repeat(size / 8)),
  }[code]();
  const begin = performance.now();
  try {
    await readRecording([new File([bytes], name)]);
  } catch (error) {
    return {key: error.key, ms: performance.now() - begin};
  }
}"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "mb", "key"),
    [
        ("noise.dat", "any", 40, "no-header"),
        ("noise", "any", 40, "unknown-kind"),
        ("noise.csv", "any", 40, "too-many-mb"),
        ("noise.csv", "any", 24, "zero-bytes"),
        ("noise.csv", "letters", 24, "row-too-long"),
        ("noise.csv", "lines", 24, "too-many-rows"),
        ("noise.xml", "elements", 24, "xml-elements"),
        ("noise.hea", "any", 40, "header-too-large"),
    ],
)
def test_large_noise_is_refused_soon(read, name, code, mb, key):
    """40 MB, and as much as a table or XML may have."""
    result = read.page.evaluate(NOISE, {"name": name, "code": code, "size": mb * 1_000_000})
    assert result["key"] == key and result["ms"] < 10_000


# ---- Tables and sentences


def test_tables_are_those_of_python():
    """`python -m lamae_toolkit.widgets.page.tables` writes them."""
    assert json.loads(tables.TABLES.read_text(encoding="utf-8")) == json.loads(json.dumps(tables.tables()))


def test_sentences_of_every_language():
    """All have the same keys and placeholders; each is used, and there is a sentence for each that is."""
    source = "".join(path.read_text(encoding="utf-8") for path in [*PAGE.glob("readers/*.js"), PAGE / "prepare.js"])
    for key in SENTENCES:
        assert f'"{key}"' in source, key
    used = re.findall(r'(?:ReadError|note|warning|phrase)\((?:[\w. ]+ \? "([\w-]+)" : )?"([\w-]+)"', source)
    assert set().union(*used) - {""} == set(SENTENCES)
    others = list(PAGE.glob("readers/sentences.*.json"))
    assert len(others) >= 2
    for path in others:
        translated = json.loads(path.read_text(encoding="utf-8"))
        assert list(translated) == list(SENTENCES), path.name
        for key, text in SENTENCES.items():
            assert sorted(re.findall(r"{\w+}", translated[key])) == sorted(re.findall(r"{\w+}", text)), (path.name, key)
