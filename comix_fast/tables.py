"""Tables for the terminal: what results look like to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from comix_fast.backbones.weights import KnownWeights
from comix_fast.cache.reader import CacheSummary
from comix_fast.intervals import Summary
from comix_fast.retrieval import IndexReport, RetrievalResult
from comix_fast.selection import SCORES
from comix_fast.stages.results import CHOICES
from comix_fast.stages.retrieve import Retrieved
from comix_fast.stages.supervised import FOLDS
from comix_fast.stages.sweep import label_free_score

_CHOICE_TITLES = {
    "last": "last",
    "selected": "chosen without labels",
    "oracle": "oracle (peeks at target labels)",
}


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose cells are shown as they are: no name in them can act as markup."""
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _accuracy(cell: Mapping[str, Any], n_seeds: int) -> str:
    if cell["mean"] is None:
        return "–"
    return Summary(cell["mean"], cell["std"], cell["interval95"], n_seeds).text()


def accuracy_table(results: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Target accuracies of one run, or of the runs of one ablation: equal rows are shown once."""
    first = results[0]
    if not first["n_labelled"]:
        return Group(Text(first["measured_on"]), *(Text(note, style="dim") for note in first["notes"]))
    n_seeds = len(first["seeds"])
    seeds = f"{n_seeds} seeds, mean ± 95 % over seeds" if n_seeds > 1 else "one seed, so no interval"
    title = f"target accuracy in %, {first['source']} → {first['target']}, {seeds}"
    rows: dict[str, list[str]] = {}
    for result in results:
        for row in result["rows"]:
            cells = [_accuracy(row[choice], n_seeds) for choice in CHOICES]
            if row["phase"] == "supervised":
                cells = [cells[0], "", ""]
            rows.setdefault(row["name"], cells)
    columns = ["", *(_CHOICE_TITLES[choice] for choice in CHOICES)]
    table = plain_table(columns, [[name, *cells] for name, cells in rows.items()])
    lines = [f"measured on {first['measured_on']}"]
    if set(rows) != {"target-supervised"}:
        lines.append(f"chosen without labels: {first['selection']}")
    if first["transductive"] and "target-supervised" in rows:
        folds = min(FOLDS, first["n_labelled"])
        lines.append(f"target-supervised: {folds} folds, each predicted by a head trained on the others")
    lines += first["notes"]
    return Group(Text(title, style="bold"), table, *(Text(line, style="dim") for line in lines))


def sweep_table(swept: Mapping[str, Any]) -> RenderableType:
    """Target accuracies at every point of a sweep, what sweep.json holds; the point chosen without labels is marked."""
    first = next((entry["results"] for entry in swept["points"] if entry["results"]), None)
    if first is None:
        return Text("no point was finished")
    n_seeds, names = len(first["seeds"]), list(swept["grid"])
    rows = []
    for entry in swept["points"]:
        values = [str(value) for value in entry["values"].values()]
        if entry["results"] is None:
            rows.append([*values, "given up", *[""] * len(CHOICES)])
            continue
        score = label_free_score(entry["results"])
        mark = "* " if entry["point"] == swept["chosen_without_labels"] else ""
        last = entry["results"]["rows"][-1]
        cells = [_accuracy(last[choice], n_seeds) for choice in CHOICES]
        rows.append([*values, "–" if score is None else f"{mark}{score:.3f}", *cells])
    title_of_score = SCORES[swept["select_by"]].title
    columns = [*names, title_of_score, *(_CHOICE_TITLES[choice] for choice in CHOICES)]
    seeds = f"{n_seeds} seeds, mean ± 95 % over seeds" if n_seeds > 1 else "one seed, so no interval"
    lines = [
        f"measured on {first['measured_on']}",
        f"* the point chosen without labels: the highest {title_of_score} on the target's unlabelled training videos",
        "no label-free score has been seen to rank methods reliably (docs/evidence.md): take it as a hint",
    ]
    title = f"target accuracy in %, {first['source']} → {first['target']}, {seeds}"
    return Group(Text(title, style="bold"), plain_table(columns, rows), *(Text(line, style="dim") for line in lines))


def cache_table(summary: CacheSummary) -> RenderableType:
    """What `comix cache info` prints."""
    backbone = summary.recipe["backbone"]
    facts = [
        ("key", summary.key),
        ("backbone", f"{backbone['name']}, {backbone['weights']} weights, {backbone['precision']}"),
        ("weights", str(backbone["weights_sha256"])),
        ("decoder", " ".join(str(part) for part in summary.recipe["decoder"].values())),
        (
            "classes",
            f"{len(summary.classes):,}: {', '.join(summary.classes[:8])}{' …' if len(summary.classes) > 8 else ''}",
        ),
        ("size", f"{summary.n_bytes / 1e6:,.1f} MB in {_files(summary)}"),
        *((f"view {view}", f"{count:,} clips") for view, count in summary.clips.items()),
    ]
    for (domain, split), listed in summary.listed.items():
        have = summary.extracted[domain, split]
        lacks = "" if have == listed else f", {listed - have:,} missing"
        facts.append((f"{domain} {split}", f"{have:,} videos of {summary.domain_names[domain]}{lacks}"))
    if not summary.measured:
        facts.append(("accuracy", "none: no target video to measure on carries a label"))
    elif ("target", "test") not in summary.listed:
        facts.append(("target test", "no list: accuracy is measured on the training videos (transductive)"))
    table = plain_table(("", ""), facts)
    table.columns[1].justify = "left"
    table.show_header = False
    notes = [f"warning: {warning}" for warning in summary.warnings]
    notes += [f"part {part} is not finished" for part in summary.unfinished_parts]
    notes += [f"not extracted: {line['id']}: {line['reason']}" for line in summary.failures]
    return Group(Text(str(summary.path), style="bold"), table, *(Text(note, style="yellow") for note in notes))


def _files(summary: CacheSummary) -> str:
    if summary.path.is_file():
        return "one file"
    return f"{summary.n_shards:,} shards" if summary.n_shards != 1 else "one shard"


def weights_table(known: Sequence[KnownWeights], verdicts: Mapping[tuple[str, str], str]) -> RenderableType:
    """What `comix weights` prints: what is known, where it is, how to get what is not."""
    rows = []
    for weights in known:
        where = str(weights.path) if weights.path else f"not here; {weights.obtain}"
        size = f"{weights.size / 1e6:,.1f} MB" if weights.size else ""
        verdict = verdicts.get((weights.backbone, weights.name), "")
        rows.append(
            [
                weights.backbone,
                weights.name,
                verdict,
                size,
                (weights.sha256 or weights.file_sha256)[:12],
                where,
            ]
        )
    table = plain_table(("backbone", "weights", "check", "size", "sha256", "where"), rows)
    for number in (1, 2, 5):
        table.columns[number].justify = "left"
    return table


def retrieval_tables(retrieved: Retrieved, examples: int) -> RenderableType:
    """Scores per space, k-NN accuracy per class, what the index found, and a few queries with their neighbours."""
    spaces = retrieved.spaces
    query, gallery = retrieved.names[retrieved.query], retrieved.names[retrieved.gallery]
    first = next(iter(spaces.values()))
    counts = f"{len(first.queries):,} queries, gallery {first.gallery:,}"
    title = f"{query} ({retrieved.query}) → {gallery} ({retrieved.gallery}), {counts}"
    scores = [score.name for score in first.scores]
    parts: list[RenderableType] = []
    if any(score.value is not None for score in first.scores):
        rows = [[space, *(_share(result.score(name).value) for name in scores)] for space, result in spaces.items()]
        parts += [Text(f"{title}: scores in %", style="bold"), plain_table(("embedding", *scores), rows)]
        parts += ["", Text(f"{scores[-1]} per class in %", style="bold"), _per_class(retrieved, scores[-1])]
    else:
        parts.append(Text(f"{title}: no labels to score with"))
    if retrieved.transductive and "target" in (retrieved.query, retrieved.gallery):
        parts.append(
            Text(
                "the target's videos are its training videos, adapted on unlabelled (transductive)",
                style="dim",
            )
        )
    for space, result in spaces.items():
        if result.tied_at_k:
            tied = f"{space}: tied neighbours at the cut in {result.tied_at_k:,} queries: gallery order decides"
            parts.append(Text(tied, style="yellow"))
    parts += ["", _index_found({space: result.index for space, result in spaces.items()})]
    shown = list(spaces)[-1]
    if examples:
        parts += ["", Text(f"neighbours in the embedding {shown!r}", style="bold")]
        parts.append(_examples(retrieved, spaces[shown], examples))
    return Group(*parts)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _per_class(retrieved: Retrieved, name: str) -> Table:
    values = {
        space: {one.label: one.value for one in result.score(name).per_class}
        for space, result in retrieved.spaces.items()
    }
    rows = [
        [class_name, *(_share(values[space].get(label)) for space in values)]
        for label, class_name in enumerate(retrieved.classes)
    ]
    return plain_table(("class", *values), rows)


def _index_found(reports: Mapping[str, IndexReport]) -> RenderableType:
    """What the index found of the true neighbours, space by space."""
    first = next(iter(reports.values()))
    recall = f"recall@{first.k}"
    if not first.sample:
        return Text(f"index {first.factory}: the exact search, so {recall} against it is 100.0 %", style="dim")
    settings = ", ".join(f"{name} {number:,}" for name, number in first.settings.items())
    title = f"index {first.factory} ({settings}): {recall} against Flat in %, and seconds"
    columns = ("embedding", recall, "queries sampled", "too few found, searched exactly", "to build", "to search")
    rows = [
        [
            space,
            _share(report.recall),
            f"{report.sample:,}",
            f"{report.completed:,}",
            f"{report.build_seconds:.2f}",
            f"{report.search_seconds:.2f}",
        ]
        for space, report in reports.items()
    ]
    notes = dict.fromkeys(note for report in reports.values() for note in report.notes)
    lines = ["mAP ranks the whole gallery and is exact", *notes]
    return Group(Text(title, style="bold"), plain_table(columns, rows), *(Text(line, style="dim") for line in lines))


def _examples(retrieved: Retrieved, result: RetrievalResult, examples: int) -> Table:
    def class_of(label: int) -> str:
        return retrieved.classes[label] if 0 <= label < len(retrieved.classes) else "unlabelled"

    # Evenly spaced through the queries, so that every class has a chance to be seen.
    step = max(1, len(result.queries) // max(1, examples))
    rows = []
    for query in result.queries[::step][:examples]:
        for rank, neighbour in enumerate(query.neighbours):
            asked = [query.id, class_of(query.label)] if rank == 0 else ["", ""]
            verdict = {True: "same", False: "other", None: "?"}[neighbour.same_class]
            rows.append([*asked, f"{neighbour.similarity:.3f}", verdict, class_of(neighbour.label), neighbour.id])
    columns = ("query", "its class", "cosine", "class is", "neighbour's class", "neighbour")
    table = plain_table(columns, rows)
    for number in (1, 3, 4, 5):
        table.columns[number].justify = "left"
    return table
