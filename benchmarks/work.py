"""The pieces of tfbackdoor's work that are timed, on random images."""

import functools

import keras
import numpy as np
import tensorflow as tf

import tfbackdoor

_SHAPE, _CLASSES = (32, 32, 3), 10
_WIDE_RESNET_TAPS = ("group1", "group2", "group3")


def _images(count, classifier=None):
    """Random images, and labels or what a classifier answers.

    A `fit` tries other ranges of pixels where answers are wrong, as those of a
    trained classifier are not.
    """
    rng = np.random.default_rng(0)
    images = rng.random((count, *_SHAPE), "float32")
    labels = rng.integers(_CLASSES, size=count)
    if classifier is not None:
        scores = classifier.predict(images, batch_size=256, verbose=0)
        labels = np.argmax(scores, axis=1)
    return tfbackdoor.in_memory(tfbackdoor.from_arrays(images, labels))


def anp_batches(steps, batch_size=128, classifier=None):
    """Augmented batches drawn with replacement from 500 images, as ANP's."""
    images = _images(500, classifier)
    return tfbackdoor.augment(
        tfbackdoor.training_batches(images, batch_size, replacement=True)
    ).take(steps)


def nad_batches(steps, batch_size=64, classifier=None):
    """An epoch of augmented batches, as NAD's."""
    images = _images(steps * batch_size, classifier)
    return tfbackdoor.augment(
        tfbackdoor.training_batches(images, batch_size),
        cutout_holes=1,
    )


def test_batches(count, batch_size=256):
    """An epoch of batches as evaluation reads them."""
    return _images(count).batch(batch_size)


def anp_iterations(count, *, width=1.0, precision="float32"):
    """A function that makes `count` ANP iterations on a ResNet-18."""
    classifier = tfbackdoor.models.resnet18(_SHAPE, _CLASSES, width=width)
    anp = tfbackdoor.AdversarialNeuronPruning(classifier, precision=precision)
    anp.compile()
    batches = anp_batches(count, classifier=classifier)
    return functools.partial(anp.fit, batches, verbose=0)


def convolutions(count, *, width=1.0, precision="float32", batch_size=128):
    """A function that makes the convolutions of `count` ANP iterations alone.

    An iteration takes each convolution forwards and, but for the first, back
    to its input, three times.
    """
    classifier = tfbackdoor.models.resnet18(_SHAPE, _CLASSES, width=width)
    dtype = "bfloat16" if precision == "mixed_bfloat16" else "float32"

    def images_like(tensor):
        return tf.ones((batch_size, *tensor.shape[1:]), dtype)

    layers = [
        (
            {"strides": layer.strides, "padding": layer.padding.upper()},
            tf.cast(layer.kernel.value, dtype),
            images_like(layer.input),
            images_like(layer.output),
        )
        for layer in classifier._flatten_layers()
        if isinstance(layer, keras.layers.Conv2D)
    ]

    @tf.function
    def forwards_and_back():
        made = []
        for number, (how, kernel, inputs, outputs) in enumerate(layers):
            made.append(tf.nn.conv2d(inputs, kernel, **how))
            if number:
                made.append(
                    tf.nn.conv2d_transpose(outputs, kernel, inputs.shape, **how)
                )
        return [tensor[0, 0, 0, 0] for tensor in made]

    def iterations():
        for _ in range(3 * count):
            forwards_and_back()

    return iterations


def training_steps(count, *, width=1.0, precision="float32"):
    """A function that makes `count` ordinary steps of the same network."""
    classifier = tfbackdoor.models.resnet18(_SHAPE, _CLASSES, width=width)
    training = tfbackdoor.training.ClassifierTraining(
        classifier, precision=precision
    )
    training.compile(tfbackdoor.training.CoupledSGD(0.01))
    return functools.partial(training.fit, anp_batches(count), verbose=0)


def nad_steps(count, *, epochs=1, precision="float32"):
    """A function that makes `count` NAD steps an epoch on WRN-16-1."""
    student, teacher = (
        tfbackdoor.models.wide_resnet(_SHAPE, _CLASSES, depth=16)
        for _ in range(2)
    )
    nad = tfbackdoor.NeuralAttentionDistillation(
        student, teacher, taps=_WIDE_RESNET_TAPS, precision=precision
    )
    nad.compile()
    batches = nad_batches(count, classifier=student)
    return functools.partial(
        nad.fit, batches, epochs=epochs, decay_factor=1.0, verbose=0
    )


def evaluation(count, *, width=1.0):
    """A function that scores a ResNet-18 on `count` images."""
    classifier = tfbackdoor.models.resnet18(_SHAPE, _CLASSES, width=width)
    return functools.partial(tfbackdoor.evaluate, classifier, _images(count))
