import keras
import numpy as np
import planted
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor import rates
from tfbackdoor.attacks import triggers

SHAPE = (8, 8, 1)


@keras.saving.register_keras_serializable("specimens")
class LooksAtPixels(keras.layers.Layer):
    """Class 3 where the last pixel is white, else 10 times the first."""

    def call(self, inputs):
        first = tf.cast(tf.round(inputs[:, 0, 0, 0] * 10.0), tf.int32)
        backdoor = inputs[:, -1, -1, 0] > 0.99
        return tf.one_hot(tf.where(backdoor, 3, first), 4)


def _classifier():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, LooksAtPixels()(inputs))


def _images(labels, shown):
    images = np.zeros((len(labels), *SHAPE), "float32")
    images[:, 0, 0, 0] = np.asarray(shown) / 10.0
    return tfbackdoor.from_arrays(images, np.asarray(labels))


def _corner():
    mask = np.zeros(SHAPE, "float32")
    mask[-1, -1] = 1.0
    return triggers.Trigger(mask, mask)


def test_rates_count_what_they_say():
    # The classifier shows 0, 1, 2, 3, 1; the last is wrong. Triggered, all
    # become 3.
    images = _images([0, 1, 2, 3, 0], [0, 1, 2, 3, 1])
    scores = tfbackdoor.evaluate(
        _classifier(), images, tfbackdoor.Poisoning(_corner(), 4, target=3)
    )
    assert scores.clean_accuracy == tfbackdoor.Rate(4, 5)
    assert scores.non_target_accuracy == tfbackdoor.Rate(3, 4)
    assert scores.attack_success == tfbackdoor.Rate(4, 4)
    assert scores.robust_accuracy == tfbackdoor.Rate(0, 4)


def test_all_to_all_attacks_ask_for_the_next_class():
    images = _images([0, 1, 2, 3], [0, 1, 2, 3])
    scores = tfbackdoor.evaluate(
        _classifier(),
        images,
        tfbackdoor.Poisoning(_corner(), 4, mode="all_to_all"),
    )
    # All become 3: what the attacker wants of 2, and the truth of 3.
    assert scores.attack_success == tfbackdoor.Rate(1, 4)
    assert scores.robust_accuracy == tfbackdoor.Rate(1, 4)


def test_an_unknown_attack_leaves_its_rates_unknown():
    scores = tfbackdoor.evaluate(_classifier(), _images([0, 1], [0, 1]))
    assert scores.clean_accuracy == tfbackdoor.Rate(2, 2)
    assert scores.attack_success is None


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        # Newcombe 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_published_values(successes, total, low, high):
    interval = tfbackdoor.Rate(successes, total).interval
    assert interval == pytest.approx((low, high), abs=5e-5)


def _scores(accuracy, attack):
    return tfbackdoor.Scores(
        tfbackdoor.Rate(accuracy, 100),
        attack_success=tfbackdoor.Rate(attack, 100),
    )


def test_defense_effectiveness_rates_cure_and_cost():
    rate = tfbackdoor.rates.defense_effectiveness
    # (0.9 - 0.05 + 1) / 2; nothing done; only harm done.
    assert rate(_scores(90, 95), _scores(85, 5)) == pytest.approx(0.925)
    assert rate(_scores(90, 95), _scores(90, 95)) == 0.5
    assert rate(_scores(90, 95), _scores(60, 99)) == pytest.approx(0.35)


_FORMS = {
    "numbers": lambda images, labels: tfbackdoor.from_arrays(images, labels),
    "columns, batched": lambda images, labels: (
        tf.data.Dataset.from_tensor_slices((images, labels[:, None])).batch(5)
    ),
}


@pytest.mark.parametrize("form", _FORMS)
def test_callback_logs_the_scores_of_each_epoch(form):
    classifier = specimens.build("functional")
    images = tfbackdoor.from_arrays(*specimens.batch(32))
    attack = tfbackdoor.Poisoning(
        triggers.square(specimens.IMAGE_SHAPE), classes=4
    )
    data = _FORMS[form](*specimens.batch(32))
    training = tfbackdoor.training.ClassifierTraining(classifier)
    training.compile(keras.optimizers.SGD(0.0))
    history = training.fit(
        images.batch(16),
        epochs=2,
        verbose=0,
        callbacks=[tfbackdoor.evaluation.BackdoorScores(data, attack)],
    )
    # Of the classifier as it is after the second epoch.
    scores = tfbackdoor.evaluate(classifier, images, attack)
    for name in ("clean_accuracy", "attack_success", "robust_accuracy"):
        assert len(history.history[name]) == 2
        assert history.history[name][-1] == getattr(scores, name).value


