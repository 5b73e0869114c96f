import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion_controller.data import NotEnoughEpisodesError, split_episodes


@given(
    num_episodes=st.integers(2, 300), fraction=st.floats(0, 0.99), seed=st.integers(0, 2**32 - 1)
)
def test_a_split_is_a_partition(num_episodes: int, fraction: float, seed: int) -> None:
    split = split_episodes(num_episodes, validation_fraction=fraction, seed=seed)
    assert sorted(split.train + split.validation) == list(range(num_episodes))
    assert list(split.train) == sorted(split.train)
    assert split.train
    assert bool(split.validation) == (fraction > 0)


@given(small=st.integers(1, 90), large=st.integers(90, 185), seed=st.integers(0, 1000))
def test_fewer_training_episodes_are_a_subset_of_more(small: int, large: int, seed: int) -> None:
    fewer, more = (
        split_episodes(206, validation_fraction=0.1, max_train_episodes=number, seed=seed)
        for number in (small, large)
    )
    assert len(fewer.train) == small
    assert set(fewer.train) <= set(more.train)
    assert fewer.validation == more.validation


def test_the_seed_decides() -> None:
    first, again, other = (
        split_episodes(206, validation_fraction=0.02, seed=seed) for seed in (42, 42, 43)
    )
    assert first == again
    assert first != other
    assert len(first.validation) == 4


@pytest.mark.parametrize("wanted", [0, -1, 203, 1000])
def test_more_episodes_than_there_are_is_an_error(wanted: int) -> None:
    with pytest.raises(NotEnoughEpisodesError, match=r"4 are kept .* expected 1 to 202"):
        split_episodes(206, validation_fraction=0.02, max_train_episodes=wanted, seed=0)


@pytest.mark.parametrize(("num_episodes", "fraction"), [(0, 0.0), (1, 0.1)])
def test_a_store_too_small_to_train_on_is_an_error(num_episodes: int, fraction: float) -> None:
    with pytest.raises(NotEnoughEpisodesError, match="leaves none to train on"):
        split_episodes(num_episodes, validation_fraction=fraction, seed=0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(NotEnoughEpisodesError, match="expected at least 0 and below 1"):
        split_episodes(10, validation_fraction=fraction, seed=0)
