from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from diffusion_controller.data import ReplayBuffer, StoreFormatError, StoreNotFoundError
from diffusion_controller.data.defects import Defect
from diffusion_controller.data.validate import validate_buffer

# Episodes of 7, 1, 12 and 5 steps: steps 0-6, 7, 8-19 and 20-24.


def array(path: Path, name: str) -> zarr.Array[Any]:
    return zarr.open_array(path / name)


def the_only(defects: list[Defect]) -> Defect:
    assert len(defects) == 1, defects
    return defects[0]


def test_a_sound_buffer_has_no_defects(buffer_path: Path) -> None:
    assert validate_buffer(buffer_path) == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_placed(buffer_path: Path, wrong: float) -> None:
    array(buffer_path, "data/state")[10, 3] = wrong
    array(buffer_path, "data/state")[12] = wrong
    array(buffer_path, "data/state")[22, 0] = wrong
    defects = validate_buffer(buffer_path)
    assert [(d.severity, d.array, d.episode, d.index) for d in defects] == [
        ("error", "data/state", 2, 2),
        ("error", "data/state", 3, 2),
    ]
    assert defects[0].message == "2 steps hold NaN or infinity; expected finite numbers"


@pytest.mark.parametrize("value", [7, 3, -2])
def test_ends_that_do_not_increase_are_placed(buffer_path: Path, value: int) -> None:
    array(buffer_path, "meta/episode_ends")[1] = value
    defect = the_only(validate_buffer(buffer_path))
    assert (defect.severity, defect.array, defect.episode) == ("error", "meta/episode_ends", 1)
    assert defect.message == f"ends at {value} after 7; expected ends that increase"


def test_other_defects_are_found_though_the_ends_are_wrong(buffer_path: Path) -> None:
    array(buffer_path, "meta/episode_ends")[1] = 7
    array(buffer_path, "data/state")[10, 3] = np.nan
    defects = validate_buffer(buffer_path)
    assert [(d.array, d.episode, d.index) for d in defects] == [
        ("meta/episode_ends", 1, None),
        ("data/state", None, 10),
    ]


def test_an_array_that_is_too_short_is_an_error(buffer_path: Path) -> None:
    array(buffer_path, "data/state").resize((20, 5))
    defect = the_only(validate_buffer(buffer_path))
    assert (defect.severity, defect.array, defect.index) == ("error", "data/state", 20)
    assert "has 20 steps but meta/episode_ends ends at 25" in defect.message


def test_arrays_of_unequal_length_are_named(buffer_path: Path) -> None:
    array(buffer_path, "data/action").append(np.ones((3, 2), "f4"))
    defects = validate_buffer(buffer_path)
    assert [(d.severity, d.array, d.index) for d in defects] == [
        ("warning", "data/img", 25),
        ("warning", "data/state", 25),
    ]
    assert "has 25 steps where another array has 28" in defects[0].message


def test_an_unfinished_episode_is_a_warning(buffer_path: Path) -> None:
    array(buffer_path, "meta/episode_ends").resize((3,))
    defect = the_only(validate_buffer(buffer_path))
    assert (defect.severity, defect.array) == ("warning", "meta/episode_ends")
    assert "was never finished" in defect.message


def test_a_missing_chunk_that_zarr_reads_as_zeros_is_placed(buffer_path: Path) -> None:
    (buffer_path / "data" / "state" / "c.1.0").unlink()
    assert not np.any(array(buffer_path, "data/state")[8:16])
    errors = [d for d in validate_buffer(buffer_path) if d.severity == "error"]
    defect = the_only(errors)
    assert (defect.array, defect.episode, defect.index) == ("data/state", 2, 0)
    assert "the chunk of steps 8 to 15 is missing and would be read as 0.0" in defect.message


def test_a_missing_chunk_of_the_published_layout_is_placed(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "v2", zarr_format=2)
    values = np.random.default_rng(0).normal(size=(20, 2)).astype("f4")
    data = group.create_array("data/action", shape=(20, 2), dtype="f4", chunks=(6, 2))
    data[:] = values
    group.create_array("meta/episode_ends", shape=(2,), dtype="i8", chunks=(4,))[:] = [8, 20]
    assert validate_buffer(tmp_path / "v2") == []
    (tmp_path / "v2" / "data" / "action" / "1.0").unlink()
    errors = [d for d in validate_buffer(tmp_path / "v2") if d.severity == "error"]
    defect = the_only(errors)
    assert (defect.episode, defect.index) == (0, 6)
    assert "steps 6 to 11, up to episode 1 is missing" in defect.message


@pytest.mark.parametrize("damage", ["flipped bit", "cut off", "empty"])
def test_a_damaged_chunk_is_placed(buffer_path: Path, damage: str) -> None:
    chunk = buffer_path / "data" / "img" / "c.3.0.0.0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 16
    ends = {"flipped bit": None, "cut off": -20, "empty": 0}
    chunk.write_bytes(content[: ends[damage]])
    defect = the_only(validate_buffer(buffer_path))
    assert (defect.severity, defect.array) == ("error", "data/img")
    assert (defect.episode, defect.index) == (2, 4)
    assert "the chunk of steps 12 to 15 cannot be decoded" in defect.message


