"""The four figures: files that are pictures, and what they say."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from backendmlp import figures
from backendmlp.errors import InputError
from backendmlp.plots import save_plots

FILES = ["curves.png", "confusion.png", "hidden_units.png", "mistakes.png"]
rng = np.random.default_rng(0)


def history(epochs, **changes):
    item = {"train_loss": 0.5, "test_loss": 0.6, "test_accuracy": 0.75}
    return [{"epoch": epoch, **item, **changes} for epoch in range(1, epochs + 1)]


def mistakes(number, shape, classes=2):
    return [
        {
            "image": rng.integers(0, 256, shape, dtype=np.uint8),
            "true": classes - 1,
            "predicted": 0,
            "probability": (i + 1) / number,
        }
        for i in range(number)
    ]


def arguments(epochs=2, classes=2, shape=(5, 4), hidden=6, wrong=2):
    return {
        "history": history(epochs),
        "confusion": np.eye(classes, dtype=np.int64) * 9 + wrong * np.eye(classes, k=-1, dtype=int),
        "W1": rng.normal(size=(shape[0] * shape[1], hidden)).astype(np.float32),
        "image_shape": list(shape),
        "class_names": [f"class {i}" for i in range(classes)],
        "mistakes": mistakes(wrong, shape, classes),
    }


def texts(figure):
    """Everything that is written in a figure, axis ticks apart."""
    shown = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    for axes in figure.axes:
        shown += [axes.get_title(loc) for loc in ("left", "center")]
        shown += [text.get_text() for text in axes.texts]
    return "\n".join(shown)


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"epochs": 1, "shape": (1, 4), "hidden": 1, "wrong": 1},
        {"epochs": 50, "classes": 40, "shape": (30, 12), "hidden": 101, "wrong": 3},
        {"shape": (1, 300), "wrong": 0},
        {"classes": 1, "shape": (1, 1), "wrong": 0},
    ],
    ids=["plain", "smallest", "many", "hair", "one class"],
)
def test_four_pictures(tmp_path, case):
    paths = save_plots(tmp_path / "plots", **arguments(**case))
    assert paths == [tmp_path / "plots" / name for name in FILES]
    assert sorted(tmp_path.glob("plots/*")) == sorted(paths)
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert 200 < image.height < 4000
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_awkward_names_and_a_training_that_diverged(tmp_path):
    given = arguments(classes=3)
    given["class_names"] = ["$x^", "a line\nand another " * 9, "ネコ"]
    given["history"] += history(4, test_loss=float("nan"), train_loss=float("inf"))[2:]
    assert len(save_plots(tmp_path, **given)) == 4


def test_same_input_same_bytes_whatever_the_user_has_set(tmp_path):
    import matplotlib

    given = arguments()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        first = save_plots(tmp_path / "a", **given)
        assert matplotlib.rcParams["font.size"] == 30
    second = save_plots(tmp_path / "b", **given)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"history": []}, "history is empty"),
        ({"confusion": np.zeros((2, 3), int)}, "confusion has shape"),
        ({"class_names": ["a"]}, "confusion has shape"),
        ({"class_names": [], "confusion": np.zeros((0, 0), int)}, "at least one"),
        ({"image_shape": [5, 5]}, "does not fit image_shape"),
        ({"image_shape": [20]}, "does not fit image_shape"),
        ({"W1": np.zeros((20, 0))}, "a column for each hidden unit"),
        ({"W1": np.full((20, 3), np.nan)}, "NaN"),
    ],
)
def test_refusals_leave_no_folder(tmp_path, change, reason):
    with pytest.raises(InputError, match=reason):
        save_plots(tmp_path / "plots", **{**arguments(), **change})
    assert not (tmp_path / "plots").exists()


def test_refuses_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "plots").touch()
    with pytest.raises(InputError, match="not a folder"):
        save_plots(tmp_path / "plots", **arguments())


def test_matplotlib_is_imported_late_and_missed_politely():
    code = """if True:
        import sys, numpy
        import backendmlp.plots
        assert "matplotlib" not in sys.modules
        sys.modules["matplotlib"] = None  # as if it were not installed
        history = [dict(epoch=1, train_loss=1, test_loss=1, test_accuracy=1)]
        try:
            backendmlp.plots.save_plots(
                "absent", history, numpy.eye(1), numpy.ones((1, 1)), [1, 1], ["a"], []
            )
        except backendmlp.plots.InputError as error:
            assert "pip install 'backendmlp[plot]'" in str(error)
        else:
            raise AssertionError("no error")
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestCurves:
    def test_labels_and_titles(self):
        records = history(3)
        records[1] |= {"test_loss": 0.1, "test_accuracy": 0.8}
        said = texts(figures.curves(records))
        for text in [
            "train 0.500",
            "test 0.600",
            "test 75.00 %",
            "loss in epoch 2",
            "best in epoch 2",
        ]:
            assert text in said

    @pytest.mark.parametrize("epochs", [1, 2, 3, 10, 1000])
    def test_ticks_are_whole_epochs(self, epochs):
        for axes in figures.curves(history(epochs)).axes:
            ticks = axes.get_xticks()
            assert np.array_equal(ticks, np.round(ticks))

    def test_a_line_without_any_number(self):
        said = texts(figures.curves(history(2, test_loss=float("nan"))))
        assert "train 0.500" in said
        assert "nan" not in said


