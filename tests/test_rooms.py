"""Data flows one way through the house: each room imports only from rooms above it."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = """
ecg files download channels formats readers ecg_folder signal quality private paper paper_plots icd10 heart conditions
rhythm waves simulate batch store parts prepare datasets explore precision config masking layers latents checkpoint
patching model taps baselines processes feed augment step run train sizes metrics large_metrics probe large_probe
evaluate large_evaluate operating calibration neighbours explain drawing whatif missing_leads wave_scores shapley
subset_latents subsets lead_credit lead_view saliency lead_differences faithfulness hiding credit leak supervised
handmade plans scores compare ranking plots mask_plots picture board_plots map_plots monitor attention_plots
whatif_plots shapley_plots geometry_plots explorer_plots cohort_plots report recipes rivals small audit_plan audit
audit_scores audit_verdict audit_plots audit_report commands prepare_commands audit_commands app_commands cli
widgets
""".split()  # noqa: SIM905
NEVER_TRAIN = {"taps", "explain", "saliency", "lead_differences", "plots", "attention_plots", "widgets"}


def rooms() -> dict[str, list[Path]]:
    package = ROOT / "lamae_toolkit"
    found = {path.stem: [path] for path in package.glob("*.py") if path.stem != "__init__"}
    for folder in ("formats", "datasets"):
        found[folder] = list((package / folder).glob("*.py"))
    found["widgets"] = list((ROOT / "widgets").glob("*.py"))
    return found


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("lamae_toolkit.")}


def test_every_file_is_a_room_in_the_order():
    assert set(rooms()) == set(ROOMS)


def test_rooms_import_only_from_rooms_above():
    for room, paths in rooms().items():
        above = set(ROOMS[: ROOMS.index(room)]) | {room}
        for path in paths:
            assert imported_rooms(path) <= above, f"{path} imports {imported_rooms(path) - above}"


def test_explanations_and_figures_never_reach_into_training():
    for room in NEVER_TRAIN:
        for path in rooms()[room]:
            assert not imported_rooms(path) & {"train", "recipes"}, path
