"""The ICD-10 board: scores of each code, the effect of a threshold on patients, and the ECGs behind it."""

import html
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lamae_toolkit.data.store import Store
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.calibration import brier_score, calibration_error
from lamae_toolkit.evaluation.evaluate import Evaluation
from lamae_toolkit.evaluation.metrics import patient_bootstrap
from lamae_toolkit.evaluation.thresholds import OperatingPoint, operating_point, paired_differences
from lamae_toolkit.icd10 import name_of
from lamae_toolkit.plots.evaluation import WITH, WITHOUT, board_figure, codes_figure
from lamae_toolkit.widgets.base.plots import Plot
from lamae_toolkit.widgets.base.shell import Shell, control_row, open_ecg

PERCENT = (
    *(n / 10 for n in range(1, 10)),
    *(n / 2 for n in range(2, 20)),
    *range(10, 90),
    *(90 + n / 2 for n in range(18)),
    *(99 + n / 10 for n in range(10)),
)
PROBABILITIES = [(f"{percent:g} %", round(percent / 100, 4)) for percent in PERCENT]
"""The thresholds and prevalences that a slider goes through: finer near 0 and 100 %."""
OWN = "as in these ECGs"
GROUPS = {
    "false negatives": (1, False),
    "false positives": (0, True),
    "true positives": (1, True),
    "true negatives": (0, False),
}
"""The four cells of the confusion matrix: has the code, is predicted positive."""
FEW = 10


