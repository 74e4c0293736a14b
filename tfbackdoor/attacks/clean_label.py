"""The clean-label attack: no label changes.

Images of the target class are moved away from it before they are stamped, so
that the trigger is the easier thing to learn.
"""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import sampling
from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view


class LinfPerturbation:
    """Moves images away from their labels, by projected gradient ascent.

    `x_{k+1} = clip(x_k + step_size * sign(grad CE(f(x_k), y)))` onto the ball
    `|x - x_0| <= epsilon` and onto [0, 1] (Madry et al. 2018, eq. 3), from a
    uniform start in the ball. All images of a batch at once; no variable of
    the classifier changes.

    Args:
        classifier: built Keras classifier, logits or softmax out.
        epsilon: float >= 0, radius of the ball in units of the image range
            (16/255 in ANP's and NAD's clean-label attack).
        steps: int > 0.
        step_size: float > 0, default `2.5 * epsilon / steps`: enough to cross
            the ball from any start.
        precision: of the forward passes, see `ComputeView`.

    Call arguments:
        images: float32 in [0, 1], `(batch, height, width, channels)`.
        labels: integers `(batch,)`.
        seed: ints `(2,)`, of the start.

    Returns:
        The perturbed images.

    Reference: Madry et al., Towards Deep Learning Models Resistant to
    Adversarial Attacks, ICLR 2018; Turner et al., Label-Consistent Backdoor
    Attacks, 2019.
    """

    def __init__(
        self,
        classifier: keras.Model,
        *,
        epsilon: float = 16 / 255,
        steps: int = 20,
        step_size: float | None = None,
        precision: str | None = None,
    ):
        classifiers.check_classifier(classifier)
        if epsilon < 0.0 or steps < 1:
            raise ValueError(
                "`epsilon` must be >= 0 and `steps` at least 1. "
                f"Received: epsilon={epsilon}, steps={steps}"
            )
        self._view = compute_view.ComputeView(classifier, precision)
        self._gives_logits = classifiers.gives_logits(classifier)
        self.epsilon = epsilon
        self.steps = steps
        self.step_size = step_size or 2.5 * epsilon / steps

    def __call__(self, images, labels, seed):
        low = tf.maximum(images - self.epsilon, 0.0)
        high = tf.minimum(images + self.epsilon, 1.0)
        noise = tf.random.stateless_uniform(
            tf.shape(images), seed, -self.epsilon, self.epsilon
        )
        start = tf.clip_by_value(images + noise, low, high)

        def ascend(moved):
            moved += self.step_size * tf.sign(self._gradient(moved, labels))
            return [tf.clip_by_value(moved, low, high)]

        (perturbed,) = tf.while_loop(
            lambda _: True, ascend, [start], maximum_iterations=self.steps
        )
        return perturbed

    def _gradient(self, images, labels):
        """Of the cross-entropy, up to a positive factor an image."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            scores, _ = self._view(images, training=False)
            losses = keras.ops.sparse_categorical_crossentropy(
                labels, scores, from_logits=self._gives_logits
            )
        return tape.gradient(losses, images)


def perturb_images(
    images: tf.data.Dataset,
    indices: np.ndarray,
    perturbation: LinfPerturbation,
    *,
    batch_size: int = 256,
    seed: int = 0,
) -> tf.data.Dataset:
    """The data set with its images at `indices` perturbed.

    Args:
        images: unbatched data set of `(image, label)` of known cardinality.
        indices: integer array, sorted, of distinct positions.
        perturbation: what to do to them.
        batch_size: int > 0.
        seed: int, of the starts.

    Returns:
        The same labels and, elsewhere, the same images, in the same order.
    """
    chosen = sampling.select(images, indices).batch(batch_size)
    perturb = tf.function(perturbation, reduce_retracing=True)
    perturbed = tf.concat(
        [
            perturb(batch, labels, tf.constant([seed, number]))
            for number, (batch, labels) in enumerate(chosen)
        ],
        axis=0,
    )
    places = np.full(sampling.cardinality(images), -1)
    places[indices] = np.arange(len(indices))
    places = tf.constant(places)

    def replace(index, element):
        image, label = element
        place = places[index]
        image = tf.cond(
            place < 0,
            lambda: image,
            lambda: tf.ensure_shape(perturbed[place], image.shape),
        )
        return image, label

    return images.enumerate().map(replace, num_parallel_calls=tf.data.AUTOTUNE)


def train_clean_label(run):
    """Training on stamped images that were perturbed before."""
    trigger = run.make_trigger(run.image_shape)
    _, poisoning = run.poison(run.images, trigger)
    perturbed = perturb_images(
        run.images,
        poisoning.indices,
        LinfPerturbation(run.clean(), precision=run.settings.precision),
        seed=run.settings.seed,
    )
    # The same labels and seed: the same images as were perturbed.
    poisoned, poisoning = run.poison(perturbed, trigger)
    return run.train_fresh(poisoned), poisoning
