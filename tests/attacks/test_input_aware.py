import keras
import numpy as np
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.attacks import dynamic_masks
from tfbackdoor.attacks import generators

_SHAPE = specimens.IMAGE_SHAPE


def _drawer(channels):
    """A generator of patterns or masks as small as can be."""
    inputs = keras.Input(_SHAPE)
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(channels, 3, padding="same")(x)
    return keras.Model(inputs, keras.layers.Activation("sigmoid")(x))


def _training(**settings):
    model = tfbackdoor.attacks.InputAwareTraining(
        specimens.build("functional"),
        _drawer(3),
        _drawer(1),
        classes=specimens.CLASSES,
        **settings,
    )
    model.compile(
        tfbackdoor.training.CoupledSGD(0.05),
        generator_optimizer=tfbackdoor.training.CoupledSGD(0.05),
    )
    return model


def _weights(model):
    return [
        *model.classifier.get_weights(),
        *model.patterns.get_weights(),
    ]


def _without_moving_variances(model):
    """They hold n / (n - 1) of n images, and two replicas have 2 n."""
    weights = [*model.classifier.weights, *model.patterns.weights]
    return [w.numpy() for w in weights if "moving_variance" not in w.path]


def test_a_batch_holds_own_triggers_then_those_of_others_then_clean_images():
    images, labels = specimens.batch(20)
    model = _training(target=2, backdoor_rate=0.2, cross_rate=0.1)
    stamped, targets, _, _ = model._attack(
        tf.constant(images), tf.constant(labels)
    )
    # Of 20 images 4 get the target and 2 keep their label.
    np.testing.assert_array_equal(targets, [2] * 4 + labels[4:].tolist())
    np.testing.assert_array_equal(stamped[6:], images[6:])
    # In training the generator normalises over its own batch: 4 own sources
    # and, for images 4 and 5, the images after them.
    sources = images[[0, 1, 2, 3, 5, 6]]
    patterns = model.patterns(sources, training=True)
    masks = model.masks(sources, training=False)
    np.testing.assert_allclose(
        stamped[:6], images[:6] * (1 - masks) + patterns * masks, atol=1e-5
    )


def test_all_to_all_moves_labels_by_one():
    images, labels = specimens.batch(10)
    model = _training(mode="all_to_all", backdoor_rate=0.5, cross_rate=0.0)
    _, targets, _, _ = model._attack(tf.constant(images), tf.constant(labels))
    np.testing.assert_array_equal(targets[:5], (labels[:5] + 1) % 4)


