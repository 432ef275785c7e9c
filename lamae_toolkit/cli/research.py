"""What `lamae research` does: the studies of the toolkit, as commands."""

import argparse
from dataclasses import replace
from pathlib import Path

from lamae_toolkit.cli.commands import interval
from lamae_toolkit.cli.terminal import say
from lamae_toolkit.data.datasets.simulated import simulate_store
from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.experiments.audit.plan import AuditPlan
from lamae_toolkit.experiments.audit.report import audit, kinds_of, readable_scores
from lamae_toolkit.experiments.comparison.plans import PLANS
from lamae_toolkit.experiments.comparison.report import RESULTS_FILE, compare_methods, main_rows, readable
from lamae_toolkit.experiments.demo import HTML_REPORT_FILE
from lamae_toolkit.experiments.pretraining_store import pretraining_store
from lamae_toolkit.experiments.ptbxl_store import ptbxl_store
from lamae_toolkit.experiments.shipped_weights import score_subgroups, train_small
from lamae_toolkit.experiments.textbook import textbook_table
from lamae_toolkit.experiments.transfer.report import transfer_tables
from lamae_toolkit.experiments.transfer.run import transfer
from lamae_toolkit.experiments.transfer.stores import research_stores
from lamae_toolkit.experiments.transfer.subgroups import subgroup_table

OTHER_COHORT = 1000
"""The first cohort seed for given checkpoints, which may have been trained on the default cohort."""


def compare_command(arguments: argparse.Namespace) -> None:
    store = _comparison_store(arguments)
    plan = replace(PLANS[arguments.recipe](store), seeds=tuple(range(arguments.seeds)))
    if arguments.variant:
        unknown = [name for name in arguments.variant if name not in plan.variants]
        if unknown:
            raise ECGError(f"There is no variant {unknown[0]!r}; choose from {'; '.join(plan.variants)}.")
        plan = replace(plan, variants={name: plan.variants[name] for name in arguments.variant})
    # A GPU is kept busy by one cell at a time; CPU cores work in parallel.
    workers = arguments.workers if arguments.device == "cpu" else 1
    results = compare_methods(
        plan,
        store,
        arguments.out,
        command=arguments.command_line,
        workers=workers,
        device=arguments.device,
        stop_after=arguments.stop_after,
        n_bootstrap=arguments.n_bootstrap,
        pretraining=_pretraining_store(arguments) if plan.pretraining_folds else None,
    )
    for task in plan.tasks:
        say(f"\n{task}, all labels, all leads:\n{readable(main_rows(results, task)).to_string()}")
    if results["missing_cells"]:
        say(f"\n{results['missing_cells']} cells are still missing; the same command resumes with them.")
    report = (arguments.out / HTML_REPORT_FILE).resolve()
    say(f"\nResults in {arguments.out / RESULTS_FILE}; open {report} in a browser.")


def _pretraining_store(arguments: argparse.Namespace) -> Store:
    """The store that this comparison pretrains on, made once."""
    if arguments.stores is None:
        raise ECGError("Give the folder that `lamae research stores` wrote by --stores; pretraining needs its ECGs.")
    return pretraining_store(arguments.stores, arguments.out / "pretraining")


def _comparison_store(arguments: argparse.Namespace) -> Store:
    """The store that was given, or the one that this comparison made, or a new one."""
    folder = arguments.store or arguments.out / "store"
    if arguments.store or folder.is_dir():
        return Store.open(folder)
    if arguments.recipe == "simulated":
        return simulate_store(folder)
    if arguments.ptbxl is None:
        raise ECGError("Give the folder of PTB-XL by --ptbxl, or a store of it by --store.")
    return ptbxl_store(folder, arguments.ptbxl, zscored=arguments.zscored, metadata=arguments.metadata)


def audit_command(arguments: argparse.Namespace) -> None:
    """Audit, and print the scores and one sentence per method."""
    for folder in arguments.checkpoint:
        if not Path(folder).is_dir():
            raise ECGError(f"There is no checkpoint folder {folder}; check the path.")
    plan = AuditPlan(
        store="" if arguments.store is None else str(Store.open(arguments.store).folder),
        checkpoints=tuple(str(folder) for folder in arguments.checkpoint),
        seeds=tuple(range(arguments.seeds)),
        cohort_seed=arguments.seed + (OTHER_COHORT if arguments.checkpoint else 0),
        ecgs=arguments.ecgs,
        occluded_ecgs=arguments.occluded_ecgs,
        randomized_ecgs=min(arguments.ecgs, max(12, arguments.occluded_ecgs // 6)),
    )
    results = audit(
        plan,
        arguments.out,
        command=arguments.command_line,
        workers=arguments.workers,
        n_bootstrap=arguments.n_bootstrap,
    )
    for kind in kinds_of(results):
        say(f"\n{kind}:\n{readable_scores(results, kind).to_string()}")
    say(f"\n{results['rule']}\n")
    for verdict in results["verdicts"]:
        say(verdict["sentence"])
    report = (arguments.out / HTML_REPORT_FILE).resolve()
    say(f"\nResults in {arguments.out / RESULTS_FILE}; open {report} in a browser.")


def shipped_weights_command(arguments: argparse.Namespace) -> None:
    store = Store.open(arguments.store)
    metrics = train_small(arguments.out, store, model_name=arguments.model_name, device=arguments.device)
    for name in ("superclasses, leads", "codes, leads"):
        say(f"{name:24} macro AUROC {interval(metrics[name])} on folds 9 and 10")
    say(f"Copy {arguments.out / 'shipped'} to its destination.")


def stores_command(arguments: argparse.Namespace) -> None:
    for name, store in research_stores(arguments.data_folder, arguments.out, tuple(arguments.store or ())).items():
        say(f"{name:10} {len(store):5} ECGs of {store.index.patient_id.nunique():5} patients in {store.folder}")


def transfer_command(arguments: argparse.Namespace) -> None:
    results = transfer(
        arguments.stores,
        arguments.out,
        arguments.checkpoint,
        arguments.twin,
        command=arguments.command_line,
        millivolts_only=arguments.millivolts_only,
        n_bootstrap=arguments.n_bootstrap,
        seed=arguments.seed,
    )
    say("\n\n".join(transfer_tables(results)))
    say(f"\nResults in {arguments.out / RESULTS_FILE}.")


def subgroups_command(arguments: argparse.Namespace) -> None:
    results = score_subgroups(
        arguments.checkpoint, arguments.stores, n_bootstrap=arguments.n_bootstrap, seed=arguments.seed
    )
    say(subgroup_table(results))
    say(f"Scores and model card are in {arguments.checkpoint}.")


def textbook_command(arguments: argparse.Namespace) -> None:
    results = textbook_table(
        Store.open(arguments.store),
        arguments.checkpoint,
        arguments.out,
        command=arguments.command_line,
        n_bootstrap=arguments.n_bootstrap,
    )
    for row in results["statements"]:
        leading = sorted(row["mean_terms"].items(), key=lambda item: -item[1])[:4]
        says = ", ".join(f"{lead} {term:+.2f}" for lead, term in leading)
        inside = f"in territory {interval(row['in_territory'])}" if row["leads"] else "no territory"
        say(f"{row['statement']:8} n={row['ecgs']:3} AUROC {row['auroc']['value']:.3f}  {says:44}  {inside}")
    for kind in ("all", "unseen", "with_avr_as_lateral"):
        say(f"{kind}: {results[kind]['findings']} findings, in territory {interval(results[kind]['in_territory'])}")
    say(f"The table is in {arguments.out}.")
