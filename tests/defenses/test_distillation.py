import keras
import numpy as np
import pytest
import specimens
import tensorflow as tf

import tfbackdoor


def _softmax(scores):
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _images(count=64):
    return tfbackdoor.from_arrays(*specimens.batch(count))


@pytest.mark.parametrize("teacher", ["functional", "sequential_softmax"])
def test_loss_is_cross_entropy_with_the_teacher(teacher):
    student, teacher = specimens.build("functional"), specimens.build(teacher)
    images, labels = specimens.batch()
    wanted = teacher(images, training=False).numpy()
    if teacher.name.startswith("functional"):
        wanted = _softmax(wanted)
    # A training pass uses batch statistics.
    given = _softmax(student(images, training=True).numpy())
    expected = -np.mean(np.sum(wanted * np.log(given), axis=1))
    distillation = tfbackdoor.defenses.Distillation(
        specimens.build("functional"), teacher
    )
    distillation.compile(tfbackdoor.training.CoupledSGD(0.01))
    loss, *_ = distillation.training_loss(images, labels, None)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_two_replicas_distil_the_weights_of_one(two_replicas):
    weights = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            student = specimens.build("functional")
            teacher = specimens.build("subclassed")
            distillation = tfbackdoor.defenses.Distillation(student, teacher)
            distillation.compile(tfbackdoor.training.CoupledSGD(0.05))
            history = distillation.fit(_images(48).batch(16), verbose=0)
        weights.append([*student.get_weights(), history.history["loss"][0]])
    for one, two in zip(*weights):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_teacher_of_other_classes_is_refused():
    student = specimens.build("functional")
    inputs = keras.Input(specimens.IMAGE_SHAPE)
    scores = keras.layers.Dense(7)(keras.layers.Flatten()(inputs))
    with pytest.raises(ValueError, match="`teacher`.*7 classes for 4"):
        tfbackdoor.defenses.Distillation(student, keras.Model(inputs, scores))


def test_config_round_trip():
    distillation = tfbackdoor.defenses.Distillation(
        specimens.build("functional"), specimens.build("nested")
    )
    copy = tfbackdoor.defenses.Distillation.from_config(
        distillation.get_config()
    )
    assert copy.classifier.count_params() == (
        distillation.classifier.count_params()
    )
    assert copy.teacher.count_params() == distillation.teacher.count_params()


def test_features_are_matched_in_units_of_their_variance():
    student, teacher = (specimens.build("functional") for _ in range(2))
    conv = student.get_layer("conv3")
    conv.bias.assign(conv.bias + 1.0)
    images, labels = specimens.batch()

    def loss(**settings):
        distillation = tfbackdoor.defenses.Distillation(
            student, teacher, **settings
        )
        distillation.compile(tfbackdoor.training.CoupledSGD(0.01))
        return float(distillation.training_loss(images, labels, None)[0])

    def features(classifier, training):
        layers = [classifier.get_layer(n).output for n in ("bn", "half")]
        tapped = keras.Model(classifier.input, layers)
        return [x.numpy() for x in tapped(images, training=training)]

    expected = sum(
        np.mean((wanted - given) ** 2) / np.var(wanted)
        for wanted, given in zip(
            features(teacher, False), features(student, True)
        )
    )
    matched = loss(taps=["bn", "half"]) - loss()
    np.testing.assert_allclose(matched, expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixup": 1.5}, r"`mixup` must lie in \[0, 1\]"),
        ({"taps": ["nowhere"]}, "`taps` must be layers"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    models = (specimens.build("functional") for _ in range(2))
    with pytest.raises(ValueError, match=message):
        tfbackdoor.defenses.Distillation(*models, **settings)


def test_an_inversion_of_another_model_is_refused():
    student, teacher = (specimens.build("functional") for _ in range(2))
    with pytest.raises(ValueError, match="triggers of the student"):
        tfbackdoor.defenses.Distillation(
            student,
            teacher,
            inversion=tfbackdoor.TriggerInversion(teacher, [1]),
        )


def test_scores_of_protected_classes_are_kept_on_a_logarithmic_scale():
    student, teacher = specimens.build("functional"), specimens.build_teacher()
    images, labels = specimens.batch()

    def loss(**settings):
        distillation = tfbackdoor.defenses.Distillation(
            student, teacher, batch_statistics=False, **settings
        )
        distillation.compile(tfbackdoor.training.CoupledSGD(0.01))
        return float(distillation.training_loss(images, labels, None)[0])

    def logs(model):
        scores = model.predict(images, verbose=0).astype("float64")
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    wanted, given = (logs(model)[:, [1, 3]] for model in (teacher, student))
    expected = np.mean((wanted - given) ** 2) / wanted.std() ** 2
    assert loss(protected=[1, 3]) - loss() == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01
