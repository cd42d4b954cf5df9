from pipeline.train.mlflow_run import name_run


def test_a_run_is_named_by_the_options_that_differ_from_the_defaults():
    options = {"train": {"dataset": "demo", "lr": 0.001}, "model": {"size": 96}}
    assert name_run(["demo"], options, "0123456789abcdef") == "demo lr=0.001 size=96 01234567"


def test_a_long_name_is_cut_after_four_options():
    options = {"train": {f"option{number}": number for number in range(9)}}
    name = name_run(["demo"], options, "0123456789abcdef")
    assert "option3=3 ... 01234567" in name and "option4" not in name


def test_equal_options_on_other_samples_still_have_names_of_their_own():
    assert name_run(["demo"], {}, "a" * 64) != name_run(["demo"], {}, "b" * 64)