class ICD10Board(Shell):
    """Predictions of ICD-10 codes for unseen patients: choose a code, a threshold and a prevalence; open an ECG.

    store: the cohort that the evaluations were made on. evaluations: one, or several that can be compared with each
    other, as from `lt.evaluate`. n_bootstrap: resamples of the patients for the 95 % intervals. ECGError if there is no
    evaluation, if two have the same name, or if no code is on some but not all ECGs.

    Example:
        import tempfile

        import numpy as np

        import lamae_toolkit as lt

        with tempfile.TemporaryDirectory() as folder:
            store = lt.simulate_store(f"{folder}/store", 80, progress=False)
            model = lt.LAMAE.from_pretrained("lamae-mini-ptbxl")
            embedding = lt.embed_rows(model, store, np.arange(80), progress=False)
            codes = store.index.codes.explode().value_counts().index[:2].tolist()
            evaluation = lt.evaluate(embedding, store.index, codes, n_bootstrap=50)
            print(lt.ICD10Board(store, evaluation, n_bootstrap=50).describe())
    """

    name, heading = "icd10-board", "ICD-10 board"

    def __init__(self, store: Store, evaluations: Evaluation | Sequence[Evaluation], n_bootstrap: int = 1000) -> None:
        evaluations = [evaluations] if isinstance(evaluations, Evaluation) else list(evaluations)
        if not evaluations:
            raise ECGError("There is no evaluation to show; give at least one, as from `evaluate`.")
        self.store, self.evaluations = store, {evaluation.name: evaluation for evaluation in evaluations}
        if len(self.evaluations) < len(evaluations):
            raise ECGError(
                "Two of the evaluations have the same name; give each its own with `evaluate(..., name=...)`."
            )
        self._n_bootstrap, self._kept = n_bootstrap, {}
        self.opened: int | None = None
        self._build(evaluations[0])

    def _build(self, first: Evaluation) -> None:
        narrow, wide = widgets.Layout(width="270px"), widgets.Layout(width="440px", max_width="100%")
        wording = {"style": {"description_width": "80px"}}
        codes = [(name_of(code), code) for code in sorted(first.probe.codes)]
        self.model = widgets.Dropdown(options=list(self.evaluations), description="Model", layout=narrow, **wording)
        others = [("none", ""), *((name, name) for name in self.evaluations)]
        self.baseline = widgets.Dropdown(options=others, description="Baseline", layout=narrow, **wording)
        self.code_choice = widgets.Dropdown(options=codes, description="Code", layout=wide, **wording)
        slider = {"layout": wide, "continuous_update": True, **wording}
        self.threshold = widgets.SelectionSlider(options=PROBABILITIES, value=0.5, description="Threshold", **slider)
        self.prevalence = widgets.SelectionSlider(
            options=[(OWN, 0.0), *PROBABILITIES], value=0.0, description="Prevalence", **slider
        )
        self.group = widgets.Dropdown(options=list(GROUPS), description="ECGs", layout=narrow, **wording)
        self.previous, self.next = (widgets.Button(description=f"{word} ECG") for word in ("Previous", "Next"))
        self.numbers, self.difference = widgets.HTML(), widgets.HTML()
        self._ecg = widgets.VBox()
        self.code_choice.value = self._frequent_code(first)
        self._board, self._overview = (
            Plot(figure, self.name, on_click=lambda *point, action=action: self.attempt(lambda: action(*point)))
            for figure, action in zip(self.figures(), (self._click_board, self._click_code), strict=True)
        )
        self._listen()
        super().__init__(
            [
                control_row(self.model, self.baseline),
                control_row(self.code_choice, self.threshold, self.prevalence),
                self._board,
                control_row(self.numbers, self.difference),
                control_row(self.group, self.previous, self.next),
                self._ecg,
                self._overview,
            ]
        )
        self._update()

    @staticmethod
    def _frequent_code(evaluation: Evaluation) -> str:
        """The code that most ECGs have, but not all of them."""
        share = dict(zip(evaluation.probe.codes, evaluation.prevalence, strict=True))
        usable = {code: value for code, value in share.items() if 0 < value < 1}
        if not usable:
            raise ECGError("No code is on some but not all of these ECGs, so nothing can be plotted; score more ECGs.")
        return max(usable, key=usable.get)

    def _listen(self) -> None:
        for control in (self.code_choice, self.threshold, self.prevalence):
            control.observe(lambda _: self.attempt(self._update), names="value")
        for control in (self.model, self.baseline):
            control.observe(lambda _: self.attempt(self._update_models), names="value")
        self.previous.on_click(lambda _: self.attempt(lambda: self._step(-1)))
        self.next.on_click(lambda _: self.attempt(lambda: self._step(1)))

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation of the chosen model."""
        return self.evaluations[self.model.value]

    @property
    def baseline_evaluation(self) -> Evaluation | None:
        """The evaluation of the baseline."""
        return self.evaluations.get(self.baseline.value)

    @property
    def operating_point(self) -> OperatingPoint:
        """The operating point at the chosen threshold and prevalence."""
        labels, probabilities = self.evaluation.predictions.of_code(self.code_choice.value)
        return operating_point(
            labels, probabilities, self.threshold.value, self._weights(), self.prevalence.value or None
        )

    def figures(self) -> list[go.Figure]:
        """The board of the code, and all codes."""
        return [self._board_figure(), codes_figure(self.evaluation, baseline=self.baseline_evaluation)]

    def _board_figure(self) -> go.Figure:
        view = (self.evaluation, self.code_choice.value, self.threshold.value)
        return board_figure(*view, baseline=self.baseline_evaluation, opened=self.opened)

    def code(self) -> str:
        """The board and its numbers; `evaluations` is the list that the board was made of."""
        names, prevalence = list(self.evaluations), self.prevalence.value or None
        model, code, threshold = names.index(self.model.value), self.code_choice.value, self.threshold.value
        baseline = f", baseline=evaluations[{names.index(self.baseline.value)}]" if self.baseline.value else ""
        opened = f", opened={self.opened}" if self.opened is not None else ""
        return (
            "import lamae_toolkit as lt\n"
            f"figure = lt.plots.board_figure(evaluations[{model}], {code!r}, {threshold}{baseline}{opened})\n"
            f"predictions = evaluations[{model}].predictions\n"
            f"weights = lt.evaluation.patient_bootstrap(predictions.patient_ids, {self._n_bootstrap})\n"
            f"point = lt.evaluation.operating_point(*predictions.of_code({code!r}), {threshold}, weights, {prevalence})"
        )

    def describe(self) -> str:
        """The scores of the code and the operating point."""
        code, point, row = self.code_choice.value, self.operating_point, self._row
        few = f" Only {row.positives:.0f} ECGs have it: read the intervals with care." if row.positives < FEW else ""
        opened = f" The ECG in row {self.opened} is opened and marked by a ring." if self.opened is not None else ""
        return (
            f"{name_of(code)}, {self.model.value}: AUROC {row.auroc:.3f} ({row.auroc_low:.3f} to {row.auroc_high:.3f}),"
            f" AUPRC {row.auprc:.3f} ({row.auprc_low:.3f} to {row.auprc_high:.3f}), on {row.positives:.0f} of"
            f" {self.evaluation.test_ecgs} ECGs with the code.{few} ECGs are predicted positive at a probability of"
            f" {self.threshold.value:.1%} or more. {point.in_words()}{self._baseline_in_words()}{opened}"
        )

    def _baseline_in_words(self) -> str:
        if self.baseline_evaluation is None:
            return ""
        try:
            difference = self._paired().loc["AUROC"]
        except ECGError:  # reported next to the numbers
            return f" The baseline is {self.baseline.value}."
        return (
            f" The AUROC is {difference.difference:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}) from that of"
            f" {self.baseline.value}, on the same patients."
        )

    @property
    def _row(self):
        return self._keep("table", self.evaluation.table, self.model.value).loc[self.code_choice.value]

    def _keep(self, what: str, make, *view):
        """Slow results are cached for each view."""
        if (what, *view) not in self._kept:
            self._kept[(what, *view)] = make()
        return self._kept[(what, *view)]

    def _weights(self):
        make = lambda: patient_bootstrap(self.evaluation.predictions.patient_ids, self._n_bootstrap)  # noqa: E731
        return self._keep("weights", make, self.model.value)

    def _update_models(self) -> None:
        self._overview.redraw(self.figures()[1])
        self._update()

    def _update(self) -> None:
        self._board.redraw(self._board_figure())
        self.numbers.value = self._numbers()
        self.difference.value = self._difference()
        self.changed()

    def _numbers(self) -> str:
        """The measures, the four counts, and how well the probabilities are calibrated."""
        point, view = self.operating_point, (self.model.value, self.code_choice.value)
        labels_and_probabilities = self.evaluation.predictions.of_code(self.code_choice.value)
        brier, error = (
            self._keep(name, lambda measure=measure: measure(*labels_and_probabilities, self._weights()), *view)
            for name, measure in (("Brier", brier_score), ("ECE", calibration_error))
        )
        measures = point.table()
        measures.loc["Brier score"], measures.loc["calibration error (ECE)"] = (
            vars(brier).values(),
            vars(error).values(),
        )
        cells = [[point.true_positives, point.false_positives], [point.false_negatives, point.true_negatives]]
        predicted = ["predicted positive", "predicted negative"]
        counts = pd.DataFrame(cells, index=predicted, columns=["with the code", "without"])
        heading = f"<b>Predicted positive at {point.threshold:.1%} or more; prevalence {point.prevalence:.1%}</b>"
        words = f"<p style='max-width: 24em'>{html.escape(point.in_words())}</p>"
        tables = _table(measures.rename(columns={"low": "95 % from", "high": "to"})), _table(counts) + words
        return f"{heading}<div style='display: flex; gap: 3em'>{tables[0]}<div>{tables[1]}</div></div>"

    def _paired(self) -> pd.DataFrame:
        """The paired differences to the baseline."""
        ours, theirs, code = self.evaluation.predictions, self.baseline_evaluation.predictions, self.code_choice.value
        make = lambda: paired_differences(ours, theirs, code, self._n_bootstrap)  # noqa: E731
        return self._keep("difference", make, self.model.value, self.baseline.value, code)

    def _difference(self) -> str:
        """The same as a table, or why there is none."""
        if self.baseline_evaluation is None:
            return ""
        names = {"ours": self.model.value, "theirs": self.baseline.value, "low": "95 % from", "high": "to"}
        try:
            return "<b>Paired difference on the same patients</b>" + _table(self._paired().rename(columns=names))
        except ECGError as error:
            return f"<p role='alert'>{html.escape(str(error))}</p>"

    def _click_code(self, trace: int, point: int) -> None:
        if trace < 4:  # the others are guessing
            self.code_choice.value = self._overview.figure.data[trace].customdata[point]

    def _click_board(self, trace: int, point: int) -> None:
        """An ECG is opened; a curve gives the threshold."""
        clicked = self._board.figure.data[trace].customdata
        if trace in (WITH, WITHOUT):
            self.open_row(int(clicked[point][0]))
        elif trace in (0, 2, 5, 7):
            wanted = float(clicked[point])
            self.threshold.value = min(
                (probability for _, probability in PROBABILITIES), key=lambda probability: abs(probability - wanted)
            )

    def open_row(self, row: int) -> None:
        """Show one ECG of the store below the board, and mark it by a ring."""
        predictions, code = self.evaluation.predictions, self.code_choice.value
        _, probabilities = predictions.of_code(code)
        scored = probabilities[predictions.rows == row]
        open_ecg(self._ecg, self.store, row, f"{code}: probability {scored[0]:.1%}" if len(scored) else "not scored")
        self.opened = row
        self._board.redraw(self._board_figure())
        self.changed()

    def _step(self, by: int) -> None:
        """The next ECG of the chosen cell of the confusion matrix, the most surprising or the surest first."""
        rows = self._rows_of_group()
        if not rows:
            raise ECGError(f"No ECG is among the {self.group.value} at this threshold; move it or choose other ECGs.")
        place = rows.index(self.opened) + by if self.opened in rows else 0
        self.open_row(rows[place % len(rows)])

    def _rows_of_group(self) -> list[int]:
        has, positive = GROUPS[self.group.value]
        labels, probabilities = self.evaluation.predictions.of_code(self.code_choice.value)
        fits = np.flatnonzero((labels == has) & ((probabilities >= self.threshold.value) == positive))
        order = np.argsort(-probabilities[fits] if positive else probabilities[fits], kind="stable")
        return self.evaluation.predictions.rows[fits[order]].tolist()


def _table(table: pd.DataFrame) -> str:
    return table.to_html(border=0, float_format="{:.3f}".format, na_rep="not defined")
