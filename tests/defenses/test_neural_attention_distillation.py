import contextlib

import keras
import numpy as np
import pytest
import specimens
import tensorflow as tf

import tfbackdoor

_STEPS = 3
_TAPS = ("group1", "group2", "group3")


def _golden_classifier(files, prefix):
    classifier = tfbackdoor.models.wide_resnet((32, 32, 3), 10)
    arrays = {
        name.removeprefix(f"{prefix}/"): array
        for name, array in files.items()
        if name.startswith(f"{prefix}/")
    }
    tfbackdoor.load_pytorch_weights(classifier, arrays)
    return classifier


@pytest.fixture
def distilled(golden, float64):
    """Three golden steps: files, student, logs of each step."""
    files = golden("nad")
    student = _golden_classifier(files, "student")
    teacher = _golden_classifier(files, "teacher")
    nad = tfbackdoor.NeuralAttentionDistillation(student, teacher, taps=_TAPS)
    nad.compile()
    images = files["images"].astype(float64)
    logs = []
    for _ in range(_STEPS):
        nad.reset_metrics()
        logs.append(
            nad.train_on_batch(images, files["labels"], return_dict=True)
        )
    return files, student, logs


def test_losses_equal_the_authors_algorithm(distilled):
    files, _, logs = distilled
    for step, log in enumerate(logs):
        expected = sum(
            beta * float(files[f"step{step}/attention_loss{tap}"])
            for tap, beta in ((1, 500.0), (2, 1000.0), (3, 1000.0))
        )
        assert float(log["attention_loss"]) == pytest.approx(expected, abs=1e-9)
        assert float(log["loss"]) == pytest.approx(
            float(files[f"step{step}/loss"]), abs=1e-9
        )


def test_weights_and_running_statistics_equal_the_authors_algorithm(distilled):
    files, student, _ = distilled
    expected = _golden_classifier(files, "student_after_3_steps")
    for ours, theirs in zip(student.weights, expected.weights):
        # The golden weights are kept in float32.
        np.testing.assert_allclose(
            ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-7
        )


class _Remembered:
    """In place of a teacher's taps: outputs whose attention maps are given.

    Where maps are normalised 1e-6 is added to their norm, which is why these
    outputs are large.
    """

    def __init__(self, maps):
        self._outputs = {
            tap: tf.sqrt(1e6 * values[..., None])
            for tap, values in maps.items()
        }

    @contextlib.contextmanager
    def recording(self):
        yield self._outputs


def test_steps_equal_the_authors_algorithm_in_a_clone_too(golden, float64):
    """As above from `tools/small_golden.py`, whose maps are float32."""
    files, batch = golden("nad_small"), golden("anp")
    student = _golden_classifier(files, "student")
    teacher = tfbackdoor.models.wide_resnet((32, 32, 3), 10)
    nad = tfbackdoor.NeuralAttentionDistillation(student, teacher, taps=_TAPS)
    nad._teacher_taps = _Remembered(
        {
            tap: files[f"attention/teacher{number}"].astype(float64)
            for number, tap in enumerate(_TAPS, start=1)
        }
    )
    nad.compile()
    images = batch["images"].astype(float64)
    for step in range(_STEPS):
        nad.reset_metrics()
        log = nad.train_on_batch(images, batch["labels"], return_dict=True)
        expected = float(files[f"step{step}/loss"])
        assert float(log["loss"]) == pytest.approx(expected, abs=1e-6)
    # What the file leaves out of the student after these steps.
    left_out = {
        f"block3_layer_{block}_conv{number}/kernel"
        for block in (0, 1)
        for number in (1, 2)
    }
    for name in left_out:
        torch_name = name.replace("_", ".").replace("/kernel", ".weight")
        key = f"student_after_3_steps/{torch_name}"
        assert key not in files
        files[key] = files[f"student/{torch_name}"]
    expected = _golden_classifier(files, "student_after_3_steps")
    for ours, theirs in zip(student.weights, expected.weights):
        if ours.path not in left_out:
            np.testing.assert_allclose(
                ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-7
            )


def test_attention_maps_equal_the_authors_algorithm(golden, float64):
    files = golden("nad")
    student = _golden_classifier(files, "student")
    teacher = _golden_classifier(files, "teacher")
    nad = tfbackdoor.NeuralAttentionDistillation(student, teacher, taps=_TAPS)
    images = files["images"].astype(float64)
    with nad._student_taps.recording() as outputs:
        nad.view(images, training=True)
    _, imitated = nad.features(images)
    for name, features in (("student", outputs), ("teacher", imitated)):
        for number, tap in enumerate(_TAPS, start=1):
            maps = tfbackdoor.attention_map(features[tap]).numpy()
            norms = np.linalg.norm(maps, axis=(1, 2), keepdims=True)
            np.testing.assert_allclose(
                maps / (norms + 1e-6),
                files[f"attention/{name}{number}"],
                atol=1e-9,
            )


