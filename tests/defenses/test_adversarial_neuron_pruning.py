import functools

import keras
import numpy as np
import pytest
import specimens
import tensorflow as tf

import tfbackdoor
from tfbackdoor.network import masking

_STEPS = 3
# float32 cannot tell the sign of smaller gradients; the largest is 0.06.
_SMALLEST_SIGNED_GRADIENT = 2e-4


def _golden_classifier(files):
    classifier = tfbackdoor.models.wide_resnet((32, 32, 3), 10)
    tfbackdoor.load_pytorch_weights(
        classifier,
        {
            name.removeprefix("weights/"): array
            for name, array in files.items()
            if name.startswith("weights/")
        },
    )
    return classifier


class _GoldenPruning(tfbackdoor.AdversarialNeuronPruning):
    """Starts from the golden perturbation of a step, not a random one."""

    def golden(self, files, step, *parts):
        """Golden arrays of one step, joined in the order of the neurons."""
        torch_names = {
            name.split("/")[1].replace(".", "_"): name.split("/")[1]
            for name in files
            if name.startswith("step0/") and name.count("/") == 2
        }
        dtype = self.masks[0].dtype
        return np.concatenate(
            [
                files[f"step{step}/{torch_names[group.layer]}/{part}"]
                for group in self.neurons
                for part in parts
            ]
        ).astype(dtype)

    def start_at(self, files, step):
        self.start = self.golden(files, step, "noise_init", "noise_bias_init")

    def initial_perturbation(self):
        return tf.constant(self.start)


def _golden_step(anp, files, step, batch):
    """One training step; the perturbation, its gradient and the logs."""
    anp.start_at(files, step)
    perturbation = anp.initial_perturbation()
    _, (gradient,), _ = anp._differentiate(
        (*batch, None), perturbation, [perturbation]
    )
    ascended = anp.ascend((*batch, None), perturbation)
    anp.reset_metrics()
    logs = anp.train_on_batch(*batch, return_dict=True)
    return ascended.numpy(), gradient.numpy(), logs


def test_equals_the_authors_algorithm_in_float64(golden, float64):
    files = golden("anp")
    classifier = _golden_classifier(files)
    before = classifier.get_weights()
    anp = _GoldenPruning(classifier)
    anp.compile(run_eagerly=True)
    batch = files["images"].astype(float64), files["labels"]
    for step in range(_STEPS):
        noise, gradient, logs = _golden_step(anp, files, step, batch)
        expected = {
            part: anp.golden(files, step, part, f"{part[:-5]}noise_bias")
            for part in ("noise", "grad_noise")
        }
        np.testing.assert_allclose(noise, expected["noise"], atol=1e-9)
        np.testing.assert_allclose(gradient, expected["grad_noise"], atol=1e-9)
        for name in ("clean", "perturbed"):
            assert float(logs[f"{name}_loss"]) == pytest.approx(
                float(files[f"step{step}/loss_{name}"]), abs=1e-9
            )
        masks = np.concatenate(list(anp.neuron_masks().values()))
        np.testing.assert_allclose(
            masks, anp.golden(files, step, "mask"), atol=1e-9
        )
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


def _fixed(perturbation, batch, start):
    return tf.constant(perturbation)


def _golden_states(files):
    """Masks and velocities before each golden step, from a float64 run."""
    anp = _GoldenPruning(_golden_classifier(files))
    anp.compile(run_eagerly=True)
    anp.optimizer.build(anp.trainable_variables)
    batch = files["images"].astype("float64"), files["labels"]
    states = []
    for step in range(_STEPS):
        variables = [*anp.trainable_variables, *anp.optimizer.velocities]
        states.append([variable.numpy() for variable in variables])
        _golden_step(anp, files, step, batch)
    return states


@pytest.fixture
def golden_states(golden, float64):
    return _golden_states(golden("anp"))


def test_each_step_equals_the_authors_algorithm_in_float32(
    golden, golden_states
):
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    files = golden("anp")
    anp = _GoldenPruning(_golden_classifier(files))
    anp.compile(run_eagerly=True)
    anp.optimizer.build(anp.trainable_variables)
    batch = files["images"], files["labels"]
    for step, state in enumerate(golden_states):
        variables = [*anp.trainable_variables, *anp.optimizer.velocities]
        for variable, value in zip(variables, state):
            variable.assign(value)
        anp.start_at(files, step)
        noise = anp.ascend((*batch, None), anp.initial_perturbation()).numpy()
        expected = anp.golden(files, step, "noise", "noise_bias")
        gradient = anp.golden(files, step, "grad_noise", "grad_noise_bias")
        signed = np.abs(gradient) > _SMALLEST_SIGNED_GRADIENT
        assert signed.mean() > 0.7
        np.testing.assert_allclose(noise[signed], expected[signed], atol=1e-4)
        anp.ascend = functools.partial(_fixed, expected)
        anp.reset_metrics()
        logs = anp.train_on_batch(*batch, return_dict=True)
        del anp.ascend
        for name in ("clean", "perturbed"):
            assert float(logs[f"{name}_loss"]) == pytest.approx(
                float(files[f"step{step}/loss_{name}"]), abs=1e-4
            )
        masks = np.concatenate(list(anp.neuron_masks().values()))
        errors = np.abs(masks - anp.golden(files, step, "mask"))
        # Rounding moves a few activations across the kink of a ReLU, which
        # shifts the gradient of their neuron by a step, not by an epsilon.
        assert np.mean(errors <= 1e-4) >= 0.99
        assert errors.max() <= 5e-4


