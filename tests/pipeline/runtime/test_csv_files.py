import csv
import io

import pytest

from pipeline.runtime.csv_files import format_csv


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\tx", "\rx"])
def test_text_that_a_spreadsheet_would_run_is_neutralized(text):
    rows = list(csv.reader(io.StringIO(format_csv(["name"], [[text]]).decode(), newline="")))
    assert rows == [["name"], [f"'{text}"]]


def test_other_cells_stay_as_they_are():
    rows = list(
        csv.reader(io.StringIO(format_csv(["a", "b", "c"], [["x=1", -0.5, 'quo"te\nline']]).decode(), newline=""))
    )
    assert rows[1] == ["x=1", "-0.5", 'quo"te\nline']
