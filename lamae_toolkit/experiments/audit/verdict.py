"""Which explanation to trust for what: a stated rule, applied to the scores."""

from dataclasses import dataclass

from lamae_toolkit.evaluation.metrics import Estimate
from lamae_toolkit.experiments.audit.methods import LEAD_METHODS, PATCH_METHODS, RANDOM, SIGNAL, STAGES
from lamae_toolkit.experiments.audit.scores import (
    AGREES,
    LEAD_KIND,
    OTHER_ECG,
    PATCH_KIND,
    RANDOMIZED,
    TIME_STEP,
    Summary,
)

ALIKE = 0.5
"""A map whose rank correlation with that of the trained model is this high shows too little of what was learned."""
FEWEST_PATIENTS = 10
"""An interval over fewer patients is no ground for a verdict."""
LAST_STAGE = f"{RANDOMIZED} {list(STAGES)[-1]}"

RULE = (
    "A method passes deletion or insertion if the 95 % interval of its area lies above 0, which is chance;"
    " localisation, if the interval of its AUROC lies above 0.5; beyond height, if the interval of that AUROC minus the"
    " one of the signal's height, which asks no model, lies above 0; forgetting, if the interval of the rank"
    f" correlation between its pictures of the learned model and of one that forgot all lies below {ALIKE:g};"
    " agreement, if two models' pictures of one ECG are more alike than their pictures of two patients' ECGs. Trusted"
    " for what the prediction rests on: passes deletion, insertion and forgetting. Trusted for where the condition"
    " shows: passes localisation, beyond height and forgetting. What fewer than"
    f" {FEWEST_PATIENTS} patients bear on counts as untested."
)
RESTS, SHOWS = "what the prediction rests on", "where the condition shows"
NEEDS = {RESTS: ("deletion", "insertion", "forgetting"), SHOWS: ("localisation", "beyond height", "forgetting")}
JUDGED_METHODS = {
    LEAD_KIND: tuple(name for name in LEAD_METHODS if name not in (SIGNAL, RANDOM)),
    PATCH_KIND: (*(name for name in PATCH_METHODS if name not in (SIGNAL, RANDOM)), TIME_STEP),
}
"""The methods that are judged; the signal's amplitude and random numbers are the baselines."""


@dataclass(frozen=True)
class Verdict:
    """What a method passed (None: not tested), and what it is trusted for."""

    kind: str
    method: str
    passes: dict[str, bool | None]

    @property
    def trusted_for(self) -> tuple[str, ...]:
        """What the rule trusts this method for."""
        return tuple(use for use, tests in NEEDS.items() if all(self.passes[test] for test in tests))

    @property
    def untested_for(self) -> tuple[str, ...]:
        """What it might be trusted for: it fails no test, but was not tested on all."""
        outcomes = {use: [self.passes[test] for test in tests] for use, tests in NEEDS.items()}
        return tuple(use for use, passed in outcomes.items() if None in passed and False not in passed)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        refused = [use for use in NEEDS if use not in (*self.trusted_for, *self.untested_for)]
        failed = [test for test, passed in self.passes.items() if passed is False]
        parts = [
            f"trust it for {' and '.join(self.trusted_for)}" if self.trusted_for else "",
            f"untested for {' and '.join(self.untested_for)}" if self.untested_for else "",
            f"do not trust it for {' or '.join(refused)}" if refused else "",
        ]
        text = "; ".join(part for part in parts if part)
        fails = f"; it fails {', '.join(failed)}" if failed else ""
        return f"{self.method} ({self.kind}): {text}{fails}."


def verdicts(summary: Summary) -> list[Verdict]:
    """The verdict on every method, by `RULE`."""
    return [
        Verdict(kind, method, _passes(summary, kind, method))
        for kind, methods in JUDGED_METHODS.items()
        for method in methods
    ]


def _passes(summary: Summary, kind: str, method: str) -> dict[str, bool | None]:
    def enough(metric: str, found: Estimate | None) -> Estimate | None:
        return found if summary.tried_on(kind, metric, method) >= FEWEST_PATIENTS else None

    deletion, insertion, localization, randomized = (
        enough(metric, summary.of(kind, metric, method))
        for metric in ("deletion", "insertion", "localisation", LAST_STAGE)
    )
    beyond_amplitude = summary.difference(kind, ("localisation", method), ("localisation", SIGNAL))
    about_this_ecg = summary.difference(kind, (AGREES, method), (OTHER_ECG, method))
    return {
        "deletion": _above(deletion, 0),
        "insertion": _above(insertion, 0),
        "localisation": _above(localization, 0.5),
        "beyond height": _above(enough("localisation", beyond_amplitude), 0),
        "forgetting": None if randomized is None else randomized.high < ALIKE,
        "agreement": _above(enough(AGREES, about_this_ecg), 0),
    }


def _above(found: Estimate | None, bound: float) -> bool | None:
    """Whether the complete interval lies above; None if it was not tested."""
    return None if found is None else found.low > bound
