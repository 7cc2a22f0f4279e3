"""Presto, a network pre-trained on time series from all over the world."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sklearn_colearn.encoders.steps as steps
from sklearn_colearn.encoders.bands import Bands
from sklearn_colearn.encoders.presto_bands import (
    GROUPS,
    PLACE,
    SCALES,
    check_units,
    groups_of,
    read_names,
)
from sklearn_colearn.files import data_folder, published

__all__ = ["PrestoEncoder", "PrestoNetwork"]

PRESTO_URL = (
    "https://raw.githubusercontent.com/nasaharvest/presto/"
    "13173d028f035abcbcc3b13829314323a5c15d02/data/default_model.pt"
)
PRESTO_SHA256 = "559c9d76f525bdf2dd3774da8b1e7f1510769b73baacac12e9e4d8d5c67fbe65"
#: Sizes of the published network.
WIDTH, N_HEADS, N_BLOCKS, MAX_STEPS = 128, 8, 2, 24
#: Widths of the month, group and step parts of a token's position.
MONTH, CHANNEL, STEP = 32, 32, 64
#: Groups with one token for the whole series.
STATIC = ("SRTM",)
#: Days between 0000-03-01 and 1970-01-01, and days in 400 years.
DAYS_TO_1970, DAYS_OF_400_YEARS = 719_468, 146_097
#: Largest day of the year; series may count on past New Year.
LATEST_DAY = 3 * 366


class PrestoNetwork(nn.Module):
    """Presto's encoder for some of its groups of bands; see :class:`PrestoEncoder`.

    Each group makes one token per step from its bands, its month and its position in
    the series. Terrain and place make one token per series. The tokens attend to each
    other, and their mean is the embedding. Weights have the names of the published
    file. `groups` are keys of ``GROUPS``.
    """

    #: Factor on the estimator's learning rate.
    lr_scale = 1.0
    position: Tensor
    season: Tensor

    def __init__(self, groups: Sequence[str], place: bool) -> None:
        super().__init__()
        self.eo_patch_embed = nn.ModuleDict(
            {name: nn.Linear(len(GROUPS[name]), WIDTH) for name in groups}
        )
        self.latlon_embed = nn.Linear(3, WIDTH) if place else None
        # The last one is for land cover, which is not read.
        self.channel_embed = nn.Embedding(len(GROUPS) + 1, CHANNEL)
        self.blocks = nn.ModuleList(_Block() for _ in range(N_BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        # Made with numpy: torch would load its compiler when a model is loaded.
        for name, table in (("position", _positions()), ("season", _seasons())):
            self.register_buffer(name, torch.from_numpy(table))

    def forward(
        self,
        values: Mapping[str, Tensor],
        months: Tensor,
        seen: Mapping[str, Tensor] | None = None,
        place: Tensor | None = None,
        placed: Tensor | None = None,
    ) -> Tensor:
        """Embed a batch as (B, 128).

        `values` (B, T, n_bands) are scaled and by group; `seen` (B, T) tells by group
        which steps have all bands. `months` (B or 1, T) are int64, with 0 for January.
        `place` (B, T, 2) is latitude and longitude in radians, of which the first
        observed step counts (`placed`). Rows without any token are embedded as if all
        were observed.
        """
        tokens, there = [], []
        for name, embed in self.eo_patch_embed.items():
            x, known = values[name], None if seen is None else seen[name]
            if name in STATIC:
                x, known = _first(x, known)
            tokens.append(embed(x) + self._position_of(name, months, x.shape[1]))
            there.append(known)
        if self.latlon_embed is not None:
            assert place is not None
            where, known = _first(place, placed)
            latitude, longitude = where.unbind(dim=2)  # (B, 1) each
            x = latitude.cos() * longitude.cos()
            y = latitude.cos() * longitude.sin()
            globe = torch.stack([x, y, latitude.sin()], dim=2)
            tokens.insert(0, self.latlon_embed(globe))
            there.insert(0, known)
        x, mask = torch.cat(tokens, dim=1), None  # (B, N, C)
        if seen is not None:
            mask = torch.cat([known for known in there if known is not None], dim=1)
            mask = mask | ~mask.any(dim=1, keepdim=True)  # (B, N)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(steps.mean_over_steps(x, mask))

    def _position_of(self, name: str, months: Tensor, n_tokens: int) -> Tensor:
        """Return the position embedding of a group's tokens, (B or 1, T or 1, C)."""
        number = list(GROUPS).index(name)
        channel = self.channel_embed.weight[number]
        if name in STATIC:
            return F.pad(channel, (MONTH, STEP))[None, None]
        month = self.season[months]  # (B or 1, T, 32)
        size = month.shape[:2]
        step = self.position[:n_tokens]
        return torch.cat(
            [month, channel.expand(*size, -1), step.expand(*size, -1)], dim=2
        )


