"""A fit takes labels in any form, or refuses them in a sentence."""

import keras
import numpy as np
import pytest
import specimens
import tensorflow as tf

import tfbackdoor

COUNT = 16
IMAGES, LABELS = specimens.batch(COUNT)
LABELS = np.asarray(LABELS, "int64")
ONE_HOT = keras.utils.to_categorical(LABELS, specimens.CLASSES)
_FORMS = {
    "column": LABELS[:, None],
    "float": LABELS.astype("float32"),
    "one-hot": ONE_HOT,
}
_WRONG = {
    "fractions": (LABELS + 0.5, "each name one class.*fractions"),
    "soft": (0.9 * ONE_HOT + 0.02, "each name one class.*fractions"),
    "longer one-hot": (np.eye(12)[LABELS], r"one label per image.*\(12,\)"),
    "of more classes": (LABELS + specimens.CLASSES, "0 to 3. Received"),
}


class _Batches(keras.utils.PyDataset):
    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return IMAGES[part], self.labels[part]


_TRAINERS = {
    "anp": tfbackdoor.AdversarialNeuronPruning,
    "plain": tfbackdoor.training.ClassifierTraining,
    "nad": lambda classifier: tfbackdoor.NeuralAttentionDistillation(
        classifier, specimens.build_teacher()
    ),
}


def _fit(kind, *data, **settings):
    model = _TRAINERS[kind](specimens.build("functional"))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model.fit(*data, epochs=1, verbose=0, **settings).history


def _given(form, labels):
    if form == "arrays":
        return IMAGES, labels
    if form == "PyDataset":
        return (_Batches(labels),)
    return (tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(8),)


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("anp", "one-hot"),
        ("nad", "column"),
        ("plain", "column"),
        ("plain", "float"),
        ("plain", "one-hot"),
    ],
)
def test_losses_are_those_of_plain_numbers(kind, labels):
    expected = _fit(kind, *_given("data set", LABELS))
    received = _fit(kind, *_given("data set", _FORMS[labels]))
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values, rtol=1e-5)


@pytest.mark.parametrize("form", ["arrays", "PyDataset"])
def test_arrays_and_py_datasets_are_converted_too(form):
    given = {"shuffle": False} | ({"batch_size": 8} if form == "arrays" else {})
    expected = _fit("plain", *_given(form, LABELS), **given)
    received = _fit("plain", *_given(form, ONE_HOT), **given)
    np.testing.assert_allclose(received["loss"], expected["loss"], rtol=1e-5)


def test_labels_to_validate_by_are_converted():
    def validated(labels):
        data = _given("data set", labels)[0]
        return _fit("plain", data, validation_data=data)["val_loss"]

    np.testing.assert_allclose(validated(ONE_HOT), validated(LABELS), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "case", "form"),
    [
        (kind, case, form)
        for kind in _TRAINERS
        for case in _WRONG
        for form in ("arrays", "data set", "PyDataset")
        # Whole numbers in a data set are not looked at before.
        if (kind, case, form) != ("plain", "of more classes", "data set")
    ],
)
def test_labels_that_will_not_do_are_refused(kind, case, form):
    labels, message = _WRONG[case]
    with pytest.raises(ValueError, match=f"`y` must hold.*{message}") as error:
        _fit(kind, *_given(form, labels))
    assert "\n" not in str(error.value)


def test_a_loss_of_ones_own_gets_labels_as_they_are():
    soft = (0.9 * ONE_HOT + 0.025).astype("float32")
    classifier = specimens.build("functional")
    model = tfbackdoor.training.ClassifierTraining(classifier)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    history = model.fit(IMAGES, soft, batch_size=COUNT, verbose=0).history
    scores = model(IMAGES, training=True).numpy().astype("float64")
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    expected = -np.mean((soft * logs).sum(1))
    np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-4)


def test_triggers_are_searched_by_the_same_labels():
    def sizes(labels):
        search = tfbackdoor.defenses.TriggerInversion(
            specimens.build("functional"), range(specimens.CLASSES)
        )
        search.compile(run_eagerly=True)
        search.fit(_given("data set", labels)[0], verbose=0)
        return search.triggers().sizes

    np.testing.assert_allclose(sizes(LABELS[:, None]), sizes(LABELS))
