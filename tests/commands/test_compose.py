"""What the words of a command line become, and what is said of words that cannot be used."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from diffusion_controller.commands.compose import compose_config, expand_positional
from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.help import command_help, comments_of_keys
from diffusion_controller.commands.table import Command

COMMAND = Command(("bake",), "bake a cake", "dpc bake flour.zip steps=10", positional="data")

FILES = {
    "__init__.py": "",
    "bake.yaml": """
defaults:
  - _self_
  - oven: gas
  - recipe: null
data: ???  # what goes in
out: null
# how long
# it takes
steps: 100
dough:
  rest: 1e-3  # in [h]
  layers: [1, 2]
name: plain
warm: false
""",
    "oven/gas.yaml": "flame: 3  # of nine\n",
    "oven/wood.yaml": "flame: 9\n",
    "recipe/bread.yaml": "# @package _global_\nsteps: 7  # fewer\ngrain: wheat  # ground\n",
    "recipe/rye.yaml": """# @package _global_
defaults:
  - bread
  - override /oven: wood
  - _self_
crust: dark  # as it should be
""",
}

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("configs") / "sample_configs"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder.parent)
        __import__(folder.name)
    return folder.name


@pytest.fixture
def composed(module: str) -> Compose:
    return lambda *words: compose_config(COMMAND, words, config_module=module)


def test_values_that_are_not_given_keep_their_defaults(composed: Compose) -> None:
    assert OmegaConf.to_container(composed("data=d")) == {
        "oven": {"flame": 3},
        "data": "d",
        "out": None,
        "steps": 100,
        "dough": {"rest": 0.001, "layers": [1, 2]},
        "name": "plain",
        "warm": False,
    }


@pytest.mark.parametrize(
    "word", ["d", "a b/c=d'e", "https://host/file.zip?v=1", "/tmp/it's here", "s3://a:b/c"]
)
def test_a_first_word_that_is_no_override_is_the_positional_key(
    composed: Compose, word: str
) -> None:
    assert composed(word, "steps=3").data == word


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("steps=1e5", "steps", 100_000),
        ("dough.rest=1", "dough.rest", 1.0),
        ("name=007", "name", "007"),
        ("name=1.10", "name", "1.10"),
        ("steps=null", "steps", None),
        ("out=here", "out", "here"),
        ("oven=wood", "oven.flame", 9),
        ("recipe=bread", "steps", 7),
        ("+recipe.salt=1", "recipe.salt", 1),
    ],
)
def test_an_override_has_the_type_of_the_default(
    composed: Compose, override: str, key: str, value: object
) -> None:
    found = OmegaConf.select(composed("d", override), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "dpc bake needs data=VALUE; for instance: dpc bake flour.zip steps=10"),
        (["d", "step=3"], "dpc bake has no key 'step'; did you mean steps?"),
        (["d", "rest=3"], "dpc bake has no key 'rest'; did you mean dough.rest?"),
        (["d", "dough.lair=3"], "dpc bake has no key 'dough.lair'; did you mean"),
        (["d", "ovn=wood"], "dpc bake has no key 'ovn'; did you mean oven?"),
        (["d", "zzz=3"], "has no key 'zzz'; valid keys are data, dough,"),
        (["d", "oven=coal"], "oven=coal: there is no such choice; valid are gas, wood"),
        (["d", "steps=abc"], "steps=abc is a text, expected an integer such as 100"),
        (["d", "steps=1.5"], "steps=1.5 is a number, expected an integer such as 100"),
        (["d", "steps=true"], "steps=true is true or false, expected an integer such as 100"),
        (["d", "warm=1"], "warm=1 is an integer, expected true or false such as false"),
        (["d", "dough.layers=3"], "is an integer, expected a list such as [1, 2]"),
        (["d", "dough=3"], "dough=3 is an integer, expected a group of keys such as"),
        (["d", "steps=[1"], "cannot read 'steps=[1' as key=value; special characters need quotes"),
        (["d", "steps=1,2"], "'steps=1,2' gives several values at once"),
        (["d", "e"], "cannot use the word 'e'; write key=value, see: dpc bake --help"),
        (["d", "--steps", "3"], "unknown option '--steps'; options are written steps=VALUE"),
        (["d", "name=${nowhere}"], "Interpolation key 'nowhere' not found"),
        (["d", "~nowhere"], "dpc bake has no key 'nowhere'"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    composed: Compose, words: Sequence[str], message: str
) -> None:
    with pytest.raises(CommandError) as caught:
        composed(*words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_command_without_a_positional_key_takes_no_bare_word() -> None:
    command = Command(("bake",), "bake", "dpc bake")
    with pytest.raises(CommandError, match="cannot use the word 'd'"):
        expand_positional(command, ["d"])


def test_composing_leaves_no_working_folder_and_no_logging_behind(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    composed("d")
    assert list(tmp_path.iterdir()) == []
    assert Path.cwd() == tmp_path


def test_help_shows_each_key_with_its_value_and_comment(module: str) -> None:
    lines = command_help(COMMAND, ["recipe=bread"], config_module=module).splitlines()
    shown = [" ".join(line.split()) for line in lines]
    assert "dpc bake: bake a cake" in shown
    assert "data=VALUE (required) what goes in" in shown
    assert "dough.rest=0.001 in [h]" in shown
    assert "steps=7 how long it takes" in shown
    assert "oven.flame=3 of nine" in shown
    assert "oven=gas one of gas, wood" in shown
    assert "warm=false" in shown
    assert max(map(len, lines)) <= 100


def test_a_choice_that_builds_on_another_shows_the_comments_of_both(module: str) -> None:
    lines = command_help(COMMAND, ["recipe=rye"], config_module=module).splitlines()
    shown = [" ".join(line.split()) for line in lines]
    assert "crust=dark as it should be" in shown
    assert "grain=wheat ground" in shown
    assert "oven.flame=9" in shown


def test_a_comment_belongs_to_the_key_on_its_line_or_below_it() -> None:
    text = "a: 1  # one\n# two\nb:\n  c: '#x'  # three\n\n# of nobody\n\nd: {e: 1}\n"
    assert comments_of_keys(text) == {"a": "one", "b": "two", "b.c": "three"}
