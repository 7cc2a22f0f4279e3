"""What several test files use."""

import pytest

from sklearn_colearn import CoLearnClassifier


def small(estimator=CoLearnClassifier, **changes):
    """Return an estimator that trains in a blink."""
    settings = {
        "encoder": "mlp",
        "encoder_params": {"hidden_dims": (16,)},
        "embedding_dim": 16,
        "batch_size": 45,
        "lr": 1e-2,
        "lr_schedule": "cosine",
        "weight_decay": 0.01,
        "max_epochs": 2,
        "cv": None,
        "random_state": 0,
    }
    return estimator(**{**settings, **changes})


def refused(function, *args, says, error=ValueError, **kwargs):
    """Check that a call raises that very class, and return its message.

    ``says`` holds the parts that the message has to have in any order, with " ... "
    between them: names, numbers and what to use instead, not the words around them.
    """
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    message = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert caught.type is error, message
    for part in says.split(" ... "):
        assert part in message
    return message
