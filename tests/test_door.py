"""What people hold goes through every entry point, or is refused at once."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfbackdoor
from tfbackdoor.network import adapting
from tfbackdoor.network import classifiers
from tfbackdoor.network import devices
from tfbackdoor.network import door
from tfbackdoor.network import facts
from tfbackdoor.network import preprocessing

# A few steps leave classifiers that a defense warns of.
pytestmark = pytest.mark.filterwarnings(
    "ignore::tfbackdoor.defenses.outcome_warnings.DefenseWarning"
)

L = keras.layers
_QUICK = {
    "scan_steps": 2,
    "hardening_steps": 2,
    "recovery_steps": 2,
    "verbose": 0,
}


def _arrays(split):
    images, labels = next(
        iter(tfbackdoor.load_images("digits", split).batch(2000))
    )
    return images.numpy(), labels.numpy()


TRAIN, TEST = _arrays("train"), _arrays("test")
IMAGES, LABELS = TEST[0][:250], TEST[1][:250]


def _network(
    channels=1, *, dtype="float32", first=None, units=10, act="softmax"
):
    x = inputs = keras.Input((16, 16, channels), dtype=dtype)
    x = first(x) if first else x
    for width, stride in ((8, 2), (16, 2)):
        x = L.Conv2D(width, 3, padding="same", strides=stride)(x)
        x = L.ReLU()(L.BatchNormalization(momentum=0.9)(x))
    x = L.Dense(units, activation=act)(L.Flatten()(x))
    return keras.Model(inputs, x)


def _trained(model, images, labels=TRAIN[1], epochs=6):
    keras.utils.set_random_seed(0)
    model.compile(
        keras.optimizers.Adam(5e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(images, labels, batch_size=64, epochs=epochs, verbose=0)
    return model


def _colour(images):
    rng = np.random.default_rng(len(images))
    low = rng.uniform(0.0, 0.3, (len(images), 1, 1, 3))
    scale = rng.uniform(0.4, 0.7, (len(images), 1, 1, 3))
    return (np.repeat(images, 3, -1) * scale + low).astype("float32")


def _accuracy(classifier, images, labels):
    answers = np.argmax(classifier.predict(images, verbose=0), axis=1)
    return float(np.mean(answers == labels))


def _own(images):
    """What no table knows: 0.2 to 1 becomes 8 to 0."""
    return 10.0 * (1.0 - images) - 2.0


@pytest.fixture(scope="module")
def digits():
    """A classifier of digits in [0, 1]."""
    return _trained(_network(), TRAIN[0])


@pytest.fixture(scope="module")
def levels():
    """A classifier of digits in [0, 255], and its true accuracy."""
    model = _network(first=L.Rescaling(1 / 255.0))
    _trained(model, 255.0 * TRAIN[0])
    return model, _accuracy(model, 255.0 * TEST[0], TEST[1])


@pytest.fixture(scope="module")
def of_own_range():
    return _trained(_network(3), _own(_colour(TRAIN[0])))


def test_evaluate_scores_a_classifier_in_its_own_range(levels):
    classifier, accuracy = levels
    assert accuracy > 0.9
    scores = tfbackdoor.evaluate(classifier, TEST)
    assert scores.clean_accuracy.value == pytest.approx(accuracy, abs=0.003)


def test_class_sorted_images_are_drawn_from_all(levels):
    classifier, accuracy = levels
    order = np.argsort(TEST[1], kind="stable")
    data = TEST[0][order], TEST[1][order]
    found = tfbackdoor.find_value_range(
        classifier, tfbackdoor.from_arrays(*data)
    )
    assert found.name == "[0, 255]"
    scores = tfbackdoor.evaluate(classifier, data)
    assert scores.clean_accuracy.value == pytest.approx(accuracy, abs=0.003)


@pytest.mark.parametrize("count", [1, 5])
def test_a_few_images_go_by_what_the_classifier_begins_with(levels, count):
    classifier, _ = levels
    fresh = keras.models.clone_model(classifier)
    fresh.set_weights(classifier.get_weights())
    right = (
        np.argmax(classifier.predict(255.0 * IMAGES, verbose=0), 1) == LABELS
    )
    chosen = np.flatnonzero(right)[:count]
    scores = tfbackdoor.evaluate(fresh, (IMAGES[chosen], LABELS[chosen]))
    assert scores.clean_accuracy == tfbackdoor.Rate(count, count)


def test_images_of_one_class_do_not_decide(levels):
    classifier, _ = levels
    fresh = keras.models.clone_model(classifier)
    fresh.set_weights(classifier.get_weights())
    images = IMAGES[LABELS == 3]
    scores = tfbackdoor.evaluate(fresh, (images, np.full(len(images), 3)))
    assert scores.clean_accuracy.value > 0.8


def test_what_comes_out_takes_images_as_what_came_in(levels):
    classifier, accuracy = levels
    outcome = tfbackdoor.defend(
        "anp",
        classifier,
        (IMAGES, LABELS),
        iterations=1,
        flip=False,
        verbose=0,
    )
    assert outcome.found["value_range"] == "[0, 255]"
    purified = outcome.classifier
    assert [layer.name for layer in purified.layers[1:]] == [
        layer.name for layer in classifier.layers[1:]
    ]
    assert _accuracy(purified, 255.0 * TEST[0], TEST[1]) > accuracy - 0.1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("caffe BGR", {}),
        ("ImageNet mean/std", {}),
        ("per-image standardisation", {}),
        ("CIFAR mean/std", {}),
        ("[-1, 1]", {}),
    ],
)
@pytest.mark.filterwarnings("ignore::tfbackdoor.network.RangeWarning")
def test_known_ranges_are_found(name, settings):
    function = preprocessing.known_ranges(3)[name]
    images = _colour(TRAIN[0])
    model = _trained(_network(3), function(tf.constant(images)).numpy())
    test = _colour(TEST[0])
    own = function(tf.constant(test)).numpy()
    accuracy = _accuracy(model, own, TEST[1])
    assert accuracy > 0.85
    found = tfbackdoor.find_value_range(
        model, tfbackdoor.from_arrays(test, TEST[1])
    )
    assert found.accuracies[found.name].value == pytest.approx(
        accuracy, abs=0.05
    )
    adapted = found.adapt(model)
    assert _accuracy(adapted, test, TEST[1]) == pytest.approx(
        accuracy, abs=0.05
    )
    assert name in (found.name, *found.rivals)
    if name in ("caffe BGR", "per-image standardisation"):
        assert found.name == name


@pytest.mark.parametrize("entry", ["evaluate", "scan", "defend", "purify"])
def test_a_range_that_no_table_knows_is_refused(of_own_range, entry):
    data = _colour(IMAGES), LABELS
    calls = {
        "evaluate": lambda: tfbackdoor.evaluate(of_own_range, data),
        "scan": lambda: tfbackdoor.scan(of_own_range, data, verbose=0),
        "defend": lambda: tfbackdoor.defend("anp", of_own_range, data),
        "purify": lambda: tfbackdoor.purify(of_own_range, data, **_QUICK),
    }
    with pytest.raises(ValueError, match="`preprocess") as error:
        calls[entry]()
    for part in ("% with pixels as [0, 1]", "[0, 255]", "caffe BGR"):
        assert part in str(error.value)


def test_the_owners_function_is_used(of_own_range):
    images = _colour(TEST[0])
    accuracy = _accuracy(of_own_range, _own(images), TEST[1])
    scores = tfbackdoor.evaluate(
        of_own_range, (images, TEST[1]), preprocess=_own
    )
    assert scores.clean_accuracy.value == pytest.approx(accuracy, abs=0.003)
    purified, report = tfbackdoor.purify(
        of_own_range, (_colour(IMAGES), LABELS), preprocess=_own, **_QUICK
    )
    assert report.settings["value_range"] == "_own"
    assert _accuracy(purified, _own(images), TEST[1]) > accuracy - 0.2


def test_preprocess_input_of_keras_gets_images_of_255_levels():
    function = keras.applications.vgg16.preprocess_input
    _, adapted = preprocessing.function_of(function, (4, 4, 3))
    image = np.zeros((1, 4, 4, 3), "float32")
    image[..., 0] = 1.0  # Red.
    # Blue first, less Caffe's means.
    np.testing.assert_allclose(
        adapted(image)[0, 0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (lambda x: np.asarray(x) * 2.0, "so that gradients pass"),
        (lambda x: tf.round(x), "without a gradient"),
        (lambda x: x[:, :8], "shape"),
        ("0-255", "must be a function or one of"),
    ],
)
def test_a_preprocessing_that_will_not_do_is_refused(preprocess, message):
    with pytest.raises(ValueError, match=f"`preprocess`.*{message}"):
        preprocessing.function_of(preprocess, (16, 16, 1))


class _Batches(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        part = slice(50 * index, 50 * index + 50)
        return IMAGES[part], LABELS[part]


def _dataset(images=IMAGES, labels=LABELS):
    return tf.data.Dataset.from_tensor_slices((images, labels))


def _generated():
    def generate():
        yield from zip(IMAGES, LABELS)

    return tf.data.Dataset.from_generator(
        generate, output_types=("float32", "int64")
    )


_FORMS = {
    "column": lambda: _dataset(labels=LABELS[:, None]),
    "one-hot": lambda: _dataset(labels=keras.utils.to_categorical(LABELS)),
    "float": lambda: _dataset(labels=LABELS.astype("float32")),
    "uint8 labels": lambda: _dataset(labels=LABELS.astype("uint8")),
    "pair": lambda: (IMAGES, LABELS),
    "pair of lists": lambda: [IMAGES.tolist(), LABELS.tolist()],
    "uint8": lambda: (np.round(IMAGES * 255).astype("uint8"), LABELS),
    "no channels": lambda: (IMAGES[..., 0], LABELS),
    "batched": lambda: _dataset().batch(32),
    "even batches": lambda: _dataset(labels=LABELS[:, None]).batch(50),
    "dropped remainder": lambda: _dataset().batch(32, drop_remainder=True),
    "without known count": lambda: _dataset().batch(32).unbatch(),
    "generated": _generated,
    "generated batches": lambda: _generated().batch(32),
    "dicts": lambda: _dataset().map(lambda x, y: {"image": x, "label": y}),
    "weighted": lambda: _dataset().map(lambda x, y: (x, y, 1.0)),
    "PyDataset": _Batches,
}


@pytest.mark.parametrize("form", _FORMS)
def test_labelled_images_of_any_form_score_alike(digits, form):
    data = _FORMS[form]()
    count = 224 if form == "dropped remainder" else 250
    expected = np.argmax(digits.predict(IMAGES, verbose=0), axis=1) == LABELS
    scores = tfbackdoor.evaluate(digits, data)
    assert scores.clean_accuracy.total == count
    # Rounding to 255 levels turns hardly an answer.
    assert abs(scores.clean_accuracy.successes - expected[:count].sum()) <= 1


def test_all_forms_enter_alike(digits):
    for form in ("column", "generated", "batched", "PyDataset", "uint8"):
        admitted = door.admit(digits, _FORMS[form]())
        spec = admitted.images.element_spec
        assert spec[0].shape == (16, 16, 1) and spec[0].dtype == tf.float32
        assert spec[1].shape == () and spec[1].dtype == tf.int64
        assert int(admitted.images.cardinality()) == 250


_WRONG = {
    "255 levels as float": (
        lambda: (IMAGES * 255, LABELS),
        "values from 0 to 255; divide them by 255",
    ),
    "int images": (
        lambda: ((IMAGES * 255).astype("int32"), LABELS),
        "uint8, or float in",
    ),
    "no labels": (lambda: IMAGES, "must be a tf.data.Dataset"),
    "fractions": (lambda: (IMAGES, LABELS + 0.5), "Received: fractions"),
    "soft labels": (
        lambda: (IMAGES, np.full((250, 10), 0.1)),
        "Received: fractions",
    ),
    "other one-hot": (lambda: (IMAGES, np.eye(12)[LABELS]), "one label"),
    "strings": (lambda: (IMAGES, LABELS.astype(str)), "one label per image"),
    "fewer labels": (lambda: (IMAGES, LABELS[:9]), "as many labels"),
    "for ever": (lambda: _dataset().repeat(), "repeats for ever"),
    "from 1": (lambda: (IMAGES, LABELS + 1), "0 to 9. Received"),
    "other shape": (lambda: (IMAGES[:, :8], LABELS), "shape"),
    "nothing": (lambda: _dataset().take(0), "Received: none"),
}


@pytest.mark.parametrize("case", _WRONG)
@pytest.mark.parametrize("entry", ["evaluate", "scan", "defend", "purify"])
def test_data_that_will_not_do_are_refused_in_a_sentence(digits, case, entry):
    make, message = _WRONG[case]
    call = {
        "evaluate": tfbackdoor.evaluate,
        "scan": tfbackdoor.scan,
        "defend": lambda *given: tfbackdoor.defend("anp", *given),
        "purify": tfbackdoor.purify,
    }[entry]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call(digits, make())
    assert "\n" not in str(error.value)


class _Unlike(L.Layer):
    """Its config leaves out what it computes with."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return L.Layer.get_config(self) | {}


