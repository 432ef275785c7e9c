"""The plan of an audit, the predictions that it explains, and the parts in which it is computed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.experiments.audit.methods import REPRESENTATION, STAGES
from lamae_toolkit.experiments.comparison.plans import BUDGET
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.training.presets import MINI
from lamae_toolkit.training.trainer import CHECKPOINT, TrainConfig

LEARNED = "learned"
"""The stage of a model as it was trained."""
REPRESENTATIONS = tuple(dict.fromkeys(REPRESENTATION.values()))


@dataclass(frozen=True)
class AuditPlan:
    """The models and ECGs of an audit.

    store: a store of PTB-XL; "" for simulated ECGs. checkpoints: folders of pretrained models; none to pretrain one for
    each of `seeds`. cohort_seed: the seed of the simulated patients. ecgs: how many ECGs of patients that the probe has
    not seen are explained. occluded_ecgs: of how many of them every subset of leads is predicted from, which is most of
    the cost; randomized_ecgs: how many are also explained with randomized models. least_auroc: a code is explained if
    the probes on "leads" of all models predict it better than that.
    """

    store: str = ""
    checkpoints: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    cohort_ecgs: int = 3000
    cohort_seed: int = 0
    ecgs: int = 120
    occluded_ecgs: int = 120
    randomized_ecgs: int = 40
    least_auroc: float = 0.8
    model: LAMAEConfig = MINI
    train: TrainConfig = field(default_factory=lambda: BUDGET)

    def __post_init__(self) -> None:
        for name in ("cohort_ecgs", "ecgs"):
            if getattr(self, name) < 1:
                raise ECGError(f"An audit of {getattr(self, name)} {name.replace('_', ' ')} shows nothing; give more.")
        if not self.names:
            raise ECGError("An audit needs a model: give one seed or more, or checkpoints.")
        if len(set(self.names)) < len(self.names):
            raise ECGError("A model was given twice; give each once.")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models."""
        return self.checkpoints or tuple(f"seed {seed}" for seed in self.seeds)


@dataclass(frozen=True)
class Case:
    """A prediction to explain: a row of the store, one of its true codes, and where the code is to be seen.

    code: an ICD-10 code, or a statement of PTB-XL. probe: the number of the probe, which has not seen the patient.
    leads: that show the code: where the simulator put it, or its territory; none where it shows in every lead. spans_s:
    the times of the simulated evidence.
    """

    row: int
    code: str
    patient_id: int
    probe: int
    leads: tuple[str, ...]
    spans_s: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class AuditRun:
    """An audit with its store and cases, and the AUROC of the probes: by representation and code, model by model."""

    plan: AuditPlan
    out: Path
    store: Store
    cases: tuple[Case, ...]
    aurocs: dict[str, dict[str, list[float]]]

    def parts(self) -> Iterator["Part"]:
        """All parts, trained models before randomized ones, ECG by ECG."""
        rows = list(dict.fromkeys(case.row for case in self.cases))
        for stage in (LEARNED, *STAGES):
            for number, row in enumerate(rows if stage == LEARNED else rows[: self.plan.randomized_ecgs]):
                occluded = number < self.plan.occluded_ecgs and stage in (LEARNED, tuple(STAGES)[-1])
                # All models in turn, so that an interrupted audit has the same ECGs of each.
                for model in range(len(self.plan.names)) if stage == LEARNED else (0,):
                    yield Part(model, stage, row, occluded)


@dataclass(frozen=True)
class Part:
    """One ECG explained with one model, as trained or randomized; occluded: also by predictions from less of it."""

    model: int
    stage: str
    row: int
    occluded: bool

    def file(self, out: Path) -> Path:
        """The file in which the attributions are kept."""
        return out / "parts" / f"model{self.model}" / self.stage.replace(" ", "_") / f"{self.row:05d}.npz"


def load_model(plan: AuditPlan, out: Path, number: int) -> LAMAE:
    """One of the audited models."""
    folder = plan.checkpoints[number] if plan.checkpoints else out / "models" / f"seed{plan.seeds[number]}" / CHECKPOINT
    return LAMAE.from_pretrained(folder).eval()


def probe_file(representation: str, which: int) -> str:
    return f"{representation}{which}.json"


def load_probe(out: Path, model: int, representation: str, which: int) -> Probe:
    """One of the probes that were fitted on a model, from its file."""
    return Probe.load(out / "probes" / str(model), probe_file(representation, which))
