"""Which Keras there is, whatever was imported first; what one stack lacks is said in a sentence."""

import subprocess
import sys
import types
from importlib.metadata import version

import keras as installed_keras
import pytest
import tensorflow as tf

from playlist_pretrain import stack
from playlist_pretrain.errors import CollectionError, ModelError
from playlist_pretrain.models import backbone
from playlist_pretrain.models.contrastive import ContrastiveModel
from playlist_pretrain.models.layers import projector
from playlist_pretrain.models.tagger import tagger

KERAS_3 = version("keras").startswith("3.")
needs_keras_3 = pytest.mark.skipif(not KERAS_3, reason="Keras 2 is what is installed as keras")

USED = "assert not getattr(tf.keras, '__version__', '2').startswith('3'), tf.keras\n"
DENSE = "from tensorflow.keras.layers import Dense\nassert Dense is tf.keras.layers.Dense\n"
BUILT = "print(pp.backbone('vggish', frames=32, bands=96, width=0.05).output_shape)\n"
ORDERS = {
    "the package first": f"import playlist_pretrain as pp\nimport tensorflow as tf\n{USED}{DENSE}",
    "TensorFlow first, Keras not used": f"import tensorflow as tf\nimport playlist_pretrain as pp\n"
    f"{USED}{DENSE}",
    "TensorFlow first, from tensorflow.keras": "import tensorflow as tf\n"
    f"import playlist_pretrain as pp\n{DENSE}{USED}",
    "the package keras first": "import keras\nimport playlist_pretrain as pp\n"
    f"import tensorflow as tf\n{USED}",
}
USED_BEFORE = {
    "by attribute": "import tensorflow as tf\ntf.keras.layers.Dense(3)\n",
    "by import": "from tensorflow.keras import layers\n",
    "variable": f"import os\nos.environ['{stack.LEGACY_KERAS}'] = '0'\n",
}