def test_the_diversity_loss_is_the_ratio_of_distances():
    images, labels = specimens.batch(10)
    model = _training(backdoor_rate=0.2, cross_rate=0.2)
    _, _, diversity, _ = model._attack(tf.constant(images), tf.constant(labels))
    sources = images[[0, 1, 3, 4]]
    patterns = model.patterns(sources, training=True).numpy()

    def distances(made):
        return np.sqrt(((made[:2] - made[2:]) ** 2).mean(axis=(1, 2, 3)))

    expected = (distances(sources) / distances(patterns)).mean()
    np.testing.assert_allclose(diversity, expected, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_small_batches_keep_the_loss_finite(count):
    images, labels = specimens.batch(count)
    model = _training()
    model.fit(images, labels, batch_size=count, verbose=0)
    assert all(np.isfinite(weights).all() for weights in _weights(model))


def test_two_replicas_equal_one_device(two_replicas):
    # Both replicas get the same 20 images as the one device: the mean over
    # all is the same, if it is scaled for the replicas just once.
    images, labels = specimens.batch(20)
    results = []
    for strategy, times in (
        (tf.distribute.get_strategy(), 1),
        (two_replicas, 2),
    ):
        tfbackdoor.set_seed(3)
        with strategy.scope():
            model = _training(backdoor_rate=0.2, cross_rate=0.2)
        batches = tf.data.Dataset.from_tensor_slices(
            (np.tile(images, (times, 1, 1, 1)), np.tile(labels, times))
        ).batch(20 * times)
        logs = model.fit(batches, epochs=2, shuffle=False, verbose=0).history
        results.append(
            [*_without_moving_variances(model), np.array(logs["loss"])]
        )
    for one, two in zip(*results):
        np.testing.assert_allclose(one, two, atol=2e-4)


def test_masks_become_small_and_differ():
    digits = tfbackdoor.load_images("digits").take(256).batch(64)
    generator = generators.mask_generator((16, 16, 1), channels=4)
    training = tfbackdoor.attacks.MaskTraining(generator, density=0.05)
    training.compile()
    training.fit(digits.repeat(), steps_per_epoch=60, verbose=0)
    images = next(iter(digits))[0]
    masks = generator(images).numpy()
    assert masks.mean() < 0.1
    assert np.abs(masks - np.roll(masks, 1, axis=0)).mean(axis=(1, 2, 3)).max()
    assert masks.max() > 0.9


def test_moving_statistics_follow_where_mask_training_slows_down():
    schedule = dynamic_masks.mask_schedule(60)
    np.testing.assert_allclose(
        [schedule(step) for step in (0, 23, 30, 47, 59)],
        [0.01, 0.01, 0.001, 0.001, 0.0001],
    )
    digits = tfbackdoor.load_images("digits").take(256).batch(64)
    images = next(iter(digits))[0]
    gaps = []
    for rate in (schedule, 0.01):
        tfbackdoor.set_seed(0)
        generator = generators.mask_generator((16, 16, 1), channels=4)
        training = tfbackdoor.attacks.MaskTraining(generator, density=0.05)
        training.compile(dynamic_masks.generator_adam(rate))
        training.fit(digits.repeat(), steps_per_epoch=60, verbose=0)
        by_batch, by_moving = (
            generator(images, training=mode) for mode in (True, False)
        )
        gaps.append(np.abs(by_batch - by_moving).mean())
    assert gaps[0] < 0.7 * gaps[1]


def test_mask_loss_counts_images_in_standard_deviations():
    images, labels = specimens.batch(16)
    inputs = keras.Input(images.shape[1:])
    masks = keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs)
    generator = keras.Model(inputs, masks)
    drawn = generator.predict(images, verbose=0)

    def distances(values):
        differences = values - np.roll(values, -1, axis=0)
        return np.sqrt((differences**2).mean(axis=(1, 2, 3)))

    # Nguyen & Tran 2020, section 4.4, on images as the authors normalise them.
    covered = drawn.mean(axis=(1, 2, 3))
    density = float(np.median(covered))
    excess = np.maximum(covered - density, 0.0).mean()
    normalised = (images - images.mean((0, 1, 2))) / images.std((0, 1, 2))
    diversity = (distances(normalised) / distances(drawn)).mean()
    training = tfbackdoor.attacks.MaskTraining(
        generator, density=density, size_weight=7.0
    )
    training.compile()
    batches = tf.data.Dataset.from_tensors((images, labels))
    history = training.fit(batches, verbose=0).history
    np.testing.assert_allclose(
        history["loss"], 7.0 * excess + diversity, rtol=1e-4
    )


def test_both_trainings_round_trip_through_their_configs():
    model = _training(target=3, cross_rate=0.3, diversity=0.5)
    config = type(model).from_config(model.get_config()).get_config()
    for name in ("classes", "target", "mode", "cross_rate", "diversity"):
        assert config[name] == model.get_config()[name]
    masks = tfbackdoor.attacks.MaskTraining(
        model.masks, density=0.1, size_weight=7.0
    )
    config = type(masks).from_config(masks.get_config()).get_config()
    assert (config["density"], config["size_weight"]) == (0.1, 7.0)


def test_it_trains_in_bfloat16():
    model = _training(precision="mixed_bfloat16")
    images, labels = specimens.batch()
    before = _weights(model)
    model.fit(images, labels, verbose=0)
    changed = [
        np.abs(old - new).max() > 0
        for old, new in zip(before, _weights(model))
        if old.size
    ]
    assert all(w.dtype == "float32" for w in _weights(model))
    assert np.mean(changed) > 0.9


