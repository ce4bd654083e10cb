"""The exception tree is the one that its module draws."""

import inspect
import pickle
import re

import numpy as np
import pytest

from compass_ops import errors
from compass_ops.errors import CompassError, ConflictError, DataFault, NoVectorError, RegistryError

DRAWN = re.compile(r"^    (?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+)", re.MULTILINE)


def drawn_parents() -> dict[str, str]:
    """Return {class: parent} as the docstring draws it, four columns to a level."""
    parents: dict[str, str] = {}
    line_of_ancestors: list[str] = []
    for match in DRAWN.finditer(inspect.getdoc(errors) or ""):
        level, name = len(match["indent"]) // 4, match["name"]
        line_of_ancestors[level:] = [name]
        parents[name] = line_of_ancestors[level - 1] if level else "Exception"
    return parents


def test_the_tree_is_as_drawn() -> None:
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    assert drawn_parents() == {name: kind.__bases__[0].__name__ for name, kind in classes.items()}
    assert all(len(kind.__bases__) == 1 for kind in classes.values())


def test_every_error_says_what_it_is_for() -> None:
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        assert vars(kind).get("__doc__"), f"{name} has no docstring"


def test_one_except_clause_catches_all() -> None:
    assert all(issubclass(kind, CompassError) for _, kind in inspect.getmembers(errors, inspect.isclass))
    assert issubclass(ConflictError, RegistryError)
    assert not issubclass(CompassError, OSError | ValueError)


@pytest.mark.parametrize("error", [DataFault("sw", "no own rows."), NoVectorError("none", np.ones((1, 2), np.float32))])
def test_errors_of_more_than_a_message_survive_a_worker_s_way_home(error: CompassError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
    assert vars(again).keys() == vars(error).keys()


def test_a_data_fault_names_its_language() -> None:
    fault = DataFault("sw", "no target rows. Add some.")
    assert (fault.language, fault.reason, str(fault)) == (
        "sw",
        "no target rows. Add some.",
        "sw: no target rows. Add some.",
    )
