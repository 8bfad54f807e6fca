"""``MLPClassifier`` of both libraries: a turn is a whole ``fit``, of a new estimator."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.task import Contestant, Data, Predict, Task


class Classifier(Contestant):
    """An estimator with everybody's defaults, for as many passes over the rows as are asked for."""

    def __init__(self, task: Task, data: Data, dtype: str, **choices: Any) -> None:
        super().__init__(task, data)
        self.x, self.x_test = (x.astype(dtype) for x in (data.images, data.test_images))
        self.choices = {
            "hidden_layer_sizes": task.discipline.hidden,
            "batch_size": task.batch_size,
            "max_iter": task.passes,
            "n_iter_no_change": task.passes + 1,  # nobody ends early
            "random_state": task.seed,
            **choices,
        }
        self.model: Any = None

    def new(self) -> Any:
        raise NotImplementedError

    def epoch(self) -> None:
        self.model = self.new()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged is no news
            self.model.fit(self.x, self.data.labels)

    def measures(self) -> dict[str, float]:
        if self.model.n_iter_ != self.task.passes:
            raise RuntimeError(f"ended after {self.model.n_iter_} of {self.task.passes} passes")
        return {"accuracy": float(self.model.score(self.x_test, self.data.test_labels))}

    def predictor(self) -> Predict:
        def predict(count: int) -> np.ndarray:
            return self.model.predict(self.x[:count])

        return predict


class Ours(Classifier):
    def new(self) -> Any:
        from backendmlp import MLPClassifier

        return MLPClassifier(**self.choices)


class Theirs(Classifier):
    def new(self) -> Any:
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(**self.choices)