def test_callback_scores_in_the_range_that_the_classifier_takes():
    classifier, images = planted.classifier(levels=255.0), planted.images(90)
    scores = tfbackdoor.evaluation.BackdoorScores(
        images, planted.attack(), preprocess="[0, 255]"
    )
    classifier.compile(keras.optimizers.SGD(0.0), "mse")
    pixels, labels = next(iter(images.batch(90)))
    history = classifier.fit(
        255.0 * pixels,
        tf.one_hot(labels, classifier.output_shape[-1]),
        callbacks=[scores],
        verbose=0,
    ).history
    expected = tfbackdoor.evaluate(
        classifier, images, planted.attack(), preprocess="[0, 255]"
    )
    assert history["attack_success"] == [expected.attack_success.value]
    assert history["attack_success"][0] > 0.9


@pytest.mark.filterwarnings("error")
def test_callback_warns_of_another_range():
    classifier = planted.classifier(levels=255.0)
    scores = tfbackdoor.evaluation.BackdoorScores(
        planted.images(90), planted.attack()
    )
    scores.set_model(classifier)
    with pytest.warns(tfbackdoor.network.RangeWarning, match=r"\[0, 255\]"):
        scores.on_train_begin()


def test_callback_needs_an_attack():
    scores = tfbackdoor.evaluation.BackdoorScores(planted.images(60), None)
    scores.set_model(planted.classifier())
    with pytest.raises(TypeError, match="`poisoning` must be a Poisoning"):
        scores.on_train_begin()


def test_images_that_can_be_read_but_once_are_refused():
    once = planted.images(60).as_numpy_iterator()
    data = tf.data.Dataset.from_generator(
        lambda: once, output_signature=planted.images(1).element_spec
    )
    with pytest.raises(ValueError, match="`images` must give its images each"):
        tfbackdoor.evaluate(planted.classifier(), data)


def test_callback_refuses_labels_before_any_epoch():
    classifier = specimens.build("functional")
    images, labels = specimens.batch(32)
    attack = tfbackdoor.Poisoning(
        triggers.square(specimens.IMAGE_SHAPE), classes=4
    )
    scores = tfbackdoor.evaluation.BackdoorScores(
        (images, np.eye(5)[labels]), attack, classifier=classifier
    )
    training = tfbackdoor.training.ClassifierTraining(classifier)
    training.compile(keras.optimizers.SGD(0.1))
    before = classifier.get_weights()
    with pytest.raises(ValueError, match="`images` must hold one label"):
        training.fit(images, labels, verbose=0, callbacks=[scores])
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_batches_of_columns_are_counted_as_numbers():
    images, labels = specimens.batch(32)
    classifier = specimens.build("functional")
    counter = tfbackdoor.evaluation.BatchCounter(classifier)
    data = tf.data.Dataset.from_tensor_slices((images, labels[:, None]))
    answers = np.argmax(classifier(images, training=False), axis=1)
    scores = counter.scores(data.batch(32))
    right = int((answers == labels).sum())
    assert scores.clean_accuracy == tfbackdoor.Rate(right, 32)
    assert scores.labels.shape == (32,)


@pytest.mark.parametrize("name", specimens.NAMES)
def test_images_of_the_target_class_alone_leave_nothing_to_attack(name):
    images, _ = specimens.batch(4)
    scores = tfbackdoor.evaluate(
        specimens.build(name),
        tfbackdoor.from_arrays(images, np.full(4, 3)),
        tfbackdoor.Poisoning(
            triggers.square(specimens.IMAGE_SHAPE), 4, target=3
        ),
    )
    assert scores.clean_accuracy.total == 4
    assert scores.attack_success == tfbackdoor.Rate(0, 0)
    assert scores.robust_accuracy == tfbackdoor.Rate(0, 0)


