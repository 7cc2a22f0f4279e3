"""What classifier and regressor have in common: from X to a trained net and back."""

from __future__ import annotations

import re
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from sklearn_colearn.encoders import EncoderFactory
from sklearn_colearn.export import SingleModalityModel
from sklearn_colearn.labels import labelled_part
from sklearn_colearn.modalities import (
    ModalityDict,
    is_dataset,
    is_named,
    labelled_columns,
    read_named,
    sample_dimension,
    shared_sample_dim,
)
from sklearn_colearn.network import (
    ModalityNetwork,
    ModalityOutput,
    choose_encoders,
    per_modality,
)
from sklearn_colearn.prediction import Array, Predictor
from sklearn_colearn.schema import Schema, numeric_values, present_rows, rows_text
from sklearn_colearn.single_modality import fit_scaler, standardized, step_inputs
from sklearn_colearn.times import Calendar, fit_calendars, time_entries
from sklearn_colearn.training import (
    LR_SCHEDULES,
    OPTIMIZERS,
    CoLearnNet,
    Gaps,
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
        "fusion": [StrOptions({"teacher", "mean"})],
        "standardize": ["boolean"],
        "missing_value": [Real, Mapping, None],
        "missing_indicator": ["boolean"],
        "drop_steps": [Interval(Real, 0, 1, closed="left")],
        "drop_modalities": [Interval(Real, 0, 1, closed="left")],
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

    #: Set by pretrain, until a fit has started from it.
    _pretrained: CoLearnNet
    net_: CoLearnNet
    history_: pd.DataFrame

    @abstractmethod
    def _read_target(self, y: Any) -> tuple[Array, Array, dict[str, Any]]:
        """Check y; return it as numbers, its labelled rows, and what describes it."""

    @abstractmethod
    def _n_logits(self) -> int:
        """Return how many numbers a prediction head gives."""

    def _fit_target(self, target: Array, weight: Array | None) -> None:
        """Learn from the training rows how to scale the target, if at all."""

    def _target_tensor(self, target: Array) -> torch.Tensor:
        """Return the target as the loss wants it."""
        return torch.from_numpy(target)

    def _class_weights(self, target: Array) -> Array | None:
        """Return what labelled rows weigh by their class."""
        return None

    # -- fit -------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        self._validate_params()
        continues = self.warm_start and hasattr(self, "net_")
        resumes = continues or (self.warm_start and hasattr(self, "_pretrained"))
        X, schema = self._read_modalities(X, resumes)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        target, labelled, description = self._read_target(y)
        if len(target) != len(X):
            raise ValueError(
                f"X and y need the same number of rows; X has {len(X)} and y has "
                f"{len(target)}."
            )
        if continues:
            self._check_same_target(description)
        values, calendars, days = self._read_values(X, schema, resumes)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, ensure_non_negative=True
            )
        if not continues:
            self._forget("net_", "history_", "n_iter_")  # a failure leaves it unfitted
        if not resumes:
            self._forget("_pretrained", "pretrain_history_")
        self._remember(schema)
        for name, value in description.items():
            setattr(self, name, value)
        if len(self.modalities_) == 1:
            warnings.warn(
                f"X holds one modality, {self.modalities_[0]!r}, so there is nothing "
                "to learn together; pass a dict {name: array} of several, or say by "
                "modalities= which columns belong to which.",
                UserWarning,
                stacklevel=3,
            )
            # Without a label, a row of the only modality teaches nothing.
            values = {m: _kept(array, labelled) for m, array in values.items()}
            days = {
                m: _kept(own, labelled) if own.ndim == 2 else own
                for m, own in days.items()
            }
            target = _kept(target, labelled)
            if sample_weight is not None:
                sample_weight = _kept(sample_weight, labelled)
            labelled = _kept(labelled, labelled)
        seed = _draw_seed(self.random_state)
        training, validation = np.arange(len(target)), None
        if self.early_stopping:
            training, validation = self._split(target, labelled, seed)
        taught = training[labelled[training]]
        weight = self._weigh(target, labelled, sample_weight, taught)
        for m, array in values.items():
            if not present_rows(_rows(array, taught)).any():
                if present_rows(_rows(array, training)).any():
                    raise ValueError(
                        f"Modality {m!r} has no value in any labelled training row, so "
                        f"nothing teaches it the labels{self._held_back()}."
                    )
                raise ValueError(
                    f"Modality {m!r} has no value in any training row, so there "
                    f"is nothing to learn from{self._held_back()}."
                )
        if not resumes:
            self._fit_scalers(values, training)
        if not continues:
            self._fit_target(
                _rows(target, taught), None if weight is None else _rows(weight, taught)
            )
        tensor = self._target_tensor(target)
        tensor[~labelled] = 0  # 0 scaled may be too large, and that times 0 is NaN
        rows = TensorRows(
            inputs=self._inputs(values),
            target=tensor,
            present=_presence(values),
            sample_weight=None
            if weight is None
            else torch.from_numpy(weight.astype(np.float32)),
            labelled=None if labelled.all() else torch.from_numpy(labelled),
        )
        start = None
        if resumes:
            start = self.net_ if continues else self._pretrained
        net, encoders = self._train(
            rows,
            values,
            days,
            training,
            validation,
            seed=seed,
            start=start,
            heads=continues,
        )
        self.net_, self.encoders_ = net, encoders
        self._forget("_pretrained")
        history = history_frame(net)
        if continues:
            history = pd.concat([self.history_, history], ignore_index=True)
            history["epoch"] = np.arange(1, len(history) + 1)
        self.history_ = history
        self.n_iter_ = len(history)
        self._calendars = calendars
        self._warn_of_idle_times(net, stacklevel=4)

    def pretrain(self, X: Any) -> Self:
        """Train the encoders on rows without labels, for a `fit` to start from.

        By the contrastive and the discriminative term alone. After that, with
        ``warm_start=True``, the first `fit` begins with these encoders and scalers and
        with new prediction heads. For archives that are too large to go into `fit`
        together with the labelled rows.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset or array
            The modalities, two at least, in any form that `fit` takes.

        Returns
        -------
        self
            Itself; not fitted, and no more so if it was.

        Raises
        ------
        ValueError
            If ``warm_start`` is False, so that `fit` would begin anew, X holds one
            modality, the weights of both terms are zero, X is not as in `fit`, or
            training diverges.
        TypeError
            If a name, a column or an encoder is of a wrong type.

        Notes
        -----
        ``max_epochs``, ``batch_size``, the optimizer and its schedule are the
        parameters at the time; ``early_stopping`` is for `fit` only. What is learnt is
        not a parameter: :func:`sklearn.base.clone`, and so cross-validation, leaves it
        out.
        """
        self._validate_params()
        if not self.warm_start:
            raise ValueError(
                "pretrain is of use to a fit that goes on from it; set warm_start=True."
            )
        if self.contrastive_weight == self.discriminative_weight == 0:
            raise ValueError(
                "pretrain has nothing to train by, as contrastive_weight and "
                "discriminative_weight are zero."
            )
        X, schema = self._read_modalities(X, resumes=False)
        if len(schema.modalities) == 1:
            raise ValueError(
                f"X holds one modality, {schema.modalities[0]!r}; pretrain learns what "
                "several have in common."
            )
        values, calendars, days = self._read_values(X, schema, resumes=False)
        for m, array in values.items():
            if not present_rows(array).any():
                raise ValueError(
                    f"Modality {m!r} has no value in any row, so there is nothing to "
                    "learn from."
                )
        self._forget("net_", "history_", "n_iter_", "_pretrained", "pretrain_history_")
        self._remember(schema)
        training = np.arange(len(X))
        self._fit_scalers(values, training)
        rows = TensorRows(
            inputs=self._inputs(values),
            target=torch.zeros(len(X)),
            present=_presence(values),
        )
        self._pretrained, self.encoders_ = self._train(
            rows,
            values,
            days,
            training,
            None,
            seed=_draw_seed(self.random_state),
            taught=False,
        )
        self.pretrain_history_ = history_frame(self._pretrained)
        self._calendars = calendars
        self._warn_of_idle_times(self._pretrained, stacklevel=3)
        return self

    def _remember(self, schema: Schema) -> None:
        self._schema = schema
        self.modalities_ = schema.modalities
        self.input_shapes_ = {m: schema.shapes[m] for m in schema.modalities}

    def _forget(self, *names: str) -> None:
        for name in names:
            if hasattr(self, name):
                delattr(self, name)

    def _warn_of_idle_times(self, net: CoLearnNet, stacklevel: int) -> None:
        for m in self._calendars:
            if "times" not in net.module_.network(m).takes:
                warnings.warn(
                    f"times= is of no use to modality {m!r}: its encoder "
                    f"{self.encoders_[m]!r} takes no times. Those that do are 'tae', "
                    "'ltae', 'transformer' and 'convtran'.",
                    UserWarning,
                    stacklevel=stacklevel,
                )

    def _read_modalities(self, X: Any, resumes: bool) -> tuple[ModalityDict, Schema]:
        X, schema = self._read_training(X)
        schema = replace(schema, times=self._time_entries(schema))
        return self._continued(X, schema) if resumes else (X, schema)

    def _read_values(
        self, X: ModalityDict, schema: Schema, resumes: bool
    ) -> tuple[dict[str, Array], dict[str, Calendar], dict[str, Array]]:
        """Return the values of the modalities, their calendars, and their times."""
        values = self._numeric(X.select(schema.modalities), schema)
        calendars = fit_calendars(
            self.times or {}, X, schema, self._calendars if resumes else None
        )
        days = {
            m: calendar.days(X, values[m], np.ones(len(X), dtype=bool))
            for m, calendar in calendars.items()
        }
        return values, calendars, days

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
            sample_dim = None
            if is_dataset(X):
                sample_dim = sample_dimension(X)
            elif isinstance(X, Mapping):
                sample_dim = shared_sample_dim(X)
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
        X = labelled_columns(X)
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

    def _fit_scalers(self, values: Mapping[str, Array], training: Array) -> None:
        """Learn from the training rows how to scale, and which modalities have gaps."""
        self._scalers = {
            m: fit_scaler(
                _rows(array, training), self.standardize, self.missing_indicator
            )
            for m, array in values.items()
        }

    def _inputs(self, values: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        return {m: standardized(array, self._scalers[m]) for m, array in values.items()}

    def _train(
        self,
        rows: TensorRows,
        values: Mapping[str, Array],
        days: Mapping[str, Array],
        training: Array,
        validation: Array | None,
        *,
        seed: int,
        start: CoLearnNet | None = None,
        heads: bool = True,
        taught: bool = True,
    ) -> tuple[CoLearnNet, dict[str, str | EncoderFactory]]:
        """Train a new net; return it and its encoders.

        It begins with the weights of `start`, of its prediction heads too if `heads`.
        `taught` is whether any row has a label.
        """
        device = resolve_device(self.device)
        encoders = choose_encoders(
            self.encoder,
            self.input_shapes_,
            {m: int(present_rows(_rows(x, training)).sum()) for m, x in values.items()},
            timed=days,
            before=None if start is None else self.encoders_,
        )
        with seeded(seed, device):
            net = self._make_net(device, len(training), encoders, taught)
            if start is not None:
                _continue_from(net, start, heads)
            steps = {
                m: step_inputs(net.module_.network(m), array, days.get(m))
                for m, array in values.items()
            }
            rows = replace(rows, steps={m: own for m, own in steps.items() if own})
            train(
                net,
                _select(rows, training),
                None if validation is None else _select(rows, validation),
                self._gaps(net) if self.drop_steps or self.drop_modalities else None,
            )
        return net, encoders

    def _gaps(self, net: CoLearnNet) -> Gaps:
        series = {m: s for m, s in self.input_shapes_.items() if len(s) == 2}
        nothing = {
            m: np.full((1, n_bands), np.nan) for m, (_, n_bands) in series.items()
        }
        return Gaps(
            steps=self.drop_steps,
            modalities=self.drop_modalities,
            blank={m: x[0] for m, x in self._inputs(nothing).items()},
            masked=tuple(m for m in series if "mask" in net.module_.network(m).takes),
        )

    def _held_back(self) -> str:
        return " (early_stopping=True held others back)" if self.early_stopping else ""

    def _weigh(
        self,
        target: Array,
        labelled: Array,
        sample_weight: Array | None,
        taught: Array,
    ) -> Array | None:
        """Weigh the rows: mean 1 over the labelled training rows that have any weight.

        A row without a label has no class, so its weight is relative to the mean
        `sample_weight` of those rows. `taught` are the labelled training rows.
        """
        by_class = self._class_weights(target[labelled])
        if by_class is None and sample_weight is None:
            return None
        alone = np.ones(len(target)) if sample_weight is None else sample_weight
        weight = alone.astype(np.float64)
        if by_class is not None:
            weight[labelled] *= by_class
        if (weight < 0).any():
            raise ValueError(
                f"Weights are negative in {rows_text(np.flatnonzero(weight < 0))}, by "
                "sample_weight or class_weight."
            )
        counted = taught[weight[taught] > 0]
        if len(counted) == 0:
            raise ValueError(
                "The weights of all training rows are zero, by sample_weight or "
                f"class_weight{self._held_back()}; nothing is left to fit."
            )
        weight[labelled] /= weight[counted].mean()
        weight[~labelled] /= alone[counted].mean()
        return weight

    def _split(self, target: Array, labelled: Array, seed: int) -> tuple[Array, Array]:
        """Hold labelled rows back, of every class where there are enough."""
        candidates = np.flatnonzero(labelled)
        n = len(candidates)
        n_validation = max(1, round(self.validation_fraction * n))
        if n - n_validation < 1:
            kind = "" if labelled.all() else "labelled "
            raise ValueError(
                f"early_stopping=True needs {kind}rows to train on and rows to "
                f"validate on; X has {n}."
            )
        stratify = None
        if self._task == "cross_entropy":
            codes = target[candidates]
            counts = np.bincount(codes)
            if counts.min() < 2:
                name = self.classes_.tolist()[int(counts.argmin())]
                raise ValueError(
                    "early_stopping=True holds back rows of every class, but class "
                    f"{name!r} has one labelled row; label more, leave the class out, "
                    "or train without early stopping."
                )
            if len(counts) <= min(n_validation, n - n_validation):
                stratify = codes
        _, validation = train_test_split(
            candidates, test_size=n_validation, stratify=stratify, random_state=seed
        )
        training = np.ones(len(target), dtype=bool)
        training[validation] = False
        return np.flatnonzero(training), np.sort(validation)

    def _make_net(
        self, device: str, n_training: int, encoders: Mapping[str, Any], taught: bool
    ) -> Any:
        return make_net(
            network={
                "input_shapes": {
                    m: self._scalers[m].input_shape(shape)
                    for m, shape in self.input_shapes_.items()
                },
                "n_outputs": self._n_logits() if taught else 1,
                "encoder": encoders,
                "encoder_params": self.encoder_params,
                "share_encoder": self.share_encoder,
                "embedding_dim": self.embedding_dim,
                "dropout": self.dropout,
                "teacher": taught and self.distillation_weight > 0,
            },
            loss={
                "task": self._task if taught else "cross_entropy",
                "main_weight": float(taught),
                "auxiliary_weight": self.auxiliary_weight if taught else 0.0,
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
            batch_size=min(self.batch_size, n_training),
            early_stopping={"patience": self.n_iter_no_change, "threshold": self.tol}
            if self.early_stopping and taught
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

    def _taught(
        self, outputs: list[tuple[str, Array, ModalityOutput]], complete: Array
    ) -> torch.Tensor | None:
        network = self.net_.module_
        if self.fusion != "teacher" or network.teacher_head is None:
            return None
        device = network.teacher_head.weight.device
        specific, shared = (
            {
                m: getattr(output, kind)[torch.from_numpy(complete[present])].to(device)
                for m, present, output in outputs
            }
            for kind in ("specific", "shared")
        )
        with torch.inference_mode():
            answers: torch.Tensor = network.teach(specific, shared).cpu()
        return answers

    def _score_labelled(
        self,
        metric: Callable[..., Any],
        X: Any,
        y: Any,
        labelled: Array,
        sample_weight: Any,
    ) -> float:
        """Score the predictions of the rows that have a label."""
        if not labelled.any():
            raise ValueError(
                "y has no labelled row to score; predict(X) answers without labels."
            )
        weight = None if sample_weight is None else np.asarray(sample_weight)[labelled]
        answers = self.predict(X)[labelled]
        return float(metric(labelled_part(y, labelled), answers, sample_weight=weight))

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


def _kept(array: Array, mask: Array) -> Array:
    return array if mask.all() else array[mask]


def _continue_from(net: CoLearnNet, before: CoLearnNet, heads: bool) -> None:
    """Take over the weights of an earlier net, of what predicts the target if `heads`.

    Without them the net was trained without labels.
    """
    state = before.module_.state_dict()
    if not heads:
        own = net.module_.state_dict()
        predicts = re.compile(r"auxiliary_head|teacher_head|networks\.\d+\.head")
        state = {k: w for k, w in state.items() if not predicts.match(k)}
        state |= {k: w for k, w in own.items() if predicts.match(k)}
    try:
        net.module_.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            "warm_start=True continues the earlier fit, so encoder, encoder_params, "
            "share_encoder and embedding_dim have to be the same, and "
            "distillation_weight zero or positive as before."
        ) from error
