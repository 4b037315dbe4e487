"""The figure of what goes wrong with first stages, and the configs of its lines."""

from PIL import Image

from benchmarks.first_stage_curves import draw, panels
from vaejax.experiment.build import build


def test_every_line_is_a_family_that_trains_what_its_label_says():
    made = panels(10)
    assert {number for number, _ in made.values()} == {"psnr", "perplexity", "deviation"}
    families = {
        (title, label): build(config, (16, 16, 3))
        for title, (_, runs) in made.items()
        for label, config in runs.items()
    }
    for (title, label), family in families.items():
        assert ("discriminator" in family.players) == (title[:5] == "Start" and label != "never")
    start = made["Start of the discriminator"][1]
    late = start["at step 200, fixed weight"]["players"]
    assert late["discriminator"]["minimizes"]["gan"]["begin"] == 200
    assert late["vae"]["minimizes"]["generator"]["begin"] == 200
    assert start["at step 0, adaptive weight"]["players"]["vae"]["minimizes"][
        "generator_balanced"
    ]["begin"] == 0  # fmt: skip


def test_a_panel_for_each_of_the_record(tmp_path):
    run = {"steps": [25, 50], "values": [2.0, 3.0]}
    shown = {
        "a": {"number": "psnr", "runs": {"x": run}},
        "b": {"number": "deviation", "runs": {"y": run}},
    }
    draw(tmp_path / "figure.png", {"panels": shown})
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width > 2 * image.height
