"""The page of a benchmark: the worst and the best groups, with the errors of each map in color."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from icnet import images
from pipeline import gallery, tables
from pipeline.evaluate.inputs import Inputs
from pipeline.metrics.aggregate import COLUMNS
from pipeline.metrics.records import HEADLINE, ICNET, RESIZED, Absent, Results
from pipeline.metrics.score import METRICS

MAX_PICTURES_OF_GROUP = 24

MAX_PAGE_BYTES = 40_000_000
"""MLflow shows files of at most 50 MiB."""

KEY = ["group", "name"]

Metrics = dict[str, float]


@dataclass(frozen=True)
class GroupChoice:
    """A group on the page: `rows` of `Candidates.keys` to show, out of `total`."""

    group: str
    note: str
    rows: np.ndarray
    total: int


@dataclass(frozen=True)
class Candidates:
    """The images that can be shown, and METRICS of each, [images, 10]; None if nothing was scored."""

    keys: pa.Table
    values: np.ndarray | None

    @classmethod
    def of(cls, inputs: Inputs, found: Results) -> "Candidates":
        """The images with scores, or all with a map."""
        metrics = found.images[ICNET, RESIZED]
        if metrics.scored.any():
            return cls(found.keys.filter(pa.array(metrics.scored)), metrics.values[metrics.scored])
        return cls(tables.read_table(inputs.maps, KEY), None)

    def choose(self, group: str, note: str, most: int) -> GroupChoice:
        """The images of a group with the lowest max F, or the first."""
        rows = np.flatnonzero(pc.equal(self.keys["group"], group).to_numpy())
        if self.values is not None:
            rows = rows[np.argsort(self.values[rows, METRICS.index("max_f")], kind="stable")]
        return GroupChoice(group, note, rows[:most], len(rows))


def render_page(inputs: Inputs, found: Results, num_groups: int) -> bytes:
    """The page as HTML in one file: `num_groups` of the worst groups, and as many of the best.

    Its size is bounded: it names how many groups and photographs it leaves out.
    """
    candidates = Candidates.of(inputs, found)
    values = found.sums[ICNET, RESIZED].by_group() if candidates.values is not None else {}
    groups = sorted(values, key=lambda group: (values[group]["max_f"], group)) or _list_groups(candidates)
    places = list(range(len(groups)))
    shown = places if len(places) <= 2 * num_groups else places[:num_groups] + places[len(places) - num_groups :]
    most = min(MAX_PICTURES_OF_GROUP, gallery.MAX_PICTURES // max(1, len(shown)))
    choices = [
        candidates.choose(groups[n], _describe_group(n, len(groups), values.get(groups[n])), most) for n in shown
    ]
    sections = list(_draw_sections(inputs, candidates, choices))
    page = gallery.Gallery(
        f"Co-saliency maps of {found.dataset}",
        sections,
        _list_facts(inputs),
        _list_rejects(found.absent),
        notes=[*_describe_scores(found), *_describe_choice(len(groups), len(shown), most, bool(values))],
        shows_errors=bool(values),
    )
    return b"".join(content for _, content in gallery.render_pages(page))


def _list_groups(candidates: Candidates) -> list[str]:
    return sorted(candidates.keys["group"].unique().to_pylist())


def _draw_sections(inputs: Inputs, candidates: Candidates, choices: list[GroupChoice]) -> Iterator[gallery.Section]:
    """The groups with their thumbnails, as long as all of them fit into the page."""
    if not choices:
        return
    rows = np.concatenate([choice.rows for choice in choices])
    keys = candidates.keys.take(pa.array(rows))
    places = {
        folder: tables.find_positions(keys, tables.read_table(folder, KEY)) for folder in (inputs.samples, inputs.maps)
    }
    voids = _find_voids(inputs, keys)
    start, budget = 0, MAX_PAGE_BYTES / len(choices)
    for choice in choices:
        stop = start + len(choice.rows)
        samples, maps = (tables.read_rows_at(folder, found[start:stop]) for folder, found in places.items())
        pictures: list[gallery.Picture] = []
        used = 0
        for number, (sample, map_row) in enumerate(zip(samples.to_pylist(), maps.to_pylist(), strict=True)):
            void = _read_void(inputs, voids[start + number])
            thumbnails = gallery.embed_thumbnails(sample, map_row["map"], void)
            used += thumbnails.num_bytes
            if pictures and used > budget:
                break
            metrics = None if candidates.values is None else candidates.values[choice.rows[number]]
            pictures.append(_make_picture(sample, map_row, metrics, thumbnails))
        left_out = f"; {len(pictures)} of {choice.total:,} photographs" if len(pictures) < choice.total else ""
        yield gallery.Section(choice.group, pictures, note=choice.note + left_out)
        start = stop


def _make_picture(
    sample: dict[str, Any],
    map_row: dict[str, Any],
    metrics: np.ndarray | None,
    thumbnails: gallery.EmbeddedThumbnails,
) -> gallery.Picture:
    scores, caption = gallery.select_scores(map_row), None
    if metrics is not None:
        values = dict(zip(METRICS, map(float, metrics), strict=True))
        scores = {label: values[name] for name, label in COLUMNS.items()} | scores
        caption = _format_metrics(values)
    size = sample["height"], sample["width"]
    return gallery.Picture(sample["name"], *size, scores, thumbnails, caption=caption)


def _find_voids(inputs: Inputs, keys: pa.Table) -> list[tuple[str, str] | None]:
    """Path and digest of the file with the pixels without a label, of each key."""
    index = tables.read_table(inputs.index, [*KEY, "void", "void_digest"])
    rows = index.take(pa.array(tables.find_positions(keys, index))).to_pylist()
    return [(row["void"], row["void_digest"]) if row["void"] else None for row in rows]


def _read_void(inputs: Inputs, file: tuple[str, str] | None) -> images.Pixels | None:
    return None if file is None else images.decode_mask(tables.read_original(inputs.root, *file))


def _describe_group(place: int, total: int, values: Metrics | None) -> str:
    if values is None:
        return f"group {place + 1:,} of {total:,}"
    return f"{_format_metrics(values)}; {place + 1:,} of {total:,} groups, the worst is 1"


def _describe_scores(found: Results) -> list[str]:
    values = found.sums[ICNET, RESIZED].overall()
    if not values:
        return ["No image has a mask: nothing was scored."]
    return [f"All {found.sums[ICNET, RESIZED].images:,} scored images at {found.size} px: {_format_metrics(values)}"]


def _describe_choice(total: int, shown: int, most: int, scored: bool) -> list[str]:
    if not total:
        return []
    if not scored:
        return [f"Shown: {shown:,} of {total:,} groups, and at most {most} photographs of each."]
    groups = (
        "all groups" if shown == total else f"the {shown // 2:,} worst and the {shown // 2:,} best of {total:,} groups"
    )
    return [
        f"Shown: {groups} by max F, the worst first; at most {most} photographs of each, those with the lowest max F."
    ]


def _format_metrics(values: Metrics) -> str:
    return ", ".join(f"{COLUMNS[name]} {values[name]:.3f}" for name in HEADLINE)


def _list_facts(inputs: Inputs) -> dict[str, str]:
    maps, samples = tables.load_manifest(inputs.maps), tables.load_manifest(inputs.samples)
    facts = {
        "sha256 of the model": maps.get("model"),
        "SOD method": samples.get("method"),
        "Images of a subgroup": maps.get("subgroup_size"),
        "Looks": maps.get("looks"),
    }
    return {label: str(value) for label, value in facts.items() if value}


def _list_rejects(absent: list[Absent]) -> list[gallery.Reject]:
    return [
        gallery.Reject(
            "/".join(filter(None, (row["group"], row["name"]))), "evaluate", f"{row['method']}: {row['reason']}"
        )
        for row in absent
    ]