class _NoConfig(L.Layer):
    def __init__(self, factors):
        super().__init__()
        self.factors = factors

    def call(self, x):
        return x * self.factors[0]


class _Functions:
    """An argument that no config can hold."""

    def __getitem__(self, index):
        return 1.0


def _classifier(outputs, inputs):
    return keras.Model(inputs, outputs)


def _no_config():
    return _network(first=_NoConfig(_Functions()))


def _unlike():
    layer = _Unlike(3.0)
    model = _network(first=layer)
    return _trained(model, TRAIN[0], epochs=2)


@pytest.mark.parametrize("make", [_no_config, _unlike])
@pytest.mark.parametrize("entry", ["defend", "purify"])
def test_a_layer_that_cannot_be_copied_is_named(make, entry):
    classifier = make()
    call = {
        "defend": lambda *given, **s: tfbackdoor.defend("anp", *given, **s),
        "purify": tfbackdoor.purify,
    }[entry]
    with pytest.raises(
        ValueError, match=r"`classifier`.*copy.*(unlike|_no_con)"
    ):
        call(classifier, (IMAGES, LABELS), preprocess="[0, 1]")


def _first_channels():
    inputs = keras.Input((3, 16, 16))
    x = L.Conv2D(4, 3, data_format="channels_first", name="conv")(inputs)
    return keras.Model(inputs, L.Dense(10)(L.Flatten()(x)))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def _quantised():
    model = _network()
    model.quantize("int8")
    return model


