"""The code of the guides runs as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def run(name, tmp_path, monkeypatch):
    """Run the code blocks of a guide in order; return what they have made."""
    monkeypatch.chdir(tmp_path)
    page = (DOCS / name).read_text(encoding="utf-8")
    namespace = {"__name__": "guide"}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.S | re.M):
        exec(compile(block, name, "exec"), namespace)
    return namespace


# rasterio's, of another version of affine.
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_from_training_plots_to_a_map(tmp_path, monkeypatch):
    for package in ("xarray", "dask", "rioxarray", "h5netcdf"):
        pytest.importorskip(package)
    made = run("map.md", tmp_path, monkeypatch)
    truth = made["names"][made["classes"]].reshape(40, 50)
    for result in (made["land_cover"], made["both"]):
        assert result.attrs["flag_meanings"] == "crops forest grass"
        right = made["names"][result.values] == truth
        assert right.mean() > 0.45  # a third is what guessing gives
    assert made["land_cover"].dims == ("y", "x")
    assert (tmp_path / "land_cover.tif").exists()


def test_deploy_one_sensor(tmp_path, monkeypatch):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    made = run("deploy.md", tmp_path, monkeypatch)
    assert repr(made["radar"]) == "SingleModalityClassifier of 'S1' (n, 12, 2)"
    assert made["probabilities"].shape == (600, 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_on_a_cluster(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    made = run("cluster.md", tmp_path, monkeypatch)
    assert made["land_cover"].shape == (20, 20)
    assert set(made["search"].best_params_) == {"contrastive_weight"}
    assert set(made["report"].scores["modality"]) >= {"S1", "S2"}


@pytest.mark.parametrize("name", ["map.md", "deploy.md", "cluster.md"])
def test_the_readme_leads_to_every_guide(name):
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert f"(docs/{name})" in readme
