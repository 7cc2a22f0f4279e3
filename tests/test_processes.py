"""One network trained by several processes."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
import numpy as np
from torch import distributed
from sklearn_colearn import CoLearnClassifier
from sklearn_colearn.datasets import make_multisensor

distributed.init_process_group("gloo")
rank = distributed.get_rank()
X, y = make_multisensor(200, random_state=0)
unlabelled, X, y = X[100:], X[:100], y[:100]
# Without a random_state: the first process draws it for all.
settings = {"cv": 2, "max_epochs": 2, "max_steps": 5, "warm_start": True}
model = CoLearnClassifier(encoder="mlp", **settings)
checkpoint = sys.argv[1] + "/checkpoint.safetensors"
model.pretrain(unlabelled, n_steps=10, checkpoint=checkpoint)
model.pretrain(unlabelled, n_steps=20, checkpoint=checkpoint)
assert len(model.pretrain_history_) > 1
model.fit(X, y, X_unlabeled=unlabelled)
answers = {m: model.predict_proba(X.select(m)) for m in X}
try:
    CoLearnClassifier(cv=2).fit(X[rank:], y[rank:])
    said = "nothing"
except ValueError as error:
    said = str(error)
np.savez(f"{sys.argv[1]}/{rank}.npz", said=said, **answers)
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    # As torchrun starts them, without its own process.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **place, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in running:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    first, second = (dict(np.load(tmp_path / f"{rank}.npz")) for rank in (0, 1))
    for process in (first, second):
        assert "The processes received different rows" in str(process.pop("said"))
    for m, answer in first.items():
        np.testing.assert_allclose(answer, second[m], atol=1e-5)
        assert answer.std(axis=0).max() > 0.02  # it has learnt something
