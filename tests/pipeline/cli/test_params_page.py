from pathlib import Path

from pipeline.cli import params_page
from pipeline.cli.sections import SECTIONS
from pipeline.index.layouts import Dataset

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_of_options_is_up_to_date():
    assert (ROOT / "docs" / "params.md").read_text() == params_page.format_page(), "run `make docs`"


def test_every_option_is_explained():
    for name, kind in {"datasets": Dataset, **SECTIONS}.items():
        assert not [f"{name}.{option}" for option, field in kind.model_fields.items() if not field.description]


def test_the_page_names_every_option_with_its_default_and_range():
    page = params_page.format_page()
    for kind in SECTIONS.values():
        for option in kind.model_fields:
            assert f"| `{option}` |" in page
    assert "| `lr` | `1e-5` | number > 0 |" in page
    assert "| `validation` | `0.15` | number ≥ 0, < 1 or list of texts |" in page
