"""Private names of scikit-learn and torch, each with its replacement if it disappears.

Without `Interval` and `StrOptions`, `BaseEstimator._validate_params` goes too, and
`fit` must check `_parameter_constraints`. `copyreg.__newobj__` in
`Predictor.__reduce__` is `object.__reduce_ex__(self, 2)[0]`. The package uses only
public names of skorch.
"""

from __future__ import annotations

import torch

# A tuple of GridSearchCV, RandomizedSearchCV and the halving searches.
from sklearn.model_selection._search import BaseSearchCV

# value.iloc[rows] for pandas objects, otherwise np.asarray(value)[rows].
from sklearn.utils import _safe_indexing as safe_indexing

# A check of the bounds, and `value in options`, with our own messages.
from sklearn.utils._param_validation import Interval, StrOptions

# sklearn.get_config()["transform_output"], which ignores `set_output`.
from sklearn.utils._set_output import _get_output_config as get_output_config

# check_array(weights, ensure_2d=False), then check_consistent_length(weights, X).
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

# value.shape[0], or len(value) without a shape.
from sklearn.utils.validation import _num_samples as num_samples

# A tuple of nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d and nn.SyncBatchNorm.
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

# A subclass of dict for Module._parameters that counts what is set.
from torch.nn.modules.module import register_module_parameter_registration_hook

__all__ = [
    "BaseSearchCV",
    "BatchNorm",
    "Interval",
    "StrOptions",
    "check_sample_weight",
    "foreach_copy_",
    "foreach_lerp_",
    "get_output_config",
    "num_samples",
    "register_module_parameter_registration_hook",
    "safe_indexing",
]

# A loop over Tensor.copy_ or Tensor.lerp_.
foreach_copy_, foreach_lerp_ = torch._foreach_copy_, torch._foreach_lerp_
