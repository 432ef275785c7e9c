"""The words of `lamae audit`, which tests explanation methods, and what they do."""

import argparse
import os
import sys
from pathlib import Path

from lamae_toolkit.errors import ECGError
from lamae_toolkit.experiments.audit.plan import AuditPlan
from lamae_toolkit.experiments.audit.report import audit, readable_scores
from lamae_toolkit.experiments.audit.verdict import METHODS
from lamae_toolkit.experiments.comparison.report import RESULTS_FILE
from lamae_toolkit.experiments.demo import REPORT_FILE
from lamae_toolkit.model.pretrained import shipped_or_own

DESCRIPTION = (
    "Test which explanations to trust, on simulated ECGs whose evidence is known: deletion, insertion, localisation,"
    " agreement of seeds, and models that forget. The same command goes on after an interruption."
)
OTHER_COHORT = 1000
"""Given checkpoints may have learned from the usual cohort; they are audited on patients of the one of this seed on."""


def add_audit(subcommands: argparse._SubParsersAction) -> None:
    """Add `lamae audit` to the command line."""
    sub = subcommands.add_parser(
        "audit",
        help=DESCRIPTION.split(",")[0] + ".",
        description=DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    sub.set_defaults(run=audit_command)
    plan = AuditPlan()
    sub.add_argument("--out", type=Path, required=True, help="folder of the audit; the same command goes on in it")
    sub.add_argument(
        "--checkpoint",
        type=shipped_or_own,
        nargs="+",
        default=(),
        metavar="DIR",
        help="checkpoints to audit instead of pretraining, or names of shipped weights; several of one"
        " kind for the agreement of seeds",
    )
    sub.add_argument("--ecgs", type=int, default=plan.ecgs, help="ECGs of unseen patients to explain")
    sub.add_argument("--seeds", type=int, default=len(plan.seeds), help="how many models to pretrain")
    sub.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the simulated cohort; given checkpoints get the one"
        f" of {OTHER_COHORT} + seed, which they have not seen",
    )
    sub.add_argument(
        "--representation",
        choices=("summary", "heart", "per_lead"),
        default=plan.representation,
        help="what the probe reads",
    )
    sub.add_argument("--n-bootstrap", type=int, default=1000, help="bootstrap draws for the intervals")
    sub.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes side by side")


def audit_command(arguments: argparse.Namespace) -> None:
    """Audit, and print the scores and one sentence per method."""
    for name in ("ecgs", "seeds", "n_bootstrap", "workers"):
        if getattr(arguments, name) < 1:
            raise ECGError(f"--{name} is {getattr(arguments, name)}, but it must be 1 or more.")
    for folder in arguments.checkpoint:
        if not Path(folder).is_dir():
            raise ECGError(f"There is no checkpoint folder {folder}; check the path.")
    plan = AuditPlan(
        checkpoints=tuple(str(folder) for folder in arguments.checkpoint),
        seeds=tuple(range(arguments.seeds)),
        cohort_seed=arguments.seed + (OTHER_COHORT if arguments.checkpoint else 0),
        ecgs=arguments.ecgs,
        randomized_ecgs=max(1, arguments.ecgs // 3),
        representation=arguments.representation,
    )
    results = audit(
        plan,
        arguments.out,
        command="lamae " + " ".join(sys.argv[1:]),
        workers=arguments.workers,
        n_bootstrap=arguments.n_bootstrap,
    )
    for kind in METHODS:
        print(f"\n{kind}:\n{readable_scores(results, kind).to_string()}")
    print(f"\n{results['rule']}\n")
    for verdict in results["verdicts"]:
        print(verdict["sentence"])
    print(f"\nResults in {arguments.out / RESULTS_FILE}; open {(arguments.out / REPORT_FILE).resolve()} in a browser.")
