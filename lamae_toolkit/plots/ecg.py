"""Figures of an ECG: the traces, a reconstruction over them, and pooling weights."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool
from plotly.subplots import make_subplots

from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.explain.attention import AttentionSummary
from lamae_toolkit.palette import BLUE, GRAY, ORANGE, PAPER_BOLD, PAPER_LINE, model_looks
from lamae_toolkit.plots._plotly import finish, runs

COLUMNS = 2


def ecg_figure(
    recording: Recording,
    *,
    overlay: Recording | None = None,
    model: str = "LAMAE",
    mask: Bool[np.ndarray, "l n"] | None = None,
    title: str = "",
) -> go.Figure:
    """A 12-lead ECG in two columns, on a grid of 0.2 s and 0.5 mV.

    overlay: a second ECG drawn over it, such as the reconstruction of a model. model: its name, for its color. mask:
    patches to shade, True where masked, over the overlay's length; the overlay is then drawn in these patches only.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        figure = lt.ecg_figure(lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording, title="Simulated ECG")
    """
    leads = [lead for lead in LEADS if lead in recording.leads]
    rows = -(-len(leads) // COLUMNS)
    figure = make_subplots(
        rows=rows, cols=COLUMNS, shared_xaxes="all", shared_yaxes="all", vertical_spacing=0.012, horizontal_spacing=0.03
    )
    time_s = np.arange(recording.signal_mv.shape[1]) / recording.sampling_rate_hz
    # One scale for all leads; a rare spike, such as that of a pacemaker, may exceed it.
    bottom, top = np.quantile(recording.signal_mv, [0.0005, 0.9995]) * 1.15 + np.array([-0.15, 0.3])
    bands: list[dict] = []
    for index, lead in enumerate(leads):
        # Down the left column first, as on paper: limb leads left, chest leads right.
        cell = {"row": index % rows + 1, "col": index // rows + 1}
        row = recording.leads.index(lead)
        figure.add_scatter(
            x=time_s,
            y=recording.lead(lead),
            mode="lines",
            line={"color": "#222222", "width": 1.3},
            name="ECG",
            legendgroup="ECG",
            showlegend=overlay is not None and index == 0,
            **cell,
            hovertemplate=f"{lead}: %{{x:.2f}} s, %{{y:.2f}} mV<extra></extra>",
        )
        if overlay is not None and lead in overlay.leads:
            overlay_mv = overlay.lead(lead)
            if mask is not None:  # visible patches need no reconstruction
                overlay_mv = np.where(np.repeat(mask[row], len(overlay_mv) // mask.shape[1]), overlay_mv, np.nan)
            figure.add_scatter(
                x=np.arange(len(overlay_mv)) / overlay.sampling_rate_hz,
                y=overlay_mv,
                mode="lines",
                line={"color": model_looks([model])[model].color, "width": 1.3},
                name="reconstruction",
                legendgroup="overlay",
                showlegend=index == 0,
                **cell,
            )
        if mask is not None:
            bands += _bands(mask[row], (overlay or recording).duration_s, figure.data[-1])
        figure.add_annotation(
            x=0.0,
            y=top,
            text=f"<b>{lead}</b>",
            showarrow=False,
            xanchor="left",
            yanchor="top",
            bgcolor="rgba(255,255,255,0.75)",
            **cell,
        )
    figure.update_xaxes(range=[0, time_s[-1]], dtick=0.2, gridcolor=PAPER_LINE, showticklabels=False, zeroline=False)
    figure.update_yaxes(
        range=[bottom, top], dtick=0.5, gridcolor=PAPER_LINE, showticklabels=False, zerolinecolor=PAPER_BOLD
    )
    figure.update_xaxes(title_text="one line each 0.2 s and 0.5 mV", row=rows, col=1)
    figure.update_layout(shapes=bands)  # all at once: plotly checks all shapes again with each one added
    return finish(figure, title, height=105 * rows + 110)


def reconstruction_figure(
    recording: Recording,
    reconstruction: Recording,
    mask: Bool[np.ndarray, "l n"],
    title: str = "",
    *,
    model: str = "LAMAE",
) -> go.Figure:
    """An ECG, its masked patches (shaded), and the reconstruction of the masked patches.

    recording: the ECG in mV. reconstruction: the same leads, as a model reconstructs them. mask: (leads, patches), True
    where masked, a row for each lead of the recording. title: above the figure. model: the name of the model, for its
    color.

    Example:
        import lamae_toolkit as lt
        import numpy as np

        rng = np.random.default_rng(0)
        ecg = lt.simulate_ecg(lt.sample_patient(1, rng), rng).recording
        mask = np.zeros((12, 40), dtype=bool)
        mask[6, 8:16] = True  # V1 from 2 s to 4 s
        models = lt.explain.shipped_pair()
        reconstruction = lt.explain.reconstruct_masked(models, ecg, mask)["LAMAE"]
        figure = lt.reconstruction_figure(ecg, reconstruction, mask)
    """
    return ecg_figure(recording, overlay=reconstruction, model=model, mask=mask, title=title)


def lead_bar_figure(summary: AttentionSummary, title: str = "Pooling weights") -> go.Figure:
    """The weight of each lead, mean over heads as bars and each head as a dot; equal weights as a dotted line."""
    table = summary.weight_table()
    figure = go.Figure(go.Bar(x=table.index, y=table.weight, marker_color=BLUE, name="mean over heads"))
    for head in table.columns[1:]:
        figure.add_scatter(
            x=table.index,
            y=table[head],
            mode="markers",
            marker={"color": ORANGE, "size": 7, "line": {"width": 1}},
            name="each head",
            legendgroup="head",
            showlegend=head == "head 1",
            hovertext=head,
        )
    figure.add_hline(y=1 / len(table), line={"color": GRAY, "dash": "dot"})
    figure.update_yaxes(title_text="share in the heart token", tickformat=".0%", rangemode="tozero")
    return finish(figure, title, height=320)


def _bands(mask: np.ndarray, duration_s: float, trace: go.Scatter) -> list[dict]:
    """Grey bands over the masked patches of this trace's subplot; neighboring patches make one band."""
    edges = runs(mask) * duration_s / len(mask)
    look = {"type": "rect", "fillcolor": GRAY, "opacity": 0.18, "line_width": 0, "layer": "below"}
    where = {"xref": trace.xaxis, "yref": f"{trace.yaxis} domain", "y0": 0, "y1": 1}
    return [{**look, **where, "x0": start, "x1": end} for start, end in edges]