class _Branching(L.Layer):
    """Decides in Python by what is in the images."""

    def call(self, images):
        if float(keras.ops.mean(images)) > 2.0:
            return 0.5 * images
        return images

    def compute_output_spec(self, images):
        return keras.KerasTensor(images.shape, images.dtype)


_REFUSED = {
    "not compilable": (
        lambda: _network(first=_Branching()),
        "that TensorFlow can compile.*fails with: .*_Branching.call",
    ),
    "channels first": (_first_channels, "'conv' has channels first"),
    "no scores": (
        lambda: keras.Model(x := keras.Input((16, 16, 1)), L.Conv2D(2, 3)(x)),
        "one score per class",
    ),
    "one unbounded score": (
        lambda: _network(units=1, act=None),
        "Activation\\('sigmoid'\\)",
    ),
    "two inputs": (
        lambda: keras.Model(
            [a := keras.Input((16, 16, 1)), b := keras.Input((16, 16, 1))],
            L.Dense(10)(L.Flatten()(a + b)),
        ),
        "one input. Received: 2 inputs",
    ),
    "two outputs": (
        lambda: _two_outputs(),
        "`output` must name the one of \\['first', 'second'\\]",
    ),
    "unbuilt": (
        lambda: keras.Sequential([L.Flatten(), L.Dense(10)]),
        "call it once",
    ),
    "int8": (_quantised, "was quantized to int8"),
}