def ran(code):
    """Run ``code`` in a process that did not choose a Keras; exit code, and what it said."""
    clean = "import os\nos.environ.pop('TF_USE_LEGACY_KERAS', None)\n"
    words = [sys.executable, "-c", clean + code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_models_are_built_whatever_was_imported_first(order):
    code, said, errors = ran(ORDERS[order] + BUILT)
    assert (code, said) == (0, "(None, 128)\n"), errors


ASKED = """
import playlist_pretrain as pp
for ask in (lambda: pp.ContrastiveModel, lambda: pp.load("x"), lambda: pp.backbone,
            lambda: pp.pretrain, lambda: pp.finetune, lambda: pp.export_model):
    try:
        ask()
        print("done")
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("used", USED_BEFORE)
def test_keras_3_in_use_is_one_sentence_wherever_a_model_is_asked_for(used):
    code, said, errors = ran(USED_BEFORE[used] + ASKED)
    assert code == 0, errors
    if KERAS_3:
        (sentence,) = {*said.splitlines()}
        assert sentence.startswith("ModelError tf.keras is Keras 3 in this process")
        assert "a new kernel, import playlist_pretrain (or set TF_USE_LEGACY_KERAS=1)" in sentence
    else:
        assert said.splitlines().count("done") == 5 and "no such folder" in said


@needs_keras_3
def test_a_part_of_the_package_keras_is_named():
    foreign = installed_keras.Sequential([installed_keras.layers.Dense(4)])
    ours = projector(128)
    made = backbone("vggish", frames=32, bands=96, width=0.05)
    for call in (lambda: ContrastiveModel(foreign, ours), lambda: ContrastiveModel(made, foreign),
                 lambda: tagger(foreign, 3)):  # fmt: skip
        with pytest.raises(ModelError, match=r"^a keras\.src\..*Sequential is no model of tf"):
            call()


@needs_keras_3
def test_without_tf_keras_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(ModelError, match=r"^a model of Keras 2 needs tf-keras: pip install"):
        stack.check_keras()


def test_processes_that_are_started_have_the_choice():
    code = f"import os; print(os.environ.get({stack.LEGACY_KERAS!r}))"
    start = f"subprocess.run([sys.executable, '-c', {code!r}])"
    _, said, errors = ran(f"import playlist_pretrain, subprocess, sys\n{start}")
    assert said.strip() == ("1" if KERAS_3 else "None"), errors


@pytest.mark.parametrize("module", [None, types.ModuleType("tensorflow_io")])
def test_a_tensorflow_io_without_operations_is_one_sentence(monkeypatch, module):
    schemes = [scheme for scheme in tf.io.gfile.get_registered_schemes() if scheme != "s3"]
    monkeypatch.setattr(tf.io.gfile, "get_registered_schemes", lambda: schemes)
    monkeypatch.setitem(sys.modules, "tensorflow_io", module)
    said = r"^tensorflow-io cannot be used with TensorFlow 2\..*Collection\.open\(URL\).*fsspec"
    with pytest.raises(CollectionError, match=said):
        stack.load_tensorflow_io()


FREEZE = """
import os, sys
import playlist_pretrain as pp
import tensorflow as tf
from playlist_pretrain import stack
net = pp.backbone("vggish", frames=32, bands=96, width=0.05)
spec = tf.TensorSpec([4, 32, 96])
function = tf.function(lambda x: net(x), input_signature=[spec]).get_concrete_function()
real = sys.modules["tensorflow.python.framework.convert_to_constants"]
convert = real.convert_variables_to_constants_v2
def converted(*words, **options):
    os.write(2, b"what another thread says\\n")
    return convert(*words, **options)
real.convert_variables_to_constants_v2 = converted
print(len(stack.with_constants(function).variables))
"""


@pytest.mark.slow
def test_freezing_a_graph_leaves_out_the_notes_on_gpus_and_nothing_else():
    code, said, errors = ran(FREEZE)
    assert (code, said) == (0, "0\n"), errors
    assert errors == "what another thread says\n"


FREEZE_INTERRUPTED = f"""
import signal
{FREEZE.rpartition("print")[0]}
def interrupted(number, frame):  # the last word
    os.write(2, b"interrupted\\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, interrupted)
def convert(*words, **options):  # in place of TensorFlow's, which converted() calls
    os.kill(os.getpid(), signal.SIGINT)
    raise ValueError
try:
    stack.with_constants(function)
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
"""


@pytest.mark.slow
def test_an_interrupt_that_comes_while_a_graph_is_frozen_has_the_last_word():
    code, said, errors = ran(FREEZE_INTERRUPTED)
    assert (code, said, errors) == (0, "", "what another thread says\ninterrupted\n")


NOTEBOOK = """
import sys
import tensorflow as tf
import numpy as np
import playlist_pretrain as pp
from playlist_pretrain.models.layers import projector
from playlist_pretrain.models.saved_model import save_backbone
from playlist_pretrain.audio.front_end import PRESETS

tf.keras.utils.set_random_seed(0)
net = tf.keras.Sequential([
    tf.keras.layers.Input((64, 96)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(8),
])
net = tf.keras.Model(net.inputs, net.outputs[0])
model = pp.ContrastiveModel(net, projector(8))
model.compile(tf.keras.optimizers.Adam(1e-3), pp.NTXent(0.1))
rng = np.random.default_rng(0)
windows = (rng.normal(size=(32, 1, 96)) + rng.normal(size=(2, 32, 64, 96))).astype(np.float32)
pairs = tf.data.Dataset.from_tensor_slices(tuple(windows)).batch(8)
history = model.fit(pairs, epochs=10, verbose=0).history["loss"]
assert history[-1] < 0.5 * history[0], history
save_backbone(net, PRESETS["paper"], sys.argv[1] + "/saved_model")
package = pp.export_model(sys.argv[1] + "/saved_model", "essentia", "m", out=sys.argv[1])
print(package.folder)
"""


@pytest.mark.slow
def test_a_notebook_that_imported_tensorflow_first_trains_and_exports(tmp_path):
    code, said, errors = ran(NOTEBOOK.replace("sys.argv[1]", repr(str(tmp_path))))
    folder = tmp_path / "essentia" / "m"
    assert (code, said.splitlines()[-1:]) == (0, [str(folder)]), errors
    assert list(folder.glob("*.pb"))
