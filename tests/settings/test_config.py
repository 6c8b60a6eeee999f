"""Configurations survive every spelling of them, and every wrong value is told in a sentence."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategies
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping, from_toml, to_toml
from fedtl.config_key import Rule, Scalar, kebab
from fedtl.config_keys.every import rules
from fedtl.errors import UsageError
from fedtl.kinds import KINDS
from fedtl.known_options import options_of, shipped_options

_TEXT = st.text(max_size=20)
_DEFAULTS = RunConfig().to_mapping()
_INTEGERS = [key for key, value in _DEFAULTS.items() if type(value) is int]
_FLOATS = [key for key, value in _DEFAULTS.items() if type(value) is float]
_STRINGS = [key for key, value in _DEFAULTS.items() if type(value) is str]


def _rule(key: str) -> Rule:
    return rules()[key] if key in rules() else shipped_options()[key].option.rule


def _values_of(key: str) -> st.SearchStrategy[Scalar]:
    """Return any value that the key's rule allows."""
    if key == "strategy":
        return st.sampled_from(strategies.available())
    if key == "init":
        return st.sampled_from(("none", "fed3r", "fedcgs"))
    if key in shipped_options():
        return st.just(_DEFAULTS[key])
    rule, kind = rules()[key], type(_DEFAULTS[key])
    if key == "partition":
        names = sorted(KINDS[key].shipped() - {"file"})
        return st.sampled_from(names) | _TEXT.map(lambda path: f"file:{path}")
    if key == "attack":
        return st.sampled_from(["none", *sorted(KINDS[key].shipped())])
    if key == "head":
        return st.sampled_from(sorted(KINDS[key].shipped()))
    if key == "track":  # a colon names a class, which is looked for
        return st.sampled_from(("", "tensorboard", "tensorboard, mlflow"))
    if key == "samples":
        return st.sampled_from(("auto", "none")) | st.integers(0, 100).map(str)
    if key == "grey-range":  # contradicts window
        return st.just("auto")
    if key == "window":
        pairs = st.tuples(st.integers(-2000, 2000), st.integers(1, 4000))
        return st.just("") | pairs.map(lambda pair: f"{pair[0]} {pair[1]}")
    if key == "class-names":
        return st.just("") | st.sets(st.sampled_from("abcd"), min_size=2).map(", ".join)
    if rule.choices:
        return st.sampled_from(rule.choices)
    if kind is bool:
        return st.booleans()
    if kind is str:
        return _TEXT
    if kind is int:
        assert rule.low is not None and rule.high is not None
        return st.integers(int(rule.low), int(rule.high))
    low = rule.low if rule.above is None else rule.above
    return st.floats(low, rule.high, exclude_min=rule.above is not None)


def _with_options(values: dict[str, Scalar]) -> st.SearchStrategy[dict[str, Scalar]]:
    """Return the values and any that options of their parts may have."""
    keys = ("strategy", "partition", "attack")
    own = options_of(*((key, str(values.get(key, _DEFAULTS[key]))) for key in keys))
    drawn = {
        key: st.sampled_from(option.choices)
        if option.choices
        else st.floats(max(option.low or 0.0, 1e-9), option.high)
        if option.kind is float
        else st.integers(int(option.low or 0), int(option.high or 0))
        for key, option in own.items()
    }
    return st.fixed_dictionaries({}, optional=drawn).map(lambda options: values | options)


_CONFIGS = (
    st.fixed_dictionaries({}, optional={key: _values_of(key) for key in _DEFAULTS})
    .filter(lambda values: values.get("head-init") != "zero" or "head" not in values)
    .flatmap(_with_options)
    .map(lambda values: from_mapping(values, where="a test"))
)


