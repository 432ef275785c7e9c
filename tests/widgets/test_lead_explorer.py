"""The lead explorer without a browser: fast results equal slow ones, and its controls work."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from lamae_toolkit.data.batch import collate
from lamae_toolkit.ecg.leads import FRONTAL_AXIS_DEG, HORIZONTAL_AXIS_DEG, LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.calibration import Calibration, wilson_interval
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.evaluate import Evaluation, score_probe
from lamae_toolkit.evaluation.linear_probe import Probe, predict
from lamae_toolkit.explain.attention import roll_up
from lamae_toolkit.explain.encoded import attention_summary, encode_ecg
from lamae_toolkit.explain.lead_shapley import attribute_leads
from lamae_toolkit.plots.lead_geometry import DISCS, NAMES, POSITIONS, geometry_figure, show_values
from lamae_toolkit.plots.strips import OFF, probabilities_figure, show_probabilities, weighted_strips_figure
from lamae_toolkit.widgets.base.background import Background
from lamae_toolkit.widgets.base.plots import Plots, plain
from lamae_toolkit.widgets.lead_explorer import widget as lead_explorer
from lamae_toolkit.widgets.lead_explorer.changes import Changes
from lamae_toolkit.widgets.lead_explorer.controls import SHARE, TERMS
from lamae_toolkit.widgets.lead_explorer.widget import LeadExplorer
from small_models import ONE_BLOCK, attention_summaries, probe_of

FOUR, EIGHT = ("I", "II", "V1", "V5"), ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def simulated(leads=LEADS, duration_s: float = 10.0, seed: int = 0) -> Recording:
    """Leads of one heart, by Einthoven's and Goldberger's relations, without the time that the simulator takes."""
    time_s = np.arange(round(duration_s * 250)) / 250
    beat = np.exp(-(((time_s % 0.8) - 0.3) ** 2) / 0.0008)
    wave = np.exp(-(((time_s % 0.8) - 0.55) ** 2) / 0.006)
    mixed = np.random.default_rng(seed).normal(size=(9, 2)) @ np.stack([beat, 0.3 * wave])
    one, two, *chest = mixed[[0, 1, 3, 4, 5, 6, 7, 8]]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return Recording(np.stack([*limb, *chest]), 250.0, LEADS).select(leads)


class Reading(dict):
    """ECGs of which some cannot be read."""

    def __getitem__(self, name: str) -> Recording:
        if name == "broken.hea":
            raise ECGError("broken.hea: The file is damaged; copy it again.")
        return super().__getitem__(name)


@pytest.fixture
def explorer(monkeypatch) -> LeadExplorer:
    for pause in ("PAUSE_S", "SHORT_PAUSE_S"):
        monkeypatch.setattr(lead_explorer, pause, 0.0)
    ecgs = Reading({"broken.hea": None, "four": simulated(FOUR), "eight": simulated(EIGHT, seed=1)})
    made = LeadExplorer(random_encoder(ONE_BLOCK), ecgs, probe_of())
    made.background.wait()
    return made


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"tokens": "cls"},
        {"tokens": "induced"},
        {"normalization": "record"},
        {"latent_depth": 0},
        {"latent_depth": 2},
    ],
    ids=str,
)
def test_a_summary_from_encoded_leads_equals_complete_runs_of_the_model(other):
    model, recording, probe = random_encoder(replace(ONE_BLOCK, **other)), simulated(), probe_of()
    leads = [lead for lead in LEADS if lead not in ("aVR", "V2")]
    batch = collate([recording.select(leads)], 100.0, 10.0).select(leads)
    expected = [tensor[0] for tensor in (*attention_summaries(model, batch), *roll_up(model, batch))]
    for summary in (
        encode_ecg(model, recording, probe).attention_summary(leads),
        attention_summary(model, recording.select(leads), probe),
    ):
        assert summary.leads == tuple(leads)
        names = ("lead_weights", "lead_attention", "rolled_up", "into_heart")
        for name, values in zip(names, expected, strict=True):
            np.testing.assert_allclose(getattr(summary, name), values, atol=1e-6, err_msg=name)
        probabilities = predict(model, probe, batch).iloc[0]
        pd.testing.assert_series_equal(summary.probabilities, probabilities, check_names=False, atol=1e-6)


def test_attribution_of_some_leads_equals_a_new_computation():
    model, recording, probe = random_encoder(ONE_BLOCK), simulated(FOUR), probe_of()
    whole = attribute_leads(model, probe, recording)
    for leads in (("I", "V1", "V5"), ("V5",), FOUR):
        again = attribute_leads(model, probe, recording.select(leads))
        np.testing.assert_allclose(whole.select(leads).values, again.values, atol=1e-5)
    with pytest.raises(ECGError, match="at least one lead"):
        whole.select(["V2"])


def test_changes_modify_the_recording_and_are_written_as_code():
    recording = simulated()
    changes = Changes(("RA", "LA"), ("V3",), 0.5)
    changed = changes(recording)
    np.testing.assert_allclose(changed.lead("I"), -recording.lead("I"), atol=1e-6)
    np.testing.assert_allclose(changed.lead("V3"), recording.lead("V3") / 2, atol=1e-6)
    assert changes.in_words() == "Electrodes RA and LA reversed and V3 at 50% of their amplitude."
    scope = {"recording": recording}
    exec("import lamae_toolkit as lt\n" + "\n".join(changes.lines(recording)), scope)
    assert (scope["recording"].signal_mv == changed.signal_mv).all()
    assert Changes(None, ("V2",), 0.5)(simulated(FOUR)).leads == FOUR and Changes().in_words() == ""


def test_discs_lie_at_the_axes_of_the_leads():
    for lead, degrees in FRONTAL_AXIS_DEG.items():
        x, y = POSITIONS[lead]
        assert (np.degrees(np.arctan2(-y, x)) - degrees + 180) % 360 - 180 == pytest.approx(0)
    order = sorted(HORIZONTAL_AXIS_DEG, key=lambda lead: POSITIONS[lead][0])
    assert order == ["V1", "V2", "V3", "V4", "V5", "V6"]  # from the right of the patient, on the left, to the left

    weights = pd.Series({"I": 0.1, "II": 0.6, "V1": 0.3})
    figure = geometry_figure(weights)
    discs = figure.data[DISCS]
    size, symbol = (dict(zip(LEADS, values, strict=True)) for values in (discs.marker.size, discs.marker.symbol))
    assert size["II"] == max(discs.marker.size) > size["V1"] > size["I"] > size["V6"] and symbol["V6"] == "x"
    # The area, less that of a lead without weight, is as the weight.
    assert ((size["V1"] - 7) / (size["II"] - 7)) ** 2 == pytest.approx(0.5)
    texts = figure.data[NAMES].text
    assert "<b>II</b> 60.0%" in texts and any("V6 absent" in text for text in texts)
    show_values(figure, pd.Series({"II": -0.4, "V1": 0.2}), "attribution")
    assert dict(zip(LEADS, discs.marker.symbol, strict=True))["II"] == "diamond" and "+0.20" in discs.hovertext[6]
    assert figure.to_json() == geometry_figure(pd.Series({"II": -0.4, "V1": 0.2}), "attribution").to_json()
    written = plain(geometry_figure(weights))  # its dictionary is changed alike
    assert show_values(written, pd.Series({"II": -0.4, "V1": 0.2}), "attribution") == plain(figure)
    large, limit = geometry_figure(pd.Series({"II": 3.0}), "term"), geometry_figure(pd.Series({"II": 2.0}), "term")
    assert large.data[DISCS].marker.size == limit.data[DISCS].marker.size  # fixed limits, for every ECG and code
    assert max(geometry_figure(pd.Series({"II": 0.1}), "term").data[DISCS].marker.size) < max(discs.marker.size)
    with pytest.raises(ECGError, match="choose from term, attribution, weight"):
        geometry_figure(weights, "height")
    with pytest.raises(ECGError, match="these are of V9"):
        geometry_figure(pd.Series({"V9": 1.0}))


def test_ecg_is_colored_by_weight_and_names_leads_that_are_off_or_absent():
    figure = weighted_strips_figure(simulated(FOUR), pd.Series({"I": 0.2, "V1": 0.5, "V5": 0.3}))
    color = {trace.name: trace.line.color for trace in figure.data}
    assert color["II"] == color["V2"] == OFF and len({color["I"], color["V1"], color["V5"]}) == 3
    width = {trace.name: trace.line.width for trace in figure.data}
    assert width["V1"] > width["V5"] > width["I"]
    texts = " ".join(figure.data[-1].text)
    assert "II off" in texts and "V2 absent" in texts and "<b>V1</b> 50.0%" in texts
    assert "one line each 0.2 s and 0.5 mV" in texts
    even = weighted_strips_figure(simulated(FOUR), pd.Series({"I": 0.2, "V1": 0.21}))
    assert np.ptp([trace.line.width for trace in even.data if trace.name in ("I", "V1")]) < 0.05, "fixed limits"
    assert len(figure.data) == 14 and sum(len(trace.y) for trace in figure.data) < 5100


def test_probabilities_are_shown_next_to_those_as_recorded():
    now, recorded = pd.Series({"A": 0.9, "B": 0.2}), pd.Series({"A": 0.5, "B": 0.3})
    intervals = pd.DataFrame({"low": [0.4], "high": [0.7]}, index=["A"])
    figure = probabilities_figure(now, recorded, np.zeros(2), intervals, "B")
    interval, change, before, disc = figure.data
    assert list(interval.x) == [40, 70, None] and list(before.x) == [30, 50] and list(disc.x) == [20, 90]
    assert disc.marker.symbol == ("diamond", "circle") and list(change.x) == [30, 20, None, 50, 90, None]
    assert show_probabilities(figure, now, recorded, np.zeros(2), None, "A").data[0].x == ()
    many = pd.Series(np.linspace(0.9, 0.1, 20), index=[f"code {number}" for number in range(20)])
    assert len(probabilities_figure(many, many, np.zeros(20)).data[3].x) == 8
    assert "code 19" in probabilities_figure(many, many, np.zeros(20), None, "code 19").layout.yaxis.ticktext[0]
    usual = np.array([0.0, -3.0])  # A is frequent, so that B at 30 % stands out more than A at 50 %
    assert probabilities_figure(now, recorded, usual).layout.yaxis.ticktext[-1].startswith("B")


def evaluated() -> Evaluation:
    """Ten patients: five with a probability of 10 %, one of whom has the code, and five with 90 %, four of whom do."""
    probability, has = np.repeat([0.1, 0.9], 5), (1, 0, 0, 0, 0, 1, 1, 1, 1, 0)
    one = Probe(("I44.7",), "heart", np.zeros(1), np.ones(1), np.ones((1, 1)), np.zeros(1), 1.0)
    index = pd.DataFrame({"patient_id": range(10), "codes": [("I44.7",) if value else () for value in has]})
    return score_probe(one, np.log(probability / (1 - probability))[:, None], index, n_bootstrap=10)


def test_calibration_intervals(tmp_path):
    calibration = Calibration.of(evaluated())
    found = calibration.intervals(pd.Series({"I44.7": 0.15, "I21.09": 0.5}))
    assert list(found.index) == ["I44.7"] and found.observed["I44.7"] == 0.2 and found.patients["I44.7"] == 5
    assert (found.low["I44.7"], found.high["I44.7"]) == pytest.approx(wilson_interval(0.2, 5))
    assert calibration.intervals(pd.Series({"I44.7": 0.95})).observed["I44.7"] == 0.8
    assert calibration.intervals(pd.Series({"I44.7": 0.4})).empty  # nobody had such a probability
    calibration.save(tmp_path)
    pd.testing.assert_frame_equal(
        Calibration.load(tmp_path).intervals(pd.Series({"I44.7": 0.15})), found, check_exact=False, atol=1e-5
    )
    assert Calibration.load(tmp_path / "elsewhere") is None
    (tmp_path / "calibration.json").write_text('{"I44.7": {"group": [1]}}')
    with pytest.raises(ECGError, match="is damaged"):
        Calibration.load(tmp_path)


def test_unreadable_ecg_is_reported_and_the_next_is_shown(explorer):
    assert explorer.view.name == "four" and "damaged" in explorer._message.value  # said of the one before it
    explorer.controls.leads["I"].value = False
    assert explorer._message.value == ""
    explorer.controls.ecg.value = "broken.hea"
    assert "damaged; copy it again" in explorer._message.value and "alert" in explorer._message.value
    assert explorer.controls.ecg.value == explorer.view.name == "four"
    explorer.controls.next.click()
    assert explorer.view.name == "eight" and explorer._message.value == ""
    with pytest.raises(ECGError, match="no ECG to explore"):
        LeadExplorer(random_encoder(ONE_BLOCK), [])
    with pytest.raises(ECGError, match="file is damaged"):
        LeadExplorer(random_encoder(ONE_BLOCK), Reading({"broken.hea": None}))


def test_control_characters_of_file_names_are_not_shown(tmp_path):
    name = "\x1b[2Jone\u202e\udcff.csv"
    ecg = simulated(FOUR).with_note("Column \x1b[8m is left out.")
    explorer = LeadExplorer(random_encoder(ONE_BLOCK), {name: ecg}, probe_of())
    shown = [
        explorer.describe(),
        explorer.code(),
        explorer._notes.value,
        explorer.panel.paper.title,
        explorer.words.value,
    ]
    shown += explorer.controls.ecg._options_labels
    assert not any(set("\x1b\u202e\udcff") & set(words) for words in shown)
    assert r"\x1b[2Jone\u202e\udcff.csv, 10 s" in explorer.describe()
    page = explorer.save(tmp_path / "explorer.html").read_text(encoding="utf-8")
    assert r"\x1b[2Jone\u202e\udcff.csv" in page
    explorer.controls.tab.value = SHARE
    assert not set("\x1b\u202e\udcff") & set(explorer.figures()[0].layout.title.text)
    explorer.background.wait()


def test_turning_a_lead_off_updates_everything_shown(explorer):
    full = explorer.view
    assert full.attribution is not None and "Largest Shapley values" in explorer.describe()
    assert full.terms.log_odds == pytest.approx(logit(full.summary.probabilities.to_numpy()), abs=1e-5)
    explorer.controls.leads["V1"].value = False
    view = explorer.view
    assert view.off == ["V1"] and set(view.weights.index) == {"I", "II", "V5"} and "Without V1." in explorer.words.value
    assert view.recorded["I44.7"] == full.summary.probabilities["I44.7"] != view.summary.probabilities["I44.7"]
    assert view.attribution.leads == view.terms.leads == ("I", "II", "V5")
    assert view.terms.log_odds == pytest.approx(logit(view.summary.probabilities.to_numpy()), abs=1e-5)
    assert [button.disabled for button in explorer.controls.leads.values()] == [lead not in FOUR for lead in LEADS]
    for lead in ("I", "II", "V5"):
        explorer.controls.leads[lead].value = False
    assert "turn at least one on again" in explorer._message.value and explorer.controls.leads["V5"].value
    explorer.controls.as_recorded.click()
    assert explorer.view.off == [] and explorer._message.value == ""


def test_electrodes_are_reversed_where_the_leads_determine_the_result(explorer):
    explorer.controls.reversal.value = ("V1", "V2")
    assert "cannot be derived" in explorer._message.value and explorer.controls.reversal.value == ()
    explorer.controls.ecg.value = "eight"
    explorer.controls.reversal.value = ("RA", "LA")
    assert explorer.view.changes == Changes(("RA", "LA"))
    assert "Electrodes RA and LA reversed." in explorer.words.value
    explorer.controls.scaled.value = "V3"
    assert explorer.view.changes == Changes(("RA", "LA"), ("V3",), 0.5)
    assert "reads each lead in units of its own standard deviation" in explorer._notes.value
    explorer.controls.percent.value = 100
    assert explorer.view.changes == Changes(("RA", "LA"))
    explorer.background.stop()


def assert_alike(one, other) -> None:
    """The same figure, but for the last digits of numbers and what follows from them."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"color", "hovertext"}:
            assert_alike(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_alike(*pair)
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert_alike(one.tolist(), other.tolist())
    elif isinstance(one, float | np.ndarray):
        np.testing.assert_allclose(one, other, atol=1e-3)
    else:
        assert one == other


@pytest.mark.parametrize(("tab", "measure"), [(TERMS, "term"), (TERMS, "attribution"), (SHARE, "weight")])
def test_code_reproduces_the_view(explorer, tab, measure):
    explorer.controls.leads["II"].value = False
    explorer.controls.tab.value = tab
    if measure == "attribution":
        explorer.controls.measure.value = measure
    explorer.controls.head.value = 2
    names = {name: getattr(explorer, name) for name in ("recordings", "model", "probe", "calibration")}
    exec(explorer.code(), names)
    assert len(names["figures"]) == len(explorer.figures()) == 3
    if tab == TERMS:
        assert names["paper"].icd10_code == explorer.panel.paper.icd10_code == explorer.view.code
        np.testing.assert_allclose(names["paper"].terms.terms, explorer.panel.paper.terms.terms, atol=1e-6)
    for again, shown in zip(names["figures"], explorer.figures(), strict=True):
        assert_alike([trace.to_plotly_json() for trace in again.data], [trace.to_plotly_json() for trace in shown.data])
        assert again.layout.title.text == shown.layout.title.text
    assert explorer.view.on_the_body[1] == measure and explorer.view.attribution.leads == ("I", "V1", "V5")


def test_code_follows_the_ecg_until_one_is_chosen(monkeypatch):
    monkeypatch.setattr(lead_explorer, "PAUSE_S", 60.0)
    model, ecgs = random_encoder(ONE_BLOCK), {"four": simulated(FOUR), "eight": simulated(EIGHT, seed=1)}
    four, eight = (model.embed(collate([ecg])).heart[0].detach().numpy() for ecg in ecgs.values())
    apart = np.stack([four - eight, eight - four])  # the first code is for one ECG, the second for the other
    probe = Probe(("I44.7", "I21.09"), "heart", (four + eight) / 2, np.ones_like(four), apart, np.zeros(2), 1.0)
    explorer = LeadExplorer(model, ecgs, probe)

    def ranked() -> list[str]:
        return explorer.view.terms.ranked().index.tolist()

    assert explorer.view.code == ranked()[0] == "I44.7" and explorer.controls.code.value == ""
    assert [code for _, code in explorer.controls.code.options] == ["", *ranked()]
    explorer.controls.ecg.value = "eight"
    assert explorer.view.code == ranked()[0] == "I21.09"
    explorer.controls.code.value = "I44.7"
    explorer.controls.ecg.value = "four"
    explorer.controls.ecg.value = "eight"
    assert explorer.view.code == explorer.controls.code.value == "I44.7" != ranked()[0]
    assert explorer.panel.paper.icd10_code == "I44.7" and explorer.panel.paper.terms is explorer.view.terms
    explorer.controls.code.value = ""
    assert explorer.view.code == explorer.panel.paper.icd10_code == "I21.09"
    explorer.controls.pin.value = True
    explorer.panel.paper.icd10_code = "I44.7"  # as by a choice on the page
    assert explorer.view.code == explorer.controls.code.value == "I44.7" and explorer.pinned.view.code == "I21.09"
    explorer.pinned.paper.icd10_code = "I44.7"
    assert explorer.pinned.view.code == "I44.7" and explorer.describe().count("I44.7") == 2


def test_tabs_show_lead_terms_or_shares_and_never_both(explorer):
    def shown(group: str = "live") -> set[str]:
        return {name for place, name in explorer.plots._shown if place == group}

    explorer.controls.pin.value = True
    assert shown() == shown("pinned") == {"terms", "body", "probabilities"}
    assert "Largest lead terms" in explorer.describe() and "share" not in explorer.describe()
    assert len(explorer.figures()[0].data) == 4  # terms, the limb leads together, without the lead, Shapley values
    explorer.controls.tab.value = SHARE
    assert shown() == shown("pinned") == {"ecg", "body", "attention"}
    assert explorer.describe().count("Largest shares in the heart token") == 2 and "term" not in explorer.describe()
    assert "does not say whether a prediction rests on the lead" in explorer._notes.value
    assert "would change no" not in explorer._notes.value  # this probe reads the heart token
    explorer.controls.tab.value = TERMS
    explorer.background.wait()
    assert shown() == shown("pinned") == {"terms", "body", "probabilities"} and "share" not in explorer._notes.value


def test_a_probe_that_is_not_a_sum_over_leads_is_reported_and_has_shapley_values(monkeypatch):
    monkeypatch.setattr(lead_explorer, "PAUSE_S", 0.0)
    model, width = random_encoder(ONE_BLOCK), 29 * ONE_BLOCK.width
    explorer = LeadExplorer(model, [simulated(FOUR)], probe_of(width, "per_lead"))
    explorer.background.wait()
    assert explorer._notes.value.count("is not a sum over leads, so leads have no terms") == 1
    assert explorer.view.terms is None and explorer.view.on_the_body[1] == "attribution"
    assert explorer.view.code == explorer.controls.code.options[1][1] and len(explorer.figures()) == 3
    explorer.controls.leads["I"].value = False
    assert "Without I." in explorer.describe() and "Largest Shapley values" in explorer.describe()
    names = {name: getattr(explorer, name) for name in ("recordings", "model", "probe", "calibration")}
    exec(explorer.code(), names)
    assert len(names["figures"]) == 3
    explorer.controls.tab.value = SHARE
    assert len(explorer.figures()) == 3


def test_pinned_ecg_is_shown_next_to_another_and_saved(explorer, tmp_path):
    explorer.controls.pin.value = True
    explorer.controls.ecg.value = "eight"
    explorer.background.wait()
    assert explorer.pinned.view.name == "four" and explorer.view.name == "eight" and len(explorer.figures()) == 6
    assert "Pinned: four" in explorer.words.value and "# The pinned one:" in explorer.code()
    assert {place for place, _ in explorer.plots._shown} == {"live", "pinned"}
    kept = explorer.save(tmp_path / "two.html").read_text("utf-8")
    assert kept.count('class="plotly-graph-div"') == 6 and "cdn" not in kept.split("</script>")[-1]
    assert explorer.save(tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    explorer.controls.pin.value = False
    assert explorer.pinned is None and {place for place, _ in explorer.plots._shown} == {"live"}


def test_without_a_probe_weights_and_attention_are_shown():
    explorer = LeadExplorer(random_encoder(ONE_BLOCK), [simulated(FOUR)])
    assert "no probe" in explorer._notes.value and len(explorer.figures()) == 3
    explorer.controls.leads["I"].value = False
    assert "Without I." in explorer.describe() and "calibration" not in explorer.code()
    names = {name: getattr(explorer, name) for name in ("recordings", "model", "probe", "calibration")}
    exec(explorer.code(), names)
    assert len(names["figures"]) == 3


@pytest.mark.parametrize("leads", [1, 8, 11])
@pytest.mark.parametrize("duration_s", [2.0, 60.0])
def test_short_long_and_incomplete_ecgs(leads, duration_s):
    recording = simulated(LEADS[-leads:], duration_s)
    calibration = Calibration.of(evaluated())
    explorer = LeadExplorer(random_encoder(replace(ONE_BLOCK, latent_depth=0)), [recording], probe_of(), calibration)
    explorer.background.stop()
    assert len(explorer.figures()) == 3 and len(explorer.view.terms.leads) == leads
    assert "for ECGs with all leads and of full length" in explorer._notes.value
    assert ("reads the first 10" in explorer._notes.value) == (duration_s == 60.0)
    assert f"{leads} of {leads} recorded leads" in explorer.describe()
    explorer.controls.tab.value = SHARE
    assert len(explorer.figures()) == 2 and "no latent attention" in explorer._notes.value
    explorer.controls.leads["V6"].value = False
    assert explorer.view.off == ([] if leads == 1 else ["V6"])


def test_only_differences_are_sent_and_a_later_page_gets_everything(explorer):
    sent = []
    explorer.plots.send = lambda message: sent.append(json.loads(json.dumps(message)))
    explorer.plots._send_whole()
    shown = {(part["group"], part["name"]): part for part in sent[0]["parts"]}
    explorer.controls.leads["V1"].value = False
    explorer.background.wait()
    assert 2000 < len(json.dumps(sent[1])) < 20_000 < len(json.dumps(sent[0]))
    for message in sent[1:]:  # as plots.js puts it together
        for part in message["parts"]:
            old = shown[part["group"], part["name"]]
            for number, keys in enumerate(part.get("data", [])):
                old["data"][number] = {k: v for k, v in {**old["data"][number], **keys}.items() if v is not None}
            if "layout" in part:
                old["layout"] = {k: v for k, v in {**old["layout"], **part["layout"]}.items() if v is not None}
    sent.clear()
    explorer.plots._send_whole()
    for part in sent[0]["parts"]:
        old = shown[part["group"], part["name"]]
        assert old["data"] == part["data"] and old["layout"] == part["layout"], part["name"]
    plots = Plots()
    plots.show("live", "attribution", None, words="nothing yet")
    assert plots._parts == []


def test_only_the_newest_background_job_runs():
    done, background = [], Background()
    for number in range(3):
        background.ask(0.02, lambda newest, number=number: done.append((number, newest())))
    background.wait()
    assert done == [(2, True)]
    background.ask(60.0, lambda newest: done.append("too late"))
    background.stop()
    background._timer.cancel()
    assert done == [(2, True)]


def test_unknown_layers_and_heads_are_refused():
    explanation = attention_summary(random_encoder(replace(ONE_BLOCK, latent_depth=2)), simulated())
    whole = sum(explanation.attention_table(layer=layer) for layer in (1, 2)) / 2
    assert abs(whole - explanation.attention_table()).to_numpy().max() < 1e-6
    assert abs(explanation.attention_table(2, 3).to_numpy() - explanation.lead_attention[1, 2]).max() == 0
    with pytest.raises(ECGError, match="no layer 3; choose one from 1 to 2"):
        explanation.attention_table(layer=3)
    with pytest.raises(ECGError, match="no head 0"):
        explanation.attention_table(head=0)


def test_signal_quality_is_reported():
    recording = simulated()
    flat = recording.signal_mv.copy()
    flat[3] = 0.0
    explorer = LeadExplorer(random_encoder(ONE_BLOCK), [replace(recording, signal_mv=flat)])
    assert "Signal quality: aVR flat" in explorer._notes.value
