"""A real map of an unlabelled area from radar alone, with and without unlabelled pairs.

The target is the greenness (NDVI) of Belgian fields in June, predicted from images of
November to April at 10 m. In the west of the cube 400 pixels are labelled. The east has
no labels, but it has radar and optical images, so 2,000 of its pixels serve as
unlabelled pairs. Both maps use radar only.

The cube is the example file of WorldCereal, ``worldcereal_cube.nc``.

    python examples/greenness_map.py worldcereal_cube.nc [--output greenness.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from sklearn.metrics import r2_score

from sklearn_colearn import (
    CoLearnRegressor,
    ModalityDict,
    predict_raster,
    sample_pixels,
)


def _pixels(image: xr.DataArray, drawn: ModalityDict) -> xr.DataArray:
    """Return a mask of the drawn pixels."""
    mask = xr.zeros_like(image, dtype=bool)
    for row, column in drawn.ids:
        mask.loc[{"y": row, "x": column}] = True
    return mask


def main() -> None:
    """Print the scores and save the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cube", type=Path)
    parser.add_argument("--output", type=Path, default=Path("greenness.png"))
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()

    data = xr.open_dataset(arguments.cube, engine="h5netcdf").drop_vars("crs").load()
    data = data.where(data != 65535)
    winter = data.isel(t=slice(0, 6))
    optical = [name for name in data if name.startswith("S2")]
    cubes = {
        "S1": winter[["S1-SIGMA0-VH", "S1-SIGMA0-VV"]],
        "S2": winter[optical],
    }
    june = data.isel(t=7, drop=True)
    red, infrared = june["S2-L2A-B04"], june["S2-L2A-B08"]
    greenness = (infrared - red) / (infrared + red)

    seen = greenness.notnull()
    border = data["x"][60]
    west, east = data["x"] < border, data["x"] >= border
    X = sample_pixels(cubes, 400, where=seen & west, random_state=0)
    pairs = sample_pixels(cubes, 2000, where=seen & east, random_state=0)
    rows, columns = (np.array(axis) for axis in zip(*X.ids, strict=True))
    at = {"y": xr.DataArray(rows, dims="row"), "x": xr.DataArray(columns, dims="row")}
    y = greenness.sel(at).to_numpy()
    squares = rows // 200 * 10_000 + columns // 200

    settings = {"random_state": 0, "n_jobs": arguments.n_jobs}
    maps = {"measured": greenness.isel(x=slice(60, None))}
    scored = (seen & west & ~_pixels(greenness, X)).to_numpy()
    for name, unlabelled in (("without pairs", None), ("with pairs", pairs)):
        model = CoLearnRegressor(**settings)
        model.fit(X, y, groups=squares, X_unlabeled=unlabelled)
        shown = predict_raster(model.export("S1"), cubes["S1"])
        maps[f"radar, {name}"] = shown.isel(x=slice(60, None))
        held_out = model.held_out_scores_.loc["S1", "r2"]
        score = r2_score(greenness.values[scored], shown.values[scored])
        print(
            f"{name}: R2 {held_out:.2f} on held-out rows, "
            f"{score:.2f} on {int(scored.sum())} other pixels of the west"
        )

    scored = (seen & ~_pixels(greenness, pairs)).isel(x=slice(60, None)).to_numpy()
    truth = maps["measured"].to_numpy()[scored]

    figure, axes = plt.subplots(1, 3, figsize=(7.5, 6), layout="constrained")
    for panel, (name, shown) in zip(axes, maps.items(), strict=True):
        image = panel.imshow(shown, cmap="YlGn", vmin=0, vmax=0.9)
        panel.set_axis_off()
        if name != "measured":
            score = r2_score(truth, shown.to_numpy()[scored])
            print(f"{name}: R2 {score:.2f} on {scored.sum()} pixels")
            name += f"\nR² {score:.2f}"
        panel.set_title(name, fontsize=10)
    figure.colorbar(image, ax=axes, label="NDVI in June", shrink=0.6)
    figure.savefig(arguments.output, dpi=120)
    print(f"Figure: {arguments.output}")


if __name__ == "__main__":
    main()
