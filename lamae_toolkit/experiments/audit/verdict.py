"""Which explanation to trust for what: a fixed rule, applied to the scores."""

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
"""Limit of the rank correlation with a randomized model: a map above it shows too little of what was learned."""
FEWEST_PATIENTS = 10
"""An interval over fewer patients gives no verdict."""
LAST_STAGE = f"{RANDOMIZED} {list(STAGES)[-1]}"

RULE = (
    "A method passes deletion or insertion if the 95 % interval of its area lies above 0, the value of a random order;"
    " localization, if the interval of its AUROC lies above 0.5; beyond amplitude, if the interval of that AUROC minus"
    " the one of the signal's amplitude, which needs no model, lies above 0; parameter randomization, if the interval"
    " of the rank correlation between its attributions of the trained model and of one with random weights lies below"
    f" {ALIKE:g}; agreement, if two models' attributions of one ECG are more similar than their attributions of two"
    " patients' ECGs. Trusted as evidence for the prediction: passes deletion, insertion and parameter randomization."
    " Trusted for where the condition shows: passes localization, beyond amplitude and parameter randomization. A test"
    f" on fewer than {FEWEST_PATIENTS} patients counts as not done."
)
EVIDENCE, LOCATION = "evidence for the prediction", "where the condition shows"
PHRASES = {EVIDENCE: f"as {EVIDENCE}", LOCATION: f"for {LOCATION}"}
NEEDS = {
    EVIDENCE: ("deletion", "insertion", "parameter randomization"),
    LOCATION: ("localization", "beyond amplitude", "parameter randomization"),
}
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
        """What it might be trusted for: it fails no test, but not all tests were done."""
        outcomes = {use: [self.passes[test] for test in tests] for use, tests in NEEDS.items()}
        return tuple(use for use, passed in outcomes.items() if None in passed and False not in passed)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        refused = [use for use in NEEDS if use not in (*self.trusted_for, *self.untested_for)]
        failed = [test for test, passed in self.passes.items() if passed is False]
        parts = [
            f"{start} {joint.join(PHRASES[use] for use in uses)}" if uses else ""
            for start, joint, uses in (
                ("trust it", " and ", self.trusted_for),
                ("untested", " and ", self.untested_for),
                ("do not trust it", " or ", refused),
            )
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
        return found if summary.tested_on(kind, metric, method) >= FEWEST_PATIENTS else None

    deletion, insertion, localization, randomized = (
        enough(metric, summary.of(kind, metric, method))
        for metric in ("deletion", "insertion", "localization", LAST_STAGE)
    )
    beyond_amplitude = summary.difference(kind, ("localization", method), ("localization", SIGNAL))
    about_this_ecg = summary.difference(kind, (AGREES, method), (OTHER_ECG, method))
    return {
        "deletion": _above(deletion, 0),
        "insertion": _above(insertion, 0),
        "localization": _above(localization, 0.5),
        "beyond amplitude": _above(enough("localization", beyond_amplitude), 0),
        "parameter randomization": None if randomized is None else randomized.high < ALIKE,
        "agreement": _above(enough(AGREES, about_this_ecg), 0),
    }


def _above(found: Estimate | None, bound: float) -> bool | None:
    """Whether the complete interval lies above; None if it was not tested."""
    return None if found is None else found.low > bound
