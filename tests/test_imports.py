"""What importing the package loads, who may import whom, and what it offers."""

import ast
import functools
import importlib
import inspect
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import sklearn_colearn

PACKAGE = Path(sklearn_colearn.__file__).parent

# The order inside the packages of the table.
INSIDE = {
    "datasets": [
        *("downloads", "cropharvest", "forest_plots", "lfmc", "multisensor"),
        "treesatai",
    ],
    "encoders": [
        *("steps", "bands", "linear", "mlp", "tempcnn", "recurrent", "tae", "ltae"),
        *("transformer", "convtran", "inceptiontime", "resnet", "pretrained"),
        *("presto_bands", "presto", "presto_embedding"),
    ],
    "evaluation": ["reports", "scorers", "folds", "comparison"],
}


def table_of_contributing():
    """Return the modules in the order of the table of CONTRIBUTING.md."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| file in `sklearn_colearn/` |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    order = []
    for name in re.findall(r"`([\w.]+)/?`", " ".join(cells)):
        module = name.removesuffix(".py")
        order += [*(f"{module}.{inner}" for inner in INSIDE.get(module, [])), module]
    return order


# A module imports only from modules above it.
ORDER = table_of_contributing()
OPTIONAL = {
    *("matplotlib", "xarray", "dask", "distributed", "sknnr", "timm"),
    *("h5py", "pooch", "rasterio"),
    *("onnx", "onnxruntime", "onnxscript"),
}
# What only one module may import, at the top or in a function.
ONLY_IN = {
    "skorch": {"training"},
    "matplotlib": {"plotting"},
    "timm": {"encoders.pretrained"},
}


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {
    module_name(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


def is_type_checking(node):
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def imports(node, top_only=False):
    """Yield ``(module, names)`` of each import that runs, those in functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, ()
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute"
            yield child.module, tuple(alias.name for alias in child.names)
        elif isinstance(child, ast.If) and is_type_checking(child):
            for other in child.orelse:
                yield from imports(ast.Module([other], []), top_only)
        elif not (
            top_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        ):
            yield from imports(child, top_only)


def own_imports(tree):
    """Return the modules of this package that a source imports."""
    found = set()
    for module, names in imports(tree):
        if module == "sklearn_colearn":
            found |= {name if name in ORDER else "sklearn_colearn" for name in names}
            found |= set() if names else {"sklearn_colearn"}
        elif module.startswith("sklearn_colearn."):
            inner = module.removeprefix("sklearn_colearn.")
            found.add(inner)
            found |= {f"{inner}.{name}" for name in names} & set(ORDER)
    return found


@functools.cache
def tree_of(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


# The reader of imports itself


def test_reader_of_imports():
    source = """
from __future__ import annotations
import typing
from typing import TYPE_CHECKING
from sklearn_colearn import losses, ModalityDict
if TYPE_CHECKING:
    from sklearn_colearn.base import CoLearn
elif typing.TYPE_CHECKING:
    import sklearn_colearn.raster
else:
    import sklearn_colearn.network
def function():
    from sklearn_colearn.encoders import linear
"""
    tree = ast.parse(source)
    assert own_imports(tree) == {
        *("losses", "sklearn_colearn", "network", "encoders", "encoders.linear")
    }
    assert "sklearn_colearn.encoders" not in dict(imports(tree, top_only=True))


# The table


def test_every_module_has_its_place():
    assert sorted(MODULES) == sorted(ORDER)
    # All that are there today, so that the table is not held by an empty package.
    assert {"modality_dict", "encoders", "training", "estimators"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_from_modules_above(name):
    above = set(ORDER[: ORDER.index(name)])
    assert own_imports(tree_of(name)) <= above


@pytest.mark.parametrize("name", MODULES)
def test_packages_that_one_module_alone_knows(name):
    packages = {module.partition(".")[0] for module, _ in imports(tree_of(name))}
    for package, homes in ONLY_IN.items():
        assert package not in packages or name in homes, package


def test_skorch_is_known_to_training():
    assert "skorch" in {module for module, _ in imports(tree_of("training"))}


@pytest.mark.parametrize("name", MODULES)
def test_optional_packages_are_imported_where_they_are_used(name):
    at_the_top = {
        module.partition(".")[0] for module, _ in imports(tree_of(name), top_only=True)
    }
    assert not at_the_top & OPTIONAL


@pytest.mark.slow
def test_import_loads_no_optional_package():
    code = (
        "import json, sys, sklearn_colearn; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )
    assert run.returncode == 0, run.stderr
    loaded = set(json.loads(run.stdout))
    assert "sklearn_colearn" in loaded
    assert not loaded & OPTIONAL


# What the package offers


OFFERED = [
    (module.__name__, name)
    for module in [
        sklearn_colearn,
        *(importlib.import_module(f"sklearn_colearn.{name}") for name in MODULES),
    ]
    for name in getattr(module, "__all__", [])
    if not name.startswith("__") and not module.__name__.endswith("._compat")
]


def test_top_level_names():
    names = set(sklearn_colearn.__all__)
    assert len(names) == len(sklearn_colearn.__all__)
    assert names >= {
        *("CoLearnClassifier", "CoLearnRegressor", "ModalityDict", "PerModality"),
        *("evaluate_modalities", "modality_scorers", "partner_gain"),
        *("load_model", "save_model", "predict_raster"),
        *("datasets", "encoders", "losses", "plotting", "__version__"),
    }


def test_no_public_name_is_left_out():
    public = {
        name
        for name, value in vars(sklearn_colearn).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public <= set(sklearn_colearn.__all__)


def test_star_import_gives_all():
    namespace = {}
    exec("from sklearn_colearn import *", namespace)
    assert set(sklearn_colearn.__all__) <= set(namespace)


def test_version():
    release = sklearn_colearn.__version__.split(".")
    assert len(release) == 3
    assert all(part.isdigit() for part in release[:2])


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name):
    assert ast.get_docstring(tree_of(name))


@pytest.mark.parametrize(("module", "name"), OFFERED, ids=".".join)
def test_every_offered_name_has_a_docstring_of_its_own(module, name):
    value = getattr(importlib.import_module(module), name)
    if isinstance(value, dict) or module.endswith("_compat"):
        assert value  # a table such as ENCODERS has no docstring
        return
    assert value.__doc__
    if inspect.isclass(value):
        assert value.__doc__ != value.__mro__[1].__doc__


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_offers(name):
    module = importlib.import_module(f"sklearn_colearn.{name}")
    for offered in getattr(module, "__all__", []):
        assert hasattr(module, offered), offered
