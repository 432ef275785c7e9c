"""The pictures of lead terms in the documentation, of real ECGs and the shipped probe: docs/lead_terms_*.png.

    python tools/lead_terms_pictures.py

Needs Chromium, and the network or a local folder of PTB-XL (LAMAE_PTBXL). The ECGs are from PTB-XL 1.0.3 (CC BY 4.0).
"""

from pathlib import Path

import lamae_toolkit as lt
from course_pictures import small_png

DOCS = Path(__file__).parents[1] / "docs"
# 4 dots a millimeter, so that all small squares are alike.
DPI, MAX_BYTES, PALETTES, WIDTH_PX = 4 * 25.4, 150_000, (256, 128, 64, 32), 2000
PICTURES = {
    "rbbb": ("right bundle branch block", "I45.10"),
    "lbbb": ("left bundle branch block", "I44.7"),
    "lafb": ("left anterior fascicular block", "I44.4"),
    "anterior_infarction": ("anterior infarction", "I25.2"),
}


def main() -> None:
    model, probe = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), lt.Probe.load("lamae-mini-ptbxl")
    for name, (finding, code) in PICTURES.items():
        ecg = lt.example_ecg(finding)
        terms = lt.explain.encode_ecg(model, ecg, probe).lead_terms()
        record = int(lt.examples().record[finding])
        paper = lt.ECGPaper(ecg, terms=terms, code=code, title=f"PTB-XL record {record}: {finding}")
        png = small_png(paper.picture("png", DPI), MAX_BYTES, PALETTES, WIDTH_PX)
        (DOCS / f"lead_terms_{name}.png").write_bytes(png)
        print(f"docs/lead_terms_{name}.png: {len(png)} bytes. {paper.describe()}")


if __name__ == "__main__":
    main()
