"""What the readers of the web page share with `lamae_toolkit.ecg`: names, limits and patterns, as one JSON file.

`python -m lamae_toolkit.widgets.page.tables` writes it; a test fails if it is not up to date.
"""

import json
import re
from pathlib import Path

from lamae_toolkit.ecg import leads, recording
from lamae_toolkit.ecg.io import channels, checks, read, stretch, waveforms
from lamae_toolkit.ecg.io.formats import (
    aecg,
    apple_watch,
    delimited,
    muse,
    safe_xml,
    sierra,
    sniff,
    table_head,
    unread,
    wfdb_header,
    wfdb_plain,
)

TABLES = Path(__file__).parent / "readers" / "tables.json"


def pattern(compiled: re.Pattern[str] | str) -> list[str]:
    """A regular expression as JavaScript writes it: its source and its flags."""
    source = compiled if isinstance(compiled, str) else compiled.pattern
    flags = "i" if source.startswith("(?i)") or (not isinstance(compiled, str) and compiled.flags & re.I) else ""
    return [source.removeprefix("(?i)").replace("(?P<", "(?<"), flags]


def tables() -> dict[str, object]:
    """All of them, by the name that the JavaScript uses."""
    return {
        "leads": leads.LEADS,
        "limb_leads": leads.LIMB_LEADS,
        "chest_leads": leads.PRECORDIAL_LEADS,
        "from_I_and_II": leads.FROM_I_AND_II,
        "mv_per_unit": channels.MV_PER_UNIT,
        "max_missing": channels.MAX_MISSING,
        "max_mv": channels.MAX_MV,
        "min_pulse_s": channels.MIN_PULSE_S,
        "max_span_mv": checks.MAX_SPAN_MV,
        "min_span_mv": checks.MIN_SPAN_MV,
        "einthoven_mv": checks.EINTHOVEN_MV,
        "einthoven_span": checks.EINTHOVEN_SPAN,
        "einthoven_time": checks.EINTHOVEN_TIME,
        "missing_marks": checks.MISSING,
        "min_rate_hz": recording.MIN_RATE_HZ,
        "max_rate_hz": recording.MAX_RATE_HZ,
        "max_samples": stretch.MAX_SAMPLES,
        "max_waveforms": waveforms.MAX_WAVEFORMS,
        "max_mb": read.MAX_MB,
        "wfdb_suffixes": read.WFDB_SUFFIXES,
        "csv_suffixes": read.CSV_SUFFIXES,
        "numpy_suffixes": read.NUMPY_SUFFIXES,
        "named_after": read.NAMED_AFTER,
        "xml_kinds": sniff.XML_KINDS,
        "unread_xml_roots": unread.XML_ROOTS,
        "unread_starts": {start.hex(): kind for start, kind in unread.STARTS.items()},
        "head_bytes": [sniff.HEAD_BYTES, sniff.XML_HEAD_BYTES, sniff.TEXT_HEAD_BYTES],
        "max_depth": safe_xml.MAX_DEPTH,
        "max_elements": safe_xml.MAX_ELEMENTS,
        "max_equals_signs": safe_xml.MAX_EQUALS_SIGNS,
        "max_header_bytes": wfdb_header.MAX_HEADER_BYTES,
        "invalid_count": wfdb_header.INVALID,
        "delimiters": table_head.DELIMITERS,
        "quotes": table_head.QUOTES,
        "max_row_characters": delimited.MAX_ROW_CHARACTERS,
        "watch_max_head": apple_watch.MAX_HEAD,
        "muse_units": muse.UNITS,
        "muse_starts": muse.STARTS,
        "aecg_s_per_unit": aecg.S_PER_UNIT,
        "sierra_max_samples": sierra.MAX_SAMPLES,
        "sierra_lead_sets": sierra.LEAD_SETS,
        "lzw": [sierra.CODE_BITS, sierra.STOP_CODE],
        "patterns": {
            "lead_name": pattern(leads._NAME),
            "like_a_lead": pattern(channels.LIKE_A_LEAD),
            "number": pattern(table_head.NUMBER),
            "unit_row": pattern(table_head.UNIT_ROW),
            "time": pattern(delimited.TIME),
            "watch_number": pattern(apple_watch.NUMBER),
            "watch_rate": ["(\\d{2,4}(?:[.,]\\d+)?)\\s*\\p{L}+\\.?", "u"],  # which Python writes as [^\W\d_]+
            "watch_unit": pattern(apple_watch.UNIT),
            "watch_lead": pattern(apple_watch.LEAD),
            "wfdb_record": pattern(wfdb_plain.RECORD_LINE),
            "wfdb_signal": pattern(wfdb_plain.SIGNAL_LINE),
        },
    }


def write(path: Path = TABLES) -> None:
    path.write_text(json.dumps(tables(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
