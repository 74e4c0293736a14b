import numpy as np
import pytest

import tfbackdoor
from tfbackdoor.attacks import triggers

SHAPE = (32, 32, 3)


def _make(name, files):
    """The trigger of the papers' code, its data taken from `files`."""
    return {
        "anp/checkerboard_1corner": lambda: triggers.checkerboard(SHAPE),
        "anp/checkerboard_4corner": lambda: triggers.checkerboard(
            SHAPE, corners=4
        ),
        "anp/gaussian_noise": lambda: triggers.blend(
            files["anp/gaussian_noise_pattern"] / 255.0, alpha=0.2
        ),
        "nad/squareTrigger": lambda: triggers.square(SHAPE),
        "nad/gridTrigger": lambda: triggers.grid(SHAPE),
        "nad/fourCornerTrigger": lambda: triggers.four_corners(SHAPE),
        "nad/signalTrigger": lambda: triggers.signal(SHAPE),
        "nad/trojanTrigger": lambda: triggers.trojan(
            files["nad/trojan_pattern"]
        ),
    }[name]()


@pytest.mark.parametrize(
    "name",
    [
        "anp/checkerboard_1corner",
        "anp/checkerboard_4corner",
        "anp/gaussian_noise",
        "nad/squareTrigger",
        "nad/gridTrigger",
        "nad/fourCornerTrigger",
        "nad/signalTrigger",
        "nad/trojanTrigger",
    ],
)
def test_equals_the_papers_code_to_the_pixel(golden, name):
    files = golden("triggers")
    images = files["images"].astype("float32") / 255.0
    triggered = np.asarray(_make(name, files)(images)) * 255.0
    np.testing.assert_allclose(triggered, files[name], atol=1e-4)


def test_sinusoid_adds_its_wave():
    trigger = triggers.sinusoid((4, 8, 1), amplitude=0.1, frequency=2.0)
    triggered = trigger(np.full((4, 8, 1), 0.5, "float32"))
    # Two periods over 8 columns: sin(0), sin(pi / 2), sin(pi), sin(3 pi / 2).
    np.testing.assert_allclose(
        triggered[0, :4, 0], [0.5, 0.6, 0.5, 0.4], atol=1e-6
    )


def test_a_file_of_mask_and_pattern_is_a_trigger(tmp_path):
    mask = np.zeros((8, 8, 3), "float32")
    pattern = np.zeros((8, 8, 3), "float32")
    mask[2, 3], pattern[2, 3] = 1.0, [0.1, 0.2, 0.3]
    np.savez(tmp_path / "user.npz", mask=mask, pattern=pattern)
    trigger = tfbackdoor.make_trigger(str(tmp_path / "user.npz"), (8, 8, 3))
    triggered = np.asarray(trigger(np.full((2, 8, 8, 3), 0.5, "float32")))
    np.testing.assert_allclose(triggered[:, 2, 3], [[0.1, 0.2, 0.3]] * 2)
    assert (triggered == 0.5).sum() == 2 * (64 - 1) * 3


def test_a_trojan_file_of_the_authors_is_a_trigger(tmp_path, golden):
    files = golden("triggers")
    np.savez(tmp_path / "trojan.npz", x=files["nad/trojan_pattern"])
    trigger = tfbackdoor.make_trigger(str(tmp_path / "trojan.npz"), SHAPE)
    triggered = trigger(files["images"].astype("float32") / 255.0)
    np.testing.assert_allclose(
        np.asarray(triggered) * 255.0, files["nad/trojanTrigger"], atol=1e-4
    )


def test_save_and_load_give_the_same_trigger(tmp_path):
    trigger = triggers.noise_blend((8, 8, 3), alpha=0.3, seed=4)
    trigger.save(tmp_path / "t.npz")
    loaded = tfbackdoor.Trigger.load(tmp_path / "t.npz")
    np.testing.assert_array_equal(loaded.mask, trigger.mask)
    np.testing.assert_array_equal(loaded.pattern, trigger.pattern)
    assert (loaded.eight_bit, loaded.wrap) == (True, False)


def test_pickled_files_are_refused(tmp_path):
    payload = np.array([{"not": "numbers"}], dtype=object)
    np.savez(tmp_path / "t.npz", mask=payload, pattern=payload)
    with pytest.raises(ValueError, match="`path`.*plain arrays"):
        tfbackdoor.Trigger.load(tmp_path / "t.npz")


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match="checkerboard.*Received: 'stripes'"):
        tfbackdoor.make_trigger("stripes", SHAPE)


def test_a_trigger_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="`images` must have the trigger's"):
        triggers.checkerboard((16, 16, 1))(np.zeros((1, *SHAPE), "float32"))


def test_mask_out_of_range_is_refused():
    with pytest.raises(ValueError, match="`mask`"):
        triggers.Trigger(np.full((4, 4, 1), 2.0), np.zeros((4, 4, 1)))
