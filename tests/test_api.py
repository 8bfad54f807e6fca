"""The library as its user meets it: what works, what is refused and in which words."""

from __future__ import annotations

import exact
import numpy as np
import pytest

import backendmlp
from backendmlp import MLP, Config, InputError
from backendmlp.backend import to_numpy
from backendmlp.network import evaluation, model
from backendmlp.network.initial import initial
from backendmlp.steps.stepper import Rows
from backendmlp.training.trainer import DivergenceError, Start, Trainer

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 4, 5), dtype=np.uint8)
LABELS = np.arange(30) % 3
FLOATS = IMAGES.reshape(30, 20) / 255


def fitted(**options) -> MLP:
    return MLP(8, epochs=2, batch_size=7, **options).fit(IMAGES, LABELS)


def refused(call, *args, **kwargs) -> str:
    """The one sentence that the call ends in."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    return sentence


def test_train_evaluate_and_predict(sample):
    mlp = MLP(30, epochs=2)
    heard = []
    mlp.fit(
        sample.train_images[:1500],
        sample.train_labels[:1500],
        test=(sample.test_images, sample.test_labels),
        on_epoch=heard.append,
    )
    assert heard == mlp.history
    assert [record.epoch for record in heard] == [1, 2]
    assert heard[1].train_loss < heard[0].train_loss

    classes = mlp.predict(sample.test_images)
    shares = mlp.predict_proba(sample.test_images)
    assert classes.shape == (2000,)
    assert classes.dtype == np.int64
    assert shares.shape == (2000, 10)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(classes, shares.argmax(axis=1))

    found = mlp.evaluate(sample.test_images, sample.test_labels)
    assert found.accuracy == np.mean(classes == sample.test_labels) == heard[1].test_accuracy
    assert found.accuracy > 0.6
    assert found.loss == mlp.loss(sample.test_images, sample.test_labels) == heard[1].test_loss
    assert mlp.parameters["W1"].shape == (784, 30)
    assert mlp.image_shape == (28, 28)
    assert mlp.class_names == tuple("0123456789")


@pytest.mark.parametrize("batch_size", [1, 7, 30, 1000])
def test_any_batch_size(batch_size):
    mlp = MLP(8, epochs=3, batch_size=batch_size, lr=0.05).fit(IMAGES, LABELS)
    assert mlp.history[-1].train_loss < mlp.history[0].train_loss


def test_fitting_again_starts_again():
    once = fitted()
    twice = fitted().fit(IMAGES, LABELS)
    assert twice.history[-1].weights_sha256 == once.history[-1].weights_sha256
    assert len(twice.history) == 2


def test_every_choice_counts():
    digests = {
        fitted(**options).history[-1].weights_sha256
        for options in ({}, {"seed": 1}, {"lr": 0.2}, {"numerics": "native"})
    }
    assert len(digests) == 4


def test_parameters_and_order_from_the_caller_repeat_a_run():
    rng = np.random.default_rng(1)
    start = {"W1": rng.normal(size=(20, 8)), "b1": rng.normal(size=8),
             "W2": rng.normal(size=(8, 3)), "b2": rng.normal(size=3)}  # fmt: skip
    order = [rng.permutation(30) for _ in range(2)]
    before = {name: value.copy() for name, value in start.items()}
    runs = [
        MLP(8, epochs=2, batch_size=7, seed=seed).fit(IMAGES, LABELS, parameters=start, order=order)
        for seed in (1, 2)  # neither is drawn from
    ]
    assert runs[0].history[-1].weights_sha256 == runs[1].history[-1].weights_sha256
    for name, value in before.items():
        np.testing.assert_array_equal(start[name], value)
    other = MLP(8, epochs=2, batch_size=7).fit(IMAGES, LABELS, parameters=start, order=order[::-1])
    assert other.history[-1].weights_sha256 != runs[0].history[-1].weights_sha256


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
def test_float_images_stand_for_themselves(numerics):
    """Pixels are worth 1/255 a level, so these are the same images, up to rounding."""
    options = {"numerics": numerics, "dtype": "float64"}
    of_pixels, of_floats = fitted(**options), fitted(**options).fit(FLOATS, LABELS)
    tolerance = 1e-4 if numerics == "bitwise" else 1e-6  # settled features have 18 bits
    np.testing.assert_allclose(
        of_floats.predict_proba(FLOATS), of_pixels.predict_proba(IMAGES), rtol=tolerance, atol=1e-9
    )
    assert of_floats.predict(FLOATS.astype(np.float32)).shape == (30,)


def test_nested_lists_are_images_too():
    mlp = fitted().fit(FLOATS.tolist(), LABELS.tolist())
    assert mlp.predict(FLOATS.tolist()).tolist() == mlp.predict(FLOATS).tolist()


@pytest.mark.parametrize("images", [IMAGES, FLOATS], ids=["uint8", "float64"])
def test_a_prediction_does_not_depend_on_the_images_beside_it(images):
    mlp = MLP(8, epochs=2).fit(images, LABELS)
    many = np.concatenate([images] * 40)  # more than evaluation takes in one pass
    together = mlp.predict_proba(many)
    alone = np.concatenate([mlp.predict_proba(images[i : i + 1]) for i in range(30)])
    assert together.tobytes() == np.concatenate([alone] * 40).tobytes()
    assert mlp.predict_proba(many[::-1]).tobytes() == together[::-1].tobytes()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: MLP().fit(np.where(FLOATS > 0.5, np.nan, 0), LABELS), "NaN or infinity"),
        (lambda: MLP().fit(FLOATS + np.inf, LABELS), "NaN or infinity"),
        (lambda: MLP().fit(IMAGES.astype(np.int64), LABELS), "int64"),
        (lambda: MLP().fit(IMAGES * 1j, LABELS), "complex128"),
        (lambda: MLP().fit(IMAGES.tolist(), LABELS), "int64"),
        (lambda: MLP().fit([[0.5], [0.5, 0.5]], [0, 1]), "inputs"),
        (lambda: MLP().fit([["a"], ["b"]], [0, 1]), "inputs"),
        (lambda: MLP().fit("images", LABELS), "inputs"),
        (lambda: MLP().fit(None, LABELS), "inputs"),
        (lambda: MLP().fit(IMAGES[:0], LABELS[:0]), "(0, 4, 5)"),
        (lambda: MLP().fit(IMAGES[:, :, :0], LABELS), "0 values each"),
        (lambda: MLP().fit(LABELS, LABELS), "(30,)"),
        (lambda: MLP().fit(IMAGES, LABELS[:29]), "(29,)"),
        (lambda: MLP().fit(IMAGES, LABELS[:, None, None]), "(30, 1, 1)"),
        (lambda: MLP().fit(IMAGES, LABELS / 2), "a training label is 0.5"),
        (lambda: MLP().fit(IMAGES, LABELS - 1), "-1"),
        (lambda: MLP().fit(IMAGES, LABELS * 0), "at least two"),
        (lambda: MLP().fit(IMAGES, LABELS, test=(IMAGES, LABELS + 1)), "label is 3"),
        (lambda: MLP().fit(IMAGES, LABELS, test=(IMAGES[:, :3], LABELS)), "15 values"),
        (lambda: MLP().fit(IMAGES, LABELS, order=[np.arange(30)]), "10 epochs"),
        (lambda: MLP(epochs=1).fit(IMAGES, LABELS, order=[np.arange(29)]), "(29,)"),
        (lambda: MLP(epochs=1).fit(IMAGES, LABELS, order=[np.arange(1, 31)]), "outside"),
        (lambda: MLP(epochs=1).fit(IMAGES, LABELS, order=[np.ones(30)]), "float64"),
        (lambda: MLP().fit(IMAGES, LABELS, parameters={}), "shapes"),
        (lambda: MLP(8).fit(IMAGES, LABELS, parameters=fitted(seed=1).parameters | {
            "b1": np.full(8, np.nan)}), "NaN"),
        (lambda: MLP().predict(IMAGES), "call fit"),
        (lambda: MLP().save("nowhere"), "call fit"),
        (lambda: fitted().predict(IMAGES[:, :3]), "15 values"),
        (lambda: fitted().predict(IMAGES[0]), "images[:1]"),
        (lambda: fitted().predict(IMAGES[0].ravel()), "images[:1]"),
        (lambda: fitted().loss(IMAGES, LABELS + 1), "label is 3"),
        (lambda: fitted().evaluate(IMAGES, LABELS[:5]), "(5,)"),
        (lambda: backendmlp.select("paddle"), "'paddle'"),
        (lambda: backendmlp.select("numpy", "cuda"), "'cuda'"),
        (lambda: MLP(backend="array-api-strict", device="device9"), "'device9'"),
        (lambda: MLP(numerics="exact"), "'exact'"),
        (lambda: MLP(dtype="float32"), "'float32'"),
        (lambda: MLP(numerics="native", dtype="float16"), "'float16'"),
    ],
)  # fmt: skip
def test_bad_input_ends_in_one_sentence(call, words):
    assert words in refused(call)


@pytest.mark.parametrize("name", ["hidden", "epochs", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, float("nan"), "8", True, None, [8.0]])
def test_counts_are_whole_and_above_zero(name, value):
    wrong = value[0] if name == "hidden" and isinstance(value, list) else value
    assert refused(MLP, **{name: value}).startswith(f"{name} is {wrong!r}; ")
    assert getattr(MLP(**{name: np.int64(3)}).config, name) in (3, (3,))


@pytest.mark.parametrize("value", [2**53 + 1, 2**63, 2**64, 2**64 + 7, 10**5000], ids=hash)
@pytest.mark.parametrize("name", ["hidden", "epochs", "batch_size"])
def test_counts_are_within_what_machines_hold(name, value):
    """A batch of 2**64 + 7 was once one of 7, and one of 2**63 hung."""
    assert "give a whole number from 1 to " in refused(MLP, **{name: value})
    assert MLP(hidden=2**24, epochs=2**53, batch_size=2**53).config.batch_size == 2**53


@pytest.mark.parametrize(
    "value",
    [0, 0.0, -0.1, float("nan"), float("inf"), "0.1", True, [0.1], 1j, 10**400],
    ids=lambda value: str(value)[:8],
)
def test_the_learning_rate_is_finite_and_above_zero(value):
    assert refused(MLP, lr=value).startswith("lr is ")
    assert MLP(lr=np.float32(0.5)).config.lr == MLP(lr=0.5).config.lr


def test_a_seed_of_thousands_of_digits_is_refused_too():
    assert refused(MLP, seed=10**5000).startswith("seed is a number of thousands of digits; ")


@pytest.mark.parametrize("value", [-1, 2**64, 1.0, "1", True, None])
def test_a_seed_is_a_whole_number_of_64_bits(value):
    assert refused(MLP, seed=value).startswith(f"seed is {value!r}; ")
    assert MLP(seed=2**64 - 1).config.seed == 2**64 - 1


def unlearned(mlp: MLP) -> dict[str, np.ndarray]:
    """The parameters that a training with these options starts from."""
    start = initial((20, 8, 3), "relu", mlp.config.seed)
    return model.settle(mlp.config.arithmetic(), start).as_dict()


def diverged(mlp: MLP, images, labels) -> tuple[str, list[str]]:
    """The sentence that the training ends in, and the digests of the epochs before."""
    with pytest.raises(DivergenceError, match="lower the learning rate") as caught:
        mlp.fit(images, labels)
    assert f"diverged in epoch {len(mlp.history) + 1}:" in str(caught.value)
    assert all(np.isfinite(value).all() for value in mlp.parameters.values())
    return str(caught.value), [record.weights_sha256 for record in mlp.history]


@pytest.mark.filterwarnings("ignore:the inputs are floats")
@pytest.mark.parametrize("numerics", ["bitwise", "native"])
@pytest.mark.filterwarnings("ignore:the training is lost")
def test_a_training_that_diverges_at_once_keeps_the_weights_it_began_with(backend, numerics):
    mlp = MLP(8, epochs=5, batch_size=7, lr=1e300, numerics=numerics, dtype="float64")
    images, labels = backend.asarray(FLOATS * 1e4), backend.asarray(LABELS, "int64")
    _, before = diverged(mlp, images, labels)
    assert before == []
    for name, value in unlearned(mlp).items():
        np.testing.assert_array_equal(mlp.parameters[name], value)


@pytest.mark.filterwarnings("ignore:the training is lost")
def test_a_training_that_diverges_later_keeps_the_last_good_weights(backend):
    """At this rate the second step leaves the range of bitwise numerics: on every backend."""
    images, labels = backend.asarray(IMAGES), backend.asarray(LABELS, "int64")
    options = {"batch_size": 30, "lr": 1e136}
    mlp = MLP(8, epochs=5, **options)
    found = diverged(mlp, images, labels)
    assert found == diverged(MLP(8, epochs=5, **options), IMAGES, LABELS)
    once = MLP(8, epochs=1, **options).fit(images, labels)
    assert found[1] == [once.history[0].weights_sha256]
    for name, value in once.parameters.items():
        np.testing.assert_array_equal(mlp.parameters[name], value)


def test_initial_parameters_at_the_edge_of_float64_end_in_a_sentence():
    start = {name: value * 1e300 for name, value in unlearned(MLP(8)).items()}
    mlp = MLP(8)
    refused(mlp.fit, IMAGES, LABELS, parameters=start)
    for name, value in mlp.parameters.items():  # if it got so far as to keep any
        np.testing.assert_array_equal(value, start[name])


# Of a weight of this size settling is not the identity: it ends in 280, were it settled again.
BEYOND = float.fromhex("0x1.a8f8c3801c281p+23")


def test_weights_beyond_the_grid_are_used_as_they_are(backend, tmp_path):
    mlp = MLP(8, epochs=1).fit(IMAGES, LABELS)
    mlp.parameters["b2"] = np.array([BEYOND, float.fromhex("0x1.a8f8c3801c280p+23"), BEYOND])
    mlp.save(tmp_path / "model.safetensors")
    p = model.Parameters.of({k: backend.asarray(v) for k, v in mlp.parameters.items()})
    x = backend.asarray(IMAGES.reshape(30, 20))
    expected = evaluation.outputs(mlp.config.recipe(), p, x)
    for one in (mlp, MLP.load(tmp_path / "model.safetensors")):
        found = one.predict_proba(backend.asarray(IMAGES))
        assert exact.bits(to_numpy(found)) == exact.bits(to_numpy(expected))


@pytest.mark.filterwarnings("ignore:the training is lost")
def test_so_they_are_after_a_divergence(backend):
    x, y = backend.asarray(IMAGES.reshape(30, 20)), backend.asarray(LABELS, "int64")
    trainer = Trainer(backend, Config(8, lr=1e300), Start(unlearned(MLP(8))), Rows(x, y))
    state = trainer.state()
    state.learned["W2"][:], state.learned["b2"][:] = BEYOND, -BEYOND
    trainer.restore(state)
    trainer.advance(10)
    with pytest.raises(DivergenceError):
        trainer.finish_epoch()
    for name, value in trainer.parameters.as_dict().items():
        assert exact.bits(to_numpy(value)) == exact.bits(state.learned[name]), name