def _complaint(values: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as error:
        from_mapping(values, where="run.toml")
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith((".", "?"))
    return text


@settings(deadline=None)
@given(config=_CONFIGS)
def test_toml_and_mapping_lose_nothing(config: RunConfig, tmp_path_factory: Any) -> None:
    text = to_toml(config)
    assert tomllib.loads(text) == config.to_mapping()
    path = tmp_path_factory.getbasetemp() / "run.toml"
    path.write_bytes(text.encode())
    assert from_toml(path) == config
    assert from_mapping(config.to_mapping(), where="a test") == config


@settings(deadline=None)
@given(base=_CONFIGS, over=_CONFIGS, keys=st.sets(st.sampled_from(sorted(_DEFAULTS))))
def test_given_keys_replace_those_of_the_base_and_no_others(
    base: RunConfig, over: RunConfig, keys: set[str]
) -> None:
    keys -= {"head", "head-init"}
    values = {key: value for key, value in over.to_mapping().items() if key in keys}
    merged = from_mapping(values, where="a test", base=base)
    # Options of a strategy that is used no more are kept, and others' are as by default.
    expected = base.to_mapping() | values
    found = merged.to_mapping()
    assert {key: found[key] for key in rules()} == {key: expected[key] for key in rules()}
    given = {key: value for key, value in values.items() if key not in rules()}
    options = dict(base.options) | given
    unlike = {key: v for key, v in options.items() if v != shipped_options()[key].option.default}
    assert dict(merged.options) == unlike


def test_every_key_has_a_one_line_help_and_a_kebab_case_name() -> None:
    for key, rule in rules().items():
        assert rule.help.endswith(".")
        assert "\n" not in rule.help
        assert key == kebab(key) == key.lower()


def test_sections_are_whole_so_that_the_written_file_has_each_heading_once() -> None:
    text = to_toml(RunConfig(strategy="fedprox"))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    own = "Options of what is chosen above"
    sections = dict.fromkeys(rule.section for rule in rules().values())
    assert headings == [f"# {section}" for section in (*sections, own)]


def test_every_number_has_limits_that_hold() -> None:
    for key in _INTEGERS + _FLOATS:
        rule = _rule(key)
        step = 1 if key in _INTEGERS else 0.01
        assert rule.high is not None
        too_large = int(rule.high) + 1 if key in _INTEGERS else rule.high * 1.01
        assert f"{key} = {too_large} is too large" in _complaint({key: too_large})
        if rule.above is not None:
            assert f"must be above {rule.above:g}" in _complaint({key: rule.above})
            assert f"must be above {rule.above:g}" in _complaint({key: rule.above - step})
        else:
            assert rule.low is not None
            assert f"must be at least {rule.low:g}" in _complaint({key: rule.low - step})
            assert from_mapping({key: rule.low}, where="a test").to_mapping()[key] == rule.low
        assert from_mapping({key: rule.high}, where="a test").to_mapping()[key] == rule.high


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("alpha", -0.3, "alpha = -0.3 is too small: it must be above 0."),
        ("alpha", -0.0, "alpha = -0.0 is too small: it must be above 0."),
        ("clients", 0, "clients = 0 is too small: it must be at least 1."),
        ("rounds", -1, "rounds = -1 is too small: it must be at least 0."),
        ("fraction", 1.5, "fraction = 1.5 is too large: it must be at most 1."),
        ("held-out", 0.95, "held-out = 0.95 is too large: it must be at most 0.9."),
        ("learning-rate", math.nan, "learning-rate = nan is not a finite number."),
        ("alpha", math.inf, "alpha = inf is not a finite number."),
        ("engine", "rays", "did you mean 'ray'?"),
        ("engine", "thread", "one of ray, inline, debug."),
        ("head", "", "one of cosine, linear, mlp, or module:Class of your own."),
        ("partition", "dirichelt", "did you mean 'dirichlet'?"),
        ("partition", "parts.json", "file:PARTS.json, auto, or module:Class of your own."),
    ],
)
def test_values_out_of_range_are_told_with_what_would_be_right(
    key: str, value: Scalar, said: str
) -> None:
    assert said in _complaint({key: value})


@pytest.mark.parametrize("key", sorted(_DEFAULTS))
def test_values_of_another_type_are_refused(key: str) -> None:
    kind = type(_DEFAULTS[key])
    wrong: dict[type, list[object]] = {
        int: [True, 2.0, "2", [2], None],
        float: [True, "0.5", [0.5], None],
        str: [True, 1, 0.5, ["x"], None],
        bool: [0, 1, 1.0, "true", None],
    }
    if key == "samples":  # a number of pictures is as clear without quotes
        wrong[str] = [True, 0.5, ["x"], None]
    for value in wrong[kind]:
        sentence = _complaint({key: value})
        assert f"{key} = {value!r} in run.toml is of type {type(value).__name__}" in sentence
        assert f"must be of type {kind.__name__}" in sentence


@pytest.mark.parametrize("key", _FLOATS)
def test_an_integer_is_taken_where_a_float_is_wanted(key: str) -> None:
    high = _rule(key).high
    whole = 1 if high is not None and high >= 1 else 0
    value = from_mapping({key: whole}, where="a test").to_mapping()[key]
    assert type(value) is float
    assert value == whole


@pytest.mark.parametrize("key", sorted(_DEFAULTS))
def test_a_mistyped_key_brings_up_the_right_one(key: str) -> None:
    swapped = key[0] + key[2] + key[1] + key[3:]
    if swapped not in _DEFAULTS:
        expected = f"Unknown key {swapped!r} in run.toml; did you mean {key!r}?"
        assert expected in _complaint({swapped: 1})


def test_python_spelling_and_far_off_keys_are_unknown() -> None:
    assert "did you mean 'learning-rate'?" in _complaint({"learning_rate": 0.1})
    assert "did you mean" not in _complaint({"zzzzzz": 1})


def test_a_head_without_a_gradient_is_refused() -> None:
    for head in ("mlp", "cosine"):
        assert "head-init = 'seeded'" in _complaint({"head": head, "head-init": "zero"})
    assert from_mapping({"head-init": "zero"}, where="a test").head_init == "zero"


def test_changing_a_configuration_checks_it() -> None:
    with pytest.raises(UsageError, match="clients = 0"):
        RunConfig().replace(clients=0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[alpha]\nvalue = 1\n", "has a table [alpha]; keys are flat"),
        (b"[training]\nalpha = 1\n", "training"),
        (b"alpha = {value = 1}\n", "has a table [alpha]"),
        (b"alpha = 0.1\nalpha = 0.2\n", "is not valid TOML"),
        (b"alpha = \n", "is not valid TOML"),
        (b'name = "caf\xe9"\n', "cannot be read"),
        (b"alpha = nan\n", "not a finite number"),
        (b"clients = 2024-01-01\n", "is of type date"),
    ],
)
def test_a_bad_file_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        from_toml(path)
    assert said in str(error.value)
    if "finite" not in said:
        assert str(path) in str(error.value)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read: No such file"):
        from_toml(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        from_toml(tmp_path)


def test_data_follow_the_seed_unless_they_have_one_of_their_own() -> None:
    assert RunConfig(seed=3).inputs_seed == 3
    assert RunConfig(seed=3, data_seed=0).inputs_seed == 0
    assert RunConfig(seed=3, data_seed=7).inputs_seed == 7


@pytest.mark.parametrize("samples", ["101", "-1", "1.5", "some", ""])
def test_as_many_samples_as_a_page_can_hold(samples: str) -> None:
    with pytest.raises(UsageError, match=r"samples = .* none, auto or a number from 0 to 100"):
        RunConfig(samples=samples)
    assert RunConfig(samples="100").pictures == 100
