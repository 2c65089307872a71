"""Drawing: what appears where, in which colour, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from drivetrain.visualization import (
    DrawingError,
    DrawingTypeError,
    NoImageError,
    Visualizer,
    check_type,
    check_type_and_length,
    color_str2rgb,
    color_val_matplotlib,
    convert_overlay_heatmap,
    img_from_canvas,
    tensor2ndarray,
    value2list,
    wait_continue,
)
from drivetrain.visualization._window import _wait

torch = pytest.importorskip("torch")

GREEN, RED = [0, 128, 0], [255, 0, 0]  # matplotlib's "g" is the dark green of HTML


@pytest.fixture
def white():
    return np.full((60, 80, 3), 255, dtype=np.uint8)


@pytest.fixture
def visualizer(white):
    return Visualizer(image=white)


def changed(image):
    """Return the box of what is not white: left, top, right, bottom, give or take a pixel.

    matplotlib moves rims to whole pixels, which is what one wants to see.
    """
    ys, xs = np.nonzero((image != 255).any(axis=2))
    return pytest.approx((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), abs=1)


class TestImage:
    """The image itself."""

    @pytest.mark.parametrize("shape", [(1, 1), (60, 80), (33, 47), (7, 1001), (513, 640)], ids=str)
    def test_an_image_comes_back_as_it_was_even_through_the_canvas(self, shape):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        visualizer = Visualizer(image=image)
        assert (visualizer.get_image() == image).all()
        visualizer._canvas.axes  # as if something was drawn
        assert (visualizer.get_image() == image).all()

    def test_a_gray_image_becomes_rgb(self):
        visualizer = Visualizer()
        visualizer.set_image(np.array([[7, 9]]))
        assert visualizer.get_image().tolist() == [[[7, 7, 7], [9, 9, 9]]]

    def test_the_image_given_is_not_drawn_on(self, white, visualizer):
        visualizer.draw_bboxes(np.array([10, 10, 30, 30]), face_colors="r")
        visualizer.get_image()[:] = 0
        assert (white == 255).all()

    def test_another_image_begins_anew(self, white, visualizer):
        visualizer.draw_bboxes(np.array([10, 10, 30, 30]))
        visualizer.set_image(white[:20, :30])
        assert visualizer.get_image().shape == (20, 30, 3)
        assert (visualizer.get_image() == 255).all()
        visualizer.draw_points(np.array([15, 10]))
        assert visualizer.get_image().shape == (20, 30, 3)

    def test_without_an_image_drawing_says_what_to_do(self):
        for use in (Visualizer().get_image, lambda: Visualizer().draw_points(np.array([1, 1]))):
            with pytest.raises(NoImageError, match=r"set_image\(image\)"):
                use()

    def test_what_is_no_image_is_refused(self):
        with pytest.raises(DrawingTypeError, match="must be a numpy array, got list"):
            Visualizer(image=[1, 2])
        with pytest.raises(DrawingError, match=r"must have shape .* got \(3, 60, 80\)"):
            Visualizer(image=np.zeros((3, 60, 80)))

    def test_after_closing_there_is_no_image(self, visualizer):
        visualizer.close()
        with pytest.raises(NoImageError):
            visualizer.get_image()


class TestShapes:
    """Things appear at their pixels."""

    @pytest.mark.parametrize("box", [np.array([10, 20, 30, 50]), torch.tensor([[10, 20, 30, 50]])])
    def test_a_filled_box_covers_its_pixels(self, visualizer, box):
        visualizer.draw_bboxes(box, edge_colors="none", face_colors=(255, 0, 0), alpha=1)
        image = visualizer.get_image()
        assert changed(image) == (10, 20, 30, 50)
        assert (image[21:49, 11:29] == RED).all()

    def test_boxes_have_their_own_colours_styles_widths_and_alphas(self, visualizer):
        visualizer.draw_bboxes(
            np.array([[2, 2, 22, 22], [42, 2, 62, 22]]),
            edge_colors=["r", (0, 0, 255)],
            line_styles=["-", "--"],
            line_widths=[1, 3],
            face_colors=["none", "g"],
            alpha=[1.0, 0.5],
        )
        image = visualizer.get_image()
        assert image[12, 12].tolist() == [255, 255, 255]
        assert image[12, 52].tolist() == pytest.approx(
            [128, 192, 128], abs=2
        )  # half green on white

    def test_calls_can_be_chained_and_later_ones_lie_above(self, visualizer):
        box = np.array([10, 10, 50, 50])
        opaque = {"edge_colors": "none", "alpha": 1.0}
        result = visualizer.draw_bboxes(box, face_colors="r", **opaque).draw_circles(
            np.array([30, 30]), np.array([10]), face_colors="g", **opaque
        )
        assert result is visualizer
        assert visualizer.get_image()[30, 30].tolist() == GREEN
        visualizer.draw_points(np.array([30, 30]), colors="r", sizes=400)
        visualizer.draw_bboxes(box, face_colors="b", **opaque)
        assert visualizer.get_image()[30, 30].tolist() == [0, 0, 255]

    def test_a_circle_reaches_as_far_as_its_radius(self, visualizer):
        visualizer.draw_circles(torch.tensor([40.0, 30.0]), torch.tensor([20.0]), line_widths=1)
        assert changed(visualizer.get_image()) == (19, 9, 61, 51)  # the rim adds to the radius

    def test_lines_go_from_end_to_end(self, visualizer):
        visualizer.draw_lines(
            np.array([[10, 70], [40, 40]]), np.array([[30, 30], [5, 55]]), colors=["r", "g"]
        )
        image = visualizer.get_image()
        assert image[30, 20].tolist() == RED
        assert image[10, 40].tolist() == GREEN

    @pytest.mark.parametrize(
        "polygon",
        [
            np.array([10, 10, 30, 10, 30, 30, 10, 30]),
            torch.tensor([[10, 10], [30, 10], [30, 30], [10, 30]]),
            [np.array([[10, 10], [30, 10], [30, 30], [10, 30]])],
        ],
        ids=["flat", "tensor", "list"],
    )
    def test_a_polygon_may_be_flat_or_points_alone_or_in_a_list(self, visualizer, polygon):
        visualizer.draw_polygons(polygon, edge_colors="none", face_colors="r", alpha=1)
        assert changed(visualizer.get_image()) == (10, 10, 30, 30)

    def test_no_polygon_draws_nothing(self, visualizer):
        assert (visualizer.draw_polygons([]).get_image() == 255).all()

    def test_points_lie_at_their_positions(self, visualizer):
        visualizer.draw_points(
            torch.tensor([[20, 20], [60, 40]]), ["r", "g"], marker="s", sizes=np.array([50, 50])
        )
        image = visualizer.get_image()
        assert image[20, 20].tolist() == RED
        assert image[40, 60].tolist() == GREEN

    def test_a_text_begins_at_its_position_and_grows_with_the_image(self, visualizer):
        visualizer.draw_texts("drive", np.array([20, 10]), colors=(255, 0, 0))
        left, top, _, bottom = changed(visualizer.get_image()).expected
        assert left == pytest.approx(20, abs=2)
        assert top == pytest.approx(10, abs=4)
        large = Visualizer("large", image=np.full((1800, 1800, 3), 255, np.uint8))
        large.draw_texts("drive", np.array([20, 10]))
        _, large_top, _, large_bottom = changed(large.get_image()).expected
        assert large_bottom - large_top > bottom - top

    def test_texts_have_their_own_styles_and_boxes(self, visualizer):
        visualizer.draw_texts(
            ["a", "b"],
            torch.tensor([[20, 20], [60, 40]]),
            font_sizes=[8, 12],
            colors=["r", "g"],
            vertical_alignments=["center", "bottom"],
            horizontal_alignments=["center", "right"],
            font_families=["serif", "monospace"],
            bboxes=[{"facecolor": "black"}, {"facecolor": "blue"}],
        )
        pixels = visualizer.get_image().reshape(-1, 3).tolist()
        assert [0, 0, 0] in pixels
        assert [0, 0, 255] in pixels

    @pytest.mark.parametrize("as_type", [np.array, torch.tensor])
    def test_a_mask_colours_its_pixels_and_no_other(self, visualizer, as_type):
        mask = np.zeros((60, 80), dtype=bool)
        mask[10:20, 30:50] = True
        visualizer.draw_binary_masks(as_type(mask), colors="r", alphas=0.5)
        image = visualizer.get_image()
        assert changed(image) == (30, 10, 50, 20)
        assert image[15, 40].tolist() == [255, 128, 128]  # half red on white

    def test_masks_have_their_own_colours_and_lie_above_what_was_drawn(self, visualizer):
        masks = np.zeros((2, 60, 80), dtype=np.uint8)
        masks[0, :, :40] = masks[1, :, 40:] = 1
        visualizer.draw_bboxes(np.array([10, 10, 70, 50]), face_colors="b", alpha=1)
        visualizer.draw_binary_masks(masks, colors=["r", (0, 128, 0)], alphas=[1.0, 1.0])
        image = visualizer.get_image()
        assert image[30, 20].tolist() == RED
        assert image[30, 60].tolist() == GREEN
        visualizer.draw_binary_masks(masks, colors=np.array([0, 0, 9]), alphas=1)
        assert (visualizer.get_image() == [0, 0, 9]).all()
        visualizer.draw_binary_masks(masks, colors=np.array([[1, 1, 1], [2, 2, 2]]), alphas=1)
        assert visualizer.get_image()[0, [0, 79], 0].tolist() == [1, 2]

    @pytest.mark.parametrize(
        "draw",
        [
            lambda v: v.draw_bboxes(np.array([10, 10, 90, 30])),
            lambda v: v.draw_lines(np.array([-5, 5]), np.array([5, 5])),
            lambda v: v.draw_circles(np.array([5, 30]), np.array([10])),
            lambda v: v.draw_polygons(np.array([10, 10, 20, 70, 30, 10])),
        ],
        ids=["box", "line", "circle", "polygon"],
    )
    def test_what_reaches_beyond_the_image_is_warned_about_and_cut(self, visualizer, draw):
        with pytest.warns(UserWarning, match="reaches beyond the image"):
            draw(visualizer)
        assert visualizer.get_image().shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda v: v.draw_points([1, 2]), "positions must be ndarray, got list"),
        (lambda v: v.draw_points(np.zeros(3)), r"positions must have shape \(2,\) or \(N, 2\)"),
        (lambda v: v.draw_points(np.zeros((3, 2)), ["r"]), "colors has 1 entries, but there are 3"),
        (lambda v: v.draw_points(np.zeros(2), 3), "colors must be str or tuple or list, got int"),
        (lambda v: v.draw_texts(["a"], np.zeros((2, 2))), "there are 1 texts, but 2 positions"),
        (lambda v: v.draw_texts(["a"] * 2, np.zeros((2, 2)), [9]), "fontsize has 1 entries"),
        (lambda v: v.draw_lines(np.zeros(2), np.zeros((2, 2))), "x_datas and y_datas differ"),
        (
            lambda v: v.draw_lines(np.zeros(2), np.zeros(2), line_styles=1),
            "line_styles must be str",
        ),
        (lambda v: v.draw_circles(np.zeros(2), np.ones(2)), r"1 centers, but radius has \(2,\)"),
        (lambda v: v.draw_bboxes(np.array([9, 0, 1, 5])), r"upper left .* got \[9, 0, 1, 5\]"),
        (lambda v: v.draw_polygons(["x"]), "a polygon must be an array or a tensor, got str"),
        (lambda v: v.draw_polygons(np.zeros(5)), r"a polygon must have shape \(K, 2\)"),
        (
            lambda v: v.draw_polygons([np.zeros((3, 2))] * 2, alpha=[1.0]),
            "alpha has 1 entries, but there are 2",
        ),
        (lambda v: v.draw_binary_masks(np.zeros((60, 80))), "bool or uint8, got float64"),
        (
            lambda v: v.draw_binary_masks(np.zeros((80, 60), bool)),
            r"which is 60 x 80, got \(1, 80, 60\)",
        ),
        (lambda v: v.draw_binary_masks(np.full((60, 80), 2, np.uint8)), "0 and 1 only"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(visualizer, draw, message):
    with pytest.raises(DrawingError, match=message):
        draw(visualizer)


class TestFeaturemap:
    """Heat maps of feature maps."""

    ramp = torch.arange(12.0).reshape(1, 3, 4)

    def test_low_is_blue_and_high_is_red(self):
        image = Visualizer.draw_featmap(self.ramp)
        assert image.shape == (3, 4, 3)
        assert image[0, 0].tolist() == [0, 0, 128]  # the ends of the colour map "jet"
        assert image[-1, -1].tolist() == [128, 0, 0]

    def test_channels_are_averaged_or_the_strongest_is_shown(self):
        channels = torch.stack((self.ramp[0], -3 * self.ramp[0]))
        mean = Visualizer.draw_featmap(channels)
        strongest = Visualizer.draw_featmap(channels, channel_reduction="select_max")
        assert mean[0, 0].tolist() == [128, 0, 0]  # the mean falls along the ramp
        assert strongest[0, 0].tolist() == [0, 0, 128]

    def test_a_map_is_laid_over_an_image_of_its_size(self, white):
        map_ = torch.zeros(2, 60, 80)
        image = Visualizer.draw_featmap(map_, white, alpha=0.5)
        assert image[0, 0].tolist() == [128, 128, 192]  # dark blue, half on white

    def test_a_map_is_resized_to_the_image_or_both_to_a_shape(self, white):
        with pytest.warns(UserWarning, match="is resized to the image"):
            assert Visualizer.draw_featmap(self.ramp, white).shape == (60, 80, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            resized = Visualizer.draw_featmap(self.ramp, white, resize_shape=(30, 20))
        assert resized.shape == (30, 20, 3)
        assert Visualizer.draw_featmap(self.ramp, resize_shape=(6, 8)).shape == (6, 8, 3)

    def test_one_or_three_channels_can_be_an_image(self):
        for channels in (1, 3):
            map_ = self.ramp.expand(channels, 3, 4)
            drawn = Visualizer.draw_featmap(map_, channel_reduction=None, topk=-1)
            assert (drawn == Visualizer.draw_featmap(self.ramp)).all()

    def test_channels_are_shown_one_by_one(self, white):
        map_ = torch.rand(10, 6, 8)
        image = Visualizer.draw_featmap(map_, None, None, topk=5, arrangement=(2, 3))
        assert image.shape == (440, 600, 3)
        assert Visualizer.draw_featmap(map_, channel_reduction=None).shape == (880, 1000, 3)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"featmap": np.zeros((1, 2, 2))}, "featmap must be a tensor, got ndarray"),
            ({"featmap": torch.zeros(2, 2)}, r"must have shape \(C, H, W\), got \(2, 2\)"),
            ({"channel_reduction": "mean"}, "must be 'squeeze_mean', 'select_max' or None"),
            ({"channel_reduction": None, "topk": 0}, "a featmap of 5 channels is no image"),
            (
                {"channel_reduction": None, "arrangement": (1, 2)},
                "5 channels do not fit into 1 row",
            ),
        ],
    )
    def test_arguments_that_do_not_fit_are_refused(self, arguments, message):
        with pytest.raises(DrawingError, match=message):
            Visualizer.draw_featmap(**{"featmap": torch.zeros(5, 2, 2), **arguments})

    def test_a_heat_map_of_another_size_than_the_image_is_refused(self, white):
        with pytest.raises(DrawingError, match="the map is"):
            convert_overlay_heatmap(self.ramp[0], white)


class TestWindow:
    """Showing, where there is a display and where there is none."""

    def test_without_a_display_there_is_a_warning_and_the_program_goes_on(self, visualizer):
        import matplotlib as mpl

        mpl.use("agg")
        with pytest.warns(UserWarning, match="'agg' has no windows, so nothing is shown"):
            visualizer.show()
        with pytest.warns(UserWarning, match="add_image"):
            visualizer.show(np.zeros((5, 5, 3), np.uint8), win_name="other")
        visualizer.close()

    def test_without_an_image_there_is_nothing_to_show(self):
        with pytest.raises(NoImageError):
            Visualizer().show()

    @pytest.fixture
    def figure(self):
        """A figure whose event loop meets one event at its first turn."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure()
        canvas = FigureCanvasAgg(figure)
        canvas.events = []
        canvas.flush_events = lambda: canvas.events and canvas.events.pop()()
        return figure

    def test_waiting_ends_with_the_key(self, figure):
        from matplotlib.backend_bases import KeyEvent

        def press(key):
            return KeyEvent("key_press_event", figure.canvas, key)._process

        figure.canvas.events = [press(" "), press("x")]  # taken from the end
        assert _wait(figure, 60, " ") == 0
        assert figure.canvas.events == []

    def test_waiting_ends_with_the_window(self, figure):
        from matplotlib.backend_bases import CloseEvent

        figure.canvas.events = [lambda: CloseEvent("close_event", figure.canvas)._process()]
        assert _wait(figure, 60, " ") == 1

    def test_waiting_ends_with_the_time(self, figure):
        assert _wait(figure, 0.001, " ") == 0

    def test_a_figure_in_a_notebook_is_not_waited_for(self, figure, monkeypatch):
        monkeypatch.setattr("matplotlib.get_backend", lambda: "module://matplotlib_inline.backend")
        assert wait_continue(figure) == 0


