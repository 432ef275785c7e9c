"""The embedding map: the latents of a cohort in two dimensions, with the codes of a selection and nearest neighbors."""

from collections.abc import Iterable, Sequence

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Int

from lamae_toolkit.data.store import Store
from lamae_toolkit.data.summary import code_table
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.embedding_map import map_positions, nearest, variance_shown
from lamae_toolkit.evaluation.linear_probe import features
from lamae_toolkit.icd10 import label_matrix, name_of
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.plots.embedding import map_figure
from lamae_toolkit.widgets.base.plots import Plot
from lamae_toolkit.widgets.base.shell import Shell, control_row, open_ecg

SHOWN_CODES = 12
METHOD_NAMES = (("principal components", "pca"), ("t-SNE", "t-sne"))
READS = (("heart token", "heart"), ("summary of the latents", "summary"))


class EmbeddingMap(Shell):
    """The latents of a cohort as a map in two dimensions; click an ECG to see it and its nearest neighbors.

    store, rows: the cohort and which of its ECGs; embedding: of these ECGs, in that order, as from `lt.embed_rows`.
    ECGError if there is no ECG, or if rows and embedding differ in number.

    Example:
        import tempfile

        import numpy as np

        import lamae_toolkit as lt

        with tempfile.TemporaryDirectory() as folder:
            store = lt.simulate_store(f"{folder}/store", 12, progress=False)
            model, rows = lt.LAMAE.from_pretrained("lamae-mini-ptbxl"), np.arange(12)
            widget = lt.EmbeddingMap(store, rows, lt.embed_rows(model, store, rows, progress=False))
            print(widget.describe())
    """

    name, heading = "embedding-map", "Embedding map"

    def __init__(self, store: Store, rows: Sequence[int] | np.ndarray, embedding: Embedding) -> None:
        self.store, self.rows, self.embedding = store, np.asarray(rows, dtype=np.int64), embedding
        if len(self.rows) == 0:
            raise ECGError("There is no ECG to map; choose rows of the store.")
        if len(self.rows) != len(embedding.heart):
            raise ECGError(
                f"There are {len(self.rows)} rows but {len(embedding.heart)} embedded ECGs; embed these rows."
            )
        self.index = store.index.iloc[self.rows]
        self.chosen, self.asked, self._lassoed = np.array([], dtype=np.int64), None, False
        self._kept: dict[tuple[str, str], np.ndarray] = {}
        wording = {"style": {"description_width": "80px"}, "layout": {"width": "300px"}}
        codes = [(name_of(code), code) for code in code_table(self.index).index]
        self.reads = widgets.Dropdown(options=READS, description="Latents", **wording)
        self.method = widgets.Dropdown(options=METHOD_NAMES, description="Map", **wording)
        self.color = widgets.Dropdown(options=[("sex", "sex"), ("age", "age"), *codes], description="Color", **wording)
        self.select = widgets.Dropdown(options=[("by lasso on the map", ""), *codes], description="Select", **wording)
        self.clear = widgets.Button(description="Clear selection")
        narrow = wording | {"layout": {"width": "150px"}}
        self.count = widgets.BoundedIntText(value=8, min=1, max=50, description="Neighbors", **narrow)
        self.previous, self.next = (widgets.Button(description=f"{word} ECG") for word in ("Previous", "Next"))
        self.list = widgets.HTML(layout={"flex": "0 1 440px", "min_width": "0"})
        self.neighbor_list, self._ecg = widgets.HTML(), widgets.VBox()
        self._map = Plot(
            self.figures()[0],
            self.name,
            on_click=lambda trace, point: trace == 0 and self.attempt(lambda: self.ask(point)),
            on_select=lambda points: self.attempt(lambda: self._lasso(points)),
        )
        self._map.layout = {"flex": "1 1 480px", "min_width": "0"}
        self._listen()
        super().__init__(
            [
                control_row(self.reads, self.method, self.color),
                control_row(self.select, self.clear),
                control_row(self._map, self.list),
                control_row(self.previous, self.next, self.count),
                control_row(self.neighbor_list),
                self._ecg,
            ]
        )
        self.changed()

    def _listen(self) -> None:
        for control in (self.reads, self.method, self.color, self.count):
            control.observe(lambda _: self.attempt(self._update), names="value")
        self.select.observe(lambda _: self.attempt(self._select_code), names="value")
        self.clear.on_click(lambda _: self.attempt(self._clear))
        self.previous.on_click(lambda _: self.attempt(lambda: self._step(-1)))
        self.next.on_click(lambda _: self.attempt(lambda: self._step(1)))

    @property
    def latents(self) -> np.ndarray:
        """The chosen latents of each ECG."""
        return features(self.embedding, self.reads.value)

    @property
    def positions(self) -> np.ndarray:
        """The positions of the ECGs on the chosen map; cached."""
        view = (self.reads.value, self.method.value)
        if view not in self._kept:
            if self.method.value == "t-sne":
                self.say("The t-SNE map is being computed, which takes some seconds for a thousand ECGs.")
            self._kept[view] = map_positions(self.latents, self.method.value)
        return self._kept[view]

    @property
    def neighbors(self) -> pd.DataFrame | None:
        """The neighbors of the chosen ECG; all other ECGs if there are fewer than requested."""
        if self.asked is None:
            return None
        count = min(self.count.value, len(self.rows) - 1)
        return nearest(self.latents, self.asked, self.index.patient_id.to_numpy(), count)

    def figures(self) -> list[go.Figure]:
        """The map."""
        chosen = self.chosen if len(self.chosen) else None
        view = {"chosen": chosen, "asked": self.asked, "neighbors": self.neighbors}
        return [map_figure(self.positions, self.index, self.color.value, **view)]

    def code(self) -> str:
        """The map with its marks; `store`, `rows` and `embedding` are what the widget was made of."""
        more, asked = "", ""
        if len(self.chosen):
            more = f", chosen=np.array({self.chosen.tolist()})"
        if self.asked is not None:
            count = min(self.count.value, len(self.rows) - 1)
            asked = f"near = lt.evaluation.nearest(x, {self.asked}, index.patient_id.to_numpy(), {count})\n"
            more += f", asked={self.asked}, neighbors=near"
        return (
            "import lamae_toolkit as lt\n"
            "import numpy as np\n"
            f"x, index = lt.evaluation.features(embedding, {self.reads.value!r}), store.index.iloc[rows]\n{asked}"
            f"positions = lt.evaluation.map_positions(x, {self.method.value!r})\n"
            f"figure = lt.plots.map_figure(positions, index, {self.color.value!r}{more})"
        )

    def describe(self) -> str:
        """The map, the selection, and the nearest neighbors."""
        patients = self.index.patient_id.nunique()
        text = f"{len(self.rows)} ECGs of {patients} patients, colored by {self.color.label}."
        if self.method.value == "pca":
            shown = variance_shown(self.latents, self.positions)
            text += f" The map shows {shown:.0%} of the variance of the latents; the rest is not visible."
        else:
            text += " Neighbors stay together on a t-SNE map; distances between groups have no meaning."
        if len(self.chosen):
            text += f" {len(self.chosen)} ECGs are selected."
        if self.asked is not None:
            near = self.neighbors
            text += f" The ECG in row {self.rows[self.asked]} and its {len(near)} nearest neighbors are marked"
            text += f", {near.same_patient.sum()} of them of the same patient." if near.same_patient.any() else "."
        return text

    def _update(self) -> None:
        self._map.redraw(self.figures()[0], unselect=not self._lassoed)
        self.neighbor_list.value = self._neighbor_list()
        self.changed()
        if self.asked is not None and self.count.value > len(self.rows) - 1:
            self.say(
                f"{self.count.value} neighbors were asked for, but there are only {len(self.rows) - 1} other ECGs."
            )

    def choose(self, indices: Sequence[int] | np.ndarray) -> None:
        """Select the ECGs with these indices into the rows, none to end the selection, and list their codes."""
        self._select(indices, lassoed=False)

    def _lasso(self, points: list[int]) -> None:
        """Select what the reader drew an outline around."""
        self._select(points, lassoed=len(points) > 0)

    def _select(self, indices: Sequence[int] | np.ndarray, lassoed: bool) -> None:
        self._lassoed = lassoed
        self.chosen = np.unique(np.asarray(indices, dtype=np.int64))
        self._update()
        self.list.value = self._selection_list() if len(self.chosen) else ""

    def _clear(self) -> None:
        self.select.value = ""
        self.choose([])

    def _select_code(self) -> None:
        if self.select.value:
            self.choose(np.flatnonzero(label_matrix(self.index.codes.tolist(), [self.select.value])[:, 0]))

    def ask(self, index: int | np.integer) -> None:
        """Show the ECG with this index into the rows, and its nearest neighbors."""
        self.asked = int(index)
        open_ecg(self._ecg, self.store, int(self.rows[self.asked]))
        self._update()

    def _step(self, by: int) -> None:
        """The next ECG: of the selection, if there is one."""
        pool = self.chosen if len(self.chosen) else np.arange(len(self.rows))
        here = np.flatnonzero(pool == self.asked)
        self.ask(pool[(here[0] + by) % len(pool)] if len(here) else pool[0])

    def _selection_list(self) -> str:
        table = selection_table(self.index.codes.tolist(), self.chosen)[:SHOWN_CODES]
        counts = zip(table.chosen, table.share_chosen, table.rest, table.share_rest, strict=True)
        words = [(f"{chosen} ({share:.0%})", f"{rest} ({other:.0%})") for chosen, share, rest, other in counts]
        names = [name_of(code) for code in table.index]
        shown = pd.DataFrame(words, index=names, columns=["selected", "the rest"])
        rows = self.rows[self.chosen]
        listed = ", ".join(map(str, rows[:30])) + (", and more" if len(rows) > 30 else "")
        heading = f"<b>{len(rows)} ECGs selected of {self.index.patient_id.iloc[self.chosen].nunique()} patients</b>"
        return f"{heading}<p style='white-space: normal'>Rows {listed}</p>{shown.to_html(border=0)}"

    def _neighbor_list(self) -> str:
        near = self.neighbors
        if near is None:
            return ""
        ecgs = self.index.iloc[near.row]
        shown = pd.DataFrame(
            {
                "row": self.rows[near.row],
                "similarity": [f"{one:.3f}" for one in near.similarity],
                "patient": ["the same patient" if same else "another" for same in near.same_patient],
                "sex": ecgs.sex.to_numpy(),
                "age": ecgs.age_years.to_numpy().round(),
                "codes": [", ".join(codes) or "no code" for codes in ecgs.codes],
            },
            index=range(1, len(near) + 1),
        )
        return f"<b>Nearest to row {self.rows[self.asked]}</b>{shown.to_html(border=0)}"


def selection_table(codes: Sequence[Iterable[str]], chosen: Int[np.ndarray, " k"]) -> pd.DataFrame:
    """The codes of the chosen ECGs and of the rest; the greatest difference of shares first.

    codes: the codes of every ECG. chosen: indices into it. Columns: chosen and rest (numbers of ECGs with the code),
    share_chosen and share_rest. The selection was made on the map: this table is a description, not a test.
    """
    picked = np.zeros(len(codes), dtype=bool)
    picked[chosen] = True
    pairs = pd.DataFrame({"code": [tuple(set(some)) for some in codes], "picked": picked}).explode("code").dropna()
    counts = {"chosen": pairs[pairs.picked].code.value_counts(), "rest": pairs[~pairs.picked].code.value_counts()}
    table = pd.DataFrame(counts).fillna(0).astype(int)
    table["share_chosen"] = table.chosen / max(picked.sum(), 1)
    table["share_rest"] = table.rest / max((~picked).sum(), 1)
    difference = (table.share_chosen - table.share_rest).abs()
    return table.loc[difference.sort_values(ascending=False, kind="stable").index].rename_axis("code")