def _two_outputs():
    model = _network()
    x = model.layers[-2].output
    outputs = [L.Dense(7, name="first")(x), L.Dense(10, name="second")(x)]
    return keras.Model(model.inputs, outputs)


@pytest.mark.parametrize(
    ("case", "entry"),
    [
        (case, entry)
        for case in _REFUSED
        for entry in ("evaluate", "scan", "defend", "purify")
        # That is scored, see tests/network/test_quantized.py.
        if (case, entry) != ("int8", "evaluate")
    ],
)
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_classifiers_that_cannot_work_are_refused_in_a_sentence(case, entry):
    make, message = _REFUSED[case]
    call = {
        "evaluate": tfbackdoor.evaluate,
        "scan": tfbackdoor.scan,
        "defend": lambda *given: tfbackdoor.defend("anp", *given),
        "purify": tfbackdoor.purify,
    }[entry]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call(make(), (IMAGES, LABELS))
    assert "\n" not in str(error.value)


def _strided(channels):
    inputs = keras.Input((16, 16, 1))
    x = L.Conv2D(channels, 3)(inputs)
    x = L.GlobalAveragePooling2D()(L.Conv2D(8, 1, strides=2, name="down")(x))
    return keras.Model(inputs, L.Dense(10)(x))


def test_a_gradient_that_overruns_memory_is_refused(monkeypatch):
    monkeypatch.setattr(devices, "onednn_block", lambda: 8)
    message = r"TF_ENABLE_ONEDNN_OPTS=0 .*layer 'down' takes 7 channels"
    for entry in (tfbackdoor.purify, tfbackdoor.scan):
        with pytest.raises(ValueError, match=message):
            entry(_strided(7), (IMAGES, LABELS))
    classifiers.check_classifier(_strided(8))
    tfbackdoor.evaluate(_strided(7), (IMAGES, LABELS), preprocess="[0, 1]")