def test_constant_channels_are_named(buffer_path: Path) -> None:
    array(buffer_path, "data/state")[:, 1] = 3.5
    array(buffer_path, "data/state")[:, 4] = -1
    defect = the_only(validate_buffer(buffer_path))
    assert (defect.severity, defect.array, defect.episode) == ("warning", "data/state", None)
    assert "channels [1, 4] are constant at [3.5, -1.0]" in defect.message


def test_actions_out_of_range_are_placed(buffer_path: Path) -> None:
    array(buffer_path, "data/action")[:] = np.random.default_rng(0).uniform(0, 512, (25, 2))
    assert validate_buffer(buffer_path, action_range=(0, 512)) == []
    array(buffer_path, "data/action")[21, 1] = -0.5
    array(buffer_path, "data/action")[23, 0] = 513
    defect = the_only(validate_buffer(buffer_path, action_range=(0, 512)))
    assert (defect.severity, defect.episode, defect.index) == ("error", 3, 1)
    assert defect.message.startswith("2 actions are out of range, the first being [")
    zarr.open_group(buffer_path, mode="r+").update_attributes({"action_range": [0, 512]})
    assert validate_buffer(buffer_path) == [defect]


def times_of(lengths: tuple[int, ...]) -> NDArray[np.float64]:
    return np.concatenate([5.0 + 0.1 * np.arange(length) for length in lengths])


@pytest.mark.parametrize("name", ["time", "timestamp"])
def test_times_that_jump_or_fall_are_placed(buffer_path: Path, name: str) -> None:
    times = times_of((7, 1, 12, 5))
    group = zarr.open_group(buffer_path, mode="r+")
    stored = group.create_array(f"data/{name}", shape=(25,), dtype="f8", chunks=(25,))
    stored[:] = times
    assert validate_buffer(buffer_path) == []  # the clock may start anew with each episode
    times[11:20] += 0.2
    times[23] = times[22]
    stored[:] = times
    error, *warnings = validate_buffer(buffer_path)
    assert (error.severity, error.array, error.episode, error.index) == (
        "error",
        f"data/{name}",
        3,
        3,
    )
    assert "time advances by 0 s; expected it to rise" in error.message
    assert [(d.severity, d.episode, d.index) for d in warnings] == [
        ("warning", 2, 3),
        ("warning", 3, 4),
    ]
    assert "time jumps by 0.3 s; expected about 0.1 s" in warnings[0].message


def test_idle_steps_are_placed(buffer_path: Path) -> None:
    for name in ("data/action", "data/state"):
        stored = array(buffer_path, name)
        stored[13:18] = np.tile(stored[13], (5, 1))
    defect = the_only(validate_buffer(buffer_path))
    assert (defect.severity, defect.episode, defect.index) == ("warning", 2, 5)
    assert defect.message.startswith("5 steps are idle: neither action nor state changes")
    assert validate_buffer(buffer_path, idle_steps=6) == []


def test_a_robot_that_moves_under_a_still_action_is_not_idle(buffer_path: Path) -> None:
    stored = array(buffer_path, "data/action")
    stored[13:18] = np.tile(stored[13], (5, 1))
    assert validate_buffer(buffer_path) == []


def test_being_idle_does_not_reach_across_episodes(buffer_path: Path) -> None:
    for name in ("data/action", "data/state"):
        stored = array(buffer_path, name)
        stored[17:23] = np.tile(stored[17], (6, 1))
    assert validate_buffer(buffer_path, idle_steps=4) == []
    assert len(validate_buffer(buffer_path, idle_steps=3)) == 2


def test_errors_come_before_warnings(buffer_path: Path) -> None:
    array(buffer_path, "data/action")[:, 1] = 0
    array(buffer_path, "data/state")[3, 0] = np.nan
    assert [d.severity for d in validate_buffer(buffer_path)] == ["error", "warning"]


def test_float_images_that_uint8_cannot_hold_are_placed(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "float", zarr_format=2)
    images = np.random.default_rng(0).integers(0, 256, (9, 2, 2, 3)).astype("f4")
    images[5, 0, 0, 0] = 0.25
    group.create_array("data/img", shape=images.shape, dtype="f4", chunks=(2, 2, 2, 3))[:] = images
    group.create_array("meta/episode_ends", shape=(2,), dtype="i8", chunks=(4,))[:] = [4, 9]
    defect = the_only(validate_buffer(tmp_path / "float"))
    assert (defect.severity, defect.array, defect.episode, defect.index) == (
        "error",
        "data/img",
        1,
        1,
    )


def test_a_defect_reads_as_one_line_and_as_json() -> None:
    defect = Defect("error", 3, 7, "data/action", "something is wrong")
    assert str(defect) == "error: data/action episode 3 step 7: something is wrong"
    assert Defect(**defect.to_json()) == defect
    assert str(Defect("warning", None, None, "data/x", "odd")) == "warning: data/x: odd"


def test_an_empty_buffer_is_a_warning(tmp_path: Path, specs: dict[str, Any]) -> None:
    ReplayBuffer.create(tmp_path / "empty.zarr", specs)
    assert the_only(validate_buffer(tmp_path / "empty.zarr")).severity == "warning"


def test_what_is_no_buffer_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="there is no replay buffer"):
        validate_buffer(tmp_path / "none.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreFormatError, match="holds no replay buffer"):
        validate_buffer(tmp_path / "folder")
