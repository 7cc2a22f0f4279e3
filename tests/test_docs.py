"""The pages of the documentation: their code runs as written, their links hold."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from skorch import NeuralNet

import sklearn_colearn
from sklearn_colearn import distillation
from sklearn_colearn.encoders import ENCODERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
#: Packages of the extras that a page says it needs.
NEEDS = {
    "map.md": ("dask", "matplotlib", "rioxarray", "xarray"),
    "deploy.md": ("onnx", "onnxruntime", "onnxscript"),
    "data.md": ("xarray",),
    "getting_started.md": ("matplotlib", "xarray"),
    "evaluating.md": ("matplotlib", "verde"),
    "scikit_learn.md": ("matplotlib", "optuna"),
    "pairs.md": ("xarray",),
}
#: Warnings of other packages.
FORGIVEN = {
    # rasterio's, of another version of affine
    "map.md": ["ignore:Use `@` matmul:PendingDeprecationWarning"],
}


def code(page):
    """Return the blocks of Python of a page."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def links(page):
    """Return where a page's links into the repository lead."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"\]\((?!https?://|#)([^)#]+)", text)


def by_name(page):
    return page.name


every_page = pytest.mark.parametrize("page", PAGES, ids=by_name)


@every_page
def test_nothing_is_left_to_fill_in(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall("@@|TODO|XXX|lorem ipsum", text)


@every_page
def test_every_link_into_the_repository_leads_somewhere(page):
    for link in links(page):
        assert (page.parent / link).exists(), link


def test_badges_are_true():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    badges = dict(
        re.findall(
            r"img\.shields\.io/badge/(\w+)-(.+)-\w+\)", PAGES[0].read_text("utf-8")
        )
    )
    assert badges == {
        "python": project["requires-python"].removeprefix(">=") + "%2B",
        "license": project["license"].replace("-", "--"),
        "version": sklearn_colearn.__version__,
    }


def test_the_readme_leads_to_every_guide():
    guides = {page.name for page in PAGES[1:]} - {
        "changelog.md",
        "guides.md",
        "index.md",
    }
    assert guides <= {Path(link).name for link in links(PAGES[0])}


def test_readers_of_pages_find_something():
    assert len(links(PAGES[0])) > 3
    assert sum(len(code(page)) for page in PAGES) > 20


def with_filters(page):
    marks = [pytest.mark.filterwarnings(text) for text in FORGIVEN.get(page.name, ())]
    return pytest.param(page, marks=marks, id=page.name)


#: Epochs of the pages whose answers are looked at; two are enough to run the others.
EPOCHS = {"map.md": 8}


@pytest.fixture
def short_training(monkeypatch, page):
    """Train each network of a page for few epochs."""
    init, limit = NeuralNet.__init__, EPOCHS.get(page.name, 2)

    def limited(self, *args, max_epochs=10, **kwargs):
        init(self, *args, max_epochs=min(max_epochs, limit), **kwargs)

    monkeypatch.setattr(NeuralNet, "__init__", limited)
    monkeypatch.setattr(distillation, "N_STEPS", 50)


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("page", [with_filters(page) for page in PAGES if code(page)])
def test_code_runs_as_written(page, tmp_path, monkeypatch):
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)  # the code writes files
    made = {"__name__": "page"}
    for block in code(page):
        exec(compile(block, str(page), "exec"), made)
    if page.name in CHECKS:
        CHECKS[page.name](made, tmp_path)


def check_readme(made, folder):
    assert set(made["search"].best_params_) == {"contrastive_weight"}


def check_map(made, folder):
    truth = made["names"][made["y"][400:]].reshape(40, 50)
    for result in (made["land_cover"], made["both"]):
        assert result.attrs["flag_meanings"] == "crops forest grass"
        right = made["names"][result.values] == truth
        assert right.mean() > 0.45  # a third is what guessing gives
    assert made["land_cover"].dims == ("y", "x")
    assert (folder / "land_cover.tif").exists()
    for found in (made["accuracy"], made["with_optical"]):
        assert found.overall["estimate"] > 0.45


def check_data(made, folder):
    shapes = "S1: (60, 4, 2) float64, terrain: (60, 1) DataFrame"
    assert repr(made["X_long"]) == f"ModalityDict({shapes})"
    assert len(made["answered"].value_counts()) == 7  # subsets of three sensors


def check_deploy(made, folder):
    assert repr(made["radar"]) == "SingleModalityClassifier of 'S1' (n, 12, 2)"
    assert made["probabilities"].shape == (300, 3)


def check_encoders(made, folder):
    assert made["clf"].encoders_ == {"S1": "ltae", "S2": "ltae", "terrain": "mlp"}
    network = made["own"].net_.module_.network("S2")
    assert network.takes == ("mask", "times")
    assert isinstance(network.unique_encoder, made["SeasonEncoder"])


#: What a page's code has to have made.
CHECKS = {
    "README.md": check_readme,
    "data.md": check_data,
    "map.md": check_map,
    "deploy.md": check_deploy,
    "encoders.md": check_encoders,
}


def test_the_gallery_has_all_examples():
    path = DOCS / "gallery_order.py"
    order = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), order)
    assert sorted(order["ORDER"]) == sorted(
        example.name for example in (ROOT / "examples").glob("plot_*.py")
    )


def test_the_page_of_encoders_names_all():
    page = (DOCS / "encoders.md").read_text(encoding="utf-8")
    for name in ENCODERS:
        assert f"`{name}`" in page, name