def test_a_model_of_keras_2_is_recognised():
    other = type("Model", (), {"__module__": "tf_keras.src.engine.training"})()
    with pytest.raises(TypeError, match=r"a model of Keras 2.*model.save"):
        tfbackdoor.evaluate(other, (IMAGES, LABELS))


def _head(model, *, keep):
    """The same network with its scores in another structure."""
    return keras.Model(model.inputs[0], keep(model.outputs[0]))


@pytest.mark.parametrize(
    ("keep", "settings"),
    [
        (lambda y: {"scores": y}, {}),
        (lambda y: [y], {}),
        (lambda y: {"a": L.Dense(3)(y), "b": y}, {"output": "b"}),
    ],
)
def test_the_output_that_gives_the_scores_is_taken(digits, keep, settings):
    model = _head(digits, keep=keep)
    scores = tfbackdoor.evaluate(model, TEST, **settings)
    expected = _accuracy(digits, *TEST)
    assert scores.clean_accuracy.value == pytest.approx(expected, abs=0.003)
    outcome = tfbackdoor.defend(
        "fine_tuning",
        model,
        (IMAGES, LABELS),
        epochs=1,
        learning_rate=1e-3,
        flip=False,
        verbose=0,
        **settings,
    )
    given = outcome.classifier(IMAGES[:2])
    assert type(given) is type(model(IMAGES[:2]))


def _of_bytes(digits):
    inputs = keras.Input((16, 16, 1), dtype="uint8")
    return keras.Model(inputs, digits(L.Rescaling(1 / 255.0)(inputs)))


def _of_any_size(digits):
    inputs = keras.Input((None, None, 1))
    return keras.Model(inputs, digits(L.Resizing(16, 16)(inputs)))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda model: _head(model, keep=lambda y: {"y": y}), "[0, 1]"),
        (_of_bytes, "[0, 255]"),
        (_of_any_size, "[0, 1]"),
    ],
)
def test_an_adapted_classifier_gives_a_score_per_class(digits, make, name):
    model = make(digits)
    values = tfbackdoor.find_value_range(model, _dataset())
    assert values.name == name
    adapted = values.adapt(model, image_size=(16, 16))
    assert values.restore(adapted) is model
    expected = digits(IMAGES, training=False)
    # Bytes are cut to 255 levels.
    atol = 0.1 if name == "[0, 255]" else 1e-5
    scores = adapted(IMAGES, training=False)
    np.testing.assert_allclose(scores, expected, atol=atol)


