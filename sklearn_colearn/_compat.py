"""Private names of scikit-learn and torch, and what replaces each when it goes.

`BaseEstimator._validate_params` and `_parameter_constraints` go together with
`Interval` and `StrOptions`: `fit` then checks a table of its own. Of skorch, the
package uses public names only. `copyreg.__newobj__` in `Predictor.__reduce__` is
`object.__reduce_ex__(self, 2)[0]`.
"""

from __future__ import annotations

import torch

# The class of all searches: GridSearchCV, RandomizedSearchCV and the halving ones.
from sklearn.model_selection._search import BaseSearchCV

# value.iloc[rows] of pandas objects, else np.asarray(value)[rows].
from sklearn.utils import _safe_indexing as safe_indexing

# A check of the bounds, and `value in options`, in the words of our own errors.
from sklearn.utils._param_validation import Interval, StrOptions

# sklearn.get_config()["transform_output"]; what `set_output` set is then not seen.
from sklearn.utils._set_output import _get_output_config as get_output_config

# check_array(weights, ensure_2d=False), then check_consistent_length(weights, X).
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

# value.shape[0], or len(value) where there is no shape.
from sklearn.utils.validation import _num_samples as num_samples

# The tuple of nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d and nn.SyncBatchNorm.
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

# nn.modules.module.register_module_forward_hook cannot count; a subclass of dict for
# Module._parameters that counts what is set.
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

# A loop that calls Tensor.copy_ or Tensor.lerp_ once for each tensor.
foreach_copy_, foreach_lerp_ = torch._foreach_copy_, torch._foreach_lerp_
