"""The report of an evaluation, in Markdown and as one HTML page: tables, intervals and plots. Names no viewer."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

import numpy as np
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from services.contracts.bundle import REPORT_HTML, REPORT_MARKDOWN
from services.models.kinds.blend import FEWEST_LIKES
from services.trainer.data.dataset import TrainingData
from services.trainer.evaluation.comparison import compare
from services.trainer.evaluation.evaluate import Evaluation, Outcome
from services.trainer.evaluation.metrics import LENGTHS, K, Measured

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1d2129}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
td,th{padding:.25rem .75rem;border-bottom:1px solid #d8dce3;text-align:right}
th:first-child,td:first-child{text-align:left}
svg{max-width:100%;height:auto}"""
_SHOWN = ("hit_rate", "ndcg", "recall", "precision", "map", "mrr", "coverage", "novelty", "diversity", "popularity")


@dataclass
class Section:
    """A heading, what it means, and a table; a plot if numbers are better seen."""

    title: str
    text: str
    table: pd.DataFrame
    plot: str | None = None
    """An SVG."""


@dataclass
class Report:
    """Sections in order."""

    title: str
    summary: str
    sections: list[Section] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the report without its plots."""
        parts = [f"# {self.title}", self.summary]
        for section in self.sections:
            parts += [f"## {section.title}", section.text, section.table.to_markdown(floatfmt=".4f")]
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """Return one page that needs nothing else."""
        body = [f"<h1>{escape(self.title)}</h1><p>{escape(self.summary)}</p>"]
        for section in self.sections:
            body.append(f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>")
            body.append(section.table.to_html(border=0, float_format="{:.4f}".format, na_rep="–"))
            body.append(section.plot or "")
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f"<style>{_STYLE}</style>{''.join(body)}</html>"
        )


def report(
    title: str,
    evaluation: Evaluation,
    default: str,
    delayed: Mapping[str, Outcome] | None = None,
    verdict: str = "",
) -> Report:
    """Return the report; ``default`` is the model that others are compared with, ``delayed`` streaming by its delay."""
    split, streaming = evaluation.split, evaluation.streaming
    made = Report(
        title,
        f"{len(split.moments)} viewers in the split, {len(streaming.moments)} lists of"
        f" {len(np.unique(streaming.users))} viewers in streaming. {verdict}".strip(),
    )
    for name, text, evaluated in (
        ("Split in time", "One list per viewer; right is whatever they liked later.", split),
        ("Streaming", "A list before each film that a viewer liked, from all they did until then.", streaming),
    ):
        if not evaluated.models:
            continue
        made.sections += [
            Section(f"{name}: {K} films", text, _table(evaluated), _bars(evaluated, f"NDCG@{K}", f"ndcg@{K}")),
            Section(
                f"{name}: other lengths",
                "",
                pd.DataFrame(
                    {
                        f"{metric}@{k}": {m: v.means()[f"{metric}@{k}"] for m, v in evaluated.models.items()}
                        for k in LENGTHS
                        for metric in ("hit_rate", "ndcg", "recall")
                    }
                ),
            ),
            Section(
                f"{name}: {default} beside the others",
                "Difference of NDCG with its 95 % interval, from a paired bootstrap over viewers.",
                _differences(evaluated, default),
            ),
            _by(
                f"{name}: by earlier likes",
                "HR, by how many films the viewer liked before.",
                evaluated,
                _amounts(evaluated),
            ),
            _by(
                f"{name}: new and known viewers",
                "HR; new viewers have no signal in the training data.",
                evaluated,
                _new_or_known(evaluated, evaluation.data),
            ),
            _by_genre(name, evaluated, evaluation.data),
        ]
    if delayed:
        made.sections.append(
            Section(
                "What instant reaction is worth",
                f"{default} in streaming, with signals that count at once, later, or only those of the training data.",
                pd.DataFrame({delay: of.models[default].means() for delay, of in delayed.items()}).T[
                    [f"hit_rate@{K}", f"ndcg@{K}", f"mrr@{K}"]
                ],
            )
        )
    return made


def _table(evaluated: Outcome) -> pd.DataFrame:
    rows = {model: measured.means() | measured.of_all for model, measured in evaluated.models.items()}
    return pd.DataFrame({name: {m: row.get(f"{name}@{K}", np.nan) for m, row in rows.items()} for name in _SHOWN})


def _differences(evaluated: Outcome, default: str) -> pd.DataFrame:
    rows = {}
    for model, measured in evaluated.models.items():
        if model != default:
            found = compare(_ndcg(evaluated.models[default]), _ndcg(measured), evaluated.users)
            rows[model] = {"difference": found.difference, "from": found.low, "to": found.high, "viewers": found.users}
    return pd.DataFrame(rows).T


def _ndcg(measured: Measured) -> NDArray[np.float64]:
    return measured.per_moment[f"ndcg@{K}"]


def _amounts(evaluated: Outcome) -> dict[str, NDArray[np.bool_]]:
    likes, ends = evaluated.likes, [*FEWEST_LIKES[1:], None]
    return {
        (f"{first}+" if end is None else str(first) if end == first + 1 else f"{first}–{end - 1}"): (likes >= first)
        & (likes < (end or np.inf))
        for first, end in zip(FEWEST_LIKES, ends, strict=True)
    }


def _new_or_known(evaluated: Outcome, data: TrainingData) -> dict[str, NDArray[np.bool_]]:
    known = np.isin(evaluated.users, data.user_ids)
    return {"new": ~known, "known": known}


def _by(title: str, text: str, evaluated: Outcome, groups: Mapping[str, NDArray[np.bool_]]) -> Section:
    groups = {name: chosen for name, chosen in groups.items() if chosen.any()}
    table = pd.DataFrame(
        {
            f"{name} ({int(chosen.sum())})": {
                model: measured.means(chosen)[f"hit_rate@{K}"] for model, measured in evaluated.models.items()
            }
            for name, chosen in groups.items()
        }
    )
    return Section(title, f"{text} In brackets: lists.", table, _lines(table) if len(groups) > 2 else None)


def _by_genre(name: str, evaluated: Outcome, data: TrainingData) -> Section:
    genres, has_genre = data.catalogue.genres_of(data.item_ids)
    groups = {}
    for column, genre in enumerate(genres):
        of_genre = data.item_ids[has_genre[:, column] == 1]
        groups[genre] = np.array([bool(np.isin(m.targets, of_genre).any()) for m in evaluated.moments])
    section = _by(
        f"{name}: by genre of what was liked", "HR; a film with several genres counts in each.", evaluated, groups
    )
    section.table, section.plot = section.table.T, None
    return section


def _bars(evaluated: Outcome, label: str, metric: str) -> str:
    figure = Figure(figsize=(9, 0.4 * len(evaluated.models) + 1))
    axes = figure.subplots()
    values = pd.Series({model: measured.means()[metric] for model, measured in evaluated.models.items()}).sort_values()
    axes.barh(list(values.index), values.to_numpy(), color="#3b6fb6")
    axes.set_xlabel(label)
    return _svg(figure)


def _lines(table: pd.DataFrame) -> str:
    figure = Figure(figsize=(9, 4))
    axes = figure.subplots()
    for model, row in table.iterrows():
        axes.plot(list(table.columns), row.to_numpy(), marker="o", label=str(model))
    axes.set_ylabel(f"HR@{K}")
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return _svg(figure)


def _svg(figure: Figure) -> str:
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def documents(made: Report) -> dict[str, str]:
    """Return the report's files by name, as they lie in the bundle's folder."""
    return {REPORT_MARKDOWN: made.markdown(), REPORT_HTML: made.html()}
