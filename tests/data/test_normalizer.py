import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from diffusion_controller.data import ConstantChannelError, Mode, Normalizer, NormalizerError

VALUES = np.random.default_rng(0).uniform(-300, 700, (200, 3, 2)).astype("f4")
MODES: list[Mode] = ["min_max", "gaussian", "identity"]


def fit(values: NDArray[Any], mode: Mode) -> Normalizer:
    return Normalizer.fit({"x": values}, {"x": mode})


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=40, deadline=None)
@given(values=arrays(np.float32, (5, 3, 2), elements=st.floats(-1000, 1000, width=32)))
def test_denormalize_inverts_normalize(mode: Mode, values: NDArray[np.float32]) -> None:
    normalizer = fit(VALUES, mode)
    back = normalizer.denormalize("x", normalizer.normalize("x", values))
    np.testing.assert_allclose(back, values, rtol=1e-5, atol=1e-3)
    assert back.dtype == np.float32


def test_min_max_maps_the_extremes_of_each_channel_to_plus_and_minus_one() -> None:
    normalized = fit(VALUES, "min_max").normalize("x", VALUES)
    np.testing.assert_allclose(normalized.min(axis=0), -1, atol=1e-6)
    np.testing.assert_allclose(normalized.max(axis=0), 1, atol=1e-6)


def test_gaussian_gives_each_channel_mean_zero_and_variance_one() -> None:
    normalized = fit(VALUES, "gaussian").normalize("x", VALUES).astype("f8")
    np.testing.assert_allclose(normalized.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(normalized.var(axis=0), 1, atol=1e-5)


def test_identity_changes_nothing() -> None:
    np.testing.assert_array_equal(fit(VALUES, "identity").normalize("x", VALUES), VALUES)


@pytest.mark.parametrize("mode", MODES[:2])
def test_the_unit_of_measurement_does_not_matter(mode: Mode) -> None:
    in_metres, in_feet = VALUES, VALUES * 3.28084 + 12
    np.testing.assert_allclose(
        fit(in_metres, mode).normalize("x", in_metres),
        fit(in_feet, mode).normalize("x", in_feet),
        atol=1e-5,
    )


def test_an_explicit_range_needs_no_values() -> None:
    normalizer = Normalizer.fit(
        {}, {"x": "min_max", "y": "min_max"}, {"x": (0, 512), "y": ([0, -1], [512, 1])}
    )
    np.testing.assert_array_equal(
        normalizer.normalize("x", [[0, 256], [512, 384]]), [[-1, 0], [1, 0.5]]
    )
    np.testing.assert_array_equal(normalizer.normalize("y", [128, 0.5]), [-0.5, 0.5])


@pytest.mark.parametrize("mode", MODES[:2])
def test_constant_channels_are_refused_with_a_way_out(mode: Mode) -> None:
    values = VALUES.reshape(200, 6).copy()
    values[:, [1, 4]] = [3.5, -2]
    with pytest.raises(ConstantChannelError) as refusal:
        fit(values, mode)
    assert str(refusal.value) == (
        "channels [1, 4] of 'x' are constant at [3.5, -2.0]; "
        "drop them from the specification or give their range explicitly"
    )


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ConstantChannelError, match=r"channels \[1\] of 'x'"):
        Normalizer.fit({}, {"x": "min_max"}, {"x": ([0, 5], [1, 5])})


@pytest.mark.parametrize("mode", MODES)
def test_saving_and_loading_gives_the_same_bits(tmp_path: Path, mode: Mode) -> None:
    normalizer = fit(VALUES, mode)
    normalizer.save(tmp_path / "normalizer.json")
    loaded = Normalizer.load(tmp_path / "normalizer.json")
    np.testing.assert_array_equal(loaded.channels["x"].scale, normalizer.channels["x"].scale)
    np.testing.assert_array_equal(loaded.channels["x"].offset, normalizer.channels["x"].offset)
    assert loaded.channels["x"].mode == mode
    assert loaded.to_json() == normalizer.to_json()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(wrong: float) -> None:
    values = VALUES.copy()
    values[3, 1, 1] = wrong
    with pytest.raises(NormalizerError, match="1 are not finite"):
        fit(values, "min_max")


def test_a_key_without_values_is_answered_with_those_found() -> None:
    with pytest.raises(NormalizerError, match="no values of 'z' to fit; found x"):
        Normalizer.fit({"x": VALUES}, {"z": "min_max"})
    with pytest.raises(NormalizerError, match="no key 'z'; it has x"):
        fit(VALUES, "min_max").normalize("z", VALUES)


def test_a_range_for_a_key_that_does_not_use_it_is_refused() -> None:
    with pytest.raises(NormalizerError, match=r"ranges are given for \['x'\]"):
        Normalizer.fit({"x": VALUES}, {"x": "gaussian"}, {"x": (0, 1)})


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        '{"format": 2, "channels": {}}',
        '{"format": 1}',
        '{"format": 1, "channels": {"x": {"mode": "min_max", "scale": [1]}}}',
        '{"format": 1, "channels": {"x": {"mode": "log", "scale": [1], "offset": [0]}}}',
        '{"format": 1, "channels": {"x": {"mode": "min_max", "scale": [0], "offset": [0]}}}',
        '{"format": 1, "channels": {"x": {"mode": "min_max", "scale": [1], "offset": [0, 1]}}}',
        '{"format": 1, "channels": {"x": {"mode": "min_max", "scale": [NaN], "offset": [0]}}}',
        '{"format": 1, "channels": {"x": {"mode": "min_max", "scale": ["a"], "offset": [0]}}}',
    ],
)
def test_a_file_that_is_no_normalizer_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "normalizer.json"
    path.write_text(content)
    with pytest.raises(NormalizerError, match=r"cannot be read as a normalizer") as refusal:
        Normalizer.load(path)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NormalizerError, match="No such file"):
        Normalizer.load(tmp_path / "none.json")


def test_the_json_is_plain(tmp_path: Path) -> None:
    fit(VALUES[:, 0], "min_max").save(tmp_path / "normalizer.json")
    content = json.loads((tmp_path / "normalizer.json").read_text())
    assert content["channels"]["x"]["mode"] == "min_max"
    assert len(content["channels"]["x"]["scale"]) == 2