class TestConfusion:
    def test_says_what_it_shows(self):
        counts = np.array([[1000, 7, 0], [1, 20, 0], [0, 0, 0]])
        figure = figures.confusion(counts, ["a", "b", "c"])
        said = texts(figure)
        assert "1,020 of 1,028 test images classified right (99.22 %)" in said
        assert "a → b (7 of 8)" in said
        assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "1000", "20", "7"]

    def test_colours_are_shares_of_the_row(self):
        counts = np.array([[3, 1], [0, 10]])
        shares = figures.confusion(counts, ["a", "b"]).axes[0].images[0].get_array()
        assert np.array_equal(shares, [[0.75, 0.25], [0, 1]])

    def test_no_mistake_no_word_about_it(self):
        assert "mistake" not in texts(figures.confusion(np.eye(2, dtype=int), ["a", "b"]))


class TestHiddenUnits:
    def test_largest_first_on_a_symmetric_scale(self):
        W1 = rng.normal(size=(6, 4)) * [1, 30, 2, 10]
        images = figures.hidden_units(W1, (2, 3)).axes[0].images
        assert np.array_equal(images[0].get_array(), W1[:, 1].reshape(2, 3))
        assert np.array_equal(images[1].get_array(), W1[:, 3].reshape(2, 3))
        assert len({image.get_clim() for image in images}) == 1
        low, high = images[0].get_clim()
        assert -low == high > 0

    def test_at_most_a_hundred(self):
        figure = figures.hidden_units(rng.normal(size=(4, 130)), (2, 2))
        assert len(figure.axes[0].images) == 100
        assert "100 of 130 hidden units" in texts(figure)

    def test_weights_that_are_all_zero(self):
        figure = figures.hidden_units(np.zeros((4, 3)), (2, 2))
        assert figure.axes[0].images[0].get_clim() == (-1, 1)
        assert "all 3 hidden units" in texts(figure)


class TestMistakes:
    def test_the_most_confident_first(self):
        figure = figures.mistakes(mistakes(30, (3, 2)), np.array([[5, 0], [30, 5]]), ["cat", "dog"])
        captions = [axes.get_title() for axes in figure.axes]
        assert captions[0] == "dog →\ncat 1.00"
        assert captions[1] == "dog →\ncat 0.97"
        assert sum(map(bool, captions)) == 25
        assert "25 of 30 mistakes" in texts(figure)

    def test_none(self):
        assert "No mistakes to show for 9 test images" in texts(
            figures.mistakes([], np.array([[4, 0], [0, 5]]), ["a", "b"])
        )


def test_short_names():
    assert figures.short("Ankle\n boot") == "Ankle boot"
    assert figures.short("x" * 18) == "x" * 18
    assert figures.short("x" * 19) == "x" * 17 + "…"
