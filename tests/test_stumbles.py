"""What strangers stumbled over: each mistake in one sentence, each warning where it is due."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from fractions import Fraction

import numpy as np
import pytest
from commandline import call, train
from conftest import open_or_skip
from test_api import FLOATS, IMAGES, LABELS, refused

import backendmlp
from backendmlp import MLP, DataWarning, mistakes
from backendmlp.commands.spelling import as_options

NAMES = np.array(["pear", "apple", "fig"])[LABELS]
START = {
    name: np.random.default_rng(len(shape)).normal(size=shape)
    for name, shape in {"W1": (20, 8), "b1": (8,), "W2": (8, 3), "b2": (3,)}.items()
}


def small(**options) -> MLP:
    return MLP(8, **{"epochs": 2, "batch_size": 7, **options})


def digest(mlp: MLP) -> str:
    return backendmlp.digest(mlp.parameters)


def told(call, *args, **kwargs) -> list[str]:
    """The warnings of data that the call gives."""
    with warnings.catch_warnings(record=True) as every:
        warnings.simplefilter("always")
        call(*args, **kwargs)
    return [str(w.message) for w in every if w.category is DataWarning]


MISTAKES = {
    # what is no data
    "masked images": (lambda: small().fit(np.ma.masked_greater(FLOATS, 0.9), LABELS), "masked"),
    "masked labels": (lambda: small().fit(FLOATS, np.ma.masked_equal(LABELS, 2)), "10 of the"),
    "ragged": (lambda: small().fit([[1.0], [1.0, 2.0]], [0, 1]), "rows of different lengths"),
    "fractions": (lambda: small().fit([[Fraction(1, 2)]] * 30, LABELS), "hold Fraction objects"),
    "text": (lambda: small().fit([["a", "b"]] * 30, LABELS), "hold text, as 'a'; leave it out"),
    # labels
    "a missing name": (lambda: small().fit(FLOATS, [*NAMES[:29], None]), "None in row 29"),
    "a missing number": (lambda: small().fit(FLOATS, [*LABELS[:29], None]), "None in row 29"),
    "NaN among names": (lambda: small().fit(FLOATS, [*NAMES[:29], np.nan]), "nan in row 29"),
    "mixed": (lambda: small().fit(FLOATS, ["a", 1] * 15), "labels hold 1 in row 1; give numbers"),
    "bytes of no text": (
        lambda: small().fit(FLOATS, np.array([b"\xff", b"a", b"b"])[LABELS]),
        "no UTF-8",
    ),
    "beyond int64": (
        lambda: small().fit(FLOATS, np.full(30, 2**63, np.uint64)),
        "a training label is 9223372036854775808, outside",
    ),
    "one class": (lambda: small().fit(FLOATS, LABELS * 0), "are all 0, one class alone"),
    "one name": (lambda: small().fit(FLOATS, ["a"] * 30), "labels are all 'a'; give at least two"),
    "one-hot": (lambda: small().fit(FLOATS, np.eye(3)[LABELS]), "labels.argmax(axis=1)"),
    "real labels": (lambda: small().fit(FLOATS, LABELS + 0.5), "or choose loss='squared_error'"),
    "test labels": (lambda: small().fit(FLOATS, LABELS, test=(FLOATS, LABELS + 1)), "a test label"),
    "validation labels": (
        lambda: small().fit(FLOATS, LABELS, validation=(FLOATS, LABELS + 1)),
        "a validation label is 3",
    ),
    "labels of later parts": (
        lambda: small().partial_fit(FLOATS[:2], [0, 1]).partial_fit(FLOATS, LABELS),
        "all classes in class_names, from the first call on",
    ),
    "one class at first": (lambda: small().partial_fit(FLOATS[:2], [0, 0]), "name all classes in"),
    # regressions
    "names as targets": (
        lambda: small(loss="squared_error").fit(FLOATS, NAMES),
        "targets hold text, as pear; a squared error needs numbers",
    ),
    "named numbers": (
        lambda: small(loss="squared_error").fit(FLOATS, LABELS, class_names=["a", "b"]),
        "class_names are given, and a regression has no classes",
    ),
    # weights
    "negative weights": (lambda: small().fit(FLOATS, LABELS, sample_weight=-LABELS), "from -2 to"),
    "NaN weights": (lambda: small().fit(FLOATS, LABELS, sample_weight=LABELS * np.nan), "NaN"),
    "few weights": (lambda: small().fit(FLOATS, LABELS, sample_weight=[1.0]), "(1,); give one for"),
    "weights by word": (
        lambda: small().fit(FLOATS, LABELS, sample_weight="balanced"),
        "or class_weight='balanced'",
    ),
    "weight of no class": (
        lambda: small(class_weight={"plum": 2}).fit(FLOATS, NAMES),
        "class_weight names 'plum', which is none of the classes 'apple', 'fig', 'pear'",
    ),
    "weight of class 9": (lambda: small(class_weight={9: 2}).fit(FLOATS, LABELS), "from 0 to 2"),
    "negative class weight": (lambda: small(class_weight={0: -2}), "class_weight of 0 is -2"),
    "no class weights": (lambda: small(class_weight={}), "class_weight is empty"),
    "class weights of none": (
        lambda: small(class_weight={0: 2}, loss="squared_error"),
        "class_weight is {0: 2}, and the squared error knows no classes",
    ),
    # what else is given to fit
    "validation of another width": (
        lambda: small().fit(FLOATS, LABELS, validation=(FLOATS[:, :4], LABELS)),
        "the validation inputs have 4 values each; the model takes 20",
    ),
    "validation alone": (lambda: small().fit(FLOATS, LABELS, validation=FLOATS), "give a pair"),
    "nothing to monitor": (
        lambda: small(patience=1, monitor="validation_loss").fit(FLOATS, LABELS),
        "give validation=(images, labels), or validation_split",
    ),
    "parameters without names": (
        lambda: small().fit(FLOATS, LABELS, parameters=[1, 2]),
        "parameters is list; give arrays by their names",
    ),
    "parameters of text": (
        lambda: small().fit(FLOATS, LABELS, parameters={**START, "b1": np.array(["a"] * 8)}),
        "'b1' has dtype <U1; give floats",
    ),
    "order": (lambda: small().fit(FLOATS, LABELS, order=5), "order is int; give a list"),
    "callbacks": (lambda: small().fit(FLOATS, LABELS, callbacks=print), "as callbacks=[f]"),
    "class_names": (lambda: small().fit(FLOATS, LABELS, class_names=5), "class_names is 5; give"),
    # choices
    "device": (lambda: MLP(device=0), "device is 0; give its name, as 'cpu' or 'cuda:0'"),
    "backend": (lambda: MLP(backend=[]), "backend is []; give its name"),
    "hidden as text": (lambda: MLP(hidden="100"), "hidden is '100'; give a whole number"),
    "hidden as floats": (lambda: MLP(hidden=[100.0]), "hidden is 100.0; give a whole number"),
    "hidden of none": (lambda: MLP(hidden=0), "or () for none"),
    "epochs": (lambda: MLP(epochs=True), "epochs is True; give a whole number"),
    "lr": (lambda: MLP(lr=0), "lr is 0; give a finite number above zero"),
    "momentum": (lambda: MLP(optimizer="momentum", momentum=1.0), "from 0 to below 1"),
    "momentum of sgd": (lambda: MLP(momentum=0.5), "'sgd' has no use for it; leave it out, or"),
    "beta_2": (lambda: MLP(optimizer="adam", beta_2=1), "beta_2 is 1; give a number from 0 to"),
    "monitor": (lambda: MLP(monitor="validation_loss"), "give patience too, or leave it out"),
    "another kind of config": (lambda: setattr(MLP(), "config", {}), "give a backendmlp.Config"),
}


@pytest.mark.parametrize(("call", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_end_in_one_sentence(call, words):
    assert words in refused(call)


def test_a_mask_that_hides_nothing():
    plain = digest(small().fit(FLOATS, LABELS))
    assert digest(small().fit(np.ma.masked_greater(FLOATS, 2), np.ma.array(LABELS))) == plain


def test_what_is_wrong_with_a_table_is_named():
    pandas = pytest.importorskip("pandas")
    text = pandas.DataFrame({"a": np.ones(30), "species": NAMES})
    assert "hold text in column 'species', as 'pear'" in refused(small().fit, text, LABELS)
    days = pandas.DataFrame({"a": np.ones(30), "when": pandas.date_range("2020", periods=30)})
    assert "in column 'when'" in refused(small().fit, days, LABELS)
    assert "dates or times in column 'when'" in refused(small().fit, days[["when"]], LABELS)


def test_what_holds_tensors_is_told_from_an_array():
    torch = open_or_skip("torch") and pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.asarray(FLOATS), torch.asarray(LABELS))
    assert "TensorDataset; give what it holds, as inputs.tensors[0]" in refused(
        small().fit, data, LABELS
    )
    assert "torch.cat([batch[0] for batch in inputs])" in refused(
        small().fit, torch.utils.data.DataLoader(data), LABELS
    )


@pytest.mark.filterwarnings("error")
def test_tensors_that_want_gradients():
    torch = open_or_skip("torch") and pytest.importorskip("torch")
    x = torch.asarray(FLOATS).requires_grad_()
    start = {name: torch.asarray(value).requires_grad_() for name, value in START.items()}
    mlp = small().fit(x, torch.asarray(LABELS), parameters=start)
    assert not mlp.predict_proba(x).requires_grad
    assert digest(mlp) == digest(small().fit(FLOATS, LABELS, parameters=START))


def test_labels_that_have_one_meaning():
    plain = digest(small().fit(FLOATS, LABELS))
    assert digest(small().fit(FLOATS, LABELS[:, None])) == plain
    named = small().fit(FLOATS, NAMES.astype("S"))
    assert named.class_names == ("apple", "fig", "pear")
    assert digest(named) == digest(small().fit(FLOATS, NAMES))
    assert named.score(FLOATS, NAMES.astype("S")) == named.score(FLOATS, NAMES)
    weights = np.arange(30.0)
    assert digest(small().fit(FLOATS, LABELS, sample_weight=weights[:, None])) == digest(
        small().fit(FLOATS, LABELS, sample_weight=weights)
    )
    assert small().fit(FLOATS, LABELS, class_names=np.array(["a", "b", "c"])).class_names[2] == "c"


def test_weights_of_some_classes():
    mlp = small(class_weight={"fig": 2, 0: 0.5}).fit(FLOATS, NAMES)
    assert mlp.config.class_weight == (0.5, 2.0, 1.0)
    assert digest(mlp) == digest(small(class_weight=(0.5, 2.0, 1.0)).fit(FLOATS, NAMES))
    again = mlp.fit(FLOATS, np.where(NAMES == "pear", "fig", NAMES))  # of other classes
    assert again.config.class_weight == (0.5, 2.0)
    fresh = small(class_weight={"fig": 2})
    assert repr(eval(repr(fresh))) == repr(fresh)
    assert copy.deepcopy(fresh).fit(FLOATS, NAMES).config.class_weight == (1.0, 2.0, 1.0)
    fresh.config = dataclasses.replace(fresh.config, class_weight=(1.0, 1.0, 3.0))
    assert fresh.fit(FLOATS, NAMES).config.class_weight == (1.0, 1.0, 3.0)


IRIS = np.random.default_rng(0).integers(1, 80, (150, 4)).astype(float)
DIGITS = np.random.default_rng(0).integers(0, 17, (150, 64)).astype(float)
CENTRED = np.random.default_rng(0).normal(size=(150, 30))


@pytest.mark.parametrize(
    ("x", "words", "never"),
    [
        (IRIS, "standardise them", "uint8"),
        (IRIS / 10 + 60, "standardise them", "uint8"),
        (DIGITS, "images / 16", "uint8"),
        (DIGITS * 15, 'images.astype("uint8")', "standardise"),
        (DIGITS.reshape(150, 8, 8) * 15.3, "images / 255", "uint8"),
        (CENTRED * 1e-3, "too small to train well", "uint8"),
        (CENTRED * 1e-100, "too small to train well", "uint8"),
        (CENTRED * 1e-200, "too small to train well", "round away"),
    ],
)
def test_the_remedy_is_for_what_the_numbers_are(x, words, never):
    (sentence,) = told(MLP(4, epochs=1).fit, x, np.arange(150) % 3)
    assert words in sentence
    assert never not in sentence


def test_a_column_of_tiny_numbers_is_called_so():
    x = np.concatenate([CENTRED, CENTRED[:, :2] * 1e-200], axis=1)
    (sentence,) = told(MLP(4, epochs=1).fit, x, np.arange(150) % 3)
    assert "feature columns 30, 31 hold numbers below 2**-450 alone" in sentence


@pytest.mark.parametrize("choices", [{"optimizer": "adam"}, {"lr": 0.01}])
def test_large_numbers_are_no_matter_to_small_steps(choices):
    assert told(MLP(4, epochs=1, **choices).fit, DIGITS, np.arange(150) % 3) == []


@pytest.mark.parametrize("x", [CENTRED, CENTRED > 1, np.eye(150), IRIS / 20])
def test_usual_numbers_give_no_warning(x):
    mlp = MLP(4, epochs=1)
    assert told(mlp.fit, x, np.arange(150) % 3, test=(x, np.arange(150) % 3)) == []
    assert told(mlp.predict, x) == []


def test_another_scale_at_prediction_is_told(backend):
    images, floats = backend.asarray(IMAGES), backend.asarray(FLOATS.reshape(IMAGES.shape))
    of_pixels, of_floats = small().fit(IMAGES, LABELS), small().fit(FLOATS, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of_large = small(lr=1e-5).fit(FLOATS * 255, LABELS)
    assert "learned from uint8 pixels" in told(of_pixels.predict, floats * 255)[0]
    assert told(of_pixels.predict, floats) == told(of_pixels.predict, images) == []
    assert told(of_floats.predict, images) == told(of_floats.predict, floats) == []
    assert 'give images.astype("float64")' in told(of_large.score, images, LABELS)[0]
    assert "of at most 1, and the model has learned" in told(of_large.predict, floats)[0]
    assert told(of_large.predict, floats[:3, ...] * 0.0) == []
    assert "clipped" in told(of_floats.predict, floats * 255)[0]
    shown = (IMAGES.astype(float), LABELS)
    assert len(told(small().fit, IMAGES, LABELS, test=shown, validation=shown)) == 2


def test_a_look_reads_little_of_a_map(tmp_path):
    images = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (50_000, 784))
    images[::50] = 200
    seen = []

    class Counting(np.ndarray):
        def __getitem__(self, key):
            found = np.asarray(super().__getitem__(key))
            seen.append(found.size)
            return found

    mistakes.look_at_images(images.view(Counting), (28, 28), 0.1)
    assert seen == [1000 * 784]


def test_what_has_no_effect_is_refused():
    mlp = small()
    for name in ("lr", "epochs", "hidden"):
        with pytest.raises(AttributeError, match=rf"replace\(mlp.config, {name}=5\)"):
            setattr(mlp, name, 5)
    with pytest.raises(AttributeError, match="'learning_rate' to set; it has config, warm_start"):
        mlp.learning_rate = 5
    with pytest.raises(AttributeError):
        mlp.backend = "torch"
    mlp.config = dataclasses.replace(mlp.config, lr=0.25)
    assert digest(mlp.fit(FLOATS, LABELS)) == digest(small(lr=0.25).fit(FLOATS, LABELS))

    class Mine(MLP):
        pass

    mine = Mine()
    mine.note = "anything"
    with pytest.raises(AttributeError, match=r"mlp\.config"):
        mine.lr = 5


@pytest.mark.parametrize(
    ("name", "meant"),
    [("learning_rate", "'lr'"), ("max_iter", "'epochs'"), ("batchsize", "'batch_size'")],
)
def test_choices_by_other_names(name, meant):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'; did you mean"):
        MLP(**{name: 1})
    with pytest.raises(TypeError, match=meant):
        MLP(**{name: 1})


def test_what_a_model_shows_is_of_its_weights(tmp_path):
    mlp = small().fit(FLOATS, LABELS)
    last = mlp.history[-1]
    assert f"epoch 2, train loss {last.train_loss:.4f}, weights sha256" in repr(mlp)
    mlp.save(tmp_path / "model")
    assert repr(MLP.load(tmp_path / "model")).endswith(f"weights sha256 {last.weights_sha256[:12]}")
    mlp.parameters["b2"] = mlp.parameters["b2"] + 1.0
    assert repr(mlp).endswith(f"3 classes, weights sha256 {digest(mlp)[:12]}")
    mlp.parameters["b2"] = "anything"
    assert repr(mlp).endswith("weights of no known form")
    regression = small(loss="squared_error").fit(FLOATS, LABELS)
    assert "inputs (20,), 1 output, epoch 2" in repr(regression)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (MLP(), "arrays is of type MLP; give arrays by their names, as model.parameters"),
        (np.arange(3), "arrays is of type ndarray"),
        ("file", "arrays is of type str"),
        ({1: np.ones(2)}, "an array is called 1"),
        ({"\ud800": np.ones(2)}, "no valid text"),
        ({"a": [2**53 + 1]}, "'a' holds 9007199254740993, which float64 does not"),
        ({"a": np.array([2**64 - 1], np.uint64)}, "holds 18446744073709551615"),
        ({"a": [[1], [1, 2]]}, "'a' is no array"),
        ({"a": np.ma.masked_equal([1, 2], 2)}, "'a' has masked values"),
    ],
)
def test_what_has_no_digest(arrays, words):
    assert words in refused(backendmlp.digest, arrays)


def test_large_whole_numbers_that_float64_holds():
    numbers = [2**53, 2**60, -(2**63)]
    assert backendmlp.digest({"a": numbers}) == backendmlp.digest({"a": np.array(numbers, float)})


def test_lists_of_names_hold_what_is_meant_for_users():
    public = {name for name in dir(backendmlp) if name[0] != "_"}
    assert public >= {*backendmlp.__all__, "bitwise"}
    assert not public & {"Any", "TYPE_CHECKING", "import_module", "steps", "errors"}
    assert dir(backendmlp.bitwise) == sorted(backendmlp.bitwise.__all__)


def test_the_command_line_spells_arguments_as_options():
    sentence = "leave device= out, or use backend='numpy', or go on by resume_run"
    assert (
        as_options(sentence) == "leave --device out, or use --backend numpy, or go on by --resume"
    )
    for own in ("test=(images, labels)", "loss is 3", "mlp.to('numpy')", "the backend 'jax'"):
        assert as_options(own) == own
    for place in ({"backend": "jax", "device": "gpu"}, {"backend": "torch", "device": "gpu"}):
        open_or_skip(place["backend"])
        sentence = refused(backendmlp.select, place["backend"], place["device"])
        assert "--" not in sentence
        assert "leave --device out" in as_options(sentence)


@pytest.mark.parametrize(
    ("hidden", "wrong"), [((8, 0), "0 in layer 2"), ([-1, 8], "-1 in layer 1"), ((8, None), "None")]
)
def test_a_wrong_layer_is_shown_among_the_others(hidden, wrong):
    sentence = refused(lambda: MLP(hidden))
    assert sentence.startswith(f"hidden is {tuple(hidden)}, with {wrong}")


def test_what_is_wrong_with_a_warm_start_is_named():
    mlp = MLP(8, epochs=1, warm_start=True).fit(FLOATS, LABELS)
    sentence = refused(lambda: mlp.fit(FLOATS[:, :3], LABELS))
    assert sentence.startswith("the inputs have 3 values each")
    mlp.config = dataclasses.replace(mlp.config, hidden=(9, 4))
    sentence = refused(lambda: mlp.partial_fit(FLOATS, LABELS))
    assert sentence.startswith("hidden is (9, 4), and the network that is to go on has (8,)")
    real = MLP(8, epochs=1, warm_start=True, loss="squared_error").fit(FLOATS, LABELS)
    sentence = refused(lambda: real.fit(FLOATS, np.stack([LABELS, LABELS], axis=1)))
    assert sentence.startswith("the targets have 2 values each")


def test_a_warm_up_that_never_ends_is_told_unless_another_training_may_follow():
    with pytest.warns(UserWarning, match=r"^warmup is 4 epochs and the training has 2.* to 0\.05 "):
        MLP(8, epochs=2, warmup=4, lr=0.1).fit(FLOATS, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLP(8, epochs=2, warmup=2).fit(FLOATS, LABELS)
        MLP(8, epochs=2, warmup=4, warm_start=True).fit(FLOATS, LABELS)


@pytest.mark.filterwarnings("default:warmup")
def test_a_warm_up_that_never_ends_is_told_on_the_command_line(tmp_path):
    result = train("--out", tmp_path / "run", "--hidden", 4, "--epochs", 1, "--warmup", 3)
    assert result.code == 0
    assert result.err.startswith("Warning: warmup is 3 epochs and the training has 1")


def test_rows_are_only_called_images_where_they_may_be_some():
    for x, word in ((FLOATS, "inputs"), (FLOATS.reshape(len(FLOATS), -1, 2), "images")):
        x = np.where(x == x.max(), np.nan, x)
        assert f"the training {word} hold NaN" in refused(lambda x=x: MLP().fit(x, LABELS))
    assert "one for each of the" in (said := refused(lambda: MLP().fit(FLOATS, LABELS[:3])))
    assert said.endswith("rows")


@pytest.mark.parametrize("missing", [None, 3, {}])
def test_what_is_no_path_is_refused_by_name(missing, tmp_path):
    fitted = small().fit(IMAGES, LABELS)
    for use in (
        MLP.load,
        fitted.save,
        backendmlp.verify,
        backendmlp.figures,
        backendmlp.resume_run,
    ):
        assert repr(missing) in refused(use, missing), use


def test_a_name_with_a_zero_byte_is_no_path():
    for use in (backendmlp.train_run, backendmlp.figures, backendmlp.verify, MLP.load):
        assert "a\\x00b" in refused(use, "a\0b"), use


def test_a_choice_is_no_array():
    assert refused(MLP, optimizer=np.array(["adam"])).startswith("optimizer is array(['adam']")


@pytest.mark.filterwarnings(
    "ignore:Sparse .* tensor support is in beta", "ignore:The PyTorch API of"
)
def test_arrays_of_other_layouts_are_told():
    torch = pytest.importorskip("torch")
    rows = torch.eye(20, dtype=torch.float64)
    for odd in (rows.to_sparse_csr(), rows.to_sparse()):
        assert "are sparse; give" in refused(small(backend="torch").fit, odd, LABELS)
    nested = torch.nested.nested_tensor([rows[0], rows[1, :3]])
    assert "are nested" in refused(small(backend="torch").fit, nested, LABELS[:2])


def test_a_folder_is_no_model_but_the_file_in_it_is(tmp_path):
    small().fit(IMAGES, LABELS).save(tmp_path / "model.safetensors")
    sentence = refused(MLP.load, tmp_path)
    assert sentence.endswith(f"give the file in it, as {str(tmp_path / 'model.safetensors')!r}")


def test_a_backend_is_known_in_any_case(tmp_path):
    assert train("--epochs", 1, "--backend", "NumPy", "--out", tmp_path).code == 0


def test_info_names_each_library_once():
    lines = [line for line in call("info").out.splitlines() if " threads" in line]
    assert lines
    for line in lines:
        words = line.split()
        assert len(set(words)) == len(words), line


def test_info_says_once_what_a_folder_was_made_with(tmp_path):
    assert train("--epochs", 1, "--out", tmp_path).code == 0
    told = call("info", tmp_path).out
    assert told.count("configuration") == told.count("definition") == told.count("\ndata ") == 1
    assert told.count("weights sha256") == 2


def test_json_has_null_for_what_is_no_number(tmp_path):
    mlp = MLP((), loss="squared_error", epochs=1, lr=1e-9, numerics="native", dtype="float64")
    start = {"W1": np.full((FLOATS.shape[1], 1), 2.0), "b1": np.zeros(1)}
    mlp.fit(FLOATS, FLOATS[:, 0], parameters=start)
    mlp.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "rows.npy", np.full((1, FLOATS.shape[1]), 1.7e308))
    files = (tmp_path / "model.safetensors", tmp_path / "rows.npy")
    (row,) = json.loads(call("predict", *files, "--format", "json").out, parse_constant=pytest.fail)
    assert row["outputs"] == [None]


ROWS_OF_FLOATS = len(FLOATS)
GOOD = np.arange(ROWS_OF_FLOATS)


@pytest.mark.parametrize("last", [GOOD[:-1], GOOD + 1, [[1], [2, 3]], "rows"], ids=str)
def test_an_order_that_a_later_epoch_cannot_have_is_refused_at_once(last):
    mlp = small().fit(FLOATS, LABELS)
    before, epochs = digest(mlp), len(mlp.history)
    assert "order of epoch 2" in refused(mlp.fit, FLOATS, LABELS, order=[GOOD, last])
    assert (digest(mlp), len(mlp.history)) == (before, epochs)
    assert "order is dict" in refused(mlp.fit, FLOATS, LABELS, order={5: GOOD, 6: GOOD})
