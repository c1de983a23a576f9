"""Names to roles."""

import enum

import pytest
import tensorflow as tf

from simclr_tf.models.roles import Role
from simclr_tf.optimizers.lars import EXCLUDED_ROLES
from simclr_tf.optimizers.role_lookup import (
    KNOWN_ROLES,
    find_roles,
    normalize_roles,
    role_name,
)


class SomeRole(str, enum.Enum):
    """A string enum, as the model package may use."""

    BATCH_NORM = "batch_norm"


def test_role_name():
    assert role_name("bias") == "bias"
    assert type(role_name(SomeRole.BATCH_NORM)) is str
    assert role_name(SomeRole.BATCH_NORM) == "batch_norm"


def test_unknown_role_is_refused():
    with pytest.raises(ValueError, match=r"role must be one of kernel.*Received: 'gamma'"):
        role_name("gamma")


def test_roles_of_the_models_are_understood():
    assert {role_name(role) for role in Role} == set(KNOWN_ROLES)
    assert {role_name(role) for role in Role if role is not Role.KERNEL} == set(EXCLUDED_ROLES)


def test_normalize_roles():
    assert normalize_roles(None) is None
    assert normalize_roles({"a:0": SomeRole.BATCH_NORM, "b/c": "bias"}) == {
        "a": "batch_norm",
        "b/c": "bias",
    }


def test_find_roles_keeps_the_order_of_the_variables():
    variables = [tf.Variable(0.0, name=name) for name in ("b", "a")]
    assert find_roles(variables, {"a": "bias", "b": "kernel", "unused": "bias"}) == [
        "kernel",
        "bias",
    ]


def test_missing_role_is_named():
    with pytest.raises(ValueError, match=r"must have a role.*\['lost'\]"):
        find_roles([tf.Variable(0.0, name="lost")], {"a": "bias"})


def test_ambiguous_name_is_refused():
    with pytest.raises(ValueError, match=r"unique.*\['same'\]"):
        find_roles([tf.Variable(0.0, name="same") for _ in range(2)], {"same": "bias"})
