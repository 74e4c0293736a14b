import numpy as np
import pytest

import tfbackdoor


def _golden_weights(files):
    return {
        name.removeprefix("weights/"): array
        for name, array in files.items()
        if name.startswith("weights/")
    }


@pytest.mark.parametrize(
    ("training", "name"),
    [(False, "logits_inference"), (True, "logits_batch_statistics")],
)
def test_wide_resnet_filled_from_pytorch_gives_its_logits(
    golden, training, name
):
    files = golden("anp")
    classifier = tfbackdoor.wide_resnet((32, 32, 3), 10)
    tfbackdoor.load_pytorch_weights(classifier, _golden_weights(files))
    logits = classifier(files["images"], training=training)
    np.testing.assert_allclose(logits, files[name], atol=1e-4)


@pytest.mark.parametrize(
    ("depth", "width", "parameters"),
    [
        # Trainable parameters of the PyTorch networks (NAD's README, and
        # Zagoruyko & Komodakis 2016 for 40-1: 0.6 million).
        (16, 1, 175_066),
        (40, 1, 563_930),
    ],
)
def test_wide_resnets_have_the_size_of_their_paper(depth, width, parameters):
    classifier = tfbackdoor.wide_resnet(
        (32, 32, 3), 10, depth=depth, width=width
    )
    trained = sum(int(np.prod(w.shape)) for w in classifier.trainable_weights)
    assert trained == parameters


def test_resnet18_has_the_size_of_its_pytorch_counterpart():
    classifier = tfbackdoor.resnet18((32, 32, 3), 10)
    trained = sum(int(np.prod(w.shape)) for w in classifier.trainable_weights)
    # The CIFAR-10 ResNet-18 known to every PyTorch user.
    assert trained == 11_173_962


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (tfbackdoor.resnet18, {"width": 0.125}),
        (tfbackdoor.wide_resnet, {"depth": 10, "width": 2}),
    ],
)
@pytest.mark.parametrize("shape", [(16, 16, 1), (40, 24, 3)])
def test_any_size_and_number_of_classes(build, settings, shape):
    classifier = build(shape, 7, **settings)
    assert classifier(np.zeros((2, *shape), "float32")).shape == (2, 7)


def test_weights_that_do_not_correspond_change_nothing(golden):
    classifier = tfbackdoor.wide_resnet((32, 32, 3), 10)
    arrays = _golden_weights(golden("anp"))
    before = classifier.get_weights()
    without = {k: v for k, v in arrays.items() if k != "fc.bias"}
    with pytest.raises(ValueError, match=r"missing \['fc_bias'\]"):
        tfbackdoor.load_pytorch_weights(classifier, without)
    wrong = {**arrays, "fc.bias": np.zeros(3)}
    with pytest.raises(ValueError, match=r"fc.bias needs \(10,\)"):
        tfbackdoor.load_pytorch_weights(classifier, wrong)
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (tfbackdoor.resnet18, {"width": 0.0}),
        (tfbackdoor.wide_resnet, {"depth": 11}),
        (tfbackdoor.wide_resnet, {"width": 0}),
    ],
)
def test_settings_out_of_range_are_refused(build, settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        build((32, 32, 3), 10, **settings)


@pytest.mark.parametrize(
    ("weights", "accuracy", "attack"),
    [("student", 0.8466, 1.0), ("teacher", 0.8555, 0.0215)],
)
def test_published_weights_score_what_was_measured(
    shared, weights, accuracy, attack
):
    classifier = tfbackdoor.wide_resnet((32, 32, 3), 10)
    tfbackdoor.load_pytorch_weights(
        classifier,
        tfbackdoor.read_arrays(shared / f"data/nad_wrn16_1_{weights}.npz"),
    )
    test = tfbackdoor.load_images(
        "cifar10", "test", data_dir=shared / "data/tfds_lossless"
    )
    trigger = tfbackdoor.make_trigger("grid", (32, 32, 3))
    scores = tfbackdoor.evaluate(
        classifier, test, tfbackdoor.Poisoning(trigger, 10, target=5)
    )
    # Measured with the authors' PyTorch network to two decimals of a percent.
    assert scores.clean_accuracy.value == pytest.approx(accuracy, abs=1e-4)
    assert scores.attack_success.value == pytest.approx(attack, abs=1e-4)