class _Block(nn.Module):
    """Attention and two dense layers, with pre-normalization and residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(WIDTH, 3 * WIDTH), "proj": nn.Linear(WIDTH, WIDTH)}
        )
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(WIDTH, 4 * WIDTH), "fc2": nn.Linear(4 * WIDTH, WIDTH)}
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = steps.heads(self.attn["qkv"](self.norm1(x)), N_HEADS)
        attended = steps.attention_mask(mask)
        seen = F.scaled_dot_product_attention(query, key, value, attended)
        x = x + self.attn["proj"](seen.transpose(1, 2).flatten(start_dim=2))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


def _first(x: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the first observed step (B, 1, C) and the rows that have one (B, 1)."""
    if known is None:
        return x[:, :1], None
    at = known.to(torch.int32).argmax(dim=1)[:, None, None]
    return x.gather(1, at.expand(-1, 1, x.shape[2])), known.any(dim=1, keepdim=True)


def _positions() -> Any:
    step = np.arange(MAX_STEPS)[:, None]
    angle = step / 1000 ** (np.arange(0, STEP, 2) / STEP)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=2)
    return table.reshape(MAX_STEPS, STEP).astype(np.float32)


def _seasons() -> Any:
    angle = 2 * np.pi * np.arange(12)[:, None] / 12
    half = np.ones(MONTH // 2)
    table = np.concatenate([np.sin(angle) * half, np.cos(angle) * half], axis=1)
    return table.astype(np.float32)


class PrestoEncoder(nn.Module):
    """Presto, pre-trained on 21 million pixels of radar, optics, weather and terrain.

    A linear layer turns Presto's embedding of 128 numbers into one of `embedding_dim`.
    Monthly series are read by band name, in these units:

    - `VV`, `VH`: dB;
    - `B2` to `B8`, `B8A`, `B11`, `B12`: reflectance x 10,000 (`B1`, `B9` and `B10` are
      ignored);
    - `NDVI`: computed from `B4` and `B8` if missing;
    - `temperature_2m`: kelvin; `total_precipitation`: metres a day, as in the monthly
      means of ERA5;
    - `elevation`: metres; `slope`: degrees;
    - `latitude`, `longitude`: degrees.

    Only the first observed step of terrain and place is used. Presto reads these bands
    together: `VV` and `VH`, `B2` to `B4`, `B5` to `B7`, `B11` and `B12`, the weather,
    the terrain, and the optional place. If one is missing at a step, the others are
    ignored there. Names such as `B02`, `red` or `S2-L2A-B02` are also understood.
    Shape: ``(B, T, n_bands)`` to ``(B, embedding_dim)``; times and mask: ``(B, T)``;
    observed: ``(B, T, n_bands)``.

    Parameters
    ----------
    input_shape : tuple of int ``(n_timesteps, n_bands)``
        At most 24 steps, one month apart.
    embedding_dim : int
    weights : str, path-like or None, default=None
        Path of the published weights. None downloads them once (3.3 MB) to
        `sklearn_colearn` in :func:`sklearn.datasets.get_data_home`. ``"random"`` draws
        new ones.
    month : int, sequence of int or None, default=None
        Month of the first step, 1 to 12, or of each step. None takes the months from
        the estimator's ``times=``: dates, or days of the year.
    band_names : sequence of str or None, default=None
        Names of the bands, with None for bands to ignore. By default those of X.
    freeze : bool, default=False
        Whether to train only the linear layer.
    lr_scale : float, default=0.1
        Learning rate of Presto's weights, relative to the estimator's `lr`.
    bands : Bands or None, default=None
        Names and scaling of the bands, passed by the estimators.
    dropout : float, default=0.2
        Before the linear layer.

    Raises
    ------
    ValueError
        If the series is too long, bands are unknown or incomplete, values have the
        wrong unit, the months are unknown, or the file does not hold the weights.
    OSError
        If the weights cannot be downloaded.

    References
    ----------
    Tseng et al., "Lightweight, pre-trained transformers for remote sensing timeseries",
    2023, arXiv:2304.14065.
    """

    gain: Tensor
    offset: Tensor
    months: Tensor | None
    origin: Tensor | None

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        weights: str | os.PathLike[str] | None = None,
        month: int | Sequence[int] | None = None,
        band_names: Sequence[Hashable | None] | None = None,
        freeze: bool = False,
        lr_scale: float = 0.1,
        bands: Bands | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        n_steps, n_bands = input_shape
        if n_steps > MAX_STEPS:
            raise ValueError(
                f"Presto reads at most {MAX_STEPS} steps; the series has {n_steps}. "
                "Average it by month, or select steps."
            )
        if not lr_scale > 0:
            raise ValueError(
                f"lr_scale={lr_scale} must be positive. To keep Presto's weights "
                "fixed, use freeze=True."
            )
        names = _names(band_names, bands, n_bands)
        self.columns = read_names(names)
        if bands is not None and bands.limits is not None:
            check_units(names, self.columns, bands.limits)
        self.groups = groups_of(self.columns)
        self.place = set(PLACE) <= set(self.columns)
        gain, offset = np.ones(n_bands), np.zeros(n_bands)
        for band, column in self.columns.items():
            add, divide = SCALES[band]
            scale, shift = (
                (1, 0) if bands is None else (bands.scale[column], bands.shift[column])
            )
            gain[column], offset[column] = scale / divide, (shift + add) / divide
        months, origin = _months(month, bands, n_steps)
        buffers = {
            "gain": gain.astype(np.float32),
            "offset": offset.astype(np.float32),
            "months": months,
            "origin": origin,
        }
        for name, array in buffers.items():
            tensor = None if array is None else torch.from_numpy(array)
            self.register_buffer(name, tensor)
        self.network = PrestoNetwork(self.groups, self.place)
        self.network.lr_scale = lr_scale
        # A network on the meta device gets its weights from a saved model.
        if weights != "random" and torch.get_default_device().type != "meta":
            _load(self.network, weights)
        if freeze:
            self.network.requires_grad_(False)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(WIDTH, embedding_dim))

    def forward(
        self,
        x: Tensor,
        times: Tensor | None = None,
        mask: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> Tensor:
        """Encode a batch."""
        return self.head(self.embed(x, times, mask, observed))

    def embed(
        self,
        x: Tensor,
        times: Tensor | None = None,
        mask: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> Tensor:
        """Return Presto's embedding of a batch, (B, 128).

        Parameters
        ----------
        x : Tensor of shape (B, T, n_bands)
            Standardized values.
        times, mask, observed : Tensor, default=None
            As in :mod:`sklearn_colearn.encoders`.
        """
        if mask is not None:
            steps_seen = mask[..., None].expand_as(x)
            observed = steps_seen if observed is None else observed & steps_seen
        if observed is not None:
            x = x.masked_fill(~observed, 0.0)
        x = x * self.gain + self.offset
        values: dict[str, Tensor] = {}
        seen: dict[str, Tensor] | None = None if observed is None else {}
        for name in self.groups:
            own, computed = self._columns(GROUPS[name])
            value = x[..., own]
            if computed:
                red, infrared = value.unbind(dim=2)
                total = red + infrared
                ratio = (infrared - red) / total.where(total > 0, 1.0)
                value = ratio.where(total > 0, 0.0)[..., None]
            values[name] = value
            if seen is not None and observed is not None:
                seen[name] = observed[..., own].all(dim=2)
        place = placed = None
        if self.place:
            own, _ = self._columns(PLACE)
            place = x[..., own]
            placed = None if observed is None else observed[..., own].all(dim=2)
        months = self._months(times, mask, x)
        return self.network(values, months, seen, place, placed)

    def _columns(self, group: Sequence[str]) -> tuple[list[int], bool]:
        """Return a group's columns, and whether they are B4 and B8 for NDVI."""
        computed = group == ("NDVI",) and "NDVI" not in self.columns
        wanted = ("B4", "B8") if computed else group
        return [self.columns[band] for band in wanted], computed

    def _months(self, times: Tensor | None, mask: Tensor | None, x: Tensor) -> Tensor:
        """Return the month of each step, (B or 1, T); 0 is January."""
        if self.months is not None:
            return self.months[None]
        assert self.origin is not None
        if times is None:  # only when make_encoder checks the output
            step = torch.arange(x.shape[1], device=x.device)
            return (month_of(self.origin) + step)[None] % 12
        days = steps.positions(x, times, mask).floor().to(torch.int64)
        return month_of(self.origin + days)


def _names(
    given: Sequence[Hashable | None] | None, bands: Bands | None, n_bands: int
) -> Sequence[Hashable | None]:
    if given is None:
        given = None if bands is None else bands.names
    if given is None:
        raise ValueError(
            "Presto needs band names, and X has none. Pass "
            "encoder_params={'band_names': ['VV', 'VH']}, a DataArray or a DataFrame."
        )
    if isinstance(given, str) or len(given) != n_bands:
        raise ValueError(f"band_names={given!r} must name all {n_bands} bands of X.")
    return given


def _months(
    month: int | Sequence[int] | None, bands: Bands | None, n_steps: int
) -> tuple[Any, Any]:
    """Return the month of each step or, if unknown, the origin of times in days.

    Days are since 1970-01-01. Days of the year count as in 1970, not a leap year.
    """
    if month is not None:
        months = np.asarray(month)
        fits = months.dtype.kind == "i" and months.shape in ((), (n_steps,))
        if not fits or months.min() < 1 or months.max() > 12:
            raise ValueError(
                f"month={month!r} must be the month of the first step, 1 to 12, or a "
                f"list with the month of each of the {n_steps} steps."
            )
        months = months.astype(np.int64) - 1
        if months.ndim == 0:
            months = (months + np.arange(n_steps)) % 12
        return months, None
    origin = None if bands is None else bands.origin
    if origin is None:
        raise ValueError(
            "Presto needs the months of the steps. Pass dates as times=, or the month "
            "of the first step as encoder_params={'month': 1}."
        )
    if isinstance(origin, np.datetime64):
        day = origin.astype("datetime64[D]").astype(np.int64)
    elif 0 <= origin <= LATEST_DAY:
        day = np.int64(origin) - 1
    else:
        raise ValueError(
            f"The times begin with {origin:.15g}, which is not a day of the year, so "
            "the months are unknown. Pass dates as times=."
        )
    return None, np.array(day)


def month_of(days: Tensor) -> Tensor:
    """Return the month, 0 to 11, of int64 days since 1970-01-01, in any shape.

    Years start in March, so the leap day comes last (Hinnant, "chrono-compatible
    low-level date algorithms", 2021).
    """
    day = (days + DAYS_TO_1970) % DAYS_OF_400_YEARS
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day = day - (365 * year + year // 4 - year // 100)
    return ((5 * day + 2) // 153 + 2) % 12


def _load(network: PrestoNetwork, weights: str | os.PathLike[str] | None) -> None:
    """Fill the network with the published weights."""
    if weights is None:
        path = data_folder() / "presto_default_model.pt"
        file: Any = io.BytesIO(published(path, PRESTO_URL, PRESTO_SHA256))
    else:
        file = path = Path(weights).expanduser()
    try:
        given = torch.load(file, map_location="cpu", weights_only=True)
        tables = {"position": "pos_embed", "season": "month_embed.weight"}
        state = {
            name: given[f"encoder.{tables.get(name, name)}"].reshape(own.shape)
            for name, own in network.state_dict().items()
        }
        network.load_state_dict(state)
    except (
        *(pickle.UnpicklingError, EOFError, LookupError),
        *(AttributeError, RuntimeError, TypeError),
    ) as error:
        reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise ValueError(
            f"weights={str(path)!r} does not hold Presto's weights ({reason}). Pass "
            f"the path of {PRESTO_URL}, or None to download it."
        ) from error
