"""Running a comparison: each cell of model, rotation and seed is computed once, even after interruptions."""

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.experiments.comparison.methods import handmade_scores, measured, probe_scores, supervised_scores
from lamae_toolkit.experiments.comparison.plans import Cell, Plan
from lamae_toolkit.experiments.kept_plan import kept_plan
from lamae_toolkit.files import atomic_write, write_json
from lamae_toolkit.model.baselines import RandomEncoder
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.parallel import worker_pool
from lamae_toolkit.training.run import CHECKPOINT
from lamae_toolkit.training.state import read_state
from lamae_toolkit.training.trainer import pretrain

COMPARISON_PLAN_FILE, SCORES_FILE = "plan.json", "scores.npz"


def run_cells(
    plan: Plan,
    store: Store,
    out: Path | str,
    *,
    workers: int = 1,
    device: str = "cpu",
    stop_after: int | None = None,
    pretraining: Store | None = None,
    progress: bool = True,
) -> None:
    """Compute all missing cells, several at a time; after an interruption the same call resumes.

    Each worker computes on one thread when there are several. stop_after: the largest number of new cells.
    pretraining: the store of pretraining of a plan with `pretraining_folds`. Raises ECGError if `out` holds another
    comparison.
    """
    out = Path(out)
    if bool(plan.pretraining_folds) != (pretraining is not None):
        raise ECGError(
            f"The comparison {plan.name!r} pretrains on {'a' if plan.pretraining_folds else 'no'} store of its own."
        )
    _keep_plan(plan, store, out)
    cells = [cell for cell in plan.cells() if not (cell.folder(out) / SCORES_FILE).is_file()]
    done = sum(1 for _ in plan.cells()) - len(cells)
    cells = cells[:stop_after]
    with tqdm(total=done + len(cells), initial=done, desc=plan.name, unit="cell", disable=not progress) as bar:
        if workers == 1:
            for cell in cells:
                run_cell(plan, store, out, cell, pretraining=pretraining, device=device, progress=progress)
                bar.update()
            return
        if any(plan.variants[cell.variant].method == "hand-made" for cell in cells):
            measured(plan, store, out, progress)  # once, not in every worker
        with worker_pool(workers, f"finished cells are in {out}") as pool:
            for wave in _waves(plan, out, cells):
                folder = None if pretraining is None else pretraining.folder
                jobs = [pool.submit(_run_cell, plan, store.folder, folder, out, cell, device) for cell in wave]
                for job in as_completed(jobs):
                    job.result()
                    bar.update()


def _waves(plan: Plan, out: Path, cells: list[Cell]) -> Iterator[list[Cell]]:
    """The cells in groups that need nothing of each other: those that pretrain a model, before those that continue
    from it or share it."""
    first: dict[Path, Cell] = {}
    for cell in cells:
        first.setdefault(plan.pretraining_folder(out, cell), cell)
    begins = {cell for cell in first.values() if plan.variants[cell.variant].begins}
    yield [cell for cell in cells if cell in begins]
    yield [cell for cell in cells if cell in first.values() and cell not in begins]
    yield [cell for cell in cells if cell not in first.values()]


def _run_cell(plan: Plan, store: Path, pretraining: Path | None, out: Path, cell: Cell, device: str) -> None:
    other = None if pretraining is None else Store.open(pretraining)
    run_cell(plan, Store.open(store), out, cell, pretraining=other, device=device, progress=False)


def run_cell(
    plan: Plan,
    store: Store,
    out: Path,
    cell: Cell,
    *,
    pretrained: Callable[[Cell], LAMAE] | None = None,
    pretraining: Store | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Compute one cell: pretrain if necessary, learn from the labels, and save the scores of the test ECGs.

    pretrained: gives the pretrained model of a cell, instead of pretraining here. pretraining: as in `run_cells`. The
    scores are log-odds, one array (test ECGs, classes) under each `score_key`; also kept, as "rows", are the rows of
    the test ECGs in the store.
    """
    split, folder, variant = plan.splits[cell.rotation], cell.folder(out), plan.variants[cell.variant]
    learned_from = store if pretraining is None else pretraining
    pretrained = pretrained or (lambda source: _pretrained(plan, learned_from, out, source, device, progress))
    torch.manual_seed(cell.seed)
    if variant.method == "probe":
        model = pretrained(cell)
        scores = probe_scores(plan, store, model, split, cell.seed, device=device, progress=progress)
    elif variant.method == "hand-made":
        scores = handmade_scores(plan, store, out, split, cell.seed, progress=progress)
    else:
        model = None
        if variant.method == "fine-tune":
            source = Cell(plan.pretrained(cell.variant), cell.rotation, cell.seed)
            model = pretrained(source)
        scores = supervised_scores(plan, store, model, split, cell.seed, device=device, progress=progress)
    with atomic_write(folder / SCORES_FILE) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **scores)
    return scores


def _pretrained(plan: Plan, store: Store, out: Path, cell: Cell, device: str, progress: bool) -> LAMAE:
    """The pretrained model of a cell; at once if its checkpoint is complete."""
    variant, folder = plan.variants[cell.variant], plan.pretraining_folder(out, cell)
    model = variant.model(plan.model)
    if isinstance(model, RandomEncoder):
        return model.eval()
    if _is_complete(folder / CHECKPOINT, plan.train.steps):  # also while another cell reads it
        return type(model).from_pretrained(folder / CHECKPOINT).eval()
    if variant.start:
        if variant.start not in plan.variants:
            raise ECGError(f"{cell.variant!r} begins with the model of {variant.start!r}; compare that as well.")
        source = replace(cell, variant=variant.start)
        model.load_state_dict(_pretrained(plan, store, out, source, device, progress).state_dict())
    folds = plan.pretraining_folds[cell.rotation] if plan.pretraining_folds else plan.splits[cell.rotation].train
    train = replace(plan.train, seed=cell.seed)
    pretrain(model, store, store.rows(folds), folder, train, device=device, progress=progress)
    return model.eval()


def _is_complete(checkpoint: Path, steps: int) -> bool:
    """Whether a checkpoint has all steps of pretraining."""
    return checkpoint.is_dir() and read_state(checkpoint, torch.device("cpu"))["step"] == steps


def _keep_plan(plan: Plan, store: Store, out: Path) -> None:
    """Write the plan next to its cells; refuse a folder that holds another one."""
    now = plan.to_dict() | {"data": f"{store.meta['source']}, {len(store)} ECGs"}
    path = out / COMPARISON_PLAN_FILE
    # More seeds and more variants may be added to a comparison; what was computed stays as it is.
    kept = kept_plan(path, now, "a comparison", ("seeds", "variants"))
    for name, variant in now["variants"].items():
        if kept["variants"].get(name, variant) != variant:
            raise ECGError(f"{out} holds a comparison in which {name!r} is another model; choose another folder.")
    grown = {"variants": kept["variants"] | now["variants"], "seeds": sorted({*kept["seeds"], *now["seeds"]})}
    write_json(path, now | grown)
