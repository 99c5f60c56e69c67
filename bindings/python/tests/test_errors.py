"""The exceptions: one hierarchy, which callers of the standard library's know as well."""

import copy
import pickle

import pytest

import bizra


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InvalidInput", ValueError),
        ("GateRejected", RuntimeError),
        ("Unavailable", RuntimeError),
        ("NotFound", LookupError),
        ("Forbidden", PermissionError),
        ("StorageError", OSError),
        ("Timeout", TimeoutError),
        ("InternalError", RuntimeError),
    ],
)
def test_each_family_is_also_the_builtin_that_callers_expect(name, builtin):
    family = getattr(bizra, name)
    assert issubclass(family, bizra.BizraError)
    assert issubclass(family, builtin)
    error = family("why", "CODE", {"a": 1})
    assert (str(error), error.code, error.details) == ("why", "CODE", {"a": 1})
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is family
        assert (str(again), again.code, again.details) == ("why", "CODE", {"a": 1})
    assert family("why").code.isupper()
    assert family("why").details is None
    assert family.__module__ == "bizra"
