"""The API reference: every public name is in it, every documented default is true."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import sklearn_colearn

REFERENCE = Path(__file__).parents[1] / "docs" / "api.rst"
#: The modules whose names users import.
PUBLIC = [
    "sklearn_colearn",
    *(f"sklearn_colearn.{name}" for name in ("datasets", "encoders", "losses")),
    *(f"sklearn_colearn.{name}" for name in ("plotting", "evaluation", "prediction")),
]
#: Tables and texts, which have no page of their own.
NO_PAGE = {"ENCODERS", "TASK_LOSSES", "ALL", "ALONE", "__version__"}


def offered():
    """Yield the full name and the object of every public class and function."""
    seen = set()
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and value not in seen:
                seen.add(value)
                yield f"{module.__name__}.{name}", value


def callables():
    """Yield those and the public methods that the package defines."""
    for name, value in offered():
        yield name, value
        if inspect.isclass(value):
            for method, function in inspect.getmembers(value, inspect.isfunction):
                ours = function.__module__.startswith("sklearn_colearn")
                # forward takes what the Shape section of the class says, and a dict's
                # methods what a dict's take.
                known = method == "forward" or hasattr(dict, method)
                if ours and not method.startswith("_") and not known:
                    yield f"{name}.{method}", function


def documented(text):
    """Return what the section of parameters says of each."""
    section = re.search(
        r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)",
        text,
        re.DOTALL | re.MULTILINE,
    )
    entry = r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: : (.*))?$"
    found = re.findall(entry, section[1], re.MULTILINE) if section else []
    return {
        name.strip("* "): kind for names, kind in found for name in names.split(",")
    }


def true_default(text, default):
    """Whether a documented default is the one in the signature."""
    if inspect.isclass(default):
        return text == f"{default.__module__}.{default.__name__}"
    return ast.literal_eval(text) == default


CALLABLES = dict(callables())


def test_reader_of_parameters():
    text = inspect.cleandoc("""Do it.

    Parameters
    ----------
    a, b : int, default=3
        Two.
    c
        As elsewhere.

    Returns
    -------
    d : int
    """)
    assert documented(text) == {"a": "int, default=3", "b": "int, default=3", "c": ""}
    assert true_default("3", 3)
    assert true_default("'auto'", "auto")
    assert not true_default("4", 3)
    assert true_default("builtins.int", int)


def test_every_public_name_has_a_page():
    page = REFERENCE.read_text(encoding="utf-8")
    listed = re.findall(r"^   ([\w.]+)$", page, re.MULTILINE)
    assert len(listed) == len(set(listed))
    pages = {name.rpartition(".")[2] for name in listed}
    names = {name.rpartition(".")[2] for name, _ in offered()} | {
        name
        for name in sklearn_colearn.__all__
        if not inspect.ismodule(getattr(sklearn_colearn, name))
    }
    assert names - pages == NO_PAGE & names


@pytest.mark.parametrize("name", ["CoLearnClassifier", "CoLearnRegressor"])
def test_estimators_document_their_parameters_in_order(name):
    estimator = getattr(sklearn_colearn, name)
    said = documented(inspect.cleandoc(estimator.__doc__))
    assert list(said) == list(inspect.signature(estimator).parameters)


@pytest.mark.parametrize("name", CALLABLES)
def test_parameters_and_defaults_are_documented_as_they_are(name):
    value = CALLABLES[name]
    assert value.__doc__
    text = inspect.cleandoc(value.__doc__)
    parameters = dict(inspect.signature(value).parameters)
    for name in ("self", "args", "kwargs"):  # of protocols
        parameters.pop(name, None)
    referred = re.search(r"^Parameters,? .*are those of :class:`(\w+)`", text, re.M)
    if referred:
        parent = value.__mro__[1]
        assert referred[1] == parent.__name__
        assert value.__init__ is parent.__init__
        return
    said = documented(text)
    assert set(said) == set(parameters)
    for parameter, kind in said.items():
        default = parameters[parameter].default
        stated = re.search(r"default=(.*)$", kind)
        if stated:
            assert true_default(stated[1], default), parameter
        elif default is not inspect.Parameter.empty and kind:
            assert default is None, parameter
            assert kind.endswith(("optional", "ignored")), parameter
