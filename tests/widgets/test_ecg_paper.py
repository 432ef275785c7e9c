"""ECG paper: layouts, true scale, notes on missing leads, and the line of code for the same view."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

import lamae_toolkit as lt
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.quality import found_flags
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.plots.paper import paper_figure, reading
from lamae_toolkit.plots.paper_layout import LAYOUTS, Calipers, describe, level_mv, page
from lamae_toolkit.widgets.ecg_paper.widget import ECGPaper
from made_terms import made_terms

RATE_HZ = 500


def ecg(duration_s: float = 10.0, leads: tuple[str, ...] = LEADS, noise_mv: float = 0.002) -> Recording:
    """Beats of a height of their own in each lead, once a second."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    beat = np.exp(-0.5 * ((time_s % 1.0 - 0.4) / 0.02) ** 2)
    heights = 0.3 + 0.1 * np.array([LEADS.index(lead) for lead in leads])
    rng = np.random.default_rng(0)
    signal_mv = heights[:, None] * beat + noise_mv * rng.normal(size=(len(leads), len(time_s)))
    return Recording(signal_mv.astype(np.float32), RATE_HZ, leads)


def trace(figure, name):
    return [one for one in figure.data if one.name == name]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_lead_has_its_place(layout):
    sheet = page(ecg(), layout)
    named = [strip.lead for strip in sheet.strips]
    assert sorted(set(named)) == sorted(LEADS)
    assert len(named) == (13 if layout == "3x4" else 12)
    assert all(strip.recorded for strip in sheet.strips) and sheet.width_s == pytest.approx(10)
    # Columns follow one another in time, so that the rhythm strip lies under the same beats.
    assert all(strip.at_s == pytest.approx(strip.from_s) for strip in sheet.strips)


