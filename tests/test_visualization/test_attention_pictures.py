"""Queries are chosen, drawn and summarised as the recorded attention says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from mmengine.structures import InstanceData

from mmdet_lite.errors import ConfigError
from mmdet_lite.visualization import (
    AttentionPanel,
    AttentionRecord,
    ImageFrame,
    RecordedPass,
    choose_layers,
    draw_attention,
    panels_of_detections,
    panels_of_pixels,
    summarise_attention,
    summary_table,
    token_panel,
)

# Maps of 4×6 and 2×3 cells, of stride 8 and 16, of an image of 32×48 pixels that was
# made half as large.
SHAPES = torch.tensor([[4, 6], [2, 3]])


def grid(shapes):
    """The places of all tokens, (num_tokens, 2)."""
    return torch.cat(
        [
            torch.stack(
                torch.meshgrid(
                    (torch.arange(width) + 0.5) / width,
                    (torch.arange(height) + 0.5) / height,
                    indexing="xy",
                ),
                -1,
            ).flatten(0, 1)
            for height, width in shapes.tolist()
        ]
    )


def record_of(references, offset):
    """Two heads of one sample a level, which weighs 0.75 on the first and is there."""
    references = references[None, :, None].expand(1, -1, 2, 2)
    locations = references[:, :, None, :, None].repeat(1, 1, 2, 1, 1, 1)
    locations[:, :, :, 0] += torch.tensor(offset)
    weights = torch.tensor([0.75, 0.25]).reshape(1, 1, 1, 2, 1)
    return AttentionRecord(
        sampling_locations=locations,
        attention_weights=weights.expand(locations.shape[:-1]),
        reference_points=references,
        spatial_shapes=SHAPES,
        identity=torch.zeros(0),
        update=torch.zeros(0),
    )


def recorded(name, kinds="HF", low=24, boxes=((10.0, 10, 30, 30), (50, 20, 70, 40))):
    """A pass through an encoder of two layers and a decoder of one."""
    references = grid(SHAPES)
    centres = torch.tensor(boxes).reshape(-1, 2, 2).mean(1) / torch.tensor([96.0, 64])
    return RecordedPass(
        name=name,
        image=np.full((64, 96, 3), 200, dtype=np.uint8),
        frame=ImageFrame((64, 96), (32, 48), (32, 48), (0.5, 0.5)),
        records={
            "encoder.0": record_of(references[low:], (0.25, 0)),
            "encoder.1": record_of(references, (0.25, 0)),
            "decoder.0": record_of(centres.flip(0), (0, 0.125)),
        },
        kinds=kinds,
        detections=InstanceData(
            bboxes=torch.tensor(boxes),
            scores=torch.tensor([0.9, 0.8]),
            labels=torch.tensor([1, 0]),
            queries=torch.tensor([1, 0]),
        ),
        classes=("cat", "dog"),
    )


@pytest.fixture
def lite():
    """An H and an F layer: stride 8 is low."""
    return recorded("Lite")


@pytest.fixture
def plain():
    """Another model, whose layers all update all tokens; its detections are swapped."""
    return recorded(
        "Plain", kinds="", low=0, boxes=((51.0, 21, 71, 41), (11, 11, 31, 31))
    )


def test_a_pixel_gives_the_nearest_high_token_of_every_model(lite, plain):
    for layer in ("encoder.0", "encoder.1"):
        panels = panels_of_pixels([lite, plain], layer, [(30, 10), (95, 63)])
        titles = [panel.title.split(" · ")[0] for panel in panels]
        assert titles == ["Lite", "Plain", "Lite", "Plain"]
        places = [panel.reference.tolist() for panel in panels]
        assert places == [[16, 16], [16, 16], [80, 48], [80, 48]]
        for panel in panels:
            assert "stride 16" in panel.subtitle
            assert panel.box_name == "cell"
            np.testing.assert_allclose(panel.box[2:] - panel.box[:2], [32, 32])
    (panel,) = panels_of_pixels([plain], "encoder.0", [(30, 10)])
    assert panel.reference.tolist() == [24, 8]
    assert panel.strides == (8, 16)
    np.testing.assert_allclose(panel.samples[:, 0, 0], [[48, 8]] * 2)
    np.testing.assert_allclose(panel.samples[:, 1, 0], [[24, 8]] * 2)


def test_titles_say_layer_kind_and_head(lite, plain):
    assert token_panel(lite, "encoder.1", (0, 0)).title == (
        "Lite · encoder layer 1 (F), all heads"
    )
    panel = token_panel(plain, "encoder.1", (0, 0), head=1)
    assert panel.title == "Plain · encoder layer 1, head 1"
    assert panel.samples.shape == (1, 2, 1, 2)


def test_the_same_object_is_drawn_in_both_models(lite, plain):
    panels = panels_of_detections([lite, plain], "decoder.0", 2)
    assert [panel.subtitle for panel in panels] == [
        "dog, score 0.90",
        "cat, score 0.80",
        "cat, score 0.80",
        "dog, score 0.90",
    ]
    for panel in panels:
        centre = panel.box.reshape(2, 2).mean(0)
        np.testing.assert_allclose(panel.reference, centre, atol=1e-4)
        below = centre + np.array([0, 8])
        np.testing.assert_allclose(panel.samples[0, 0, 0], below, atol=1e-4)
    (panel,) = panels_of_detections([lite], "encoder.0", 1)
    assert panel.subtitle == "dog, score 0.90: token of stride 16 at (16, 16)"
    np.testing.assert_allclose(panel.box, [10, 10, 30, 30])


@pytest.mark.parametrize(
    ("names", "part", "layers"),
    [
        ([], "encoder", ["encoder.1"]),
        ([], "decoder", ["decoder.0"]),
        (["0"], "encoder", ["encoder.0"]),
        (["decoder", "0"], "decoder", ["decoder.0"]),
        (["encoder", "decoder.0"], "encoder", ["encoder.0", "encoder.1", "decoder.0"]),
    ],
)
def test_layers_go_by_short_names(lite, plain, names, part, layers):
    assert choose_layers([lite, plain], names, part) == layers


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda seen: choose_layers([seen], ["7"], "encoder"), "no layer encoder.7"),
        (lambda seen: choose_layers([seen], ["neck"], "encoder"), "no layer neck"),
        (
            lambda seen: token_panel(seen, "encoder.0", (96, 0)),
            "96,0 is outside of the image, which is 96 pixels wide and 64 high",
        ),
        (
            lambda seen: token_panel(seen, "encoder.0", (0, 0), stride=8),
            r"encoder layer 0 \(H\) are tokens of stride 16, not 8",
        ),
        (lambda seen: token_panel(seen, "decoder.0", (0, 0)), "no tokens as queries"),
        (
            lambda seen: token_panel(seen, "encoder.0", (0, 0), head=2),
            "heads 0 to 1, but not 2",
        ),
        (
            lambda seen: panels_of_detections([seen], "decoder.0", 3),
            "makes 2 detections on the image, but number 3 is wanted",
        ),
        (lambda seen: panels_of_detections([seen], "decoder.0", 0), "at least 1"),
    ],
)
def test_what_does_not_exist_is_refused(lite, call, message):
    with pytest.raises(ConfigError, match=message):
        call(lite)


def test_an_object_that_the_other_model_has_not_is_refused(lite):
    other = recorded("Other", boxes=((80.0, 50, 90, 60), (80, 50, 90, 60)))
    with pytest.raises(ConfigError, match="Other finds nothing where Lite's detection"):
        panels_of_detections([lite, other], "decoder.0", 1)


def test_the_summary_averages_over_the_tokens_of_the_image(lite):
    rows = summarise_attention(lite, "encoder.1")
    assert [row["stride"] for row in rows] == [8, 16]
    assert [row["num_queries"] for row in rows] == [30, 30]
    assert [row["weight_share"] for row in rows] == [0.75, 0.25]
    # A quarter of 96 pixels; it leaves the map from 4 of 24 and 2 of 6 tokens.
    assert rows[0]["mean_distance"] == pytest.approx(24)
    assert rows[0]["outside_share"] == pytest.approx(6 / 30)
    assert rows[0]["outside_weight"] == pytest.approx(0.75 * 6 / 30)
    assert rows[1]["mean_distance"] == rows[1]["outside_share"] == 0
    table = summary_table(rows)
    assert "| Lite | encoder layer 1 (F) | 30 | stride 8 | 75.0% | 24.0 |" in table
    # The lower half is padding: its tokens, 12 of 24 and 3 of 6, are no queries.
    padded = replace(
        lite,
        image=lite.image[:32],
        frame=ImageFrame((32, 96), (16, 48), (32, 48), (0.5, 0.5)),
    )
    assert summarise_attention(padded, "encoder.1")[0]["num_queries"] == 15


def panel_at(*samples, shape=(60, 80), reference=(5, 5)):
    """One head; the weights fall from sample to sample, one a level."""
    weights = np.arange(len(samples), 0, -1.0)
    return AttentionPanel(
        title="Lite · decoder layer 0, all heads",
        subtitle="dog",
        image=np.full((*shape, 3), 200, dtype=np.uint8),
        samples=np.array(samples, dtype=float)[None, :, None],
        weights=(weights / weights.sum())[None, :, None],
        strides=tuple(8 * 2**level for level in range(len(samples))),
        reference=np.array(reference),
        box=np.array([2, 2, 8, 8]),
        box_name="detection",
    )


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("sample", [(30, 20), (70.5, 5), (12, 58)])
def test_a_sample_is_painted_at_its_pixel(sample, whole):
    figure = draw_attention([panel_at(sample)], whole=whole)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255
    axes = figure.axes[0]
    heaviest = np.array(to_rgb("#800026"))  # The last colour of the bar.
    rows, columns = np.nonzero(np.abs(picture - heaviest).max(-1) < 0.02)
    inside = columns < axes.bbox.x1
    painted = np.array([columns[inside].mean(), rows[inside].mean()]) + 0.5
    found = axes.transData.inverted().transform(painted)
    np.testing.assert_allclose(found, sample, atol=0.5)
    view = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    assert (view == ([0, 80], [0, 60])) == (whole or sample != (30, 20))


def test_every_level_has_a_marker_of_its_own_in_legend_and_picture():
    samples = [(10, 10), (20, 10), (30, 10), (40, 10)]
    figure = draw_attention([panel_at(*samples)], whole=True)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    strides = [f"stride {stride}" for stride in (8, 16, 32, 64)]
    assert names == ["query", "detection", *strides]
    (drawn,) = [c for c in figure.axes[0].collections if len(c.get_offsets())]
    # Lightest first, so that the heaviest lies on top.
    np.testing.assert_allclose(drawn.get_offsets(), samples[::-1])
    np.testing.assert_allclose(drawn.get_array(), [0.1, 0.2, 0.3, 0.4])
    shapes = {path.vertices.tobytes() for path in drawn.get_paths()}
    assert len(shapes) == 4
    assert (np.diff(drawn.get_sizes()) > 0).all()


def test_samples_beyond_the_image_are_counted():
    panel = panel_at((10, 10), (-0.1, 10), (80, 60), (10, 60.1))
    assert panel.outside.ravel().tolist() == [False, True, False, True]
    axes = draw_attention([panel]).axes[0]
    # Their weights are 0.3 and 0.1.
    expected = "beyond the image: 2 of 4 samples, 40% of the weight"
    assert axes.get_xlabel() == expected


@pytest.mark.parametrize("shape", [(160, 40), (60, 80), (40, 160)])
def test_texts_do_not_overlap(shape):
    panel = panel_at(*((n, n) for n in range(2, 6)), shape=shape)
    figure = draw_attention([panel] * 4, beside=2)
    FigureCanvasAgg(figure).draw()
    first, second, third = figure.axes[:3]
    for text in ("title", "xaxis"):
        one, other = (
            (axes.title if text == "title" else axes.xaxis.label).get_window_extent()
            for axes in (first, second)
        )
        assert 0 <= one.x0 < one.x1 < other.x0
    assert third.title.get_window_extent().y1 < first.xaxis.label.get_window_extent().y0
    (legend,) = figure.legends
    assert legend.get_window_extent().x0 >= 0
    caption = third.xaxis.label.get_window_extent()
    assert legend.get_window_extent().y1 <= caption.y0


def test_panels_of_one_query_show_the_same_part():
    panels = [panel_at((20, 20)), panel_at((40, 30))] * 2
    figure = draw_attention(panels, beside=2)
    first, second = figure.axes[:2]
    assert first.get_xlim() == second.get_xlim()
    assert first.get_xlim()[1] - first.get_xlim()[0] < 60
    grid = first.get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 2)
