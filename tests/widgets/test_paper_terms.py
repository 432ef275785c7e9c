"""Lead terms on ECG paper: words, numbers, the order of codes, and what cannot be shown together."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError
from lamae_toolkit.widgets.ecg_paper.terms import (
    NOT_FOR_DIAGNOSIS,
    as_sent,
    check_terms,
    code_on_paper,
    shown_code,
    signed,
)
from made_terms import made_terms

RBBB = {"I45.10": {"V1": 2.3, "I": 0.5, "II": 0.25, "V6": -0.4}}


def some_ecg(leads: tuple[str, ...] = LEADS, duration_s: float = 10.0) -> Recording:
    signal_mv = np.random.default_rng(0).normal(size=(len(leads), round(100 * duration_s))).astype(np.float32)
    return Recording(signal_mv, 100, leads)


def test_the_words_of_a_code():
    shown = code_on_paper(made_terms(some_ecg(), RBBB), "I45.10")
    assert shown.heading == "I45.10 Right bundle-branch block, unspecified: 41 %, prevalence 5.0 %"
    assert shown.sentence == "Rests on V1. Without it: 41 % → 6.6 %."
    assert shown.limb_label == "limb leads together +0.8 (six views of two leads)"
    assert shown.leads["V1"].label == "+2.3" and shown.leads["V6"].label == "−0.4" and shown.leads["V2"].label == "0.0"
    assert shown.leads["V1"].cells == ("+2.30", "6.6 %") and shown.leads["V1"].lost == pytest.approx(2.3)
    assert shown.leads["V1"].of_no_patch == " (+1.1)"  # a third in the standard deviation, a sixth in the CLS token
    for part in (shown.heading, shown.sentence, "V1 +2.3, V2 0.0", shown.limb_label, NOT_FOR_DIAGNOSIS):
        assert part in shown.words


def test_a_disagreement_of_term_and_leave_one_out_is_in_the_words():
    terms = made_terms(some_ecg(), RBBB)
    assert "disagree" not in code_on_paper(terms, "I45.10").words
    without = terms.without.copy()
    without[LEADS.index("V1")] += 2.0
    assert "disagree for V1." in code_on_paper(replace(terms, without=without), "I45.10").words


def test_one_limb_lead_is_no_group():
    shown = code_on_paper(made_terms(some_ecg(("II", "V1")), RBBB), "I45.10")
    assert shown.limb_label == "" and "limb" not in shown.words and list(shown.leads) == ["II", "V1"]


def test_the_browser_gets_the_code_furthest_above_its_prevalence_first():
    terms = made_terms(some_ecg(("V1", "I")), RBBB)
    assert shown_code(terms, None) == "I45.10" and shown_code(terms, "I44.7") == "I44.7"
    sent = as_sent(terms)
    assert [one["code"] for one in sent["codes"]] == ["I45.10", "I44.7"] and sent["leads"] == ("V1", "I")
    patch = np.frombuffer(sent["data"], "<f4").reshape(2, 2, sent["patches"])  # code, lead, patch
    np.testing.assert_allclose(patch[0, :, 4], [1.15, 0.25])
    assert np.count_nonzero(patch) == 2 and sent["patch_s"] == 0.25
    assert as_sent(made_terms(some_ecg(), RBBB, split=False))["data"] is None


def test_patches_beyond_a_short_ecg_count_as_of_no_patch():
    short = some_ecg(duration_s=1.0)  # the patch with half of the term begins at its end
    assert code_on_paper(made_terms(short, RBBB), "I45.10").leads["V1"].of_no_patch == " (+2.3)"


@pytest.mark.parametrize(("value", "text"), [(2.34, "+2.3"), (-0.06, "−0.1"), (-0.04, "0.0"), (0.04, "0.0")])
def test_numbers_have_a_sign_unless_zero(value, text):
    assert signed(value) == text


def test_what_cannot_be_shown_is_refused():
    ecg, mask = some_ecg(), np.zeros((12, 40), dtype=bool)
    terms = made_terms(ecg, RBBB)
    other = replace(ecg, signal_mv=ecg.signal_mv + 0.1)
    together = "Lead terms are not shown with an overlay or a mask"
    for arguments, message in (
        ((ecg, None, "I45.10", False, None, None), "A code is chosen among lead terms; give `terms` as well."),
        ((ecg, None, None, True, None, None), "give `terms` as well."),
        ((ecg, terms, "I10", False, None, None), "The probe does not predict 'I10'; choose from I44.7, I45.10."),
        ((ecg, terms, None, False, ecg, None), together),
        ((ecg, terms, None, False, None, mask), together),
        ((other, terms, None, False, None, None), "of another ECG; compute them from the recording that is shown."),
        ((ecg.select(["I"]), terms, None, False, None, None), "of another ECG"),
        ((ecg, made_terms(ecg, RBBB, split=False), None, True, None, None), 'probe on "leads" are split over time'),
    ):
        with pytest.raises(ECGError, match=re.escape(message)):
            check_terms(*arguments)
    check_terms(ecg, terms, "I45.10", True, None, None)
    check_terms(ecg, made_terms(ecg.select(["V1", "I"]), RBBB), None, False, None, None)  # a flat lead was left out
    check_terms(some_ecg(duration_s=60), made_terms(some_ecg(duration_s=60), RBBB), None, False, None, None)
