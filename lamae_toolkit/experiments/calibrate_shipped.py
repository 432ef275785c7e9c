"""How well the probabilities of the shipped probe are calibrated: writes calibration.json next to it.

    python -m lamae_toolkit.experiments.calibrate_shipped --ptbxl PTB-XL \\
        --out lamae_toolkit/model/weights/lamae-mini-ptbxl

Scored on PTB-XL's folds 9 and 10, which neither the weights nor the probe have seen, in groups of similar
probability. Nothing in it is random. The lead explorer reads the intervals of the probabilities from this file.
"""

import argparse
import tempfile
from pathlib import Path

from lamae_toolkit.evaluation.calibration import Calibration
from lamae_toolkit.evaluation.evaluate import embed_rows, score_probe
from lamae_toolkit.evaluation.linear_probe import Probe, features
from lamae_toolkit.experiments.ptbxl_store import ptbxl_store
from lamae_toolkit.experiments.shipped_weights import SEEN
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.pretrained import shipped_or_own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptbxl", type=Path, required=True, help="folder of PTB-XL as it was unpacked")
    parser.add_argument("--out", type=Path, required=True, help="folder for calibration.json")
    arguments = parser.parse_args()
    model, probe = LAMAE.from_pretrained("lamae-mini-ptbxl"), Probe.load(shipped_or_own("lamae-mini-ptbxl"))
    with tempfile.TemporaryDirectory() as folder:
        store = ptbxl_store(Path(folder) / "store", arguments.ptbxl, progress=False)
        rows = store.rows(SEEN.test)
        x = features(embed_rows(model, store, rows, progress=False), probe.representation)
        evaluation = score_probe(probe, x, store.index.iloc[rows])
    Calibration.of(evaluation).save(arguments.out)
    print(
        f"{evaluation.test_ecgs} ECGs of {evaluation.test_patients} patients; macro AUROC {evaluation.auroc.macro()}."
    )


if __name__ == "__main__":
    main()
