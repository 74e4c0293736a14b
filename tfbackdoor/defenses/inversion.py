"""Trigger inversion: the smallest patch that turns all images to a class."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import generators
from tfbackdoor.data import class_numbers
from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view
from tfbackdoor.network import devices
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers
from tfbackdoor.training import trainer

_WANTED_SUCCESS = 0.95
_PENALTY_STEP = 0.1
_KEPT_OF_MEAN = 0.97
_MASK_START = -2.0
_LEAST_SHARE = 1e-3
_BLOB_HEIGHT = 2.0
_BLOB_RADIUS = 0.1


@keras.saving.register_keras_serializable("tfbackdoor")
class TriggerInversion(trainer.Trainer):
    """Searches, for each target, the smallest patch that turns images to it.

    `min over mask, pattern of CE(f(x * (1 - mask) + mask * pattern), target) +
    penalty * sum(mask)` (Wang et al. 2019, eq. 3), all targets at once. The
    penalty of a trigger grows while it turns 95 % of the images and shrinks
    while it does not. The class that a backdoor targets needs a far
    smaller patch than any other. No variable of the classifier changes.

    Args:
        classifier: built Keras classifier, logits or softmax out.
        targets: the classes to search for, one trigger for each entry; a
            class named several times gets several triggers.
        penalty: float >= 0, the penalty at the start; 0 stays 0, which lets
            masks grow up to `max_share`.
        max_share: float in (0, 1], or one a target, the share of the pixels
            that a trigger may replace: larger masks are scaled down to it.
        max_opacity: float in (0, 1], or one a target, the most that a mask
            holds anywhere: below 1 the trigger is a blend.
        seed: int, where the triggers start.
        precision: `"float32"`, `"mixed_bfloat16"`, or None for the
            classifier's own. Triggers and losses stay float32.

    Input shape:
        `(batch, height, width, channels)`, float32 in [0, 1].

    Output shape:
        `(triggers, batch, classes)`, log-probabilities of the stamped images.

    Reference: Wang et al., Neural Cleanse: Identifying and Mitigating
    Backdoor Attacks in Neural Networks, IEEE S&P 2019.
    """

    def __init__(
        self,
        classifier: keras.Model,
        targets,
        *,
        penalty: float = 1e-3,
        max_share: float | Sequence[float] = 1.0,
        max_opacity: float | Sequence[float] = 1.0,
        seed: int = 0,
        precision: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        classifiers.check_classifier(classifier)
        self._classes = classifiers.class_count(classifier)
        self.targets = self._checked(targets)
        self.max_share = self._one_each("max_share", max_share)
        self.max_opacity = self._one_each("max_opacity", max_opacity)
        if penalty < 0.0:
            raise ValueError(
                f"`penalty` must be >= 0. Received: penalty={penalty}"
            )
        self.penalty = penalty
        self.seed = seed
        self.precision = precision
        self._view = compute_view.ComputeView(classifier, precision)
        self._gives_logits = classifiers.gives_logits(classifier)
        self._add_triggers(classifiers.image_shape(classifier))
        self.built = True

    def _checked(self, targets):
        """A list of the targets, if they are classes."""
        targets = [int(target) for target in targets]
        if not targets or not set(targets) <= set(range(self._classes)):
            raise ValueError(
                f"`targets` must be classes, 0 to {self._classes - 1}. "
                f"Received: targets={targets}"
            )
        return targets

    def _one_each(self, name, shares):
        """A list of one share for each target."""
        count, each = len(self.targets), np.ravel(shares)
        if len(each) not in (1, count) or not np.all((each > 0) & (each <= 1)):
            raise ValueError(
                f"`{name}` must lie in (0, 1], one number or one for each of "
                f"{count} targets. Received: {name}={shares}"
            )
        return np.broadcast_to(each, count).tolist()

    def _add_triggers(self, image_shape):
        height, width, _ = image_shape
        count = len(self.targets)
        self.mask_logits = self.add_weight(
            name="mask_logits", shape=(count, height, width, 1)
        )
        self.pattern_logits = self.add_weight(
            name="pattern_logits", shape=(count, *image_shape)
        )
        self.target_classes = self.add_weight(
            name="target_classes",
            shape=(count, 1),
            dtype="int64",
            initializer="zeros",
            trainable=False,
        )
        self.penalties = self.add_weight(
            name="penalties",
            shape=(count,),
            initializer=keras.initializers.Constant(self.penalty),
            trainable=False,
            aggregation="mean",
        )
        self.success = self.add_weight(
            name="success",
            shape=(count,),
            initializer="zeros",
            trainable=False,
            aggregation="mean",
        )
        self.mean_log_sizes = self.add_weight(
            name="mean_log_sizes",
            shape=(count,),
            initializer="zeros",
            trainable=False,
            aggregation="mean",
        )
        self._put_first_triggers()

    def _put_first_triggers(self):
        """Random triggers for the targets, as they are before any search."""
        count, height, width, _ = self.mask_logits.shape
        rng = np.random.default_rng(self.seed)
        self.mask_logits.assign(_blobs(rng, count, height, width))
        self.pattern_logits.assign(rng.normal(size=self.pattern_logits.shape))
        self.target_classes.assign(np.reshape(self.targets, (count, 1)))
        self.penalties.assign(np.full(count, self.penalty))
        self.success.assign(np.zeros(count))
        self.mean_log_sizes.assign(self._log_sizes())

    def _log_sizes(self):
        masks, _ = self.masks_and_patterns()
        return tf.math.log(tf.reduce_sum(masks, [1, 2, 3]))

    def restart(self, targets) -> None:
        """Begins anew for as many other targets, without another trace.

        Args:
            targets: classes, as many as before.
        """
        targets = self._checked(targets)
        if len(targets) != len(self.targets):
            raise ValueError(
                f"`targets` must be {len(self.targets)} classes. "
                f"Received: {len(targets)}"
            )
        self.targets = targets
        self._put_first_triggers()
        if self.optimizer is not None:
            optimizers.restart(self.optimizer)

    def start_from(self, triggers: inverted_triggers.InvertedTriggers) -> None:
        """Puts triggers in place of the first ones, for the same targets."""
        count = len(triggers.targets)
        if triggers.targets.tolist() != self.targets[:count]:
            raise ValueError(
                "`triggers` must be for the first targets, "
                f"{self.targets[:count]}. Received: {triggers.targets.tolist()}"
            )
        for variable, values in (
            (self.mask_logits, triggers.masks),
            (self.pattern_logits, triggers.patterns),
        ):
            start = variable.numpy()
            start[:count] = _logits(values)
            variable.assign(start)
        self.mean_log_sizes.assign(self._log_sizes())

    @property
    def classifier(self) -> keras.Model:
        """The classifier that the triggers are searched for."""
        return self._view.classifier

    def compile(self, optimizer=None, **settings):
        """As Keras' `compile`, with Adam 0.2, betas 0.5 and 0.9."""
        settings.setdefault("jit_compile", devices.default_jit_compile())
        super().compile(
            optimizer or keras.optimizers.Adam(0.2, beta_1=0.5, beta_2=0.9),
            **settings,
        )

    def call(self, inputs, training=False):
        return self._stamped_scores(inputs, *self.masks_and_patterns())

    def _stamped_scores(self, inputs, masks, patterns):
        """Log-probabilities `(triggers, batch, classes)`."""
        stamped = generators.blend(
            inputs[None], patterns[:, None], masks[:, None]
        )
        scores, _ = self._view(
            keras.ops.reshape(stamped, (-1, *inputs.shape[1:])), training=False
        )
        scores = classifiers.log_probabilities(scores, self._gives_logits)
        return keras.ops.reshape(
            scores, (len(self.targets), -1, scores.shape[-1])
        )

    def masks_and_patterns(self):
        """The masks and the patterns of all triggers, in [0, 1]."""
        opacities, shares = (
            keras.ops.reshape(each, (-1, 1, 1, 1))
            for each in (self.max_opacity, self.max_share)
        )
        masks = opacities * keras.ops.sigmoid(self.mask_logits)
        covered = keras.ops.mean(masks, axis=(1, 2, 3), keepdims=True)
        masks *= keras.ops.minimum(1.0, shares / covered)
        return masks, keras.ops.sigmoid(self.pattern_logits)

    def stamp_one_each(self, images, seed):
        """The images, each with a trigger drawn by `seed`, two integers."""
        masks, patterns = self.masks_and_patterns()
        drawn = tf.random.stateless_uniform(
            [tf.shape(images)[0]],
            seed,
            minval=0,
            maxval=len(self.targets),
            dtype=tf.int32,
        )
        masks, patterns = tf.gather(masks, drawn), tf.gather(patterns, drawn)
        return generators.blend(images, patterns, masks)

    def train_step(self, data):
        images, labels, *_ = data
        targets = self.target_classes.value
        labels = class_numbers.of_labels(labels)
        others = tf.cast(labels[None] != targets, tf.float32)
        # Of each trigger's images on all replicas; gradients are added up.
        shares = tf.math.divide_no_nan(
            others,
            classifier_training.sum_over_replicas(tf.reduce_sum(others, 1))[
                :, None
            ],
        )
        triggers = [self.mask_logits, self.pattern_logits]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in triggers])
            masks, patterns = self.masks_and_patterns()
            scores = self._stamped_scores(images, masks, patterns)
            wanted = tf.gather(
                scores, tf.repeat(targets, tf.shape(images)[0], 1), batch_dims=2
            )
            sizes = tf.reduce_sum(masks, [1, 2, 3])
            losses = classifier_training.share_of_replica(
                self.penalties * sizes
            ) - tf.reduce_sum(wanted * shares, 1)
        gradients = tape.gradient(losses, [v.value for v in triggers])
        self.optimizer.apply(gradients, triggers)
        turned = tf.cast(tf.argmax(scores, -1) == targets, tf.float32)
        self._adapt(
            classifier_training.sum_over_replicas(
                tf.reduce_sum(turned * shares, 1)
            )
        )
        return {
            "size": tf.reduce_mean(sizes),
            "loss": tf.reduce_mean(
                classifier_training.sum_over_replicas(losses)
            ),
        }

    def _adapt(self, turned):
        """Follows success and size of each trigger, and moves its penalty."""
        success = 0.8 * self.success + 0.2 * turned
        direction = tf.sign(success - _WANTED_SUCCESS)
        self.success.assign(success)
        self.penalties.assign(
            self.penalties * tf.exp(_PENALTY_STEP * direction)
        )
        self.mean_log_sizes.assign(
            _KEPT_OF_MEAN * self.mean_log_sizes
            + (1.0 - _KEPT_OF_MEAN) * self._log_sizes()
        )

    def triggers(self) -> inverted_triggers.InvertedTriggers:
        """The triggers as they are now."""
        masks, patterns = map(
            keras.ops.convert_to_numpy, self.masks_and_patterns()
        )
        return inverted_triggers.InvertedTriggers(
            np.array(self.targets),
            masks,
            patterns,
            keras.ops.convert_to_numpy(self.success),
            np.exp(keras.ops.convert_to_numpy(self.mean_log_sizes)),
        )

    def get_config(self):
        return {
            **super().get_config(),
            **classifier_training.models_to_config(self, ["classifier"]),
            "targets": self.targets,
            "penalty": self.penalty,
            "max_share": self.max_share,
            "max_opacity": self.max_opacity,
            "seed": self.seed,
            "precision": self.precision,
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **classifier_training.models_from_config(config, ["classifier"])
        )


def _blobs(rng, count, height, width):
    """Mask logits: low everywhere but about a random spot."""
    rows, columns = np.mgrid[:height, :width]
    centres = rng.uniform(size=(2, count, 1, 1)) * [[[[height]]], [[[width]]]]
    squares = (rows - centres[0]) ** 2 + (columns - centres[1]) ** 2
    radius = _BLOB_RADIUS * math.sqrt(height * width)
    blobs = _BLOB_HEIGHT * np.exp(-squares / (2.0 * radius**2)) + _MASK_START
    noise = 0.1 * rng.normal(size=blobs.shape)
    return (blobs + noise)[..., None]


def _logits(shares):
    shares = np.clip(shares, _LEAST_SHARE, 1.0 - _LEAST_SHARE)
    return np.log(shares) - np.log1p(-shares)
