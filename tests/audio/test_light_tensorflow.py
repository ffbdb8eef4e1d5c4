"""The light TensorFlow gives the same bytes, stays light, and becomes whole when it has to.

In processes of their own, since this one has all of TensorFlow.
"""

import json
import subprocess
import sys
import textwrap

import pytest

from playlist_pretrain.audio.light_tensorflow import light_tensorflow

pytestmark = pytest.mark.slow

LOG_MELS = """
    import hashlib, json
    import numpy as np
    from playlist_pretrain.audio.front_end import PRESETS

    def log_mels():
        import tensorflow as tf

        digests = {}
        for name, preset in PRESETS.items():
            signature = [tf.TensorSpec([None], tf.float32)]
            compiled = tf.function(preset.log_mel, input_signature=signature, autograph=False)
            for seed, samples in enumerate((0, 1, 511, 12_345, 480_000)):
                rng = np.random.default_rng(seed)
                waveform = rng.normal(0, 0.1, samples).astype(np.float32)
                for kind, log_mel in (("graph", compiled), ("eager", preset.log_mel)):
                    mel = log_mel(waveform).numpy()
                    digests[f"{name} {samples} {kind}"] = hashlib.sha256(mel).hexdigest()
        return digests
"""
LIGHT = """
    import sys
    from playlist_pretrain.audio import light_tensorflow as module
"""


def said(*parts):
    """What a program prints, as JSON; it must print no word else."""
    program = "\n".join(map(textwrap.dedent, parts))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole():
    """Digests of log-mels by all of TensorFlow."""
    digests, modules = said(
        LOG_MELS, "import sys, tensorflow; print(json.dumps([log_mels(), list(sys.modules)]))"
    )
    assert "tensorflow._api.v2.math" in modules
    return digests


def test_it_gives_the_same_bytes_and_stays_light(whole):
    digests, names, modules = said(
        LOG_MELS,
        LIGHT,
        """
        tf = module.light_tensorflow()
        assert module.light_tensorflow() is tf is sys.modules["tensorflow"]
        print(json.dumps([log_mels(), list(vars(tf)), list(sys.modules)]))
        """,
    )
    assert digests == whole
    assert "keras" not in names
    assert not {"tensorflow._api", "keras", "tensorboard", "pandas"}.intersection(modules)


@pytest.mark.parametrize(
    "asked",
    [
        "tf.Variable(2.0)",
        "tf.config.threading.get_intra_op_parallelism_threads()",
        "from tensorflow import keras",
    ],
)
def test_any_other_name_makes_it_whole(asked, whole):
    first, asked_again, loss, last = said(
        LOG_MELS,
        LIGHT,
        "tf = module.light_tensorflow(); first = log_mels()",
        asked,
        """
        import tensorflow
        import tensorflow.keras.layers
        assert tensorflow is tf
        again = [tf.math.__name__, tf.keras.layers.Dense.__name__, tf.__version__[:2]]
        model = tf.keras.Sequential([tf.keras.layers.Dense(1, kernel_initializer="zeros")])
        model.compile("sgd", "mse")
        history = model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0).history
        print(json.dumps([first, again, history["loss"], log_mels()]))
        """,
    )
    assert first == last == whole
    assert asked_again == ["tensorflow._api.v2.math", "Dense", "2."]
    assert loss == [1.0]


@pytest.mark.parametrize(
    "broken",
    [
        # the last name of all, and a module that is not where it was
        'module._NAMES = module._NAMES.replace("while_loop_v2", "while_loop_v3")',
        'module._NAMES = module._NAMES.replace("ops.signal.fft_ops", "ops.signal.fft_ops_v2")',
    ],
)
def test_without_one_of_its_names_it_is_whole_from_the_start(broken, whole):
    digests, names = said(
        LOG_MELS,
        LIGHT,
        broken,
        """
        tf = module.light_tensorflow()
        print(json.dumps([log_mels(), list(vars(tf))]))
        """,
    )
    assert digests == whole
    assert {"keras", "data", "__version__"} <= set(names)


def test_what_is_imported_already_stays():
    import tensorflow as tf

    assert light_tensorflow() is tf
    assert tf.keras.__name__
