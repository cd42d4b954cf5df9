"""The rows of the paper's Tables 1 to 4 (section 4): what each sets in params.yaml, and the printed figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from icnet.config import Config
from icnet.sod.base import Spec
from pipeline.metrics.records import ICNET, SISM
from pipeline.papertables import later
from pipeline.papertables.figures import BATCHES, LATER, METHODS, SODS, VARIANTS, Printed

N_TRAIN = 10
"""The training batch of the rows that vary the test batch."""


@dataclass(frozen=True)
class Row:
    """A row of a table: the figures of `method` in the DVC experiment `name`, which changes `settings` in params.yaml.

    `name` is None if only the paper has the row, `printed` is None if only we have it.
    """

    label: str
    method: str
    printed: Printed | None
    name: str | None = None
    source: str | None = None
    """Where the printed figures were read, if not in the paper."""
    settings: dict[str, Any] = field(default_factory=dict)


def list_rows(number: int, content: dict[str, Any], sods: Sequence[str] = ()) -> list[Row]:
    """The rows of Table 1, 2, 3, 4 or 5. `content`: that of params.yaml.

    `sods`: the SOD methods of Table 3. The default is the configured one, and two that need no weights.
    """
    if number == 3:
        return list_sod_methods(sods or [_parse_sism(content).text, "gc", "ones"])
    return {1: lambda: list_methods(content), 2: list_variants, 4: list_batches, LATER: list_later}[number]()


def list_later() -> list[Row]:
    """Table 5: published figures of later methods, and this ICNet with its SISMs, from the experiment of Table 1."""
    known = [Row(label, "", one.figures, source=one.source) for label, one in later.METHODS.items()]
    return [*known, Row("SISMs, ours", SISM, None, "table-1"), Row("ICNet, ours", ICNET, None, "table-1")]


def list_methods(content: dict[str, Any]) -> list[Row]:
    """Table 1: the methods of `evaluate.methods`, the SISMs, and ICNet."""
    others = {name.lower(): name for name in (content.get("evaluate") or {}).get("methods") or {}}
    spec = _parse_sism(content)
    if spec.kind in map(str.lower, METHODS):
        others.setdefault(spec.kind, SISM)
    others["icnet"] = ICNET
    found = []
    for label, printed in METHODS.items():
        method = others.pop(label.lower(), None)
        found.append(Row(label, method or "", printed, "table-1" if method else None))
    ours = {**others, **({} if SISM in (line.method for line in found) else {"sism": SISM})}
    more = [Row(f"SISMs ({spec.kind})" if name == SISM else name, name, None, "table-1") for name in ours.values()]
    return [*found[:-1], *more, found[-1]]


def list_variants() -> list[Row]:
    """Table 2: the seven variants of `Config.row`."""
    found = []
    for number, (label, printed) in enumerate(VARIANTS.items(), start=1):
        row = Config.row(number)
        settings = {f"model.{name}": getattr(row, name) for name in ("features", "fusion", "sisms", "rearranged")}
        found.append(Row(label, ICNET, printed, f"table-2-{number}", settings=settings))
    return found


def list_sod_methods(sods: Iterable[str]) -> list[Row]:
    """Table 3: each SOD method alone, and ICNet trained and tested with its SISMs."""
    printed = {label.lower(): (label, *figures) for label, figures in SODS.items()}
    found = []
    for number, text in enumerate(dict.fromkeys(sods), start=1):
        label, alone, above = printed.pop(Spec.parse(text).kind, (text, None, None))
        name, settings = f"table-3-{number}", {"sism.method": text}
        found.append(Row(f"{label} alone", SISM, alone, name, settings=settings))
        found.append(Row(f"{label}, ICNet", ICNET, above, name, settings=settings))
    for label, alone, above in printed.values():
        found += [Row(f"{label} alone", "", alone), Row(f"{label}, ICNet", "", above)]
    return found


def list_batches() -> list[Row]:
    """Table 4: training batches with whole groups in the test, then subgroups in the test."""
    found = []
    for label, printed in BATCHES.items():
        side, _, size = label.partition(" = ")
        settings = {"train.batch_size": int(size) if side == "n_train" else N_TRAIN}
        if side == "n_test":
            settings["predict.subgroup_size"] = int(size)
        found.append(Row(label, ICNET, printed, f"table-4-{side.replace('_', '-')}-{size}", settings=settings))
    return found


def _parse_sism(content: dict[str, Any]) -> Spec:
    return Spec.parse((content.get("sism") or {}).get("method", "gc"))
