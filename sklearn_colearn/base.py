"""What classifier and regressor have in common: from X to a trained net and back."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from sklearn_colearn.export import SingleModalityModel
from sklearn_colearn.modalities import (
    ModalityDict,
    is_dataset,
    is_named,
    read_named,
    sample_dimension,
)
from sklearn_colearn.network import ModalityNetwork, choose_encoders, per_modality
from sklearn_colearn.prediction import Array, Predictor
from sklearn_colearn.schema import Schema, numeric_values, present_rows, rows_text
from sklearn_colearn.single_modality import fit_scaler, standardized, step_inputs
from sklearn_colearn.times import continued, fit_calendars, time_entries
from sklearn_colearn.training import (
    LR_SCHEDULES,
    OPTIMIZERS,
    CoLearnNet,
    TensorRows,
    history_frame,
    make_net,
    resolve_device,
    seeded,
    train,
)

__all__ = ["CoLearn"]

Exported = TypeVar("Exported", bound=SingleModalityModel)

#: The name of the one modality of a plain two-dimensional X.
PLAIN = "X"


class CoLearn(Predictor):
    """What classifier and regressor have in common.

    A concrete estimator says how it reads a target and which task loss it has
    (`_read_target`); how logits become answers says its :class:`Predictor`.
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "encoder": [str, callable, Mapping],
        "encoder_params": [Mapping, None],
        "share_encoder": ["boolean"],
        "embedding_dim": [Interval(Integral, 2, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "auxiliary_weight": [Interval(Real, 0, None, closed="left")],
        "contrastive_weight": [Interval(Real, 0, None, closed="left")],
        "discriminative_weight": [Interval(Real, 0, None, closed="left")],
        "distillation_weight": [Interval(Real, 0, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "modalities": [Mapping, None],
        "times": [Mapping, None],
        "predict_modality": [str, None],
        "standardize": ["boolean"],
        "missing_value": [Real, Mapping, None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr_schedule": [StrOptions({"constant", *LR_SCHEDULES}), callable],
        "weight_averaging": [Interval(Real, 0, 0.5, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "callbacks": [list, tuple, None],
        "device": [str],
        "precision": [StrOptions({"float32", "bf16"})],
        "compile": ["boolean"],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # -- hooks -----------------------------------------------------------------------

    net_: CoLearnNet
    history_: pd.DataFrame

    @abstractmethod
    def _read_target(self, y: Any) -> tuple[Array, dict[str, Any]]:
        """Check y; return it as numbers, and the attributes that describe it."""

    @abstractmethod
    def _n_logits(self) -> int:
        """Return how many numbers a prediction head gives."""

    def _fit_target(self, target: Array, weight: Array | None) -> None:
        """Learn from the training rows how to scale the target, if at all."""

    def _target_tensor(self, target: Array) -> torch.Tensor:
        """Return the target as the loss wants it."""
        return torch.from_numpy(target)

    def _weigh(self, target: Array, sample_weight: Array | None) -> Array | None:
        """Return the weights of the rows in the supervised terms."""
        return sample_weight

    # -- fit -------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        self._validate_params()
        continues = self.warm_start and hasattr(self, "net_")
        X, schema = self._read_training(X)
        schema = replace(schema, times=self._time_entries(schema))
        if continues:
            X, schema = self._continued(X, schema)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        target, description = self._read_target(y)
        if len(target) != len(X):
            raise ValueError(
                f"X and y need the same number of rows; X has {len(X)} and y has "
                f"{len(target)}."
            )
        if continues:
            self._check_same_target(description)
        values = self._numeric(X.select(schema.modalities), schema)
        calendars = fit_calendars(self.times or {}, X, schema)
        if continues:
            calendars = continued(calendars, self._calendars)
        days = {
            m: calendar.days(X, values[m], np.ones(len(X), dtype=bool))
            for m, calendar in calendars.items()
        }
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, ensure_non_negative=True
            )
        if not continues:
            for name in ("net_", "history_", "n_iter_"):
                if hasattr(self, name):
                    delattr(self, name)  # a failure from here on leaves it unfitted
        self._schema = schema
        for name, value in description.items():
            setattr(self, name, value)
        weight = self._weigh(target, sample_weight)
        self.modalities_ = schema.modalities
        self.input_shapes_ = {m: schema.shapes[m] for m in schema.modalities}
        if len(self.modalities_) == 1:
            warnings.warn(
                f"X holds one modality, {self.modalities_[0]!r}, so there is nothing "
                "to learn together; pass a dict {name: array} of several, or say by "
                "modalities= which columns belong to which.",
                UserWarning,
                stacklevel=3,
            )
        self._train(values, days, target, weight, continues)
        self._calendars = calendars
        for m in calendars:
            if "times" not in self.net_.module_.network(m).takes:
                warnings.warn(
                    f"times= is of no use to modality {m!r}: its encoder "
                    f"{self.encoders_[m]!r} takes no times. Those that do are 'tae', "
                    "'ltae', 'transformer' and 'convtran'.",
                    UserWarning,
                    stacklevel=3,
                )

    def _time_entries(self, schema: Schema) -> tuple[str, ...]:
        entries = time_entries(self.times)
        for entry in entries:
            if entry not in schema.shapes:
                raise ValueError(
                    f"times= names the entry {entry!r} of X, which would hold the "
                    f"times of each row; X holds {list(schema.shapes)}."
                )
        if set(entries) >= set(schema.shapes):
            raise ValueError(
                f"times= takes all entries of X, {list(schema.shapes)}, for times; a "
                "modality has to be left."
            )
        return entries

    def _continued(
        self, X: ModalityDict, schema: Schema
    ) -> tuple[ModalityDict, Schema]:
        """Return X as the earlier fit saw it; the networks are in its order."""
        before = self._schema
        if before.shapes != schema.shapes or (
            before.columns is not None
            and schema.columns is not None
            and any(
                not np.array_equal(before.columns[m], schema.columns[m])
                for m in before.shapes
            )
        ):
            raise ValueError(
                "warm_start=True continues the earlier fit, so the modalities have to "
                f"be the same; before {before.shapes}, now {schema.shapes}."
            )
        return before.check(X.select(before.shapes)), before

    def _check_same_target(self, description: dict[str, Any]) -> None:
        for name, value in description.items():
            if not np.array_equal(value, getattr(self, name)):
                raise ValueError(
                    "warm_start=True continues the earlier fit, so the target has to "
                    f"be of the same kind; {name} was {getattr(self, name)!r} and "
                    f"would be {value!r}."
                )

    def _read_training(self, X: Any) -> tuple[ModalityDict, Schema]:
        if is_named(X):
            sample_dim = sample_dimension(X) if is_dataset(X) else None
            X = read_named(X, sample_dim)
            if not X:
                raise ValueError(
                    "X is empty: a dict of at least one modality with at least one "
                    "row is needed."
                )
            schema = Schema.of(X, sample_dim)
            for modality, shape in schema.shapes.items():
                if 0 in shape:
                    raise ValueError(
                        f"Modality {modality!r} has shape {X[modality].shape}: an "
                        "axis is empty."
                    )
            if self.modalities is not None:
                schema = schema.with_layout(self.modalities, X.shape[1])
            self.n_features_in_ = X.shape[1]
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_  # of an earlier fit on a frame
            return X, schema
        if len(getattr(X, "shape", ())) > 2:
            raise ValueError(
                f"X is a bare array of shape {tuple(X.shape)}; fit needs to know the "
                "modalities by name: pass a dict {name: array}, even for one."
            )
        X = self._validate_flat(X, reset=True)
        layout = self.modalities
        if layout is None:
            layout = {PLAIN: slice(0, X.shape[1])}
        names = getattr(self, "feature_names_in_", None)
        schema = Schema.of_layout(layout, X.shape[1], names)
        return schema.split(X), schema

    def _numeric(self, X: ModalityDict, schema: Schema) -> dict[str, Array]:
        """Check the values of the training rows; every row needs some modality."""
        named: dict[str, Any] = {
            "missing_value": self.missing_value,
            "predict_modality": self.predict_modality,
        }
        if isinstance(self.missing_value, Mapping):
            for name, value in self.missing_value.items():
                if not isinstance(value, Real):
                    raise TypeError(
                        f"missing_value= of modality {name!r} is a number; got "
                        f"{value!r}."
                    )
        for parameter, names in named.items():
            if isinstance(names, str):
                names = [names]
            elif not isinstance(names, Mapping):
                continue
            unknown = [name for name in names if name not in schema.modalities]
            if unknown:
                raise ValueError(
                    f"{parameter}= names the unknown modality {unknown[0]!r}; X holds "
                    f"{schema.modalities}."
                )
        values = {
            modality: numeric_values(modality, array, self._missing_value(modality))
            for modality, array in X.items()
        }
        nowhere = ~np.any([present_rows(array) for array in values.values()], axis=0)
        if nowhere.any():
            raise ValueError(
                f"All values of all modalities are missing in "
                f"{rows_text(np.flatnonzero(nowhere))}; drop them before fit."
            )
        return values

    def _train(
        self,
        values: dict[str, Array],
        days: dict[str, Array],
        target: Array,
        weight: Array | None,
        continues: bool,
    ) -> None:
        seed = _draw_seed(self.random_state)
        n = len(target)
        training, validation = np.arange(n), None
        if self.early_stopping:
            training, validation = self._split(target, seed)
        if weight is not None:
            weight = self._relative(weight, training)
        scalers = {}
        for modality, array in values.items():
            learnt = _rows(array, training)
            if not present_rows(learnt).any():
                raise ValueError(
                    f"Modality {modality!r} has no value in any training row, so there "
                    f"is nothing to learn from{self._held_back()}."
                )
            if not continues:
                scalers[modality] = fit_scaler(learnt, self.standardize)
        if not continues:
            self._scalers = scalers
            self._fit_target(
                _rows(target, training),
                None if weight is None else _rows(weight, training),
            )
        rows = TensorRows(
            inputs={
                modality: standardized(array, self._scalers[modality])
                for modality, array in values.items()
            },
            target=self._target_tensor(target),
            present=_presence(values),
            sample_weight=None
            if weight is None
            else torch.from_numpy(weight.astype(np.float32)),
        )
        device = resolve_device(self.device)
        encoders = choose_encoders(
            self.encoder,
            self.input_shapes_,
            len(training),
            timed=days,
            before=self.encoders_ if continues else None,
        )
        with seeded(seed, device):
            net = self._make_net(device, len(training), encoders)
            if continues:
                _continue_from(net, self.net_)
            steps = {
                m: step_inputs(net.module_.network(m), array, days.get(m))
                for m, array in values.items()
            }
            rows = replace(rows, steps={m: own for m, own in steps.items() if own})
            train(
                net,
                _select(rows, training),
                None if validation is None else _select(rows, validation),
            )
        self.net_, self.encoders_ = net, encoders
        history = history_frame(net)
        if continues:
            history = pd.concat([self.history_, history], ignore_index=True)
            history["epoch"] = np.arange(1, len(history) + 1)
        self.history_ = history
        self.n_iter_ = len(history)

    def _held_back(self) -> str:
        return " (early_stopping=True held others back)" if self.early_stopping else ""

    def _relative(self, weight: Array, training: Array) -> Array:
        """Scale weights to mean 1 over the training rows that have any."""
        if (weight < 0).any():
            raise ValueError(
                f"Weights are negative in {rows_text(np.flatnonzero(weight < 0))}, by "
                "sample_weight or class_weight."
            )
        counted = weight[training][weight[training] > 0]
        if len(counted) == 0:
            raise ValueError(
                "The weights of all training rows are zero, by sample_weight or "
                f"class_weight{self._held_back()}; nothing is left to fit."
            )
        relative: Array = weight / counted.mean()
        return relative

    def _split(self, target: Array, seed: int) -> tuple[Array, Array]:
        """Split the rows; by class where every class has rows for both sides."""
        n = len(target)
        n_validation = max(1, round(self.validation_fraction * n))
        if n - n_validation < 1:
            raise ValueError(
                f"early_stopping=True needs rows to train on and rows to validate on; "
                f"X has {n}."
            )
        stratify = None
        if self._task == "cross_entropy":
            counts = np.bincount(target)
            if counts.min() >= 2 and len(counts) <= min(n_validation, n - n_validation):
                stratify = target
        training, validation = train_test_split(
            np.arange(n), test_size=n_validation, stratify=stratify, random_state=seed
        )
        return np.sort(training), np.sort(validation)

    def _make_net(
        self, device: str, n_training: int, encoders: Mapping[str, Any]
    ) -> Any:
        batch_size = min(self.batch_size, n_training)
        return make_net(
            network={
                "input_shapes": self.input_shapes_,
                "n_outputs": self._n_logits(),
                "encoder": encoders,
                "encoder_params": self.encoder_params,
                "share_encoder": self.share_encoder,
                "embedding_dim": self.embedding_dim,
                "dropout": self.dropout,
                "teacher": self.distillation_weight > 0,
            },
            loss={
                "task": self._task,
                "auxiliary_weight": self.auxiliary_weight,
                "contrastive_weight": self.contrastive_weight,
                "discriminative_weight": self.discriminative_weight,
                "distillation_weight": self.distillation_weight,
                "temperature": self.temperature,
            },
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            lr_schedule=self.lr_schedule,
            weight_averaging=self.weight_averaging,
            max_epochs=self.max_epochs,
            batch_size=batch_size,
            n_batches=-(-n_training // batch_size),
            early_stopping={"patience": self.n_iter_no_change, "threshold": self.tol}
            if self.early_stopping
            else None,
            callbacks=self.callbacks,
            device=device,
            precision=self.precision,
            compile=self.compile,
            verbose=int(self.verbose),
        )

    # -- predict ---------------------------------------------------------------------

    def _network(self, modality: str) -> ModalityNetwork:
        network: ModalityNetwork = self.net_.module_.network(modality)
        return network

    def _export(self, modality: str, kind: type[Exported]) -> Exported:
        check_is_fitted(self)
        if modality not in self.modalities_:
            raise ValueError(
                f"Unknown modality {modality!r}; fit saw {self.modalities_}."
            )
        calendar = self._calendars.get(modality)
        params = per_modality(
            "encoder_params", self.encoder_params, tuple(self.modalities_)
        )
        model = kind.make(
            schema=self._schema.only(modality, calendar.entry if calendar else None),
            scaler=self._scalers[modality],
            network=self._network(modality),
            calendar=calendar,
            encoder=self.encoders_[modality],
            encoder_params=params[modality],
            dropout=self.dropout,
            missing_value=self._missing_value(modality),
            target=self._target(),
        )
        return deepcopy(model)  # which another fit does not touch

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "history_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _draw_seed(random_state: Any) -> int:
    # Without a random_state, fresh entropy: numpy's global generator stays untouched.
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


def _rows(array: Array, index: Array) -> Array:
    # All rows need no copy.
    return array if len(index) == len(array) else array[index]


def _presence(values: Mapping[str, Array]) -> dict[str, torch.Tensor] | None:
    present = {m: present_rows(array) for m, array in values.items()}
    if all(here.all() for here in present.values()):
        return None
    return {m: torch.from_numpy(here) for m, here in present.items()}


def _select(rows: TensorRows, index: Array) -> TensorRows:
    if len(index) == len(rows):
        return rows
    X, target = rows[torch.from_numpy(index)]
    return TensorRows(target=target, **X)


def _continue_from(net: Any, before: Any) -> None:
    try:
        net.module_.load_state_dict(before.module_.state_dict())
    except RuntimeError as error:
        raise ValueError(
            "warm_start=True continues the earlier fit, so encoder, encoder_params, "
            "share_encoder and embedding_dim have to be the same, and "
            "distillation_weight zero or positive as before."
        ) from error
