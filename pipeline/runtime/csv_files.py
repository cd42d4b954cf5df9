"""CSV files that spreadsheets open safely."""

import csv
import io
from collections.abc import Iterable, Sequence

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def format_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A table as CSV with a header. Text that a spreadsheet would run as a formula gets a leading apostrophe."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(columns)
    writer.writerows([neutralize(cell) for cell in row] for row in rows)
    return buffer.getvalue().encode()


def neutralize(cell: object) -> object:
    """The cell, with a leading apostrophe if it is text that a spreadsheet would run."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
