"""Base class of the classifier and the regressor: training from X and y."""

from __future__ import annotations

import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm.auto import tqdm

from sklearn_colearn._compat import Interval, StrOptions, check_sample_weight
from sklearn_colearn.applicability import ENOUGH_ROWS, Area
from sklearn_colearn.batches import Pairs, TensorRows, sample_of, tensor_rows
from sklearn_colearn.distillation import distilled, kept_rows
from sklearn_colearn.encoders.bands import limits_of
from sklearn_colearn.folds import Fold, make_folds
from sklearn_colearn.held_out import ALL, tables, weights_table
from sklearn_colearn.inputs import (
    Array,
    Schema,
    numeric_values,
    present_rows,
    rows_text,
)
from sklearn_colearn.lessons import Lesson, check_teacher, fit_lesson
from sklearn_colearn.members import FUSIONS, HeldOut, Members
from sklearn_colearn.modality_dict import (
    ModalityDict,
    as_array,
    as_frame,
    is_frame,
    is_named,
    labelled_columns,
    own_sample_dim,
    read_named,
    row_labels,
)
from sklearn_colearn.network import TEACHER, choose_encoders, per_modality
from sklearn_colearn.prediction import PLAIN, Predictor, SingleModalityModel
from sklearn_colearn.processes import from_first
from sklearn_colearn.sensor import Scaler, Sensor, Target, fit_scaler
from sklearn_colearn.targets import (
    matched,
    matched_beside,
)
from sklearn_colearn.times import Calendar, fit_calendars, time_entries
from sklearn_colearn.training import (
    LR_SCHEDULES,
    OPTIMIZERS,
    CoLearnNet,
    Teaching,
    Trained,
    follow,
    resolve_device,
    train_member,
)

__all__ = ["CoLearn", "SingleModalityWarning", "n_epochs"]


#: Parameters with the same valid values.
_SWITCHES = ("standardize", "share_encoder", "warm_start")
_COUNTS = ("max_epochs", "max_steps", "batch_size", "unlabeled_batch_size")
_WEIGHTS = (
    *("auxiliary_weight", "contrastive_weight", "discriminative_weight"),
    *("distillation_weight", "unlabeled_weight", "weight_decay"),
)
_POSITIVE = ("temperature", "lr")
_SHARES = ("dropout", "drop_steps")
#: Attributes that exist only after a fit with held-out rows.
_HELD_OUT = ("held_out_", "held_out_scores_", "fusion_weights_")


class SingleModalityWarning(UserWarning):
    """Warning that X contains only one modality, so there is no co-learning."""


@dataclass(frozen=True)
class _Inputs:
    """Training rows of X, by modality."""

    schema: Schema
    #: NaN where missing.
    values: dict[str, Array]
    calendars: dict[str, Calendar]
    #: (n_timesteps,) or (n, n_timesteps), for modalities with known times.
    days: dict[str, Array]
    #: Sentinels besides NaN.
    missing: dict[str, float | None]

    @cached_property
    def present(self) -> dict[str, Array]:
        """Rows that have the modality."""
        return {m: present_rows(x) for m, x in self.values.items()}

    def take(self, rows: Array) -> _Inputs:
        values = {m: x[rows] for m, x in self.values.items()}
        days = {m: d[rows] if d.ndim == 2 else d for m, d in self.days.items()}
        return replace(self, values=values, days=days)

    def tensors(
        self, scalers: Mapping[str, Scaler], target: torch.Tensor
    ) -> TensorRows:
        """Return the rows as standardised tensors."""
        return tensor_rows(self.values, self.present, self.days, scalers, target)


class _Reader(Predictor):
    """Reader of unlabelled rows, which take the same forms as X in `predict`."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Do nothing; the reader's attributes are set directly."""
        return self