def test_rows_and_columns_of_the_layouts():
    def rows(layout):
        sheet = page(ecg(), layout)
        return [[strip.name for strip in sheet.strips if strip.row == row] for row in range(sheet.rows)]

    assert rows("3x4") == [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"], ["II"]]
    assert rows("6x2")[3] == ["aVR", "V4"]
    assert [row[0] for row in rows("12x1")] == list(LEADS)
    assert [row[0] for row in rows("cabrera")] == ["aVL", "I", "-aVR", "II", "aVF", "III"]


@pytest.mark.parametrize(("mm_per_s", "mm_per_mv"), [(25, 10), (50, 5), (25, 20)])
def test_a_second_and_a_millivolt_are_as_long_as_the_paper_says(mm_per_s, mm_per_mv):
    figure = paper_figure(ecg(noise_mv=0.0), layout="12x1", mm_per_s=mm_per_s, mm_per_mv=mm_per_mv, dpi=254)
    (lead_V6,) = trace(figure, "V6")
    peaks = np.sort(np.argsort(lead_V6.y)[:10])
    assert np.diff(lead_V6.x[peaks]) == pytest.approx(mm_per_s, abs=1e-3)
    assert np.ptp(lead_V6.y) == pytest.approx(1.4 * mm_per_mv, abs=0.01)
    # 10 dots are one millimetre at 254 dots an inch, both ways, with nothing around.
    (left, right), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    assert figure.layout.width == 10 * (right - left) and figure.layout.height == 10 * (bottom - top)
    assert {figure.layout.margin[side] for side in "lrtb"} == {0}
    assert figure.layout.yaxis.scaleanchor == "x" and figure.layout.xaxis.dtick == figure.layout.yaxis.dtick == 5
    assert figure.layout.xaxis.minor.dtick == figure.layout.yaxis.minor.dtick == 1
    pulses = trace(figure, "1 mV, 0.2 s")
    assert len(pulses) == 12 and np.ptp(pulses[0].y) == mm_per_mv
    assert pulses[0].x[3] - pulses[0].x[2] == pytest.approx(0.2 * mm_per_s)


def test_baselines_lie_on_bold_lines_and_rows_do_not_touch():
    for layout in LAYOUTS:
        for gain in (5, 10, 20):
            sheet = page(ecg(), layout)
            heights = [sheet.row_mm(row, gain) for row in range(sheet.rows)]
            assert all(height % 5 == 0 for height in heights)
            assert np.diff(heights) == pytest.approx(sheet.pitch_mm(gain))
            assert sheet.pitch_mm(gain) >= 1.4 * gain and all(size % 5 == 0 for size in sheet.size_mm(25, gain))


def test_large_waves_stay_in_their_row():
    recording = ecg()
    peaks_mv = np.abs(recording.signal_mv).max(axis=1, keepdims=True)
    signs = np.array([1, -1] * 6, dtype=np.float32)[:, None]
    large = replace(recording, signal_mv=recording.signal_mv / peaks_mv * signs * 2.9)
    sheet = page(large, "3x4")
    levels = [level_mv(large, lead) for lead in large.leads]
    up = max(float(large.lead(lead).max()) - level for lead, level in zip(large.leads, levels, strict=True))
    down = max(level - float(large.lead(lead).min()) for lead, level in zip(large.leads, levels, strict=True))
    assert up > 2.5 and down > 2.5 and sheet.pitch_mv >= up + down - 0.2


def test_cabrera_turns_a_lead_over():
    inverted, upright = (trace(paper_figure(ecg(), layout=layout), "aVR")[0] for layout in ("cabrera", "12x1"))
    shown = upright.y[: len(inverted.y)]
    assert inverted.y - np.median(inverted.y) == pytest.approx(np.median(shown) - shown, abs=0.01)
    assert inverted.y.max() - np.median(inverted.y) > 5  # downwards on the page


def test_svg_is_in_millimetres_and_holds_every_trace(chromium):
    paper = ECGPaper(ecg(), title="A & B", flags={"V1": ("noisy",)})
    root = ET.fromstring(paper.picture("svg"))
    width, height = page(ecg(), "3x4").size_mm(25, 10)
    assert root.get("width") == f"{width:g}mm" and root.get("viewBox") == f"0 0 {width:g} {height:g}"
    assert root.find("{*}title").text == "ECG of 12 leads, 10.0 s at 500 Hz. Flags: V1 noisy."
    figure = paper.figure()
    paths = [path.get("d") for path in root.findall("{*}path")]
    assert len(paths) == 2 + len(figure.data)
    texts = " ".join("".join(text.itertext()) for text in root.findall("{*}text"))
    assert "A & B" in texts and "noisy" in texts and "25 mm/s    10 mm/mV" in texts
    # The path of the rhythm strip is its trace in the figure, to a hundredth of a millimetre.
    rhythm = trace(figure, "II")[1]
    steps = next(path for path in paths if path.count("L") > 3000)
    points = np.array(re.findall(r"-?[\d.]+", steps), dtype=float).reshape(-1, 2)
    np.testing.assert_allclose(points, np.stack([rhythm.x, rhythm.y], axis=1), atol=0.011)


def test_missing_leads_keep_their_empty_places():
    for leads in (("V3",), LEADS[:1] + LEADS[2:], ("I", "II", *LEADS[6:])):
        figure = paper_figure(ecg(leads=leads))
        words = [note.text for note in figure.layout.annotations]
        assert words.count("not recorded") == 12 - len(leads)
        assert all(any(f"<b>{lead}</b>" in word for word in words) for lead in LEADS)
        paper = ECGPaper(ecg(leads=leads))
        absent = [lead for lead in LEADS if lead not in leads]
        assert paper._note == f"Not recorded: {', '.join(absent)}." and paper._note in paper._text
        assert [row[1] for row in paper._ecg["table"][1:]].count("no") == len(absent)
    assert page(ecg(leads=("V3",))).strips[-1].name == "V3"  # the rhythm strip takes what there is


@pytest.mark.parametrize("duration_s", [0.1, 2.0, 5.0, 9.0, 60.0])
def test_short_and_long_ecgs(duration_s):
    recording = ecg(duration_s)
    for layout in LAYOUTS:
        for strip in page(recording, layout).strips:
            assert 0 <= strip.from_s < strip.to_s <= min(duration_s, 10) + 1e-9
    last = paper_figure(recording, start_s=1e9)
    assert max(one.customdata[-1][0] for one in trace(last, "V6")) == pytest.approx(duration_s, abs=0.003)
    assert f"of {duration_s:.1f} s" in " ".join(note.text for note in last.layout.annotations)
    assert (ECGPaper(recording, start_s=33.0).start_s == 33.0) == (duration_s == 60)


def test_an_overlay_is_drawn_where_patches_are_masked():
    recording, mask = ecg(), np.zeros((12, 40), dtype=bool)
    mask[:, 4:8] = True  # the second second
    drawn = paper_figure(recording, layout="12x1", overlay=recording, mask=mask)
    for one in trace(drawn, "overlay"):
        time_s, there = np.array(one.customdata)[:, 0], np.isfinite(one.y)
        assert there.sum() == RATE_HZ and time_s[there].min() == 1.0 and time_s[there].max() < 2.0
    assert len(drawn.layout.shapes) == 12 and {shape.x1 - shape.x0 for shape in drawn.layout.shapes} == {25.0}
    whole = paper_figure(recording, overlay=recording.select(["V1"]))
    assert len(trace(whole, "overlay")) == 1


def test_flags_and_words():
    noisy = ecg(noise_mv=0.05)
    assert found_flags(ecg()) == {} and set(found_flags(noisy)) == set(LEADS)
    left_out = replace(ecg(leads=LEADS[:11]), flags=(("V6", "flat"),))
    assert found_flags(left_out) == {"V6": ("flat",)}
    said = describe(left_out, rate_bpm=60, overlay=ecg(), mask=np.ones((11, 4), dtype=bool))
    assert said == (
        "ECG of 11 leads, 10.0 s at 500 Hz, 60 beats a minute. Not recorded: V6. Flags: V6 flat. A second trace lies"
        " over 11 of the leads. 100% of the patches are masked."
    )
    shown = [note.text for note in paper_figure(left_out).layout.annotations]
    assert any("V6" in text and "flat" in text for text in shown)
    assert not any("⚑" in note.text for note in paper_figure(noisy, flags={}).layout.annotations)


def test_calipers():
    points = Calipers("II", 1.2, 2.0, 0.1, -0.4)
    assert (points.ms, points.bpm, points.mv) == (pytest.approx(800), pytest.approx(75), pytest.approx(-0.5))
    assert reading(points) == "800 ms    75/min    -0.50 mV"
    assert "no time between the ends" in reading(Calipers("II", 1.0, 1.0, 0.0, 0.1))
    words = [note.text for note in paper_figure(ecg(), calipers=points).layout.annotations]
    assert words.count(reading(points)) == 2  # in the short strip of II and in the rhythm strip
    words = [note.text for note in paper_figure(ecg(), calipers=("V1", 1.2, 2.0, 0, 0)).layout.annotations]
    assert not any(" ms " in word for word in words)  # V1 is shown from 5 s on


REFUSED = [
    ({"layout": "4x3"}, "no layout '4x3'; choose 3x4, 6x2, 12x1, cabrera"),
    ({"mm_per_s": 30}, "at 30 mm/s; choose 25 or 50"),
    ({"mm_per_mv": 1}, "gain of 1 mm/mV; choose 5, 10, 20"),
    ({"mask": np.zeros((11, 40), dtype=bool)}, "one row of patches for each of the 12 leads"),
    ({"calipers": ("X", 0, 1, 0, 0)}, "Calipers are a recorded lead"),
    ({"calipers": ("II", 0, 1)}, "Calipers are a recorded lead"),
    ({"calipers": []}, "Calipers are a recorded lead"),
    ({"calipers": ("II", None, 1, 0, 0)}, "Calipers are a recorded lead"),
    ({"view": (0, 0, float("nan"), 10)}, "A view is left, top, width and height"),
    ({"start_s": float("nan")}, "start of the page is not a number"),
    ({"view": (0, 0, 0, 10)}, "A view is left, top, width and height"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_invalid_arguments_of_the_paper_are_refused(arguments, sentence):
    with pytest.raises(ECGError, match=re.escape(sentence)):
        paper_figure(ecg(), **arguments)
    with pytest.raises(ECGError, match=re.escape(sentence)):
        ECGPaper(ecg(), **arguments)
    paper = ECGPaper(ecg())
    (name, value), before = next(iter(arguments.items())), paper.code()
    with pytest.raises(ECGError, match=re.escape(sentence)):
        setattr(paper, "lead_layout" if name == "layout" else name, value)
    assert paper.code() == before


def test_the_line_of_code_makes_the_same_view():
    recording = ecg(25.0)
    paper = ECGPaper(recording, overlay=recording, rate_bpm=72.5)
    paper.lead_layout, paper.mm_per_s, paper.mm_per_mv, paper.start_s = "cabrera", 50, 20, 12.25
    paper.calipers, paper.view, paper.title = ["aVR", 13.0, 14.0, 0.0, 0.5], [10.0, 5, 120.5, 80], 'Say "A, B" é'
    again = eval(paper.code(), {"lt": lt, "recording": recording, "overlay": recording})
    assert again.code() == paper.code() and again.figure() == paper.figure()
    assert "start_s=12.25" in paper.code() and "view=[10, 5, 120.5, 80]" in paper.code()
    assert ECGPaper(recording).code() == "lt.ECGPaper(recording)"


def test_the_browser_gets_two_bytes_a_sample():
    recording = ecg(noise_mv=0.02)
    sent = ECGPaper(recording)._ecg
    values = np.frombuffer(sent["data"], "<i2").reshape(12, 5000) * sent["scale_mv"]
    assert len(sent["data"]) == 120_000 and np.abs(values - recording.signal_mv).max() < 1e-4
    still = Recording(np.zeros((1, 100)), RATE_HZ, ("I",))
    assert set(ECGPaper(still)._ecg["data"]) == {0}


def test_another_ecg_in_the_same_widget():
    paper = ECGPaper(ecg(60.0), start_s=40.0, calipers=("V1", 41, 42, 0, 0), mask=np.ones((12, 4), dtype=bool))
    with pytest.raises(ECGError, match="for each of the 1 leads"):
        paper.recording = ecg(leads=("II",))
    assert len(paper.recording.leads) == 12
    paper.show(ecg(leads=("II",)))
    assert (paper.start_s, paper.calipers, paper._mask) == (0.0, None, None)
    assert paper._text.startswith("ECG of 1 lead, 10.0 s") and paper.code() == "lt.ECGPaper(recording)"


def test_saved_files_and_fallback_without_a_widget(tmp_path, chromium):
    paper = ECGPaper(ecg(), title="</script>")
    assert ET.parse(paper.save(tmp_path / "ecg.svg")).getroot().tag.endswith("svg")
    written = paper.save(tmp_path / "ecg.html").read_text(encoding="utf-8")
    assert written.count("</script>") == 2 and "https:" not in written
    state = json.loads(re.search(r'id="state">(.*?)</script>', written, flags=re.S)[1])
    assert state["title"] == "</script>" and len(state["_ecg"]["data"]["base64"]) == 160_000
    png = matplotlib.image.imread(paper.save(tmp_path / "ecg.png"))
    sheet, mm = page(paper.recording), 300 / 25.4
    width, height = sheet.size_mm(25, 10)
    assert png.shape[1] == pytest.approx(width * mm, abs=2) and png.shape[0] == pytest.approx(height * mm, abs=2)
    base, left = round(sheet.row_mm(0, 10) * mm), round(7 * mm)
    pulse = np.argwhere(png[base - round(12 * mm) : base + 20, left : left + round(6 * mm), :3].max(axis=2) < 0.35)
    assert np.ptp(pulse, axis=0) == pytest.approx([10 * mm, 6 * mm], abs=6), "1 mV is 10 mm"
    with pytest.raises(ECGError, match=r"does not end in \.html, \.png or \.svg"):
        paper.save(tmp_path / "ecg.doc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ecg.html", "ecg.png", "ecg.svg"]


RBBB = {"I45.10": {"V1": 2.3, "I": 0.5, "V6": -0.4}, "I44.7": {"I": 0.3}}


def test_lead_terms_in_the_line_of_code_and_in_words():
    recording = ecg()
    terms = made_terms(recording, RBBB)
    paper = ECGPaper(recording, terms=terms)
    assert paper.code() == "lt.ECGPaper(recording, terms=terms)" and paper.icd10_code is None
    assert "Rests on V1. Without it: " in paper.describe() and "I45.10" in paper.describe()
    paper.icd10_code, paper.over_time = "I44.7", True
    assert paper.code() == 'lt.ECGPaper(recording, terms=terms, code="I44.7", over_time=True)'
    again = eval(paper.code(), {"lt": lt, "recording": recording, "terms": terms})
    assert again.code() == paper.code() and "I44.7" in again.describe()
    heights = [one["head_mm"] for one in paper._pages.values()]
    assert heights == [25.0] * len(LAYOUTS) and ECGPaper(recording)._pages["3x4"]["head_mm"] == 0
    with pytest.raises(ECGError, match="A plotly figure shows no lead terms"):
        paper.figure()


def test_lead_terms_follow_the_ecg():
    recording, other = ecg(), ecg(noise_mv=0.01)
    paper = ECGPaper(recording, terms=made_terms(recording, RBBB), code="I44.7")
    before = paper.code()
    with pytest.raises(ECGError, match="of another ECG"):
        paper.recording = other
    with pytest.raises(ECGError, match="of another ECG"):
        paper.show(other, terms=paper.terms)
    with pytest.raises(ECGError, match="does not predict 'I10'"):
        paper.icd10_code = "I10"
    with pytest.raises(ECGError, match="not shown with an overlay or a mask"):
        paper.overlay = other
    assert paper.code() == before and paper.recording is recording
    paper.show(other, terms=made_terms(other, RBBB))
    assert paper.code() == "lt.ECGPaper(recording, terms=terms)", "the first-ranked code of the new ECG"
    paper.show(recording, overlay=other)
    assert paper.terms is None and paper._terms is None and paper._pages["3x4"]["head_mm"] == 0


def test_the_ecg_beyond_what_the_model_read_is_noted():
    recording = ecg(60.0)
    read = replace(recording, signal_mv=recording.signal_mv[:, : 10 * RATE_HZ])
    paper = ECGPaper(recording, terms=made_terms(read, RBBB))
    assert paper._note.endswith("The lead terms are of its first 10.0 s.") and paper._terms["duration_s"] == 10


def test_saved_files_show_the_lead_terms(tmp_path, chromium):
    recording = ecg()
    paper = ECGPaper(recording, terms=made_terms(recording, RBBB), title="A & B")
    svg = ET.parse(paper.save(tmp_path / "ecg.svg")).getroot()
    width, height = page(recording, "3x4", 25.0).size_mm(25, 10)
    assert (svg.get("width"), svg.get("height")) == (f"{width:g}mm", f"{height:g}mm")
    written = ["".join(text.itertext()) for text in svg.findall("{*}text")]
    words = ("A & B", "+2.3", "−0.4", "Rests on V1. Without it: 35 % → 5.2 %.", "not for diagnosis.")
    for expected in words:
        assert any(one.endswith(expected) for one in written), expected
    tinted = [rect for rect in svg.findall("{*}rect") if rect.get("fill-opacity") == "0.500"]
    assert [rect.get("fill") for rect in tinted] == ["#D55E00"] and float(tinted[0].get("width")) == 62.5
    png = matplotlib.image.imread(paper.save(tmp_path / "ecg.png"))
    assert png.shape[:2] == (round(height * 300 / 25.4 - 0.5), round(width * 300 / 25.4 - 0.5))
    assert "Rests on V1" in paper.save(tmp_path / "ecg.html").read_text(encoding="utf-8")
