"""The bands that Presto reads: their names, units and groups."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ATMOSPHERE", "GROUPS", "PLACE", "SCALES", "check_units", "read_names"]

#: Bands that form one token, in the order of the published weights.
GROUPS: dict[str, tuple[str, ...]] = {
    "S1": ("VV", "VH"),
    "S2_RGB": ("B2", "B3", "B4"),
    "S2_Red_Edge": ("B5", "B6", "B7"),
    "S2_NIR_10m": ("B8",),
    "S2_NIR_20m": ("B8A",),
    "S2_SWIR": ("B11", "B12"),
    "ERA5": ("temperature_2m", "total_precipitation"),
    "SRTM": ("elevation", "slope"),
    "NDVI": ("NDVI",),
}
#: Bands that hold the place of a row.
PLACE = ("latitude", "longitude")
#: Bands of Sentinel-2 that Presto ignores.
ATMOSPHERE = ("B1", "B9", "B10")
BANDS = (*(band for group in GROUPS.values() for band in group), *PLACE)


class Unit(NamedTuple):
    """Scaling of a band and the plausible range of its raw values."""

    #: Presto reads ``(value + add) / divide``.
    add: float
    divide: float
    #: Limits of the 1st and the 99th percentile.
    low: tuple[float, float]
    high: tuple[float, float]
    what: str
    remedy: str


DECIBEL = Unit(
    *(25.0, 25.0, (-60.0, -1.0), (-60.0, 20.0)),
    "dB",
    "Convert linear power by 10 * log10(x).",
)
REFLECTANCE = Unit(
    *(0.0, 1e4, (-2e3, 2e4), (3.0, 3e4)),
    "reflectance x 10,000",
    "Multiply reflectance of 0 to 1 by 10,000.",
)
RADIANS = 180 / np.pi
UNITS: dict[str, Unit] = {
    **dict.fromkeys(("VV", "VH"), DECIBEL),
    **{name: REFLECTANCE for name in BANDS if re.fullmatch(r"B\d+A?", name)},
    "temperature_2m": Unit(
        *(-272.15, 35.0, (180.0, 340.0), (180.0, 340.0)),
        "kelvin",
        "Add 273.15 to degrees Celsius, or divide hundredths by 100.",
    ),
    "total_precipitation": Unit(
        *(0.0, 0.03, (-1e-3, 0.1), (-1e-3, 0.1)),
        "metres a day, the mean of each step",
        "Divide millimetres a day by 1,000, and sums by the number of days.",
    ),
    "elevation": Unit(
        *(0.0, 2000.0, (-500.0, 9000.0), (-500.0, 9000.0)),
        "metres",
        "Divide centimetres by 100.",
    ),
    "slope": Unit(
        *(0.0, 50.0, (0.0, 90.0), (0.0, 90.0)),
        "degrees",
        "Convert a slope in percent by degrees(arctan(x / 100)).",
    ),
    "NDVI": Unit(
        *(0.0, 1.0, (-1.0, 1.0), (-1.0, 1.0)),
        "values from -1 to 1",
        "Undo its scaling, or leave it out: it is computed from B4 and B8.",
    ),
    "latitude": Unit(
        *(0.0, RADIANS, (-90.0, 90.0), (-90.0, 90.0)),
        "degrees north",
        "Transform projected coordinates to EPSG:4326.",
    ),
    "longitude": Unit(
        *(0.0, RADIANS, (-180.0, 360.0), (-180.0, 360.0)),
        "degrees east",
        "Transform projected coordinates to EPSG:4326.",
    ),
}
#: The numbers to add and to divide by, for each band.
SCALES = {name: (unit.add, unit.divide) for name, unit in UNITS.items()}

#: Other names in lower case: from STAC, from ECMWF, and abbreviations.
ALIASES = {
    **{"blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "nir08": "B8A"},
    **{"rededge1": "B5", "rededge2": "B6", "rededge3": "B7"},
    **{"swir16": "B11", "swir22": "B12", "t2m": "temperature_2m"},
    **{"lat": "latitude", "lon": "longitude"},
    **{name.lower(): name for name in (*BANDS, *ATMOSPHERE)},
}
#: Prefixes allowed before a band name: products, but not operations such as "mean".
PREFIXES = {
    *("s1", "s2", "sentinel", "sentinel1", "sentinel2", "1", "2", "l1c", "l2a"),
    *("msi", "grd", "sigma0", "gamma0", "boa", "toa", "sr", "era5", "land", "srtm"),
    *("dem", "terrain", "weather", "optical", "radar"),
}


def band_of(name: Hashable) -> str | None:
    """Return the band that a name such as ``'S2-L2A-B02'`` stands for, or None."""
    parts = re.split(r"[-_ .:/]+", str(name).strip().lower())
    for start in range(len(parts)):
        text = "_".join(parts[start:])
        text = re.sub(r"^b0(?=\d)", "b", text)
        if text in ALIASES and set(parts[:start]) <= PREFIXES:
            return ALIASES[text]
    return None


def read_names(names: Sequence[Hashable | None]) -> dict[str, int]:
    """Return the columns of the bands that Presto reads; a name None is ignored.

    Raise ValueError if a name is unknown, two columns are the same band, no group of
    bands is complete, or a band belongs to an incomplete group.
    """
    columns: dict[str, int] = {}
    for column, name in enumerate(names):
        if name is None:
            continue
        band = band_of(name)
        if band is None:
            raise ValueError(
                f"Presto has no band {name!r}; it reads {', '.join(BANDS)}. Pass "
                "band_names= with these names, and None for bands to ignore."
            )
        if band in columns:
            raise ValueError(
                f"{names[columns[band]]!r} and {name!r} are both the band {band}. Pass "
                "band_names= with None for one of them."
            )
        columns[band] = column
    columns = {band: at for band, at in columns.items() if band not in ATMOSPHERE}
    groups = groups_of(columns)
    if not groups:
        raise ValueError(
            f"Presto needs a complete group of bands; {list(names)} contains none of: "
            f"{'; '.join(' with '.join(group) for group in GROUPS.values())}."
        )
    used = {band for group in groups for band in GROUPS[group]}
    if "NDVI" in used and "NDVI" not in columns:
        used |= {"B4", "B8"}
    if set(PLACE) <= set(columns):
        used |= set(PLACE)
    idle = [str(names[at]) for band, at in columns.items() if band not in used]
    if idle:
        wanted = [*GROUPS.values(), PLACE]
        lacks = [
            other
            for group in wanted
            if {*group} & ({*columns} - used)
            for other in group
            if other not in columns
        ]
        raise ValueError(
            f"Presto cannot use {', '.join(idle)} without {', '.join(lacks)}: it reads "
            "them together. Add the missing bands, or ignore the others with None in "
            "band_names=."
        )
    return columns


def groups_of(columns: dict[str, int]) -> list[str]:
    """Return the complete groups. B4 and B8 complete NDVI."""
    known = {*columns, *(("NDVI",) if {"B4", "B8"} <= set(columns) else ())}
    return [name for name, group in GROUPS.items() if known >= set(group)]


def check_units(
    names: Sequence[Hashable | None], columns: dict[str, int], limits: NDArray[Any]
) -> None:
    """Refuse bands whose range shows that they have the wrong unit.

    `columns` come from :func:`read_names`; `limits` (2, n_bands) are the 1st and 99th
    percentile, NaN for columns without values.
    """
    for band, column in columns.items():
        unit, (low, high) = UNITS[band], limits[:, column].tolist()
        fits = (
            unit.low[0] <= low <= unit.low[1] and unit.high[0] <= high <= unit.high[1]
        )
        if not fits and not np.isnan(low):
            raise ValueError(
                f"The values of {names[column]!r} range from {low:.4g} to {high:.4g} "
                f"(1st and 99th percentile), but Presto reads {band} in {unit.what}. "
                f"{unit.remedy}"
            )
