import pytest

from pipeline.runtime import params


class Knobs(params.Section):
    rate: float
    name: str = "x"


def write(folder, text):
    file = folder / "params.yaml"
    file.write_text(text)
    return file


def test_a_section_is_read_with_its_defaults(tmp_path):
    config = params.load_section("train", Knobs, write(tmp_path, "train: {rate: 0.5}"))
    assert config == Knobs(rate=0.5, name="x")


def test_a_single_value_is_read_by_its_dotted_path(tmp_path):
    assert params.load_section("model.size", int, write(tmp_path, "model: {size: 224}")) == 224


@pytest.mark.parametrize("text", ["1e-05", "1.0e-5", "0.1E-4", "1e-5"])
def test_a_number_may_be_written_as_dvc_writes_it(tmp_path, text):
    assert params.load_section("train", Knobs, write(tmp_path, f"train: {{rate: {text}, name: '1e-5'}}")) == Knobs(
        rate=1e-5, name="1e-5"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: {rate: 0.5, rates: 1}", "unknown key `train.rates`"),
        ("train: {}", "`train.rate` is missing"),
        ("train: {rate: fast}", "`train.rate`: input should be a valid number, got 'fast'"),
        ("train: {rate: '0.5'}", "`train.rate`: input should be a valid number, got '0.5'"),
        ("model: {}", "there is no section `train` (there: model)"),
        ("- 1", "expected sections, got list"),
        ("train: [", "is not valid YAML"),
    ],
)
def test_an_error_names_the_field_and_what_stands_there(tmp_path, text, sentence):
    with pytest.raises(params.ParamsError) as error:
        params.load_section("train", Knobs, write(tmp_path, text))
    assert sentence in str(error.value)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(params.ParamsError, match="run from the repository's root"):
        params.load_section("train", Knobs, tmp_path / "params.yaml")


def test_an_empty_section_takes_every_default(tmp_path):
    class Defaults(params.Section):
        seed: int = 3

    assert params.load_section("demo", Defaults, write(tmp_path, "demo:")).seed == 3