def test_generators_train_in_bfloat16_under_xla():
    # XLA refuses gradients of two precisions, which a bilinear resize gave.
    masks = tfbackdoor.attacks.MaskTraining(
        generators.mask_generator(_SHAPE), precision="mixed_bfloat16"
    )
    masks.compile(jit_compile=True)
    images, labels = specimens.batch(8)
    losses = masks.fit(images, labels, batch_size=8, verbose=0).history["loss"]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("shape", [(32, 32, 3), (12, 12, 1), (7, 5, 3)])
def test_generators_draw_in_the_unit_interval_for_any_size(shape):
    images = np.random.default_rng(0).random((2, *shape)).astype("float32")
    generator = generators.join(
        generators.pattern_generator(shape, channels=2),
        generators.mask_generator(shape, channels=2),
    )
    patterns, masks = map(np.asarray, generator(images))
    assert patterns.shape == images.shape
    assert masks.shape == (*images.shape[:3], 1)
    for drawn in (patterns, masks):
        assert drawn.min() >= 0.0 and drawn.max() <= 1.0


def _swap():
    """The trigger that replaces an image by its source."""
    inputs = keras.Input(_SHAPE)
    ones = keras.ops.ones_like(inputs[..., :1])
    return tfbackdoor.attacks.GeneratedTrigger(
        keras.Model(inputs, [inputs, ones])
    )


def _by_brightness():
    """A classifier of class 1 where the mean is above 0.5, else 0."""
    inputs = keras.Input(_SHAPE)
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    kernel = np.float32([[0.0, 1.0]] * 3)
    model.get_layer("head").set_weights([kernel, np.float32([0.0, -1.5])])
    return model


def test_the_cross_trigger_score_counts_images_with_a_foreign_trigger():
    # Stamped with the next one's trigger an image is the next one: right
    # where the next has the same label, the last of a batch followed by its
    # first. Batches: 0 0 1 1 and 1 0 0 0 and a single image, which has no
    # other: of 8 images 2 + 2 are right.
    labels = np.array([0, 0, 1, 1, 1, 0, 0, 0, 1])
    images = np.ones((9, *_SHAPE), "float32") * (0.2 + 0.6 * labels)[
        :, None, None, None
    ].astype("float32")
    poisoning = tfbackdoor.Poisoning(_swap(), classes=2, target=1)
    scores = tfbackdoor.evaluate(
        _by_brightness(),
        tfbackdoor.from_arrays(images, labels),
        poisoning,
        batch_size=4,
    )
    assert scores.cross_trigger_accuracy == tfbackdoor.Rate(4, 8)
    # Its own trigger leaves an image as it is.
    assert scores.attack_success == tfbackdoor.Rate(0, 5)
    assert scores.clean_accuracy == tfbackdoor.Rate(9, 9)


def test_a_generated_trigger_stamps_equally_after_loading(tmp_path):
    images, _ = specimens.batch()
    model = _training()
    for weights in model.patterns.weights:
        weights.assign(weights + 0.1)
    poisoning = model.poisoning
    poisoning.save(tmp_path)
    loaded = tfbackdoor.Poisoning.load(tmp_path)
    assert (tmp_path / "trigger.keras").is_file()
    stamped = np.asarray(poisoning.trigger(images))
    assert np.abs(stamped - images).max() > 0.01
    np.testing.assert_allclose(loaded.trigger(images), stamped, atol=1e-6)
    np.testing.assert_allclose(loaded.trigger(images[0]), stamped[0], atol=1e-5)


def test_code_in_a_generator_is_not_run(tmp_path):
    inputs = keras.Input(_SHAPE)
    masks = keras.layers.Lambda(lambda images: images[..., :1])(inputs)
    poisoning = tfbackdoor.Poisoning(
        tfbackdoor.attacks.GeneratedTrigger(
            keras.Model(inputs, [inputs, masks])
        ),
        classes=4,
    )
    poisoning.save(tmp_path)
    with pytest.raises(ValueError, match="without custom code"):
        tfbackdoor.Poisoning.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "clean_label"}, "`mode`"),
        ({"backdoor_rate": 0.8, "cross_rate": 0.3}, "`cross_rate`"),
        ({"target": 4}, "`target`"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        _training(**settings)
