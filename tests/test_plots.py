"""The pictures of trainings: files that are pictures, what they say, and what is refused."""

import dataclasses
import shutil
import subprocess
import sys

import commandline as cl
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

import backendmlp
from backendmlp import drawing, plots
from backendmlp.data import Dataset, load_folder, load_sample
from backendmlp.data.origin import Origin
from backendmlp.errors import InputError
from backendmlp.findings import Mistake, try_network
from backendmlp.runs.record import Data, Record, read
from backendmlp.training.epochs import EpochRecord

NAMES = ["curves", "confusion", "hidden_units", "mistakes"]
rng = np.random.default_rng(0)


def history(epochs, **changes):
    values = {"train_loss": 0.5, "test_loss": 0.6, "test_accuracy": 0.75, **changes}
    rest = {"seconds": 1.0, "tensors_sha256": {}, "predictions_sha256": None}
    given = {**values, **rest, "weights_sha256": "0" * 64}
    return [EpochRecord(epoch=epoch, **given) for epoch in range(1, epochs + 1)]


def mistakes(number, shape, classes=2):
    return [
        Mistake(rng.integers(0, 256, shape, dtype=np.uint8), classes - 1, 0, (i + 1) / number)
        for i in range(number)
    ]


def texts(figure):
    """Everything that is written in a figure, axis ticks apart."""
    shown = [figure.get_suptitle(), figure.get_supxlabel()]
    shown += [text.get_text() for text in figure.texts]
    for legend in figure.legends:
        shown += [text.get_text() for text in legend.get_texts()]
    for axes in figure.axes:
        shown += [axes.get_title(loc) for loc in ("left", "center")]
        shown += [axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
    return "\n".join(shown)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("plots")


@pytest.fixture(scope="module")
def data(folder):
    return cl.write_data(folder / "data", 300, 100)


@pytest.fixture(scope="module")
def runs(folder, data):
    """Runs a and b differ in their seed, c has one epoch less, d another learning rate."""
    options = {"a": (1, "--plot"), "b": (2,), "c": (3, "--epochs", 2), "d": (1, "--lr", 0.5)}
    common = "--data", data, "--hidden", 9, "--epochs", 3
    for name, seed in options.items():
        result = cl.train(*common, "--seed", *seed, "--out", folder / name, "--quiet")
        assert result.code == 0, result.err
    return {name: folder / name for name in options}


@pytest.mark.slow
class TestPlotCommand:
    def test_one_run_again_as_after_its_training(self, runs, tmp_path):
        run = shutil.copytree(runs["a"], tmp_path / "a")
        drawn = {path: path.read_bytes() for path in run.glob("*.png")}
        paths = [run / f"{name}.png" for name in NAMES]
        assert set(drawn) == set(paths)
        for path in paths:
            path.unlink()
        result = cl.call("plot", run)
        assert (result.code, result.err) == (0, "")
        assert result.out.splitlines() == [f"written to {path}" for path in paths]
        for path in paths:
            assert path.read_bytes() == drawn[path]
            assert len(drawn[path]) < 300_000
            with Image.open(path) as image:
                assert image.format == "PNG"
                assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
                assert 300 < image.height < 4000
                assert len(np.unique(np.asarray(image.convert("L")))) > 10

    @pytest.mark.parametrize(("form", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF-")])
    def test_other_formats(self, runs, tmp_path, form, start):
        place = runs["a"] / "run.json"  # as good as its folder
        assert cl.call("plot", place, "--format", form, "--out", tmp_path).code == 0
        for name in NAMES:
            assert (tmp_path / f"{name}.{form}").read_bytes().startswith(start)

    def test_several_runs_give_one_picture(self, runs, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        result = cl.call("plot", runs["a"], runs["b"], "--no-titles")
        assert (result.code, result.out) == (0, "written to curves.png\n")
        assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]

    def test_data_that_are_not_at_hand(self, folder, runs, data, tmp_path):
        moved = data.rename(folder / "moved")
        try:
            result = cl.call("plot", runs["a"], "--out", tmp_path)
            assert result.code == 0
            assert result.err.count("\n") == 1
            assert "test data are not at hand: folder" in result.err
            assert "--data" in result.err
            assert {p.name for p in tmp_path.iterdir()} == {"curves.png", "hidden_units.png"}
            again = cl.call("plot", runs["a"], "--out", tmp_path, "--data", moved)
            assert (again.code, again.err) == (0, "")
            assert len(list(tmp_path.iterdir())) == 4
        finally:
            moved.rename(data)

    def test_a_model_that_is_gone(self, runs, tmp_path):
        run = shutil.copytree(runs["a"], tmp_path / "a")
        (run / "model.safetensors").unlink()
        result = cl.call("plot", run)
        assert result.code == 0
        assert "the curves alone are drawn" in result.err
        assert result.out == f"written to {run / 'curves.png'}\n"

    def test_a_notebooks_backend_that_is_not_here(self, runs, tmp_path, monkeypatch):
        monkeypatch.setenv("MPLBACKEND", "module://no_such_package.backend_inline")
        with cl.start("plot", runs["a"], "--out", tmp_path) as process:
            result = cl.end(process)
        assert (result.code, result.err) == (0, "")
        assert len(list(tmp_path.iterdir())) == 4

    def test_refusals_write_nothing(self, runs, data, tmp_path):
        other = cl.write_data(tmp_path / "other", 300, 90)
        (tmp_path / "empty").mkdir()
        cases = {
            "Missing argument": (),
            f"run {runs['a']} is named twice; name each once": (runs["a"], runs["b"], runs["a"]),
            "has no run.json": (tmp_path / "empty",),
            "no such file": (tmp_path / "absent",),
            "the run was made with": (runs["a"], "--data", other),
            "leave --data": (runs["a"], runs["b"], "--data", data),
            "gif": (runs["a"], "--format", "gif"),
        }
        for reason, arguments in cases.items():
            result = cl.call("plot", *arguments, "--out", tmp_path / "out")
            assert result.code == 2
            assert reason in result.err
            assert result.err.count("\n") == 1 or reason in ("Missing argument", "gif")
        assert not (tmp_path / "out").exists()


class TestFigures:
    def test_of_one_run(self, runs, data):
        found = backendmlp.figures(runs["a"])
        assert list(found) == NAMES
        right = round(100 * cl.receipt(runs["a"])["epochs"][-1]["test_accuracy"])
        assert f"{right} of 100 test images classified right" in texts(found["confusion"])
        assert f"of {100 - right} mistakes" in texts(found["mistakes"])
        assert "all 9 hidden units" in texts(found["hidden_units"])
        assert list(backendmlp.figures(runs["a"], dataset=load_folder(data))) == NAMES

    def test_without_titles(self, runs):
        found = backendmlp.figures(runs["a"], titles=False)
        assert [figure.get_suptitle() for figure in found.values()] == [""] * 4
        said = texts(found["curves"])
        assert "best" not in said
        assert "cross-entropy loss" in said  # on its axis
        assert "while the weights moved" in said

    def test_runs_that_differ_in_chance_alone_are_averaged(self, runs):
        found = backendmlp.figures(runs["a"], runs["b"], runs["c"])
        assert list(found) == ["curves"]
        epochs = [cl.receipt(runs[name])["epochs"][1] for name in "abc"]
        values = [100 * epoch["test_accuracy"] for epoch in epochs]
        mean, spread = np.mean(values), np.std(values, ddof=1)
        said = texts(found["curves"])
        assert f"test {mean:.2f} ± {spread:.2f} %" in said  # after two epochs, which all have
        assert "mean of the runs" in said
        assert "best" not in said

    def test_of_runs_that_are_the_same_no_spread_is_told(self, runs, tmp_path):
        same = shutil.copytree(runs["a"], tmp_path / "same")
        said = texts(backendmlp.figures(runs["a"], same)["curves"])
        assert "mean of the runs" in said
        assert "±" not in said

    def test_other_runs_stand_beside_them(self, runs):
        said = texts(backendmlp.figures(*runs.values())["curves"])
        assert "lr 0.1 (3 runs): test accuracy" in said
        assert "lr 0.5 (1 run): test accuracy" in said

    @pytest.mark.slow
    def test_early_stopped_runs_are_told_as_info_tells_them(self, data, tmp_path):
        given, watched = load_folder(data), {"patience": 2, "validation_split": 0.3, "epochs": 12}
        said = []
        for lr in (0.5, 0.9):
            config = backendmlp.Config(5, lr=lr, tol=0.05, **watched)
            run = backendmlp.train_run(tmp_path / str(lr), given, config, keep_epochs=False)
            ending = read(run.folder / "run.json").ending
            assert ending != run.epochs[-1]
            said.append(
                f"lr {lr} (1 run): test accuracy {ending.test_accuracy:.2%} after epoch "
                f"{ending.epoch}".replace("%", " %")
            )
        shown = texts(backendmlp.figures(tmp_path / "0.5", tmp_path / "0.9")["curves"])
        assert all(line in shown for line in said)

    @pytest.mark.slow
    def test_of_several_those_that_diverged_are_left_out_by_name(self, runs, data, tmp_path):
        for name, lr in (("e", 1e300), ("f", 1e301)):
            options = ("--hidden", "9,5", "--lr", lr, "--out", tmp_path / name, "--quiet")
            assert "diverged" in cl.train("--data", data, *options).err
        many = runs["a"], tmp_path / "e", runs["b"], tmp_path / "f"
        with pytest.warns(UserWarning, match="left out, since they diverged: ") as caught:
            found = backendmlp.figures(*many)
        assert f"diverged: {tmp_path / 'e'}, {tmp_path / 'f'}" in str(caught[0].message)
        assert texts(found["curves"]) == texts(backendmlp.figures(*many[::2])["curves"])
        result = cl.call("plot", *many[:2], "--out", tmp_path / "out")
        assert (result.code, result.err) == (
            0, f"Warning: left out, since it diverged: {tmp_path / 'e'}\n"
        )  # fmt: skip
        with pytest.raises(InputError, match="has no finished epoch"):
            backendmlp.figures(*many[1::2])

    def test_warns_of_what_is_missing(self, runs, folder, data):
        moved = data.rename(folder / "moved")
        try:
            with pytest.warns(UserWarning, match="not at hand") as caught:
                assert list(backendmlp.figures(runs["a"])) == ["curves", "hidden_units"]
            assert caught[0].filename == __file__
        finally:
            moved.rename(data)

    def test_refusals(self, runs):
        with pytest.raises(InputError, match="name the folder"):
            backendmlp.figures()
        with pytest.raises(InputError, match="from their receipts alone"):
            backendmlp.figures(runs["a"], runs["b"], dataset=load_sample())
        with pytest.raises(InputError, match="the run's own data"):
            backendmlp.figures(runs["a"], dataset=load_sample())

    @pytest.mark.slow
    @pytest.mark.parametrize("form", plots.FORMATS)
    def test_the_same_bytes_whatever_the_user_has_set(self, runs, tmp_path, form):
        import matplotlib

        def draw(place):
            return plots.save_figures(place, backendmlp.figures(runs["a"], runs["b"]), form)

        with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
            first = draw(tmp_path / "a")
            assert matplotlib.rcParams["font.size"] == 30
        assert [path.read_bytes() for path in first] == [
            path.read_bytes() for path in draw(tmp_path / "b")
        ]

    def test_kinds_of_runs(self):
        config = backendmlp.Config()
        given = [Data(Origin("x"), letter * 64) for letter in "ab"]
        same = [Record(config, "numpy", "cpu", data, history(1)) for data in given]
        assert list(plots._groups(same)) == ["x aaaaaaaa", "x bbbbbbbb"]
        configs = [dataclasses.replace(config, hidden=number) for number in range(1, 9)]
        many = [dataclasses.replace(same[0], config=one) for one in configs]
        with pytest.raises(InputError, match="8 kinds"):
            plots._groups(many)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "plots").touch()
    with pytest.raises(InputError, match="not a folder"):
        plots.save_figures(tmp_path / "plots", {})


def test_matplotlib_is_imported_late_and_missed_politely():
    code = """if True:
        import sys
        import backendmlp.commands.plot
        assert "matplotlib" not in sys.modules
        sys.modules["matplotlib"] = None  # as if it were not installed
        for call in (backendmlp.figures, backendmlp.commands.plot.require_matplotlib):
            try:
                call()
            except backendmlp.InputError as error:
                assert "pip install 'matplotlib" in str(error)
            else:
                raise AssertionError("no error")
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)


class TestCurves:
    def test_labels_and_titles(self):
        records = history(3)
        records[1] = history(2, test_loss=0.1, test_accuracy=0.8)[1]
        said = texts(drawing.curves({"": [records]}))
        for text in [
            "train 0.500",
            "test 0.600",
            "test 75.00 %",
            "loss in epoch 2",
            "best in epoch 2",
            "chosen on the test data",
            "train: mean over the epoch, while the weights moved",
        ]:
            assert text in said

    def test_a_single_epoch_is_not_the_best(self):
        said = texts(drawing.curves({"": [history(1)]}))
        assert "best" not in said
        assert "chosen" not in said

    def test_of_equal_epochs_none_is_the_best(self):
        said = texts(drawing.curves({"": [history(3)]}))
        assert "best" not in said
        assert "lowest" not in said

    def test_a_loss_that_exploded_leaves_the_others_to_be_seen(self):
        records = history(3)
        records[2] = history(3, train_loss=7e16, test_loss=3e15)[2]
        figure = drawing.curves({"": [records]})
        assert figure.axes[0].get_yscale() == "log"
        assert "logarithmic" in texts(figure)
        assert drawing.curves({"": [history(3)]}).axes[0].get_yscale() == "linear"

    def test_dots_of_single_epochs_can_be_told_apart(self):
        figure = drawing.curves({"a": [history(1)], "b": [history(1, test_loss=0.7)]})
        assert {line.get_marker() for line in figure.axes[0].lines} == {"x", "o"}
        legend = figure.axes[0].get_legend()
        assert [line.get_marker() for line in legend.get_lines()] == ["x", "o"]

    @pytest.mark.parametrize("epochs", [1, 2, 3, 10, 12, 30, 101, 1000])
    def test_ticks_are_whole_epochs_from_the_first_to_the_last(self, epochs):
        for axes in drawing.curves({"": [history(epochs)]}).axes:
            ticks = axes.get_xticks()
            assert np.array_equal(ticks, np.round(ticks))
            assert ticks[0] == 1
            assert ticks[-1] == epochs
            assert len(ticks) <= 12
            assert axes.get_xlim()[0] <= 1

    @pytest.mark.parametrize("nothing", [None, float("nan")])
    def test_a_line_without_any_number(self, nothing):
        said = texts(drawing.curves({"": [history(2, test_loss=nothing)]}))
        assert "train 0.500" in said
        assert "nan" not in said

    def test_validation_data_choose_the_best_epoch(self):
        records = [
            dataclasses.replace(record, validation_loss=loss, validation_accuracy=1 - loss)
            for record, loss in zip(history(3), (0.5, 0.25, 0.4), strict=True)
        ]
        figure = drawing.curves({"": [records]}, kept={"": [2]})
        said = texts(figure)
        for text in (
            "lowest validation loss in epoch 2",
            "Accuracy in %: best validation in epoch 2",
            "validation 0.400",
            "validation 60.00 %",
            "test 75.00 %",
            "chosen on the validation data",
            "vertical line: epoch 2, whose weights the run ended with",
        ):
            assert text in said
        assert "may well do worse" not in said
        for axes in figure.axes:
            (line,) = (line for line in axes.lines if list(line.get_xdata()) == [2, 2])
            assert line.get_linestyle() == "--"

    def test_what_runs_came_to_is_told_of_the_epochs_whose_weights_they_kept(self):
        def watched(best: int, count: int) -> list[EpochRecord]:
            return [
                dataclasses.replace(record, test_accuracy=0.9 if record.epoch == best else 0.5)
                for record in history(count)
            ]

        one, other = watched(2, 4), watched(3, 5)
        groups, kept = {"a": [one, other], "b": [one], "c": [history(3)]}, {"a": [2, 3], "b": [2]}
        said = texts(drawing.curves(groups, kept=kept))
        assert "a (2 runs): test accuracy 90.00 % after the epochs kept, 2 to 3" in said
        assert "b (1 run): test accuracy 90.00 % after epoch 2" in said
        assert "c (1 run): test accuracy 75.00 % after epoch 3" in said
        said = texts(drawing.curves({"": [one, other]}, kept={"": [2, 3]}))
        assert "weights kept: test accuracy 90.00 % after the epochs kept, 2 to 3" in said
        assert "test 50.00 %" in said  # where the line ends
        said = texts(drawing.curves({"": [one[:2], other[:3]]}, kept={"": [2, 3]}))
        assert "weights kept" not in said

    def test_labels_of_lines_that_end_together_stay_apart(self):
        records = history(4, test_loss=0.5, validation_loss=0.5, validation_accuracy=0.75)
        for axes in drawing.curves({"": [records]}).axes:
            axes.figure.draw_without_rendering()
            boxes = sorted(text.get_window_extent().y0 for text in axes.texts)
            assert len(boxes) == (3 if axes is axes.figure.axes[0] else 2)
            assert min(np.diff(boxes)) > 9 * axes.figure.dpi / 72

    def test_regressions(self):
        records = history(3, test_accuracy=None, test_r2=0.5)
        records[0] = dataclasses.replace(records[0], test_r2=-60.0)
        figure = drawing.curves({"": [records]}, score=drawing.R2)
        said = texts(figure)
        for text in ("Squared-error loss", "Test R²: best in epoch 2", "test 0.5000"):
            assert text in said
        assert "R² below -1 is not shown" in said
        assert figure.axes[1].get_ylim()[0] == -1

    def test_a_legend_of_many_choices_stays_in_the_picture(self):
        names = {f"{i} " + "optimizer adam, " * 12: [history(2)] for i in range(7)}
        with plots._style():
            figure = drawing.curves(names)
            figure.draw_without_rendering()
            box = figure.legends[0].get_window_extent()
            assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert box.y0 > figure.axes[0].get_window_extent().y1


class TestPredictions:
    def test_says_how_well_they_fit(self):
        true = rng.normal(size=(200, 1))
        figure = drawing.predictions(true, true + 0.5)
        assert "200 test rows: R² 0." in texts(figure)
        assert "root mean squared error 0.5" in texts(figure)
        (axes,) = figure.axes
        assert axes.get_xlim() == axes.get_ylim()
        assert len(axes.collections[0].get_offsets()) == 200

    @pytest.mark.parametrize(("outputs", "panels"), [(2, 2), (3, 3), (12, 9)])
    def test_a_panel_for_each_output(self, outputs, panels):
        true = rng.normal(size=(50, outputs))
        figure = drawing.predictions(true, true)
        for number in range(outputs):
            assert (f"output {number}: R² 1.0000" in texts(figure)) == (number < panels)
        assert ("9 of 12 outputs shown" in texts(figure)) == (outputs == 12)

    def test_many_rows_are_counted_in_cells(self, tmp_path):
        true = rng.normal(size=(5000, 1))
        with plots._style():
            figure = drawing.predictions(true, true + rng.normal(size=(5000, 1)))
            assert "the darker a cell" in texts(figure)
        (path,) = plots.save_figures(tmp_path, {"a": figure}, "svg")
        assert path.stat().st_size < 10**6

    def test_targets_that_never_vary(self):
        said = texts(drawing.predictions(np.ones((5, 1)), np.ones((5, 1))))
        assert "R²" not in said
        assert "root mean squared error 0" in said


class TestConfusion:
    def test_says_what_it_shows(self):
        counts = np.array([[1000, 7, 0], [1, 20, 0], [0, 0, 0]])
        figure = drawing.confusion(counts, ["a", "b", "c"])
        said = texts(figure)
        assert "1,020 of 1,028 test images classified right (99.22 %)" in said
        assert "mistake (7 of 8):\na → b" in said
        assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "1000", "20", "7"]

    def test_colours_are_shares_of_the_row(self):
        counts = np.array([[3, 1], [0, 10]])
        shares = drawing.confusion(counts, ["a", "b"]).axes[0].images[0].get_array()
        assert np.array_equal(shares, [[0.75, 0.25], [0, 1]])

    def test_features_are_rows(self):
        said = texts(drawing.confusion(np.eye(2, dtype=int), ["a", "b"], counted_as="rows"))
        assert said.startswith("2 of 2 test rows classified right")

    def test_no_mistake_no_word_about_it(self):
        assert "mistake" not in texts(drawing.confusion(np.eye(2, dtype=int), ["a", "b"]))

    @pytest.mark.slow
    @pytest.mark.parametrize("classes", [2, 62])
    def test_awkward_names(self, tmp_path, classes):
        """What is written stays in the picture, however long the names are."""
        names = (["$x^", "a line\nand another " * 9, "ネコ"] + ["W" * 40] * 59)[:classes]
        with plots._style():
            figure = drawing.confusion(np.ones((classes, classes), int), names)
            figure.draw_without_rendering()
            box = figure._suptitle.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        if classes == 2:
            plots.save_figures(tmp_path, {"a": figure})


class TestHiddenUnits:
    def test_largest_first_on_a_symmetric_scale(self):
        W1 = rng.normal(size=(6, 4)) * [1, 30, 2, 10]
        (image,) = drawing.hidden_units(W1, (2, 3)).axes[0].images
        mosaic = np.ma.filled(image.get_array(), np.nan)
        assert np.array_equal(mosaic[:2, :3], W1[:, 1].reshape(2, 3))
        other = [mosaic[:2, 4:7], mosaic[3:5, :3]]  # beside it or below
        assert any(np.array_equal(tile, W1[:, 3].reshape(2, 3)) for tile in other)
        low, high = image.get_clim()
        assert -low == high > 0

    def test_at_most_a_hundred_and_fewer_of_large_pictures(self):
        assert "100 of 130 hidden units" in texts(
            drawing.hidden_units(rng.normal(size=(4, 130)), (2, 2))
        )
        assert "4 of 9 hidden units" in texts(
            drawing.hidden_units(rng.normal(size=(128 * 128, 9)), (128, 128))
        )

    def test_weights_that_are_all_zero(self):
        figure = drawing.hidden_units(np.zeros((4, 3)), (2, 2))
        assert figure.axes[0].images[0].get_clim() == (-1, 1)
        assert "all 3 hidden units" in texts(figure)

    def test_of_a_network_without_hidden_units_the_outputs_in_their_order(self):
        W1 = np.ones((4, 3)) * [1, 3, 2]
        figure = drawing.hidden_units(W1, (2, 2), kind=drawing.OUTPUT)
        assert "Weights into all 3 outputs, in their order" in texts(figure)
        assert figure.axes[0].images[0].get_array()[0, 0] == 1

    @pytest.mark.parametrize(
        ("shape", "hidden"), [((28, 28), 100), ((64, 64), 100), ((400, 400), 2), ((1, 300), 50)]
    )
    def test_the_file_is_small(self, tmp_path, shape, hidden):
        """Noise, which no packing makes smaller, is the worst case."""
        W1 = rng.normal(size=(shape[0] * shape[1], hidden))
        with plots._style():
            figure = drawing.hidden_units(W1, shape)
        (path,) = plots.save_figures(tmp_path, {"a": figure})
        assert path.stat().st_size < 300_000


class TestMistakes:
    def test_the_most_confident_first(self):
        items = mistakes(25, (3, 2))
        figure = drawing.mistakes(items, np.array([[5, 0], [30, 5]]), ["cat", "dog"])
        captions = [axes.get_title() for axes in figure.axes]
        assert captions[0] == "dog\n→ cat (1.00)"
        assert captions[1] == "dog\n→ cat (0.96)"
        assert sum(map(bool, captions)) == 25
        assert "25 of 30 mistakes" in texts(figure)

    @pytest.mark.parametrize(
        ("number", "said"),
        [(0, "No mistakes to show for"), (1, "The only mistake"), (7, "All 7 mistakes")],
    )
    def test_few(self, number, said):
        counts = np.array([[4, 0], [number, 5]])
        assert said in texts(drawing.mistakes(mistakes(number, (3, 2)), counts, ["a", "b"]))


@pytest.mark.slow
def test_pictures_of_inputs_that_are_none(tmp_path):
    """Features have no picture of weights or of mistakes; floats of two dimensions do."""
    x, y = rng.normal(size=(60, 6)), np.arange(60) % 3
    for shape, names in (((6,), NAMES[:2]), ((2, 3), NAMES), ((2, 3, 1), NAMES)):
        images = x.reshape(-1, *shape)
        data = Dataset("x", "nowhere", images, y, images, y)
        place = tmp_path / str(len(shape))
        backendmlp.train_run(place, data, backendmlp.Config(4, epochs=1))
        found = backendmlp.figures(place, dataset=data)
        assert list(found) == names
        counted_as = "images" if shape[1:] else "rows"
        assert f"60 test {counted_as} classified right" in texts(found["confusion"])


def test_kinds_are_named_by_what_was_chosen():
    config = backendmlp.Config()
    data = Data(Origin("x"), "a" * 64)
    configs = [
        config,
        dataclasses.replace(config, hidden=(32, 16), l2=0.1),
        backendmlp.Config(optimizer="adam"),
    ]
    made = [Record(one, "numpy", "cpu", data, history(1)) for one in configs]
    assert list(plots._groups(made)) == [
        "hidden 100, lr 0.1, optimizer sgd, no l2",
        "hidden 32,16, lr 0.1, optimizer sgd, l2 0.1",
        "hidden 100, lr 0.001, optimizer adam, no l2",
    ]


def test_short_names():
    assert drawing.short("Ankle\n boot") == "Ankle boot"
    assert drawing.short("x" * 18) == "x" * 18
    assert drawing.short("x" * 19) == "x" * 17 + "…"


def test_a_network_that_errs_never():
    """One row of pixels, two classes, told apart by the first."""
    labels = np.arange(40, dtype=np.uint8) % 2
    images = np.zeros((40, 1, 12), np.uint8)
    images[:, 0, 0] = labels * 255
    data = Dataset("lines", "nowhere", images, labels, images[:10], labels[:10])
    mlp = backendmlp.MLP(4, epochs=20, lr=1.0, batch_size=4).fit(images, labels)
    counts, wrong = try_network(mlp, data)
    assert counts.tolist() == [[5, 0], [0, 5]]
    assert wrong == []