class CoLearn(Predictor):
    """Base class of the co-learning estimators.

    A concrete estimator reads the target and chooses the task loss in `_read_target`.
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        "modalities": [Mapping, None],
        "teacher": "no_validation",
        "times": [Mapping, None],
        "missing_value": [Real, list, tuple, Mapping, None],
        "encoder": [str, callable, Mapping],
        "encoder_params": [Mapping, None],
        "embedding_dim": [Interval(Integral, 2, None, closed="left")],
        "extra_terms": [list, tuple, None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr_schedule": [StrOptions({"constant", *LR_SCHEDULES}), callable],
        "weight_averaging": [Interval(Real, 0, 0.5, closed="left")],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "callbacks": [list, tuple, None],
        "predict_modality": [str, None],
        "fusion": [StrOptions(set(FUSIONS))],
        "device": [str],
        "precision": [StrOptions({"float32", "bf16"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        **{name: ["boolean"] for name in _SWITCHES},
        **{name: [Interval(Integral, 1, None, closed="left")] for name in _COUNTS},
        **{name: [Interval(Real, 0, None, closed="left")] for name in _WEIGHTS},
        **{name: [Interval(Real, 0, None, closed="neither")] for name in _POSITIVE},
        **{name: [Interval(Real, 0, 1, closed="left")] for name in _SHARES},
    }

    # -- hooks -----------------------------------------------------------------------

    #: Set by `pretrain` and removed by the next `fit`.
    _pretrained: Members
    history_: pd.DataFrame

    #: Class that `export` returns.
    _exported: ClassVar[type[SingleModalityModel]]

    @abstractmethod
    def _read_target(self, y: Any) -> tuple[Array, Array, Target]:
        """Check y; return it as numbers, its labelled rows and its description."""

    def _fit_target(
        self, target: Target, values: Array, weight: Array | None
    ) -> Target:
        """Fit the scaling of the target, if it has any, to the training rows."""
        return target

    def _target_tensor(self, target: Target, values: Array) -> torch.Tensor:
        """Return the target in the form that the loss takes."""
        return torch.from_numpy(values)

    def _class_weights(self, target: Target, values: Array) -> Array | None:
        """Return the class weight of each labelled row; None without class weights."""
        return None

    @property
    def net_(self) -> CoLearnNet:
        """The trained skorch net of the first member."""
        if not hasattr(self, "_members"):
            raise AttributeError(f"This {type(self).__name__} is not fitted.")
        net: CoLearnNet = self._members.nets[0]
        return net

    # -- fit -------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        X_unlabeled: Any = None,
    ) -> Self:
        """Train on all modalities.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset or array
            Modalities, with row i of each belonging to sample i:

            - a dict of names to arrays of shape ``(n_samples, n_features)``,
              ``(n_samples, n_timesteps, n_bands)`` or
              ``(n_samples, height, width, n_bands)``;
            - a DataFrame with MultiIndex columns whose first level is the modality;
            - an ``xarray.Dataset`` with a sample dimension, or a dict of
              ``xarray.DataArray``;
            - a flat array or DataFrame of shape ``(n_samples, n_features)``, split by
              the parameter `modalities`.

            NaN and `missing_value` mark missing values. A row may lack modalities.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels (numbers or strings) or a 0/1 indicator of several labels for a
            classifier; values for a regressor. None, NaN and `unlabeled` mark an
            unlabelled row, in all its columns. A Series or DataFrame is matched to X by
            its index.
        sample_weight : array-like of shape (n_samples,), default=None
            Relative weights of the rows. The contrastive and the discriminative term
            are not weighted.
        groups : array-like of shape (n_samples,), default=None
            Site, field or region of each row, matched to X like y. `cv` keeps the rows
            of a group in one fold.
        X_unlabeled : any form of X, default=None
            Unlabelled pairs: rows with at least two sensors, ideally from the places
            where the model will be used. Each sensor learns to predict there what all
            sensors together, and `teacher`, predict. Bands and units must match X.
            Memory maps, Zarr, dask and xarray.Dataset are read block by block.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X or y has another form, their labels contradict, a parameter is invalid,
            or training diverges. An earlier fit is kept.
        TypeError
            If a name, a column or an encoder has the wrong type.

        Warns
        -----
        UserWarning
            If X contains only one modality, a modality shares no row with the others,
            or folds cannot hold out the rows of some class or modality, or train on
            them.
        ConvergenceWarning
            If Ctrl-C ends training; the weights learned so far are kept.
        """
        self._validate_params()
        with self._earlier_fit_kept():
            self._fit_rows(X, y, sample_weight, groups, X_unlabeled)
        return self

    @contextmanager
    def _earlier_fit_kept(self) -> Iterator[None]:
        """Restore an earlier fit if a new one fails."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    def _fit_rows(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, X_unlabeled: Any
    ) -> None:
        continues = self.warm_start and hasattr(self, "_members")
        start = self._members if continues else None
        if self.warm_start and start is None:
            start = getattr(self, "_pretrained", None)
        X, schema, ids = self._read_modalities(X, start)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        in_order = matched(y, ids)
        numbers, labelled, target = self._read_target(in_order)
        if len(numbers) != len(X):
            raise ValueError(
                f"X and y must have the same number of rows; X has {len(X)} and y has "
                f"{len(numbers)}."
            )
        if start is not None and continues:
            target = _continued_target(target, start.target)
        inputs = self._read_values(X, schema, start)
        weight = None
        if sample_weight is not None:
            weight = matched_beside(sample_weight, ids, in_order is not y)
            weight = check_sample_weight(weight, X, ensure_non_negative=True)
        if groups is not None:
            groups = matched_beside(groups, ids, in_order is not y, "groups")
            groups = _checked_groups(groups, len(X))
        if len(schema.modalities) == 1:
            if X_unlabeled is not None:
                raise ValueError(
                    "X_unlabeled requires at least two modalities in X; X holds only "
                    f"{schema.modalities[0]!r}."
                )
            warnings.warn(
                f"X holds one modality, {schema.modalities[0]!r}, so there is no "
                "co-learning. Pass a dict {name: array} of several modalities, or "
                "assign the columns to modalities with modalities=.",
                SingleModalityWarning,
                stacklevel=3,
            )
            # Unlabelled rows of a single modality enter no loss term.
            if not labelled.all():
                inputs = inputs.take(labelled)
                numbers, ids = numbers[labelled], _some_ids(ids, labelled)
                weight, groups = (
                    None if given is None else given[labelled]
                    for given in (weight, groups)
                )
                labelled = labelled[labelled]
        else:
            _warn_of_unpaired_modalities(inputs.present)
        check_teacher(self.teacher, target.classes is not None)
        seed = _draw_seed(self.random_state)
        taught = np.flatnonzero(labelled)
        weight = self._weigh(target, numbers, labelled, weight)
        for m, here in inputs.present.items():
            if not here[taught].any():
                kind = "" if not here.any() else "labelled "
                raise ValueError(
                    f"Modality {m!r} is missing in all {kind}training rows. Leave it "
                    "out, or add rows that have it."
                )
        scalers = self._scalers(inputs, start)
        if not continues:
            some = None if weight is None else weight[taught]
            target = self._fit_target(target, numbers[taught], some)
        folds = make_folds(
            self.cv, target, numbers, labelled, groups, inputs.present, seed
        )
        tensor = self._target_tensor(target, numbers)
        tensor[~labelled] = 0  # scaling may have made it infinite, and 0 * inf is NaN
        tensors = inputs.tensors(scalers, tensor)
        if weight is not None:
            tensors = replace(
                tensors, sample_weight=torch.from_numpy(weight.astype(np.float32))
            )
        if not labelled.all():
            tensors = replace(tensors, labelled=torch.from_numpy(labelled))
        self._forget("pairs_")
        if start is not None and continues and len(start.nets) != len(folds):
            raise ValueError(
                "With warm_start=True, cv must give as many folds as in the previous "
                f"fit: expected {len(start.nets)}, got {len(folds)}."
            )
        members, history = self._train(
            tensors,
            inputs,
            scalers,
            target,
            folds,
            seed=seed,
            start=start,
            heads=continues,
            X_unlabeled=X_unlabeled,
        )
        if continues:
            history = _continued_history(self.history_, history)
        self._forget(
            "_pretrained", *_HELD_OUT, *([] if start else ["pretrain_history_"])
        )
        self._remember(schema, members)
        self.history_, self.n_iter_ = history, n_epochs(history)
        if members.held_out is not None:
            for names in members.subsets(inputs.present):
                for part in members.parts(names):
                    members.held_out.pool(part)
            self.held_out_, self.held_out_scores_ = tables(
                members, range(len(numbers)) if ids is None else ids
            )
            self.fusion_weights_ = weights_table(members)
            members.drop_idle_teachers()
        _warn_of_unused_times(members.sensors, stacklevel=4)

    def pretrain(
        self,
        X: Any,
        *,
        n_steps: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Train the encoders on unlabelled rows before the first `fit`.

        Training uses the contrastive and the discriminative term. With
        ``warm_start=True``, every member of the next `fit` starts from these encoders
        and scalers, with new heads. :func:`sklearn.base.clone`, and therefore
        cross-validation, discards them.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset or array
            At least two modalities, as `X_unlabeled` of `fit`. Rows with only one are
            left out.
        n_steps : int, default=None
            Number of steps of ``batch_size`` rows. None means ``max_epochs`` passes
            through the rows.
        checkpoint : path-like, default=None
            File for the training state, written every 100 steps, or after each pass
            without `n_steps`. If it exists, training resumes from it.

        Returns
        -------
        self
            The estimator, unfitted; any earlier fit is discarded.

        Raises
        ------
        ValueError, TypeError
            If ``warm_start`` is False, X has only one modality, no two modalities share
            a row, the weights of both terms are zero, the checkpoint belongs to another
            network or X, or as in `fit`.
        """
        self._validate_params()
        if not self.warm_start:
            raise ValueError(
                "pretrain requires warm_start=True, which makes fit start from its "
                "weights."
            )
        if self.contrastive_weight == self.discriminative_weight == 0:
            raise ValueError(
                "pretrain requires a positive contrastive_weight or "
                "discriminative_weight; both are 0."
            )
        if n_steps is not None:
            check_scalar(n_steps, "n_steps", Integral, min_val=1)
        path = None if checkpoint is None else Path(checkpoint)
        with self._earlier_fit_kept():
            self._pretrain(X, n_steps, path)
        return self

    def _pretrain(self, X: Any, n_steps: int | None, checkpoint: Path | None) -> None:
        # A large X is described by a sample of it.
        sample, schema, _ = self._read_modalities(sample_of(X), None)
        if len(schema.modalities) == 1:
            raise ValueError(
                "pretrain requires at least two modalities; X contains only "
                f"{schema.modalities[0]!r}."
            )
        inputs = self._read_values(sample, schema, None)
        for m, here in inputs.present.items():
            if not here.any():
                raise ValueError(
                    f"Modality {m!r} is missing in all rows. Leave it out, or add rows "
                    "that have it."
                )
        _warn_of_unpaired_modalities(inputs.present)
        scalers = self._scalers(inputs, None)
        target, some = Target("cross_entropy", 1), np.arange(1)
        members, settings, train = self._prepare_training(
            inputs, scalers, target, [Fold(some, some[:0])], None, taught=False
        )
        rows = inputs.take(some).tensors(scalers, torch.zeros(1))
        pairs = self._pairs("X", X, schema, members, rows.target)
        size = min(self.batch_size, len(pairs))
        through = math.ceil(len(pairs) / size)
        teaching = Teaching(
            pairs,
            size,
            n_steps=through * self.max_epochs if n_steps is None else n_steps,
            alone=through if n_steps is None else min(n_steps, 100),
            checkpoint=checkpoint,
        )
        one = train(
            settings=settings,
            rows=rows,
            training=some,
            held_out=some[:0],
            seed=_draw_seed(self.random_state),
            teaching=teaching,
        )
        members.nets = [one.net]
        members.link()
        self._remember(schema, members)
        self._forget("_members", "history_", "n_iter_", *_HELD_OUT)
        self._pretrained, self.pretrain_history_ = members, one.history
        _warn_of_unused_times(members.sensors, stacklevel=4)

    def _forget(self, *names: str) -> None:
        for name in names:
            if hasattr(self, name):
                delattr(self, name)

    def _read_modalities(
        self, X: Any, start: Members | None
    ) -> tuple[ModalityDict, Schema, Any]:
        """Return the entries of X, their schema and the row labels."""
        X, schema, ids = self._read_training(X)
        entries = time_entries(self._without_dropped(self.times, X.dropped))
        for entry in entries:
            if entry not in schema.entries:
                raise ValueError(
                    f"times= names the entry {entry!r} as the times of each row, but X "
                    f"contains only {list(schema.entries)}."
                )
        if set(entries) >= set(schema.entries):
            raise ValueError(
                f"times= uses all entries of X, {list(schema.entries)}, as times. X "
                "must also contain a modality."
            )
        schema = replace(schema, times=entries)
        if taken := {TEACHER, ALL} & set(schema.modalities):
            raise ValueError(
                f"The name {taken.pop()!r} is reserved: the tables of a fitted "
                "estimator use it. Rename the modality."
            )
        if start is None:
            return X, schema, ids
        # The networks are in the order of the earlier fit.
        before = self._schema
        if not before.is_like(schema):
            raise ValueError(
                "With warm_start=True, the modalities must be the same as in the "
                f"previous fit: expected {before.shapes}, got {schema.shapes}."
            )
        return before.check(X.select(before.entries)), before, ids

    def _read_training(self, X: Any) -> tuple[ModalityDict, Schema, Any]:
        if not is_named(X):
            return self._read_flat(labelled_columns(as_frame(X)))
        sample_dim = own_sample_dim(X)
        X = read_named(X, sample_dim)
        if not X:
            raise ValueError(
                "X is empty. Pass a dict with at least one modality and at least one "
                "row."
            )
        schema = Schema.of(X, sample_dim)
        for modality, shape in schema.shapes.items():
            if 0 in shape:
                raise ValueError(
                    f"Modality {modality!r} has an empty axis; its shape is "
                    f"{X[modality].shape}."
                )
        if self.modalities is not None and not X.dropped:
            schema = schema.with_layout(self.modalities, X.shape[1])
        self.n_features_in_ = X.shape[1]
        self._forget("feature_names_in_")  # an earlier fit may have set it
        return X, schema, row_labels(X)

    def _read_flat(self, X: Any) -> tuple[ModalityDict, Schema, Any]:
        if len(getattr(X, "shape", ())) > 2:
            raise ValueError(
                f"X is a bare array of shape {tuple(X.shape)}, so its modalities have "
                "no names. Pass a dict {name: array}, even for a single modality."
            )
        layout, ids = self.modalities, row_labels(X)
        if isinstance(X, np.ma.MaskedArray):
            X = as_array(X)
        if layout is not None and is_frame(X):
            # Other columns, such as an id or the label, are ignored.
            schema = Schema.of_layout(layout, X.shape[1], list(X.columns))
            schema, columns = schema.narrowed()
            X = X.iloc[:, columns]
            validate_data(self, X, reset=True, skip_check_array=True)
        else:
            # Infinite values are checked later, as -inf may be a sentinel.
            X = validate_data(self, X, reset=True, ensure_all_finite=False)
            names = getattr(self, "feature_names_in_", None)
            layout = {PLAIN: slice(0, X.shape[1])} if layout is None else layout
            schema = Schema.of_layout(layout, X.shape[1], names)
        return schema.split(X), schema, ids

    def _read_values(
        self, X: ModalityDict, schema: Schema, start: Members | None
    ) -> _Inputs:
        dropped, modalities = schema.dropped, schema.modalities
        missing = self._without_dropped(self.missing_value, dropped)
        given = missing if isinstance(missing, Mapping) else {"": missing}
        for name, value in given.items():
            numbers = value if isinstance(value, list | tuple) else [value]
            if (name or value is not None) and not all(
                isinstance(number, Real) for number in numbers
            ):
                of = f" of modality {name!r}" if name else ""
                raise TypeError(
                    f"missing_value={of} must be a number or a list of numbers; got "
                    f"{value!r}."
                )
        for parameter, names in {
            "missing_value": missing if isinstance(missing, Mapping) else (),
            "predict_modality": (self.predict_modality,),
        }.items():
            unknown = [m for m in names if m not in (None, *modalities, *dropped)]
            if unknown:
                raise ValueError(
                    f"{parameter}= names the unknown modality {unknown[0]!r}; X "
                    f"contains {modalities}."
                )
        sentinels = {m: _value_for(m, missing) for m in modalities}
        values = {m: numeric_values(m, X[m], sentinels[m]) for m in modalities}
        inputs = _Inputs(schema, values, {}, {}, sentinels)
        nowhere = ~np.any(list(inputs.present.values()), axis=0)
        if nowhere.any():
            raise ValueError(
                f"All values of all modalities are missing in "
                f"{rows_text(np.flatnonzero(nowhere))}. Drop these rows before fit."
            )
        known = {} if start is None else start.sensors
        calendars = fit_calendars(
            self._without_dropped(self.times, dropped) or {},
            X,
            schema,
            None
            if start is None
            else {m: s.calendar for m, s in known.items() if s.calendar is not None},
            values,
        )
        everywhere = np.ones(len(X), dtype=bool)
        for m, calendar in calendars.items():
            inputs.calendars[m] = calendar
            inputs.days[m] = calendar.days(X, values[m], everywhere)
        return inputs

    @staticmethod
    def _without_dropped(parameter: Any, dropped: tuple[str, ...]) -> Any:
        """Return a parameter by modality without those that were dropped from X."""
        if not dropped or not isinstance(parameter, Mapping):
            return parameter
        return {m: value for m, value in parameter.items() if m not in dropped}

    def _scalers(self, inputs: _Inputs, start: Members | None) -> dict[str, Scaler]:
        if start is not None:
            return {m: sensor.scaler for m, sensor in start.sensors.items()}
        return {m: fit_scaler(x, self.standardize) for m, x in inputs.values.items()}

    def _train(
        self,
        rows: TensorRows,
        inputs: _Inputs,
        scalers: Mapping[str, Scaler],
        target: Target,
        folds: Sequence[Fold],
        *,
        seed: int,
        start: Members | None,
        heads: bool,
        X_unlabeled: Any,
    ) -> tuple[Members, pd.DataFrame]:
        """Train a member for each fold; return the members and their history.

        Training starts from the weights of `start`, including its heads if `heads`.
        """
        lessons = X_unlabeled is not None and self.unlabeled_weight > 0
        members, settings, train = self._prepare_training(
            inputs, scalers, target, folds, start, lessons=lessons
        )
        pairs = None
        if X_unlabeled is not None:
            pairs = self._pairs(
                "X_unlabeled", X_unlabeled, inputs.schema, members, rows.target
            )
            held_out = np.unique(np.concatenate([fold.held_out for fold in folds]))
            if n := int(pairs.among(rows.take(held_out)).sum()):
                warnings.warn(
                    f"X_unlabeled contains {n} of the labelled rows, so "
                    "held_out_scores_, intervals and sets will be too optimistic. "
                    "Leave them out.",
                    UserWarning,
                    stacklevel=4,
                )
        train = partial(train, rows=rows)
        seeds = _seeds(seed, len(folds))
        trained = self._each_member(
            "co-learning",
            train,
            [
                {
                    "settings": settings,
                    "training": fold.training,
                    "held_out": fold.held_out,
                    "seed": own,
                    "start": None if start is None else _weights_of(start, number),
                    "heads": heads,
                }
                for number, (fold, own) in enumerate(zip(folds, seeds, strict=True))
            ],
        )
        if pairs is not None and not trained[-1].net.interrupted:
            trained = self._with_pairs(
                pairs, lessons, trained, train, settings, rows, folds, seeds
            )
        members.nets = [one.net for one in trained]
        members.teachers = [t for one in trained if (t := one.teacher) is not None]
        members.held_out = _held_out(trained, target, rows)
        members.link()
        members.sensors = {
            m: replace(sensor, area=_area(sensor, inputs, rows, folds, seed))
            for m, sensor in members.sensors.items()
        }
        return members, _history(trained)

    def _prepare_training(
        self,
        inputs: _Inputs,
        scalers: Mapping[str, Scaler],
        target: Target,
        folds: Sequence[Fold],
        start: Members | None,
        *,
        taught: bool = True,
        lessons: bool = False,
    ) -> tuple[Members, dict[str, Any], Callable[..., Trained]]:
        """Return members without networks, the nets' arguments and a training function.

        `taught` tells whether there are labels, `lessons` whether pairs have lessons.
        """
        schema, names = inputs.schema, tuple(inputs.values)
        known = {} if start is None else start.sensors
        encoders = choose_encoders(
            self._without_dropped(self.encoder, schema.dropped),
            {m: schema.shapes[m] for m in names},
            before={m: s.made_with["encoder"] for m, s in known.items()} or None,
        )
        params = self._without_dropped(self.encoder_params, schema.dropped)
        by_modality = per_modality("encoder_params", params, names)
        common = {
            "share_encoder": self.share_encoder,
            "embedding_dim": self.embedding_dim,
            "dropout": self.dropout,
        }
        sensors = {
            m: Sensor(
                schema.entries[m],
                inputs.missing[m],
                scalers[m],
                inputs.calendars.get(m),
                [],
                {"encoder": encoders[m], "encoder_params": by_modality[m], **common},
            )
            for m in names
        }
        bands = {
            m: replace(own, limits=limits_of(inputs.values[m]))
            for m, sensor in sensors.items()
            if (own := sensor.bands) is not None
        }
        network = {
            "input_shapes": {
                m: scalers[m].input_shape(schema.shapes[m]) for m in names
            },
            "n_outputs": target.n_logits,
            "encoder": encoders,
            "encoder_params": params,
            "bands": bands,
            **common,
            "teacher": lessons or (taught and self.distillation_weight > 0),
        }
        least = min(len(fold.training) for fold in folds)
        settings = self._settings(network, target.task, least, taught)
        if len(folds) > 1 and self.verbose == 1:
            settings["verbose"] = 0  # `_each_member` shows a progress bar
        series = [m for m in names if len(schema.shapes[m]) == 2]
        nothing = {m: np.full((1, len(scalers[m].fill)), np.nan) for m in series}
        train = partial(
            train_member,
            drop_steps=self.drop_steps,
            blank={m: scalers[m].scaled(nothing[m])[0] for m in series},
            alone=len(folds) == 1,
        )
        return Members(sensors, target, self.fusion), settings, train

    def _each_member(
        self, what: str, function: Callable[..., Any], calls: Sequence[dict[str, Any]]
    ) -> list[Any]:
        """Call a function for each member; stop after an interrupted training."""
        jobs = (delayed(function)(**call) for call in calls)
        done: list[Any] = []
        for one in tqdm(
            Parallel(n_jobs=self.n_jobs, return_as="generator")(jobs),
            total=len(calls),
            unit="member",
            desc=what,
            disable=len(calls) == 1 or self.verbose != 1,
        ):
            done.append(one)
            if isinstance(one, Trained) and one.net.interrupted:
                break
        return done

    def _pairs(
        self,
        argument: str,
        X: Any,
        schema: Schema,
        members: Members,
        target: torch.Tensor,
    ) -> Pairs:
        """Return the unlabelled rows, read like X in `predict`."""
        reader = _Reader()
        reader._remember(schema, members)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(reader, name, getattr(self, name))
        shapes = {m: schema.shapes[m] for m in members.sensors}
        scalers = {m: sensor.scaler for m, sensor in members.sensors.items()}
        return Pairs(X, reader._rows, scalers, shapes, target, argument)

    def _with_pairs(
        self,
        pairs: Pairs,
        lessons: bool,
        first: list[Trained],
        train: Callable[..., Trained],
        settings: Mapping[str, Any],
        rows: TensorRows,
        folds: Sequence[Fold],
        seeds: Sequence[int],
    ) -> list[Trained]:
        """Continue training with pairs; keep the result where held-out rows allow."""
        answers: list[Lesson | None] = [None] * len(folds)
        share = 0.0
        if lessons and self.teacher is not None:
            answers = self._each_member(
                "teacher",
                partial(fit_lesson, self.teacher, task=settings["loss"]["task"]),
                [
                    {
                        "rows": rows.take(fold.training),
                        "n_outputs": settings["network"]["n_outputs"],
                        "seed": seed,
                    }
                    for fold, seed in zip(folds, seeds, strict=True)
                ],
            )
            share = 0.5
        loss = {**settings["loss"], "distillation_weight": self.unlabeled_weight}
        second = self._each_member(
            "with pairs",
            train,
            [
                {
                    "settings": {**settings, "loss": loss},
                    "training": fold.training,
                    "held_out": fold.held_out,
                    "seed": seed,
                    "start": one.net.module_.state_dict(),
                    "teaching": Teaching(
                        pairs, self.unlabeled_batch_size, self.max_steps, answer, share
                    ),
                }
                for fold, seed, one, answer in zip(
                    folds, seeds, first, answers, strict=True
                )
            ],
        )
        if len(second) < len(first):  # interrupted
            return first
        task = settings["loss"]["task"]
        trained, self.pairs_ = follow(first, second, rows, task)
        return trained

    def _weigh(
        self,
        target: Target,
        numbers: Array,
        labelled: Array,
        sample_weight: Array | None,
    ) -> Array | None:
        """Return row weights, scaled to mean 1 over labelled rows of positive weight.

        An unlabelled row has no class, so only `sample_weight` is scaled there.
        """
        by_class = self._class_weights(target, numbers[labelled])
        if by_class is None and sample_weight is None:
            return None
        alone = np.ones(len(numbers)) if sample_weight is None else sample_weight
        weight = alone.astype(np.float64)
        if by_class is not None:
            weight[labelled] *= by_class
        if (weight < 0).any():
            raise ValueError(
                "sample_weight and class_weight must not be negative; the weight is "
                f"negative in {rows_text(np.flatnonzero(weight < 0))}."
            )
        counted = labelled & (weight > 0)
        if not counted.any():
            raise ValueError(
                "sample_weight or class_weight is zero in all training rows. Give some "
                "labelled rows a positive weight."
            )
        weight[labelled] /= weight[counted].mean()
        weight[~labelled] /= alone[counted].mean()
        return weight

    def _settings(
        self, network: Mapping[str, Any], task: str, n_training: int, taught: bool
    ) -> dict[str, Any]:
        """Return the arguments of `make_net`."""
        return {
            "network": network,
            "loss": {
                "task": task,
                "main_weight": float(taught),
                "auxiliary_weight": self.auxiliary_weight if taught else 0.0,
                "contrastive_weight": self.contrastive_weight,
                "discriminative_weight": self.discriminative_weight,
                "distillation_weight": self.distillation_weight,
                "temperature": self.temperature,
                "extra_terms": tuple(self.extra_terms or ()) if taught else (),
            },
            "optimizer": self.optimizer,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "lr_schedule": self.lr_schedule,
            "weight_averaging": self.weight_averaging,
            "max_epochs": self.max_epochs,
            "batch_size": min(self.batch_size, n_training),
            "callbacks": self.callbacks,
            "device": resolve_device(self.device),
            "precision": self.precision,
            "verbose": int(self.verbose),
        }

    # -- fitted estimators -----------------------------------------------------------

    def export(self, modality: str, *, distill: Any = False) -> Any:
        """Copy the fitted sensor of one modality: scaler, encoders and head.

        Parameters
        ----------
        modality : str
            Name of the modality.
        distill : bool or rows of the modality, default=False
            Whether to replace the members by one small MLP that imitates them [1]_. It
            is about ten times as fast, but gives no intervals or prediction sets. True
            trains it on up to 2,000 stored training rows and mixtures of them.
            Unlabelled rows from where it will be used are better, in any form that
            `predict` takes; rows that lack the modality are left out.

        Returns
        -------
        SingleModalityClassifier or SingleModalityRegressor
            Fitted copy with the same predictions, or nearly the same with `distill`.

        Raises
        ------
        ValueError, NotFittedError
            If the modality is unknown or the estimator not fitted. With `distill`, if
            the modality has times by row, no row has it, or no training rows are stored
            (images, and ``cv=None``).

        References
        ----------
        .. [1] Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network",
           2015, arXiv:1503.02531.
        """
        check_is_fitted(self)
        if modality not in self.modalities_:
            raise ValueError(
                f"Unknown modality {modality!r}; fit saw {self.modalities_}."
            )
        sensor = self._sensors[modality]
        schema = self._schema.only(modality, sensor.times_entry)
        model = self._exported.of(deepcopy(self._members.only(modality)), schema)
        if distill is False:
            return model
        if sensor.times_entry is not None:
            raise ValueError(
                f"distill= cannot be used for {modality!r}: its times vary by row, and "
                "the small network takes no times. Export it without distill=."
            )
        if distill is True:
            values = kept_rows(sensor)
        else:
            values = model._rows(distill)[modality].values
            if not len(values):
                raise ValueError(
                    f"{modality!r} is missing in all rows of distill=. Pass rows that "
                    "have it."
                )
        seed = _draw_seed(self.random_state)
        return self._exported.of(distilled(model._members, values, seed), schema)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def store(estimator: Any, given: Mapping[str, Any]) -> None:
    """Store the parameters among the ``locals()`` of ``__init__``."""
    for name in estimator._get_param_names():
        setattr(estimator, name, given[name])


def _draw_seed(random_state: Any) -> int:
    # check_random_state(None) would draw from numpy's global generator.
    if random_state is None:
        return int(from_first(np.random.default_rng().integers(2**31)))
    return int(check_random_state(random_state).randint(2**31 - 1))


def _value_for(modality: str, parameter: Any) -> Any:
    """Return the value of a parameter that may be a dict by modality."""
    own = parameter.get(modality) if isinstance(parameter, Mapping) else parameter
    return tuple(own) if isinstance(own, list) else own


def _seeds(seed: int, n: int) -> list[int]:
    """Return a seed for each of n members; a single member uses `seed`."""
    if n == 1:
        return [seed]
    return [int(own) for own in np.random.SeedSequence(seed).generate_state(n)]


def _checked_groups(groups: Any, n_rows: int) -> Array:
    groups = np.asarray(groups)
    if groups.shape != (n_rows,):
        raise ValueError(
            f"groups= has shape {groups.shape}; expected ({n_rows},), one for each row."
        )
    missing = np.asarray(pd.isna(groups))
    if missing.any():
        raise ValueError(
            f"groups= is missing in {rows_text(np.flatnonzero(missing))}. Every row "
            "needs a group."
        )
    return pd.factorize(groups)[0]


def _some_ids(ids: Any, rows: Array) -> Any:
    return np.flatnonzero(rows) if ids is None else np.asarray(ids, object)[rows]


def _weights_of(start: Members, number: int) -> dict[str, torch.Tensor]:
    """Return the weights of a member, or of the single pretrained network."""
    net = start.nets[number if number < len(start.nets) else 0]
    weights: dict[str, torch.Tensor] = net.module_.state_dict()
    return weights


def _held_out(
    trained: Sequence[Trained], target: Target, rows: TensorRows
) -> HeldOut | None:
    """Collect the members' logits of their held-out rows; None without any."""
    if not any(one.logits for one in trained):
        return None
    names = list(rows.inputs)
    if any(TEACHER in one.logits for one in trained):
        names.append(TEACHER)
    parts = [one.held_out for one in trained]
    at = np.concatenate(parts)
    logits: dict[str, Array] = {}
    none = [np.full((len(p), target.n_logits), np.nan, np.float32) for p in parts]
    for m in names:
        known = [t.logits.get(m, no) for t, no in zip(trained, none, strict=True)]
        logits[m] = np.concatenate(known)
    given, truth, prior = rows.sample_weight, rows.target.numpy(), None
    weight = np.ones(len(truth)) if given is None else given.numpy().astype(np.float64)
    if target.task == "cross_entropy":
        labelled = slice(None) if rows.labelled is None else rows.labelled.numpy()
        counts = np.bincount(truth[labelled], weight[labelled], target.n_logits)
        prior = np.maximum(counts / counts.sum(), 1e-6)
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    shown = np.concatenate([one.shown for one in trained])
    return HeldOut(target, at, numbers, truth[at], weight[at], shown, logits, prior)


def _area(
    sensor: Sensor, inputs: _Inputs, rows: TensorRows, folds: Sequence[Fold], seed: int
) -> Area | None:
    """Learn a sensor's area of applicability; None without held-out rows."""
    if not any(len(fold.held_out) for fold in folds):
        return None
    taught = inputs.present[sensor.name].copy()
    if rows.labelled is not None:
        taught &= rows.labelled.numpy()
    if rows.sample_weight is not None:
        taught &= rows.sample_weight.numpy() > 0
    rng = np.random.default_rng(seed)

    def points(chosen: Array) -> torch.Tensor:
        some = rng.permutation(chosen[taught[chosen]])[:ENOUGH_ROWS]
        return sensor.points(inputs.values[sensor.name][np.sort(some)])

    known = points(np.unique(np.concatenate([fold.training for fold in folds])))
    return Area.learn(known, [(points(f.training), points(f.held_out)) for f in folds])


def _history(trained: Sequence[Trained]) -> pd.DataFrame:
    """Return the epochs of all members, numbered by ``member`` if there are several."""
    if len(trained) == 1:
        return trained[0].history
    tables = [one.history for one in trained]
    for number, table in enumerate(tables):
        table.insert(0, "member", number)
    return pd.concat(tables, ignore_index=True)


def n_epochs(history: pd.DataFrame) -> int:
    """Return the largest number of epochs of a member."""
    return int(history["epoch"].max()) if len(history) else 0


def _continued_history(before: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Append the epochs of another fit and continue their numbering."""
    history = pd.concat([before, new], ignore_index=True)
    if "member" not in history:
        history["epoch"] = np.arange(1, len(history) + 1)
        return history
    history = history.sort_values("member", kind="stable", ignore_index=True)
    history["epoch"] = history.groupby("member").cumcount() + 1
    return history


def _warn_of_unpaired_modalities(present: Mapping[str, Array]) -> None:
    """Warn if a modality shares no row with any other."""
    n_sensors = np.sum(list(present.values()), axis=0)
    alone = [
        m for m, here in present.items() if here.any() and n_sensors[here].max() < 2
    ]
    if alone:
        warnings.warn(
            f"The modalities {alone} share no row with any other modality, so they "
            "take no part in co-learning. Check that their row labels match.",
            UserWarning,
            stacklevel=4,
        )


def _warn_of_unused_times(sensors: Mapping[str, Sensor], stacklevel: int) -> None:
    for m, sensor in sensors.items():
        if sensor.calendar and "times" not in sensor.networks[0].takes:
            warnings.warn(
                f"times= is ignored for modality {m!r}: its encoder "
                f"{sensor.made_with['encoder']!r} takes no times. Encoders that take "
                "times: 'tae', 'ltae', 'transformer', 'convtran' and 'presto'.",
                UserWarning,
                stacklevel=stacklevel,
            )


def _continued_target(target: Target, before: Target) -> Target:
    """Return the target of an earlier fit, if the new one is of the same kind."""
    for name in ("classes", "n_outputs", "task", "flat"):
        now, then = getattr(target, name), getattr(before, name)
        if not np.array_equal(now, then):
            raise ValueError(
                f"With warm_start=True, the {name} of the target must be the same as "
                f"in the previous fit: expected {then!r}, got {now!r}."
            )
    return replace(before, unlabeled=target.unlabeled)
