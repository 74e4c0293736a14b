import keras
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
    classifier = tfbackdoor.models.wide_resnet((32, 32, 3), 10)
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
    classifier = tfbackdoor.models.wide_resnet(
        (32, 32, 3), 10, depth=depth, width=width
    )
    trained = sum(int(np.prod(w.shape)) for w in classifier.trainable_weights)
    assert trained == parameters


# Trainable parameters, of 10 classes at 32 pixels and 1,000 at 224; those of
# torchvision for the latter. How they come about, ResNet-18 at 32 pixels:
#   stem 27 * 64 + 128; group 1: 4 convolutions 9 * 64^2; groups 2 to 4 of f =
#   128, 256, 512: 9 * f / 2 * f + 3 * 9 * f^2 + f / 2 * f; normalisations 2 *
#   (4 * (64 + f ...) + f ...) = 9,600 - 128; head 512 * 10 + 10.
# PreAct-ResNet-18 normalises the inputs of its convolutions, none of its
# shortcuts: 2 * 3,392 in place of 2 * 4,800, which is 2,816 fewer. VGG-19: 9 *
# 2,224,320 for kernels, 3 * 5,504 for biases and normalisations, 5,130.
@pytest.mark.parametrize(
    ("name", "small", "large"),
    [
        ("resnet18", 11_173_962, 11_689_512),
        ("resnet34", 21_282_122, 21_797_672),
        ("resnet50", 23_520_842, 25_557_032),
        ("resnet101", 42_512_970, 44_549_160),
        ("resnet152", 58_156_618, 60_192_808),
        # The larger stem has 40 * 3 * 64 further weights, the head 990 * 513.
        ("preact_resnet18", 11_171_146, 11_171_146 + 7_680 + 507_870),
        ("wrn10", 77_850, 77_850 + 990 * 65),
        ("wrn16", 175_066, 175_066 + 990 * 65),
        ("wrn40", 563_930, 563_930 + 990 * 65),
        ("vgg19", 20_040_522, 20_040_522 + 507_870),
        ("mobilenet_v2", 2_296_922, 3_504_872),
    ],
)
def test_networks_have_the_size_of_their_counterparts(name, small, large):
    last_maps = {
        "wrn": ((8, 8), (56, 56)),
        "vgg": ((2, 2), (14, 14)),  # And then a pool.
    }.get(name[:3], ((4, 4), (7, 7)))
    for shape, classes, parameters, last in zip(
        [(32, 32, 3), (224, 224, 3)], (10, 1000), (small, large), last_maps
    ):
        network = tfbackdoor.build_network(name, shape, classes)
        trained = [int(np.prod(w.shape)) for w in network.trainable_weights]
        assert sum(trained) == parameters
        assert network.output_shape == (None, classes)
        maps = [layer.output.shape[1:3] for layer in network.layers[:-4]]
        assert maps[-1] == last
        standard = {layer.__class__.__module__ for layer in network.layers}
        assert all(module.startswith("keras.") for module in standard)


def test_depthwise_kernels_are_filled_channel_by_channel():
    classifier = tfbackdoor.models.mobilenet_v2((32, 32, 3), 10, width=0.1)
    rng = np.random.default_rng(0)
    arrays = {}
    for layer in classifier.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            shape = (layer.kernel.shape[2], 1, 3, 3)
        elif isinstance(layer, keras.layers.Conv2D):
            shape = [layer.kernel.shape[axis] for axis in (3, 2, 0, 1)]
        elif isinstance(layer, keras.layers.Dense):
            shape = layer.kernel.shape[::-1]
            arrays[f"{layer.name}.bias"] = np.zeros(10)
        elif isinstance(layer, keras.layers.BatchNormalization):
            for part in ("weight", "bias", "running_mean", "running_var"):
                count = layer.gamma.shape[0]
                arrays[f"{layer.name}.{part}"] = rng.random(count)
            continue
        else:
            continue
        arrays[f"{layer.name}.weight"] = rng.normal(size=shape)
    tfbackdoor.load_pytorch_weights(classifier, arrays)
    kernel = classifier.get_layer("layers_3_conv2").kernel
    expected = arrays["layers_3_conv2.weight"][4, 0]
    np.testing.assert_allclose(kernel[:, :, 4, 0], expected, rtol=1e-6)


def test_an_unknown_network_lists_the_valid_ones():
    with pytest.raises(ValueError, match="'mobilenet_v2'.*Received: 'resnet'"):
        tfbackdoor.build_network("resnet", (32, 32, 3), 10)


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (tfbackdoor.models.resnet18, {"width": 0.125}),
        (tfbackdoor.models.wide_resnet, {"depth": 10, "width": 2}),
        (tfbackdoor.models.preact_resnet18, {"width": 0.125}),
        (tfbackdoor.models.vgg19, {"width": 0.125}),
        (tfbackdoor.models.mobilenet_v2, {"width": 0.125}),
    ],
)
@pytest.mark.parametrize("shape", [(16, 16, 1), (40, 24, 3), (66, 24, 3)])
def test_any_size_and_number_of_classes(build, settings, shape):
    classifier = build(shape, 7, **settings)
    assert classifier(np.zeros((2, *shape), "float32")).shape == (2, 7)


def test_weights_that_do_not_correspond_change_nothing(golden):
    classifier = tfbackdoor.models.wide_resnet((32, 32, 3), 10)
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
        (tfbackdoor.models.resnet18, {"width": 0.0}),
        (tfbackdoor.models.wide_resnet, {"depth": 11}),
        (tfbackdoor.models.wide_resnet, {"width": 0}),
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
    classifier = tfbackdoor.models.wide_resnet((32, 32, 3), 10)
    tfbackdoor.load_pytorch_weights(
        classifier,
        tfbackdoor.files.read_arrays(
            shared / f"data/nad_wrn16_1_{weights}.npz"
        ),
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