@pytest.mark.parametrize("taken", [lambda x: [x], lambda x: {"image": x}])
def test_an_input_in_a_list_or_dict_is_called_right(digits, taken):
    inputs = keras.Input((16, 16, 1), name="image")
    model = keras.Model(taken(inputs), digits(inputs))
    # Keras would warn of another structure, which here is an error.
    scores = tfbackdoor.evaluate(model, TEST)
    expected = _accuracy(digits, *TEST)
    assert scores.clean_accuracy.value == pytest.approx(expected, abs=0.003)
    admitted = door.admit(model, (IMAGES, LABELS), copyable=True)
    assert isinstance(admitted.classifier.input, keras.KerasTensor)
    purified = admitted.restore(tfbackdoor.copy_classifier(admitted.classifier))
    assert type(purified.input) is type(model.input)
    anp = tfbackdoor.AdversarialNeuronPruning(model)
    np.testing.assert_allclose(
        anp(IMAGES[:4]), digits(IMAGES[:4], training=False), atol=1e-5
    )
    tfbackdoor.find_taps(model)
    values = tfbackdoor.find_value_range(model, _dataset())
    assert values.name == "[0, 1]"


def test_one_sigmoid_unit_is_two_classes():
    model = _network(units=1, act="sigmoid")
    is_large = (TRAIN[1] >= 5).astype("int64")
    model.compile(keras.optimizers.Adam(5e-3), "binary_crossentropy")
    model.fit(TRAIN[0], is_large, epochs=6, verbose=0)
    labels = (TEST[1] >= 5).astype("int64")
    right = (model.predict(TEST[0], verbose=0)[:, 0] > 0.5) == labels
    scores = tfbackdoor.evaluate(model, (TEST[0], labels[:, None]))
    assert scores.clean_accuracy.successes == right.sum()
    outcome = tfbackdoor.defend(
        "anp", model, (IMAGES, labels[:250]), iterations=1, verbose=0
    )
    assert outcome.classifier.output_shape == (None, 1)


def test_an_input_of_any_size_is_fixed_by_the_images():
    inputs = keras.Input((None, None, 1))
    x = L.Conv2D(16, 3, strides=2, activation="relu")(inputs)
    x = L.Conv2D(32, 3, strides=2, activation="relu")(x)
    x = L.GlobalMaxPooling2D()(x)
    model = keras.Model(inputs, L.Dense(10, activation="softmax")(x))
    _trained(model, TRAIN[0], epochs=8)
    scores = tfbackdoor.evaluate(model, TEST)
    expected = _accuracy(model, *TEST)
    assert scores.clean_accuracy.value == pytest.approx(expected, abs=0.003)
    conforming = adapting.conform(model, image_size=(16, 16))
    assert conforming.input_shape == (None, 16, 16, 1)
    tfbackdoor.AdversarialNeuronPruning(conforming)


def test_images_without_a_channel_axis_are_taken(digits):
    inputs = keras.Input((16, 16))
    x = L.Reshape((16, 16, 1))(inputs)
    model = keras.Model(inputs, digits(x))
    for images in (TEST[0], TEST[0][..., 0]):
        scores = tfbackdoor.evaluate(model, (images, TEST[1]))
        expected = _accuracy(digits, *TEST)
        assert scores.clean_accuracy.value == pytest.approx(expected, abs=0.003)