class TestConversions:
    """What drawing methods, ours and others', share."""

    def test_types_and_lengths_are_checked_by_name(self):
        check_type("x", 1, int)
        check_type_and_length("colors", ["r", "g"], (str, list), 2)
        with pytest.raises(TypeError, match="x must be int, got str: 'a'"):
            check_type("x", "a", int)
        with pytest.raises(ValueError, match="colors has 1 entries, but there are 2 things"):
            check_type_and_length("colors", ["r"], (str, list), 2)

    def test_colours_have_many_forms(self):
        assert color_val_matplotlib("g") == "g"
        assert color_val_matplotlib((255, 0, 0)) == (1, 0, 0)
        assert color_val_matplotlib(["g", (0, 51, 0)]) == ["g", (0, 0.2, 0)]
        assert color_str2rgb("g") == tuple(GREEN)
        with pytest.raises(DrawingTypeError, match="must be a name, a tuple or a list"):
            color_val_matplotlib(3)

    def test_values_are_repeated_for_all_things(self):
        assert value2list((1, 2), tuple, 2) == [(1, 2), (1, 2)]
        assert value2list([3], int, 5) == [3]

    def test_tensors_become_arrays_and_other_things_stay(self):
        assert tensor2ndarray(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
        assert tensor2ndarray(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32
        assert tensor2ndarray([1]) == [1]

    def test_a_canvas_of_matplotlib_becomes_an_image(self):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        image = img_from_canvas(FigureCanvasAgg(Figure(figsize=(2, 1), dpi=10, facecolor="r")))
        assert image.shape == (10, 20, 3)
        assert (image == RED).all()


def test_a_font_of_a_file_writes_texts_in_the_size_asked_for():
    from matplotlib.font_manager import FontProperties, findfont

    def extent(**options):
        drawing = Visualizer(image=np.zeros((60, 90, 3), np.uint8))
        drawing.draw_texts("abc", np.array([5, 5]), 15, "w", **options)
        return np.argwhere(drawing.get_image()[..., 0] > 100).max(axis=0).tolist()

    mono = FontProperties(fname=findfont("monospace"), size=3)
    assert extent(font_properties=mono) == extent(font_families="monospace") != extent()


def test_heat_maps_have_the_colours_of_jet():
    heat = convert_overlay_heatmap(np.array([[0.0, 64.0, 128.0, 192.0, 255.0]]))
    expected = [[0, 0, 128], [0, 128, 255], [130, 255, 126], [255, 124, 0], [128, 0, 0]]  # OpenCV's
    assert heat.tolist() == [expected]


@pytest.mark.parametrize("color", [(1, 2), (300, 0, 0), (0, -1, 0)])
def test_numbers_that_are_no_colour_are_refused(color):
    with pytest.raises(DrawingError, match="each from 0 to 255"):
        color_val_matplotlib(color)