def test_table_holds_every_rate_with_interval_and_count():
    rate = tfbackdoor.Rate(95, 100)
    table = tfbackdoor.rates.scores_table(
        {
            "before": tfbackdoor.Scores(rate, rate, rate, rate),
            "after": tfbackdoor.Scores(tfbackdoor.Rate(9, 10)),
        }
    )
    before = next(line for line in table.splitlines() if "before" in line)
    # The Wilson interval of 95 of 100.
    assert before.count("95.0 % [88.8, 97.8] n=100") == 3
    after = next(line for line in table.splitlines() if "after" in line)
    assert "90.0 %" in after and after.count("unknown") == 2


# Bonett & Price 2012: with p = (lost + 1) / (n + 2), q = (won + 1) / (n + 2)
# the interval is p - q -+ 1.96 sqrt((p + q - (p - q)^2) / (n + 2)). Here p is
# 0.08, q 0.02: 0.06 -+ 1.96 sqrt((0.1 - 0.0036) / 100).
def test_accuracy_loss_is_counted_image_by_image():
    before, after = np.ones(98, bool), np.ones(98, bool)
    before[:1], after[1:8] = False, False
    loss = tfbackdoor.rates.accuracy_loss(
        *(
            tfbackdoor.Scores(tfbackdoor.Rate(int(x.sum()), 98), correct=x)
            for x in (before, after)
        )
    )
    assert (loss.lost, loss.won, loss.total) == (7, 1, 98)
    assert loss.value == pytest.approx(6 / 98)
    assert loss.interval == pytest.approx((-0.00085, 0.12085), abs=1e-5)


def test_a_loss_over_several_draws_counts_each_image_once():
    before = np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)  # Four images, twice.
    after = np.array([0, 1, 0, 1, 1, 1, 1, 0], bool)
    loss = rates.accuracy_loss(
        *(
            rates.Scores(rates.Rate(int(x.sum()), 8), correct=x)
            for x in (before, after)
        ),
        draws=2,
    )
    assert (loss.lost, loss.won, loss.total) == (0.5, 1.0, 4.0)


def test_pooled_scores_are_those_of_all_images():
    scores = rates.pool(
        [
            tfbackdoor.evaluate(_classifier(), _images(digits, labels))
            for digits, labels in (([0, 1], [0, 2]), ([2], [2]))
        ]
    )
    assert scores.clean_accuracy == rates.Rate(2, 3)
    np.testing.assert_array_equal(scores.correct, [True, False, True])


def test_scores_say_which_images_were_answered_right():
    scores = tfbackdoor.evaluate(_classifier(), _images([0, 1], [0, 2]))
    np.testing.assert_array_equal(scores.correct, [True, False])
    assert scores.to_json().keys() == scores.rates.keys()


def test_scores_say_how_much_of_each_class_was_recognised():
    # Of class 0 one of two, of class 2 the only one; there is no class 1.
    before = tfbackdoor.evaluate(_classifier(), _images([0, 0, 2], [0, 1, 2]))
    assert before.recalls == {0: rates.Rate(1, 2), 2: rates.Rate(1, 1)}
    after = tfbackdoor.evaluate(_classifier(), _images([0, 0, 2], [1, 0, 1]))
    assert rates.class_losses(before, after) == {
        0: rates.AccuracyLoss(lost=1, won=1, total=2),
        2: rates.AccuracyLoss(lost=1, won=0, total=1),
    }
    assert tfbackdoor.Scores(rates.Rate(1, 2)).recalls == {}


@pytest.mark.parametrize(
    ("lost", "total", "exceeds"),
    # Of 5 images 3 may be chance: p - q = 3/7, its error 1.96 sqrt((5/7 -
    # 9/49) / 7) = 0.54. Of 20 images 5: 0.227 - 0.216 is above 0. 1 of 20 is
    # within a tenth, whatever the interval.
    [(3, 5, False), (5, 5, True), (5, 20, True), (1, 20, False)],
)
def test_a_loss_exceeds_a_share_where_some_of_it_is_sure(lost, total, exceeds):
    assert rates.AccuracyLoss(lost, 0, total).exceeds(0.1) is exceeds
