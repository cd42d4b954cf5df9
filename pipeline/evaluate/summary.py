"""What stage evaluate prints."""

from pathlib import Path

from pipeline.evaluate.folders import format_keys
from pipeline.evaluate.outputs import PAGE
from pipeline.metrics import frames
from pipeline.metrics.frames import Intervals
from pipeline.metrics.records import ICNET, RESIZED, SISM, Results, Row
from pipeline.metrics.score import Key
from pipeline.runtime import report


def print_results(found: Results, intervals: dict[Row, Intervals], out: Path) -> None:
    """Print the scores, and what could not be scored."""
    sums = found.sums
    icnet, sism = (sums[method, RESIZED].overall() for method in (ICNET, SISM))
    if icnet:
        print(frames.format_summary(found))
        low, high = intervals[ICNET, RESIZED]["max_f"]
        gain = icnet["max_f"] - sism["max_f"]
        interval = f"({low:.3f} to {high:.3f} over groups)"
        lines = [f"max F {icnet['max_f']:.3f} {interval}, {gain:+.3f} against the SISMs, by the paper's convention"]
    else:
        lines = [f"{found.dataset} was predicted, not scored: no image has a mask"]
    lines += _describe_absent(found)
    report.print_summary(
        "evaluate",
        *lines,
        f"sheets of groups in {out / 'panels'}, tables in {out}",
        f"open {out / PAGE} in a browser to look at the groups",
    )


def _describe_absent(found: Results) -> list[str]:
    keys: dict[tuple[str, str], list[Key]] = {}
    for row in found.absent:
        keys.setdefault((row["method"], row["reason"]), []).append((row["group"], row["name"]))
    lines = []
    for (method, reason), named in keys.items():
        names = format_keys([key for key in named if key[0]])
        lines.append(f"{method}: {names} {reason}" if names else f"{method} was not scored: {reason}")
    return lines