def _dataset(count=64):
    images = tfbackdoor.from_arrays(*specimens.batch(count))
    return images.batch(16)


def _distil(student, teacher, *, batches=None, **settings):
    nad = tfbackdoor.NeuralAttentionDistillation(student, teacher, **settings)
    nad.compile(tfbackdoor.training.CoupledSGD(0.01))
    history = nad.fit(batches or _dataset(), epochs=2, verbose=0)
    return nad, history.history


@pytest.mark.parametrize(
    "name", ["functional", "sequential_softmax", "nested", "subclassed"]
)
def test_fit_changes_the_student_and_not_the_teacher(name):
    student, teacher = specimens.build(name), specimens.build_teacher(name)
    before = teacher.get_weights()
    initial = student.get_weights()
    _, history = _distil(student, teacher)
    assert np.isfinite(history["loss"]).all()
    for old, new in zip(before, teacher.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert any((a != b).any() for a, b in zip(initial, student.get_weights()))


def test_fit_makes_a_teacher_where_none_is_given():
    student = specimens.build("functional")
    initial = student.get_weights()
    nad, _ = _distil(student, None, teacher_epochs=1)
    assert nad.teacher is not student
    changes = [
        np.abs(old - new).max()
        for old, new in zip(initial, nad.teacher.get_weights())
    ]
    assert max(changes) > 1e-3


def test_arrays_are_fitted_like_data_sets():
    student = specimens.build("functional")
    nad = tfbackdoor.NeuralAttentionDistillation(student, teacher_epochs=1)
    nad.compile(tfbackdoor.training.CoupledSGD(0.01))
    history = nad.fit(*specimens.batch(32), epochs=1, batch_size=8, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert nad.optimizer.iterations == 4


def test_beta_zero_is_plain_fine_tuning():
    weights = []
    for betas in ((0.0, 0.0), None):
        student = specimens.build("functional")
        if betas is None:
            training = tfbackdoor.training.ClassifierTraining(student)
        else:
            teacher = specimens.build("functional")
            training = tfbackdoor.NeuralAttentionDistillation(
                student, teacher, betas=betas
            )
        training.compile(tfbackdoor.training.CoupledSGD(0.01))
        training.train_on_batch(*specimens.batch())
        weights.append(student.get_weights())
    for ours, theirs in zip(*weights):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_learning_rate_falls_after_every_two_epochs():
    nad = tfbackdoor.NeuralAttentionDistillation(
        specimens.build("functional"), specimens.build_teacher()
    )
    nad.compile()
    history = nad.fit(_dataset(16), epochs=5, verbose=0)
    assert history.history["learning_rate"] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001]
    )


def test_two_replicas_learn_the_weights_of_one(two_replicas):
    weights = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            student = specimens.build("functional")
            _distil(student, specimens.build_teacher(), betas=(5.0, 10.0))
        weights.append(student.get_weights())
    for one, two in zip(*weights):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_bfloat16_stays_near_float32():
    losses = []
    for precision in (None, "mixed_bfloat16"):
        student = specimens.build("functional")
        _, history = _distil(
            student, specimens.build_teacher(), precision=precision
        )
        assert {w.dtype for w in student.weights} == {"float32"}
        losses.append(history["loss"][0])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_a_teacher_that_equals_the_student_is_refused():
    with pytest.raises(ValueError, match="`teacher` must differ"):
        _distil(specimens.build("functional"), specimens.build("functional"))


def test_config_round_trip():
    nad = tfbackdoor.NeuralAttentionDistillation(
        specimens.build("functional"),
        specimens.build("functional"),
        taps=["relu", "relu3"],
        betas=[1.0, 2.0],
        power=3.0,
    )
    copy = tfbackdoor.NeuralAttentionDistillation.from_config(nad.get_config())
    assert (copy.taps, copy.betas) == (("relu", "relu3"), (1.0, 2.0))
    assert copy.power == 3.0
    assert isinstance(copy.teacher, keras.Model)


@pytest.mark.parametrize(
    "settings", [{"taps": ["nowhere"]}, {"betas": [1.0]}, {"power": 0.0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        tfbackdoor.NeuralAttentionDistillation(
            specimens.build("functional"),
            specimens.build("functional"),
            **settings,
        )


def test_a_teacher_of_another_architecture_is_refused():
    with pytest.raises(ValueError, match="`taps`"):
        tfbackdoor.NeuralAttentionDistillation(
            specimens.build("functional"), specimens.build("nested")
        )
