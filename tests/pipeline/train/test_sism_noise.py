import numpy as np

from pipeline.train.sism_noise import corrupt_sisms


def squares():
    """Four SISMs of 64 px, each with a bright square of its own brightness in a corner of its own."""
    sisms = np.zeros((4, 64, 64), np.uint8)
    for place, (y, x) in enumerate([(4, 4), (4, 44), (44, 4), (44, 44)]):
        sisms[place, y : y + 16, x : x + 16] = 100 + 50 * place
    return sisms


def test_sisms_are_erased_in_part_faded_or_given_the_objects_of_others():
    sisms, kinds = squares(), set()
    for seed in range(50):
        worse = corrupt_sisms(np.random.default_rng(seed), sisms, 1.0)
        for one, other in zip(worse, sisms, strict=True):
            if (one >= other).all():
                kinds.add("added")
                assert {*np.unique(one)} <= {0, 100, 150, 200, 250}
            elif one.max() in (0, other.max()) and len(np.unique(one)) <= 2:
                kinds.add("erased")
                assert (one <= other).all()
            else:
                kinds.add("faded")
                assert one.max() <= 0.6 * other.max() + 1 and ((one > 0) <= (other > 0)).all()
    assert kinds == {"added", "erased", "faded"}


def test_about_the_share_that_is_asked_for_is_disturbed_and_the_input_is_left_alone():
    sisms = squares()
    kept = sisms.copy()
    worse = [corrupt_sisms(np.random.default_rng(seed), sisms, 0.3) for seed in range(100)]
    changed = sum((one != other).any() for batch in worse for one, other in zip(batch, sisms, strict=True))
    assert 60 < changed < 150
    assert np.array_equal(sisms, kept)
    assert np.array_equal(corrupt_sisms(np.random.default_rng(0), sisms, 0.0), sisms)