def test_pruning_equals_the_authors_algorithm(golden, float64):
    files = golden("anp")
    classifier = _golden_classifier(files)
    masks = {
        name.split("/")[1].replace(".", "_"): mask
        for name, mask in files.items()
        if name.startswith("prune/") and name.endswith("/mask")
    }
    tfbackdoor.prune_neurons(classifier, masks, threshold=0.2)
    logits = classifier(files["images"].astype(float64), training=False)
    np.testing.assert_allclose(
        logits, files["prune/logits_threshold_0.2"], atol=1e-9
    )


def _fitted(classifier, batches=4, **settings):
    anp = tfbackdoor.AdversarialNeuronPruning(classifier, **settings)
    anp.compile()
    images, labels = specimens.batch(16 * batches)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(16)
    history = anp.fit(dataset, verbose=0)
    return anp, history


@pytest.mark.parametrize("name", specimens.NAMES)
def test_fit_moves_the_masks_and_no_variable_of_the_classifier(name):
    classifier = specimens.build(name)
    before = classifier.get_weights()
    anp, history = _fitted(classifier)
    masks = np.concatenate(list(anp.neuron_masks().values()))
    assert masks.min() >= 0.0 and masks.max() <= 1.0
    assert masks.min() < 0.999
    assert np.isfinite(history.history["loss"][0])
    for old, new in zip(before, classifier.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_masks_are_averaged_over_the_steps_after_the_first_ones():
    anp = tfbackdoor.AdversarialNeuronPruning(
        specimens.build("functional"), average_after=2
    )
    anp.compile()
    masks, means = [], []
    for _ in range(5):
        anp.train_on_batch(*specimens.batch())
        masks.append([m.numpy() for m in anp.trainable_variables])
        means.append(list(anp.neuron_masks().values()))
    for last, mean in zip(masks[1], means[1]):
        np.testing.assert_array_equal(mean, last)
    for *averaged, mean in zip(*masks[2:], means[-1]):
        expected = np.mean(averaged, axis=0)
        np.testing.assert_allclose(mean, expected, atol=1e-6)
        assert np.any(mean != averaged[-1])
    assert anp.get_config()["average_after"] == 2
    with pytest.raises(AttributeError):  # No means are held without it.
        anp.average_after = None


def test_epsilon_zero_perturbs_nothing():
    _, history = _fitted(specimens.build("functional"), epsilon=0.0)
    logs = history.history
    assert logs["perturbed_loss"] == pytest.approx(logs["clean_loss"])


def test_the_perturbation_raises_the_loss_and_steps_stay_in_reach():
    anp = tfbackdoor.AdversarialNeuronPruning(
        specimens.build("functional"), epsilon=0.2, steps=4
    )
    anp.compile()
    batch = (*specimens.batch(), None)
    start = anp.initial_perturbation()
    end = anp.ascend(batch, start)
    at_start, at_end = (
        anp._differentiate(batch, p, [])[0] for p in (start, end)
    )
    assert float(at_end) > float(at_start)
    assert np.abs(start).max() <= 0.2
    # Four steps of epsilon / 4 move an element by epsilon at most.
    assert np.abs(end - start).max() <= 0.2 + 1e-6


def test_loss_is_the_trade_off_of_both():
    _, history = _fitted(specimens.build("functional"), alpha=0.3)
    logs = {name: values[0] for name, values in history.history.items()}
    expected = 0.3 * logs["clean_loss"] + 0.7 * logs["perturbed_loss"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def _logs(anp, **settings):
    """The losses of a first step, after `settings` are set."""
    for name, value in settings.items():
        setattr(anp, name, value)
    anp.reset_metrics()
    anp.optimizer.iterations.assign(0)
    logs = anp.train_on_batch(*specimens.batch(), return_dict=True)
    return {name: float(value) for name, value in logs.items()}


@pytest.mark.parametrize(
    "settings", [{"epsilon": 0.1, "alpha": 0.7}, {"steps": 2, "seed": 3}]
)
def test_settings_are_followed_after_a_compiled_step(settings):
    anp, fresh = (
        tfbackdoor.AdversarialNeuronPruning(
            specimens.build("without_normalisation"), **given
        )
        for given in ({}, settings)
    )
    for model in (anp, fresh):
        model.compile(tfbackdoor.training.CoupledSGD(0.0))
    before = _logs(anp)
    expected = _logs(fresh)
    assert _logs(anp, **settings) == pytest.approx(expected, rel=1e-5)
    assert abs(before["loss"] - expected["loss"]) > 1e-3 * expected["loss"]


def test_settings_out_of_range_are_refused_later_too():
    anp = tfbackdoor.AdversarialNeuronPruning(
        specimens.build("without_normalisation")
    )
    for name, value in (("epsilon", -1.0), ("alpha", 2.0), ("steps", 0)):
        with pytest.raises(ValueError, match=f"`{name}`"):
            setattr(anp, name, value)
    assert (anp.epsilon, anp.alpha, anp.steps) == (0.4, 0.2, 1)


def test_two_replicas_learn_the_masks_of_one(two_replicas):
    masks = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            anp, _ = _fitted(specimens.build("functional"))
        masks.append(np.concatenate(list(anp.neuron_masks().values())))
    np.testing.assert_allclose(masks[0], masks[1], atol=1e-5)


class _FixedStart(tfbackdoor.AdversarialNeuronPruning):
    """Starts from one perturbation: XLA draws other random numbers."""

    def initial_perturbation(self):
        size = sum(masking.perturbation_sizes(self.neurons))
        return tf.linspace(-self.epsilon, self.epsilon, size)


def test_compiled_by_xla_learns_the_same_masks():
    masks = []
    for jit_compile in (False, True):
        anp = _FixedStart(specimens.build("functional"))
        anp.compile(jit_compile=jit_compile)
        anp.train_on_batch(*specimens.batch())
        masks.append(np.concatenate(list(anp.neuron_masks().values())))
    np.testing.assert_allclose(masks[0], masks[1], atol=1e-5)


def test_bfloat16_keeps_masks_and_losses_in_float32():
    anp, history = _fitted(
        specimens.build("functional"), precision="mixed_bfloat16"
    )
    assert {mask.dtype for mask in anp.masks} == {"float32"}
    _, full_history = _fitted(specimens.build("functional"))
    assert history.history["loss"] == pytest.approx(
        full_history.history["loss"], rel=0.02
    )


def test_frozen_layers_are_masked_by_batch_statistics_too():
    frozen = specimens.build("functional")
    frozen.trainable = False
    masks = [
        np.concatenate(list(_fitted(model)[0].neuron_masks().values()))
        for model in (specimens.build("functional"), frozen)
    ]
    np.testing.assert_allclose(masks[0], masks[1], atol=1e-6)


def test_config_round_trip():
    anp = tfbackdoor.AdversarialNeuronPruning(
        specimens.build("functional"), epsilon=0.3, alpha=0.1, steps=2, seed=5
    )
    copy = tfbackdoor.AdversarialNeuronPruning.from_config(anp.get_config())
    settings = ("epsilon", "alpha", "steps", "seed", "precision")
    assert [getattr(copy, s) for s in settings] == [0.3, 0.1, 2, 5, None]
    assert copy.neuron_masks().keys() == anp.neuron_masks().keys()


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": 1.5},
        {"epsilon": -0.1},
        {"steps": 0},
        {"average_after": -1},
        {"precision": "float8"},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        tfbackdoor.AdversarialNeuronPruning(
            specimens.build("functional"), **settings
        )


def test_a_loss_that_is_not_finite_ends_with_one_sentence():
    classifier = specimens.build("functional")
    head = classifier.get_layer("head")
    ruin = keras.callbacks.LambdaCallback(
        on_train_begin=lambda _: head.bias.assign([np.nan] * 4)
    )
    anp = tfbackdoor.AdversarialNeuronPruning(classifier)
    anp.compile()
    with pytest.raises(ValueError, match="loss must stay finite"):
        anp.fit(
            *specimens.batch(),
            verbose=0,
            callbacks=[ruin, tfbackdoor.training.StopOnNaN()],
        )


def test_dropout_draws_anew_at_each_step():
    classifier = keras.Sequential(
        [
            keras.Input(specimens.IMAGE_SHAPE),
            keras.layers.Conv2D(6, 3),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(specimens.CLASSES),
        ]
    )
    anp = tfbackdoor.AdversarialNeuronPruning(classifier, epsilon=0.0)
    anp.compile(tfbackdoor.training.CoupledSGD(0.0))
    losses = []
    for _ in range(2):
        anp.reset_metrics()
        logs = anp.train_on_batch(*specimens.batch(), return_dict=True)
        losses.append(float(logs["loss"]))
    assert abs(losses[1] - losses[0]) > 1e-4


def test_masks_count_as_the_only_weights():
    anp = tfbackdoor.AdversarialNeuronPruning(specimens.build("functional"))
    assert anp.count_params() == 6 + 6 + 8
    assert isinstance(anp, keras.Model)
    assert sum(masking.perturbation_sizes(anp.neurons)) == 2 * 20
