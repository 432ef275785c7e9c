"""An ECG, its page, and what was measured of it, as the browser gets them."""

from dataclasses import asdict, replace

import numpy as np

from lamae_toolkit.ecg.beats import BEFORE_S
from lamae_toolkit.ecg.intervals import measure
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.plots.paper_layout import Page, level_mv, page


def sent_signal(recording: Recording) -> dict:
    """An ECG as the browser gets it: each sample in two bytes, in steps of a 32767th of the largest voltage."""
    scale_mv = max(float(np.abs(recording.signal_mv).max()), 1e-6) / 32767
    values = np.round(recording.signal_mv / scale_mv).astype("<i2")
    return {
        "leads": recording.leads,
        "rate_hz": recording.sampling_rate_hz,
        "samples": values.shape[1],
        "duration_s": recording.duration_s,
        "scale_mv": scale_mv,
        "data": values.tobytes(),
    }


def sent_page(sheet: Page) -> dict:
    """A page with its strips as plain values."""
    strips = [{**asdict(strip), "lead": strip.lead, "sign": strip.sign} for strip in sheet.strips]
    return {**asdict(sheet), "strips": strips}


def measured_as_sent(recording: Recording) -> dict:
    """What `measure` finds, and the median beat as a page of its own, without the rhythm strip."""
    measured, more = measure(recording), {"median": None}
    if (beat := measured.median_beat) is not None:
        sheet = page(beat, "3x4")
        strips = tuple(
            replace(one, from_s=0.0, to_s=beat.duration_s) for one in sheet.strips if one.row < sheet.rows - 1
        )
        more = {
            "median": sent_signal(beat),
            "median_page": sent_page(replace(sheet, strips=strips, rows=sheet.rows - 1)),
            "median_levels": [level_mv(beat, lead) for lead in beat.leads],
            "before_s": BEFORE_S,
        }
    return {
        "beats_s": measured.beats_s,
        "prevailing": measured.prevailing,
        "marks_s": dict(measured.marks_s),
        "written": measured.table(),
        "sentences": measured.sentences(),
        "words": measured.in_words(),
        **more,
    }
