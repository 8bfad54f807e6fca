"""Models that come from PyTorch and scikit-learn, and go there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import import_or_skip

from backendmlp import MLP, InputError, digest, exchange

NUMERICS = [{}, {"numerics": "native", "dtype": "float64"}]
# Bitwise numerics round features to 17 bits and factors to some 24; float64 to 53.
WITHIN = {"bitwise": 2e-5, "native": 1e-12}


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    x = random.normal(size=(120, 6))
    return x, (x @ random.normal(size=(6, 3))).argmax(axis=1)


def close(mlp: MLP, found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, atol=WITHIN[mlp.config.numerics])


class TestPyTorch:
    @pytest.fixture(autouse=True)
    def torch(self) -> Any:
        return import_or_skip("torch")

    def sequential(self, torch: Any, activation: str, *behind: Any, outputs: int = 3) -> Any:
        torch.manual_seed(1)
        kind, linear = getattr(torch.nn, activation), torch.nn.Linear
        parts = linear(6, 9), kind(), torch.nn.Dropout(0.5), linear(9, 5, bias=False), kind()
        return torch.nn.Sequential(*parts, linear(5, outputs), *behind).double().eval()

    @pytest.mark.parametrize("choices", NUMERICS, ids=["bitwise", "native"])
    @pytest.mark.parametrize("activation", ["ReLU", "Tanh", "Sigmoid", "Identity"])
    def test_a_model_comes_in_and_goes_back(self, torch, rows, activation, choices):
        module = self.sequential(torch, activation)
        mlp = exchange.from_torch(module, class_names=["a", "b", "c"], **choices)
        assert mlp.config.hidden == (9, 5)
        with torch.no_grad():
            expected = module(torch.asarray(rows[0])).softmax(dim=1).numpy()
            back = exchange.to_torch(mlp, softmax=True)(torch.asarray(rows[0])).numpy()
        close(mlp, mlp.predict_proba(rows[0]), expected)
        np.testing.assert_allclose(back, expected, atol=1e-7)  # weights are on a grid of 2**-29

    def test_training_goes_on(self, torch, rows):
        choices = {"warm_start": True, "epochs": 60, "optimizer": "adam", "lr": 0.01}
        mlp = exchange.from_torch(self.sequential(torch, "ReLU"), **choices)
        before = mlp.loss(*rows)
        one, two = mlp.fit(*rows).last_loss, digest(mlp.parameters)
        assert one < 0.5 * before
        again = exchange.from_torch(self.sequential(torch, "ReLU"), **choices).fit(*rows)
        assert digest(again.parameters) == two

    def test_what_was_trained_here_goes_out(self, torch, rows):
        mlp = MLP(8, epochs=5).fit(*rows)
        with torch.no_grad():
            found = exchange.to_torch(mlp, softmax=True)(torch.asarray(rows[0])).numpy()
        close(mlp, found, mlp.predict_proba(rows[0]))

    def test_one_output_is_two_classes_or_a_regression(self, torch, rows):
        both = self.sequential(torch, "Tanh", torch.nn.Sigmoid(), outputs=1)
        with torch.no_grad():
            expected = both(torch.asarray(rows[0])).numpy()
        mlp = exchange.from_torch(both, **NUMERICS[1])
        close(mlp, mlp.predict_proba(rows[0])[:, 1:], expected)
        real = exchange.from_torch(both[:-1])
        assert real.config.regression
        assert real.predict(rows[0]).shape == (120,)

    def test_what_cannot_come_is_told(self, torch):
        linear, nn = torch.nn.Linear, torch.nn
        for module, text in (
            (nn.Sequential(nn.Conv2d(1, 1, 3)), "has a Conv2d"),
            (nn.Sequential(linear(2, 3), nn.ReLU(), linear(3, 3), nn.Tanh(), linear(3, 2)), "ReLU"),
            (nn.Sequential(linear(2, 3), nn.Sigmoid()), "several labels"),
            (nn.Sequential(), "a Sequential"),
        ):
            with pytest.raises(InputError, match=text):
                exchange.from_torch(module)

    def test_a_module_of_ones_own_is_tried(self, torch, rows):
        class Own(torch.nn.Module):
            def __init__(self, forward):
                super().__init__()
                self.below, self.between = torch.nn.Linear(6, 5), torch.nn.ReLU()
                self.above, self.asked = torch.nn.Linear(5, 3), forward

            def forward(self, x):
                return self.asked(self, x)

        plain = Own(lambda m, x: m.above(m.between(m.below(x))))
        mlp = exchange.from_torch(plain)
        logits = plain(torch.from_numpy(np.eye(6, dtype="float32"))).argmax(1)
        assert mlp.predict(np.eye(6)).tolist() == logits.tolist()
        for forward in (
            lambda m, x: m.above(torch.tanh(m.below(x))),
            lambda m, x: m.above(m.between(m.below(100 * x))),
            lambda m, x: m.above(m.between(m.below(x)))[:, :2],
            lambda m, x: m.nothing(x),
        ):
            with pytest.raises(InputError, match="a Own, which computes something else than its"):
                exchange.from_torch(Own(forward))
        with pytest.raises(InputError, match="hidden follows from the parameters"):
            exchange.from_torch(plain, hidden=5)

    def test_weights_without_their_module_are_refused(self, torch):
        weights = self.sequential(torch, "ReLU").state_dict()
        with pytest.raises(InputError, match=r"^the module is OrderedDict; give an nn.Sequential"):
            exchange.from_torch(weights)


class TestScikitLearn:
    @pytest.fixture(autouse=True)
    def theirs(self) -> Any:
        import_or_skip("sklearn")
        from sklearn import neural_network

        return neural_network

    @pytest.mark.filterwarnings("ignore:.*converge")
    @pytest.mark.parametrize("choices", NUMERICS, ids=["bitwise", "native"])
    @pytest.mark.parametrize("classes", [2, 3])
    def test_a_classifier_comes_in_and_goes_back(self, theirs, rows, classes, choices):
        y = np.array(["no", "so", "yes"])[np.minimum(rows[1], classes - 1)]
        one = theirs.MLPClassifier((9, 5), "tanh", solver="lbfgs", max_iter=9, random_state=1)
        one.fit(rows[0], y)
        two = exchange.from_sklearn(one, **choices)
        close(two.mlp_, two.predict_proba(rows[0]), one.predict_proba(rows[0]))
        assert two.predict(rows[0]).tolist() == one.predict(rows[0]).tolist()
        back = exchange.to_sklearn(two)
        np.testing.assert_allclose(
            back.predict_proba(rows[0]), one.predict_proba(rows[0]), atol=1e-6
        )
        assert back.predict(rows[0]).tolist() == one.predict(rows[0]).tolist()

    @pytest.mark.filterwarnings("ignore:.*converge")
    def test_training_goes_on_on_either_side(self, theirs, rows):
        one = theirs.MLPClassifier((9,), max_iter=3, random_state=1).fit(*rows)
        two = exchange.from_sklearn(one, warm_start=True, max_iter=60, learning_rate_init=0.01).fit(
            *rows
        )
        assert two.score(*rows) > one.score(*rows)
        three = exchange.to_sklearn(two)
        score = three.score(*rows)
        for _ in range(20):
            three.partial_fit(*rows)
        assert three.score(*rows) >= score - 0.02

    @pytest.mark.filterwarnings("ignore:.*converge")
    @pytest.mark.parametrize("outputs", [1, 2])
    def test_a_regressor_comes_in_and_goes_back(self, theirs, rows, outputs):
        y = np.sin(rows[0][:, :outputs])
        one = theirs.MLPRegressor(hidden_layer_sizes=(9,), max_iter=9, random_state=1)
        one.fit(rows[0], y[:, 0] if outputs == 1 else y)
        two = exchange.from_sklearn(one, numerics="native")
        close(two.mlp_, two.predict(rows[0]), one.predict(rows[0]))
        close(two.mlp_, exchange.to_sklearn(two).predict(rows[0]), one.predict(rows[0]))

    def test_what_cannot_come_is_told(self, theirs):
        with pytest.raises(InputError, match="of type int; give scikit-learn's"):
            exchange.from_sklearn(3)


def test_parameters_that_are_no_network_are_told():
    for parameters, text in (
        ({}, "a pair for each layer"),
        ({"W1": np.ones((2, 3)), "b1": np.ones(2)}, "the parameters have the shapes"),
        ({"W1": np.full((2, 3), np.nan), "b1": np.ones(3)}, "hold NaN"),
        ({"W1": np.ones((2, 1)), "b1": np.ones(1)}, "there are 1 classes"),
    ):
        with pytest.raises(InputError, match=text):
            MLP.of(parameters)
