"""Which explanation to trust for what: a fixed rule, applied to the scores."""

from dataclasses import dataclass

from lamae_toolkit.evaluation.metrics import Estimate
from lamae_toolkit.experiments.audit.methods import JUDGED_METHODS, LEAD_KIND, LEAD_TERMS, SHAPLEY, SIGNAL, STAGES
from lamae_toolkit.experiments.audit.scores import AGREES, OTHER_ECG, RANDOMIZED
from lamae_toolkit.experiments.audit.summary import Summary

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
    """The verdict on every method of what was tested, by `RULE`."""
    tested = {kind for kind, _, _ in summary.scores}
    return [
        Verdict(kind, method, _passes(summary, kind, method))
        for kind, methods in JUDGED_METHODS.items()
        for method in methods
        if kind in tested
    ]


CLOSE, SHARE = 0.9, 0.95


def lead_term_claims(summary: Summary) -> list[dict]:
    """What lead terms must show to be the lead weights that a person sees: each number, and whether it holds."""
    beyond = summary.difference(LEAD_KIND, ("localization", LEAD_TERMS), ("localization", SIGNAL))
    shares = [summary.ratio(LEAD_KIND, metric, LEAD_TERMS, SHAPLEY) for metric in ("deletion", "insertion")]
    rank, randomized = (summary.of(LEAD_KIND, metric, LEAD_TERMS) for metric in ("rank with Shapley", LAST_STAGE))
    rows = [
        (
            f"rank correlation with exact Shapley values at least {CLOSE:g}",
            rank,
            rank and rank.value >= CLOSE,
            "rank with Shapley",
        ),
        *(
            (
                f"{metric}: at least {SHARE:.0%} of that of exact Shapley values",
                share,
                share and share.value >= SHARE,
                metric,
            )
            for metric, share in zip(("deletion", "insertion"), shares, strict=True)
        ),
        (
            f"rank correlation with the terms of a randomized model below {ALIKE:g}",
            randomized,
            randomized and randomized.high < ALIKE,
            LAST_STAGE,
        ),
        ("localization above that of the signal's amplitude", beyond, beyond and beyond.low > 0, "localization"),
    ]
    return [
        {"claim": claim, "value": found.value, "low": found.low, "high": found.high, "holds": bool(holds)}
        for claim, found, holds, metric in rows
        if found is not None and summary.tested_on(LEAD_KIND, metric, LEAD_TERMS) >= FEWEST_PATIENTS
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