def test_load_fixes_the_size_and_picks_the_output(tmp_path):
    _two_outputs().save(tmp_path / "two.keras")
    with pytest.raises(ValueError, match="'first', 'second'"):
        tfbackdoor.load_classifier(tmp_path / "two.keras")
    loaded = tfbackdoor.load_classifier(tmp_path / "two.keras", output="second")
    assert loaded.output_shape == (None, 10)
    inputs = keras.Input((None, None, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(inputs))
    keras.Model(inputs, L.Dense(5)(x)).save(tmp_path / "any.keras")
    with pytest.raises(ValueError, match="`image_size=` fixes it"):
        tfbackdoor.load_classifier(tmp_path / "any.keras")
    loaded = tfbackdoor.load_classifier(
        tmp_path / "any.keras", image_size=(32, 24)
    )
    assert loaded.input_shape == (None, 32, 24, 3)


def test_an_integer_input_lets_gradients_through_and_comes_back(levels):
    classifier, accuracy = levels
    whole = _network(dtype="uint8", first=L.Rescaling(1 / 255.0))
    whole.set_weights(classifier.get_weights())
    admitted = door.admit(whole, (IMAGES, LABELS), differentiable=True)
    assert admitted.values.name == "[0, 255]"
    assert admitted.classifier.weights[0] is whole.weights[0]
    outcome = tfbackdoor.defend(
        "fine_tuning",
        whole,
        (IMAGES, LABELS),
        epochs=1,
        learning_rate=1e-3,
        flip=False,
        verbose=0,
    )
    purified = outcome.classifier
    assert purified.inputs[0].dtype == "uint8"
    assert not np.array_equal(purified.get_weights()[0], whole.get_weights()[0])
    images = np.round(TEST[0] * 255).astype("uint8")
    assert _accuracy(purified, images, TEST[1]) > accuracy - 0.1
    with pytest.raises(ValueError, match="integer input.*an input of uint8"):
        tfbackdoor.AdversarialNeuronPruning(whole)


@keras.saving.register_keras_serializable("tests")
class Headed(keras.Model):
    """Scores, by a temperature, and in training a second output if wanted."""

    temperature: float

    def __init__(self, two=False, **kwargs):
        super().__init__(**kwargs)
        self.two = two
        self.network = _network()

    def call(self, images, training=False):
        scores = self.network(images, training=training) * self.temperature
        return (scores, scores) if self.two and training else scores

    def get_config(self):
        return {"two": self.two}


@pytest.mark.filterwarnings("ignore:Model 'headed")
@pytest.mark.parametrize(
    ("two", "holder", "message"),
    [
        (True, Headed, "in training as at inference.*tuple"),
        # Set after __init__, in no config: the copy lacks it.
        (False, None, "whose copy fails with"),
    ],
)
def test_models_of_other_make_are_refused_in_a_sentence(
    digits, two, holder, message
):
    model = Headed(two)
    (holder or model).temperature = 1.0
    model(IMAGES[:1])
    model.network.set_weights(digits.get_weights())
    try:
        with pytest.raises(ValueError, match=message):
            tfbackdoor.purify(model, (IMAGES, LABELS), **_QUICK)
    finally:
        if holder:
            del holder.temperature


def test_a_classifier_that_rounds_its_images_is_not_scanned(digits):
    inputs = keras.Input((16, 16, 1))
    model = keras.Model(inputs, digits(keras.ops.round(inputs * 16.0) / 16.0))
    assert tfbackdoor.evaluate(model, TEST).clean_accuracy.value > 0.9
    with pytest.raises(ValueError, match="let gradients through"):
        tfbackdoor.scan(model, (IMAGES, LABELS))


def _in_precision(classifier, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = _network()
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(classifier.get_weights())
    return model


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_half_precision_scores_are_compared_in_float32(digits, policy):
    model = _in_precision(digits, policy)
    scores = tfbackdoor.evaluate(model, TEST)
    expected = _accuracy(digits, *TEST)
    assert scores.clean_accuracy.value == pytest.approx(expected, abs=0.02)
    _, report = tfbackdoor.purify(model, (IMAGES, LABELS), **_QUICK)
    assert report.scores["before"].clean_accuracy.value > 0.8


def test_float16_weights_are_scored_and_not_trained(digits):
    model = _in_precision(digits, "float16")
    scores = tfbackdoor.evaluate(model, TEST)
    expected = _accuracy(digits, *TEST)
    assert scores.clean_accuracy.value == pytest.approx(expected, abs=0.02)
    with pytest.raises(ValueError, match="mixed_float16"):
        tfbackdoor.purify(model, (IMAGES, LABELS), **_QUICK)


@pytest.mark.parametrize("kind", ["anp", "nad"])
def test_fit_notices_images_of_another_range(levels, kind):
    classifier, _ = levels
    fresh = keras.models.clone_model(classifier)
    fresh.set_weights(classifier.get_weights())
    if kind == "anp":
        model = tfbackdoor.AdversarialNeuronPruning(fresh)
    else:
        model = tfbackdoor.NeuralAttentionDistillation(fresh)
    model.compile()
    with pytest.raises(ValueError, match=r"pixels as \[0, 255\]"):
        model.fit(_dataset().batch(64), verbose=0)


def test_facts_are_found_once_and_leak_nothing(digits):
    model = keras.models.clone_model(digits)
    known = facts.facts_of(model)
    assert facts.facts_of(model) is known
    assert (known.image_shape, known.classes) == ((16, 16, 1), 10)
    assert not known.gives_logits and known.input_dtype == "float32"
    first, _ = tfbackdoor.find_neurons(model)
    again, _ = tfbackdoor.find_neurons(model)
    assert [a is b for a, b in zip(first, again)] == [True] * len(first)
    gone = weakref.ref(model)
    del model, known, first, again
    gc.collect()
    assert gone() is None


def test_facts_follow_a_model_that_changes(digits):
    model = keras.models.clone_model(digits)
    assert not facts.facts_of(model).gives_logits
    model.layers[-1].activation = keras.activations.linear
    assert facts.facts_of(model).gives_logits


def test_a_search_without_any_trigger_is_not_clean():
    patches = np.ones((6, 2, 2, 1))
    triggers = tfbackdoor.defenses.InvertedTriggers(
        np.arange(6), patches, patches, np.zeros(6)
    )
    found = tfbackdoor.Scan(np.zeros(6), triggers, np.full(6, 1 / 6), 0.2)
    assert found.verdict == "suspicious"
    assert "no trigger" in str(found)


def _with_weights(classifier, change):
    changed = keras.models.clone_model(classifier)
    changed.set_weights(list(map(change, classifier.get_weights())))
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: np.where(w == w.max(), np.nan, w),
            "weights that .*'conv2d",
        ),
        (lambda w: w * np.inf, "weights that are finite"),
        (lambda w: w * np.float32(1e30), "scores that are finite.* 32 of 32"),
    ],
)
@pytest.mark.parametrize("entry", ["evaluate", "scan", "defend", "purify"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_classifier_of_no_numbers_is_refused(digits, change, message, entry):
    model = _with_weights(digits, change)
    call = {
        "evaluate": tfbackdoor.evaluate,
        "scan": tfbackdoor.scan,
        "defend": lambda *given, **s: tfbackdoor.defend("anp", *given, **s),
        "purify": tfbackdoor.purify,
    }[entry]
    with pytest.raises(ValueError, match=f"`classifier` must .*{message}"):
        call(model, (IMAGES, LABELS), preprocess="[0, 1]")


@pytest.mark.parametrize(
    "method",
    [
        tfbackdoor.AdversarialNeuronPruning,
        tfbackdoor.NeuralAttentionDistillation,
    ],
)
def test_a_method_refuses_weights_of_no_numbers_before_its_first_step(
    digits, method
):
    fit = method(_with_weights(digits, lambda w: w * np.nan))
    fit.compile()
    with pytest.raises(ValueError, match="weights that are finite"):
        fit.fit(IMAGES, LABELS)


def test_scores_of_float64_become_float32_and_come_back(digits):
    model = _in_precision(digits, "float64")
    scores = tfbackdoor.evaluate(model, TEST)
    expected = _accuracy(digits, *TEST)
    assert scores.clean_accuracy.value == pytest.approx(expected, abs=0.003)
    admitted = door.admit(model, (IMAGES, LABELS), copyable=True)
    assert admitted.classifier.output.dtype == "float32"
    copied = admitted.restore(tfbackdoor.copy_classifier(admitted.classifier))
    assert copied.output.dtype == model.output.dtype == "float64"
    assert {weight.dtype for weight in copied.weights} == {"float64"}
    tfbackdoor.scan(model, (IMAGES, LABELS), steps=1, verbose=0)
