"""A model from elsewhere executes nothing: refused before it is loaded, by layer or operation."""

import importlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from essentia_packages import musicnn_like
from mutations import make_model, repair_checkpoint
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import playlist_pretrain as pp
from playlist_pretrain.audio.front_end import IMPORTED
from playlist_pretrain.cli import embed, export, finetune, search, similarity
from playlist_pretrain.errors import ModelError
from playlist_pretrain.models import BACKBONES
from playlist_pretrain.models.load import load_backbone, load_model
from playlist_pretrain.models.saved_model import save_backbone

FRONT_END = IMPORTED["jamendo-mels"]  # its models have one signature, and are saved at once
FRAMES = 8
L = tf.keras.layers


def window_input():
    return L.Input((FRAMES, FRONT_END.bands), name="melspectrogram")


def model_of(layer):
    inputs = window_input()
    x = layer(inputs)
    return tf.keras.Model(inputs, L.GlobalAveragePooling1D()(x))


@pytest.fixture
def path(saved, tmp_path):
    """A copy of a sound model, to be changed."""
    return shutil.copytree(saved / "backbone" / "saved_model", tmp_path / "m")


@pytest.fixture
def as_before(saved, rng):
    """Callable: fails where a model does not answer as the sound one does."""
    windows = rng.normal(size=(2, FRAMES, 96)).astype(np.float32)
    expected = load_model(saved / "backbone" / "saved_model").model(windows)
    return lambda loaded: np.testing.assert_array_equal(loaded.model(windows), expected)


def refused(path):
    """What is said of a model that is refused."""
    with pytest.raises(ModelError) as error:
        load_model(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text


def edit_saved(path, change):
    file = path / "saved_model.pb"
    saved = SavedModel.FromString(file.read_bytes())
    change(saved)
    file.write_bytes(saved.SerializeToString())


def edit_graph(path, change):
    edit_saved(path, lambda saved: change(saved.meta_graphs[0]))


def node_of(graph, name):
    return next(node for node in graph.node if node.name == name)


def edit_layers(path, change):
    """Change the JSON that Keras makes the layers of, layer by layer."""
    keras = tf.keras.Model.__module__.split(".")[0]
    kind = importlib.import_module(f"{keras}.protobuf.saved_metadata_pb2").SavedMetadata
    file = path / "keras_metadata.pb"
    metadata = kind.FromString(file.read_bytes())
    for node in metadata.nodes:
        layer = json.loads(node.metadata)
        change(layer)
        node.metadata = json.dumps(layer)
    file.write_bytes(metadata.SerializeToString())


# Layers


@pytest.fixture(scope="module")
def marker(tmp_path_factory):
    return tmp_path_factory.mktemp("marker") / "was-here"


@pytest.fixture(scope="module")
def with_lambda(tmp_path_factory, marker):
    """Models that write a file when they run: one with code in it, also as ``.keras`` and in the
    folder of a package, one whose graph does it, and one for Essentia."""

    def code(x, place=str(marker)):
        open(place, "w").close()
        return x

    folder = tmp_path_factory.mktemp("lambda")
    model = model_of(L.Lambda(code, name="innocent"))
    save_backbone(model, FRONT_END, folder / "saved_model")
    model.save(folder / "model.keras", save_format="keras")
    shutil.copytree(folder / "saved_model", folder / "served" / "1")
    writes = FrozenEmbedding(str(marker), "plain", name="frozen_graph")
    save_backbone(model_of(writes), FRONT_END, folder / "graph")
    package = musicnn_like(folder / "net.pb")
    package.edit_graph(lambda graph: setattr(node_of(graph, "Relu"), "op", "WriteFile"))
    return folder


REFUSED = {
    "saved_model": "layer 'innocent'",
    "served": "layer 'innocent'",
    "model.keras": "is not opened",
    "graph": "of the op 'WriteFile'",
    "net.pb": "of the op 'WriteFile'",
}


@pytest.fixture(autouse=True)
def no_marker(marker):
    marker.unlink(missing_ok=True)


def test_code_in_a_layer_is_not_run(with_lambda, marker):
    path = with_lambda / "saved_model"
    assert "layer 'innocent' is of the class 'Lambda': refused" in refused(path)
    assert not marker.exists()
    with pytest.raises(ModelError, match="a file, which is not opened; a model is the folder"):
        load_model(with_lambda / "model.keras")
    assert not marker.exists()
    pp.load(path, trust=True)
    assert marker.exists()  # it would have been run


@pytest.mark.parametrize("kind", REFUSED)
def test_no_command_runs_it(kind, with_lambda, marker, tmp_path, capsys, make_collection):
    given = str(with_lambda / kind)
    mine = make_collection(tmp_path / "mine", [20, 30, 40], ids=list("abc"))
    rows = [("track_id", "split", "tags")]
    rows += [(f"{split[:2]}{k}", split, "xy"[k]) for split in SPLITS for k in range(2)]
    (tmp_path / "tags.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    ids = [row[0] for row in rows[1:]]
    tagged = make_collection(tmp_path / "tagged", [20] * len(ids), ids=ids, seconds=0.2)
    (tmp_path / "triplets.csv").write_text("anchor,positive,negative\na,b,c\n")
    with pp_table(tmp_path / "e.parquet", model=given, model_key="1" * 32) as add:
        add(["a", "b"], np.eye(2, dtype=np.float32))
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    place = ["--collection", str(mine.path)]
    table = ["--embeddings", str(tmp_path / "e.parquet"), "--audio", str(tmp_path / "a.wav")]
    tags = ["--tags", str(tmp_path / "tags.tsv"), "--freeze"]
    calls = [
        (embed, ["--model", given, "--out", str(tmp_path / "out.parquet"), *place]),
        (export, ["--model", given, "--name", "m", "--out", str(tmp_path / "exports")]),
        (similarity, ["--model", given, "--triplets", str(tmp_path / "triplets.csv"), *place,
                      "--out", str(tmp_path / "s")]),
        (finetune, ["--model", given, "--collection", str(tagged.path), *tags,
                    "--out", str(tmp_path / "f")]),
        (search, [*table, "--model", given]),
        (search, table),
    ]  # fmt: skip
    for module, words in calls:
        assert module.main(words) == 1, module
        errors = capsys.readouterr().err
        assert REFUSED[kind] in errors
        assert not marker.exists(), module


SPLITS = ("train", "validation", "test")


def pp_table(path, **about):
    from playlist_pretrain.retrieval.embedding_table import embedding_writer

    return embedding_writer(path, 2, about)


def named(class_name, **config):
    return {"class_name": class_name, "config": config}


def active(value):
    return {"config": {"activation": value}}


def within(**about):
    return {"config": {"a": {"class_name": "Dense", **about}}}


HIDDEN = {
    "class_name": "TimeDistributed",
    "config": {"name": "outer", "layer": named("Lambda", name="fc2")},
}
LAYERS = {  # what is said of a layer, and what is changed of it
    "class 'Lambda'": named("Bidirectional", name="fc2", layer=HIDDEN),
    "class 'TheirLayer'": named("TheirLayer"),
    "class 'theirs>Layer'": named("theirs>Layer"),
    "class 'keras_cv>TextEncoderV2'": named("keras_cv>TextEncoderV2"),
    "class 'keras_cv.models>DarkNet'": named("keras_cv.models>DarkNet", weights="/etc/passwd"),
    "class 'keras_cv.datasets.pascal_voc_segmentation>load'":
        named("keras_cv.datasets.pascal_voc_segmentation>load"),
    "class 'StringLookup'": named("StringLookup", vocabulary="/etc/passwd"),
    "class 'ResidualWrapper'": named("ResidualWrapper"),
    "calls TensorFlow's function 'io.write_file'": named("TFOpLambda", function="io.write_file"),
    "calls TensorFlow's function 'load_library'": named("TFOpLambda", function="load_library"),
    "has 'keras_cv>plot_image_gallery'": active("keras_cv>plot_image_gallery"),
    "has 'theirs>function'": active("theirs>function"),
    "has 'Text>X'": within(registered_name="Text>X"),
    "module 'playlist_pretrain.cli'": within(module="playlist_pretrain.cli"),
    "module 'os'": within(module="os"),
    "class 'function'": active({"class_name": "function"}),
    "class '__lambda__'": active({"class_name": "__lambda__"}),
    "not a whole SavedModel": named(["Dense"]),
}  # fmt: skip


@pytest.mark.parametrize("words", LAYERS)
def test_other_layers_and_what_they_hide(words, path):
    edit_layers(path, lambda layer: layer["name"] == "fc2" and layer.update(LAYERS[words]))
    text = refused(path)
    assert words in text and ("layer 'fc2'" in text or "not a whole" in words)


def test_without_keras_metadata_the_other_file_is_not_asked(path):
    (path / "keras_metadata.pb").unlink()
    with pytest.raises(ModelError, match=r"keras_metadata\.pb: cannot be read: No such file"):
        load_model(path)


# Operations


class FrozenEmbedding(L.Layer):
    """A layer named as one of the package, whose graph writes a file."""

    def __init__(self, place, around, **kwargs):
        super().__init__(**kwargs)
        self.place, self.around = place, around
        if around == "a table":
            Path(f"{place}.txt").write_text("x\n")
            words = tf.lookup.TextFileInitializer(
                f"{place}.txt",
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticHashTable(words, -1)

    def call(self, x):
        def write():
            with tf.control_dependencies([tf.io.write_file(self.place, "x")]):
                return tf.reduce_sum(tf.ones_like(x)) * 0

        if self.around == "a table":
            return x + tf.cast(self.table.lookup(tf.constant("x")), tf.float32)
        if self.around == "Python":
            return x + tf.ensure_shape(tf.py_function(lambda: 0.0, [], tf.float32), [])
        if self.around == "saving":
            return x + saving(self.place)
        return x + WAYS[self.around](write)

    def get_config(self):
        return super().get_config()


def saving(place):
    """What SavedModels have for their weights, in a function of the rest."""

    @tf.function(autograph=False)
    def save(x):
        tf.raw_ops.SaveV2(
            prefix=place, tensor_names=["x"], shape_and_slices=[""], tensors=[x], name="canary"
        )
        return x

    return save(tf.zeros([]))


def in_functions_of_functions(write):
    @tf.function(autograph=False)
    def inner():
        return write()

    @tf.function(autograph=False)
    def middle():
        return inner() + 1

    return middle() - 1


WAYS = {
    "plain": lambda write: write(),
    "functions of functions": in_functions_of_functions,
    "a loop": lambda write: tf.while_loop(lambda i, _: i < 1, lambda i, _: (i + 1, write()),
                                          (tf.constant(0), tf.constant(0.0)))[1],
    "a branch": lambda write: tf.cond(tf.random.uniform([]) < 2, write, lambda: tf.constant(0.0)),
    "a case": lambda write: tf.switch_case(
        tf.cast(tf.random.uniform([]) < 2, tf.int32), [lambda: tf.constant(0.0), write]
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=WAYS)
def writes(request, tmp_path_factory, marker):
    """A model whose graph writes a file, one way or another; to be read only."""
    path = tmp_path_factory.mktemp("writes") / "saved_model"
    layer = FrozenEmbedding(str(marker), request.param, name="frozen_graph")
    save_backbone(model_of(layer), FRONT_END, path)
    return path


def test_an_op_that_writes_a_file_is_found_wherever_it_is(writes, marker):
    assert "of the op 'WriteFile': refused" in refused(writes)
    assert not marker.exists()
    load_model(writes, trust=True).model(np.zeros((1, FRAMES, FRONT_END.bands), np.float32))
    assert marker.exists()  # it would have been written


OTHERS = ("ReadFile", "PyFunc", "EagerPyFunc", "PyFuncStateless", "MatchingFiles", "PrintV2",
          "TheirCustomOp", "SaveV2", "RestoreV2", "MergeV2Checkpoints", "LoadAndRemapMatrix",
          "InitializeTableFromTextFileV2", "RemoteCall", "XlaCallModule")  # fmt: skip


def test_all_other_ops_too(writes, tmp_path):
    """Nothing of the model is run or restored, so the name of an op is all that counts."""
    path = shutil.copytree(writes, tmp_path / "m")
    for before, after in zip(("WriteFile", *OTHERS), OTHERS, strict=False):

        def rename(graph, before=before, after=after):
            functions = graph.graph_def.library.function
            nodes = [node for function in functions for node in function.node_def]
            found = [node for node in (*graph.graph_def.node, *nodes) if node.op == before]
            found = [node for node in found if "write" in node.name.lower()]
            assert found
            for node in found:
                node.op = after

        edit_graph(path, rename)
        assert f"of the op {after!r}: refused" in refused(path)


def saver_of(graph):
    """The node that saves the weights, and the function that it calls."""
    node = node_of(graph.graph_def, graph.saver_def.save_tensor_name.split(":")[0])
    return node, node.attr["f"].func.name


def call_it(graph):
    _, name = saver_of(graph)
    function = next(f for f in graph.graph_def.library.function if f.signature.name != name)
    function.node_def.add(name="again", op="PartitionedCall").attr["f"].func.name = name


def list_it(graph):
    _, name = saver_of(graph)
    graph.object_graph_def.concrete_functions[name].SetInParent()


def unnamed(graph):
    graph.saver_def.Clear()


@pytest.mark.parametrize("change", [call_it, list_it, unnamed])
def test_what_saves_the_weights_may_do_nothing_else(change, path):
    edit_graph(path, change)
    assert refused(path).partition(": refused")[0].endswith(SAVING)


SAVING = ("V2'", "V2Checkpoints'", "StringJoin'", "FullMatch'", "Filename'", "CopyOnRead'")


def take_it(graph):
    node, _ = saver_of(graph)
    graph.graph_def.node.add(name="again", op="Identity", input=[f"{node.name}:0"])


def sign_it(graph):
    node, _ = saver_of(graph)
    graph.signature_def["serving_default"].outputs["x"].name = f"{node.name}:0"


def swap_it(graph):
    """Ask TensorFlow to take it for each function that is called."""
    for function in graph.graph_def.library.function:
        function.attr["api_implements"].s = b"x"


def start_with_it(graph):
    node, _ = saver_of(graph)
    graph.collection_def["saved_model_main_op"].node_list.value.append(node.name)


def nothing(graph):
    pass


def files_beside(path, other):
    """Files that TensorFlow and Keras read of other models; ``other`` is one with code in it."""
    (path / "assets" / "a").write_text("x")
    (path / "fingerprint.pb").write_bytes(b"\xff")
    (path / "debug").mkdir()
    (path / "debug" / "saved_model_debug_info.pb").write_bytes(b"\xff")
    (path / "saved_model.pbtxt").write_text("x")
    (path / "saved_model.cpb").write_bytes((other / "saved_model.pb").read_bytes())
    shutil.copy(other.parent / "model.keras", path / "model.keras")


@pytest.mark.parametrize("change", [nothing, take_it, sign_it, swap_it, start_with_it])
def test_what_is_not_loaded_does_nothing(change, path, with_lambda, marker, as_before):
    edit_graph(path, change)
    if change is nothing:
        files_beside(path, with_lambda / "saved_model")
        edit_graph(path, lambda graph: older_layers(graph, with_lambda / "saved_model"))
        edit_layers(path, lambda layer: layer.update(training_config={"loss": LOSS}))
    as_before(load_model(path))
    assert not marker.exists()


LOSS = {"class_name": "theirs>Loss", "config": {"fn": {"class_name": "__lambda__"}}}


def older_layers(graph, other):
    """Layers where TensorFlow 2.4 has them: those of a model with code in it."""
    theirs = SavedModel.FromString((other / "saved_model.pb").read_bytes()).meta_graphs[0]
    for mine, one in zip(graph.object_graph_def.nodes, theirs.object_graph_def.nodes, strict=False):
        if mine.WhichOneof("kind") == one.WhichOneof("kind") == "user_object":
            mine.user_object.metadata = '{"class_name": "Lambda", "config": {"name": "innocent"}}'


def at_last(path, marker):
    """A model of TensorFlow 1, whose weights are restored by what also writes a file."""

    def change(graph):
        graph.ClearField("object_graph_def")
        node = node_of(graph.graph_def, graph.saver_def.restore_op_name)
        functions = graph.graph_def.library.function
        function = next(f for f in functions if f.signature.name == node.attr["f"].func.name)
        made = tf.Graph()
        with made.as_default():
            text = tf.constant(str(marker)), tf.constant(["x"]), tf.constant([""])
            tf.raw_ops.SaveV2(
                prefix=text[0], tensor_names=text[1], shape_and_slices=text[2],
                tensors=[tf.constant(1.0)], name="canary",
            )  # fmt: skip
        for one in made.as_graph_def().node:
            kept = function.node_def.add()
            kept.CopyFrom(one)
            kept.input[:] = [f"{name}:output:0" for name in one.input]
        function.control_ret["canary"] = "canary"
        function.signature.control_output.append("canary")
        function.signature.is_stateful = True

    edit_graph(path, change)
    (path / "keras_metadata.pb").write_bytes(b"")


def test_a_model_without_objects_is_not_run(path, marker):
    at_last(path, marker)
    assert "not one graph with its objects" in refused(path)
    written = marker.with_name(marker.name + ".index")
    assert not written.exists()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(path, trust=True)
    assert written.exists()  # it would have been written


@pytest.mark.parametrize(
    ("around", "words"),
    [
        ("Python", "of the op 'EagerPyFunc'"),
        ("a table", "has an object of 'tf.StaticHashTable'"),
        ("saving", "of the op 'SaveV2'"),
    ],
)
def test_other_ops_that_do_more(around, words, tmp_path, marker):
    layer = FrozenEmbedding(str(marker), around, name="frozen_graph")
    save_backbone(model_of(layer), FRONT_END, tmp_path / "saved_model")
    assert f"{words}: refused" in refused(tmp_path / "saved_model")


BAD = {"name": "bad", "op": "WriteFile"}


def at_the_end(model):
    graph = model.meta_graphs[0]
    graph.graph_def.node.add(**BAD)
    graph.collection_def["saved_model_main_op"].node_list.value.append("bad")
    graph.signature_def["serving_default"].outputs["x"].name = "bad:0"


def unused(model):
    function = model.meta_graphs[0].graph_def.library.function.add()
    function.signature.name = "bad"
    function.node_def.add(**BAD)


def as_a_gradient(model):
    unused(model)
    model.meta_graphs[0].graph_def.library.registered_gradients.add(
        gradient_func="bad", registered_op_type="CustomGradient-1"
    )


def in_a_second_graph(model):
    model.meta_graphs.add().graph_def.node.add(**BAD)


@pytest.mark.parametrize("change", [at_the_end, unused, as_a_gradient, in_a_second_graph])
def test_an_op_in_any_corner_is_found(change, path):
    edit_saved(path, change)
    assert "node 'bad'" in refused(path) and "of the op 'WriteFile': refused" in refused(path)


def test_several_graphs(path):
    edit_saved(path, lambda saved: saved.meta_graphs.add().CopyFrom(saved.meta_graphs[0]))
    assert "not one graph with its objects" in refused(path)


def test_what_was_looked_at_is_loaded(path, with_lambda, marker, monkeypatch, as_before):
    """Whoever can write in the folder replaces its files in between."""
    load = tf.keras.models.load_model

    def late(folder, **options):
        for name in ("saved_model.pb", "keras_metadata.pb"):
            shutil.copy(with_lambda / "saved_model" / name, path / name)
        return load(folder, **options)

    monkeypatch.setattr(tf.keras.models, "load_model", late)
    as_before(load_model(path))
    monkeypatch.undo()
    assert not marker.exists() and "layer 'innocent'" in refused(path)


def test_links_are_followed_to_files_alone(path, tmp_path, as_before):
    """Caches of models are folders of links; a pipe would be waited for."""
    kept = path.rename(tmp_path / "kept")
    for file in [file for file in kept.rglob("*") if file.is_file()]:
        link = path / file.relative_to(kept)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    as_before(load_model(path))
    for name, words in (
        ("variables/variables.index", "cannot be loaded"),
        ("keras_metadata.pb", "cannot be read: not a file"),
    ):
        (path / name).unlink()
        os.mkfifo(path / name)
        with pytest.raises(ModelError, match=words) as error:
            load_model(path)
        assert str(error.value).startswith(str(path))


def test_weights_are_no_other_file(path, tmp_path):
    """What is not the weights that the index has sums of is not taken for them."""
    (data,) = path.glob("variables/variables.data*")
    other = tmp_path / "secret"
    other.write_bytes(bytes(data.stat().st_size))
    data.unlink()
    data.symlink_to(other)
    with pytest.raises(ModelError, match=f"{path}: cannot be loaded: .*[Cc]hecksum"):
        load_model(path)


def test_objects_of_other_kinds(path):
    def change(graph):
        graph.object_graph_def.nodes[0].registered_name = "tf.StaticHashTable"

    edit_graph(path, change)
    assert "an object of 'tf.StaticHashTable': refused" in refused(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [  # TensorFlow ends the process
        (b"\x08\x01\x12\x08\x12\x02\x08", b"\x07\x01\x12\x08\x12\x02\x08"),  # in an entry
        (b"\x12\x02\x08\x60\x12\x02\x08\x03", b"\x12\x06\x08\xff\xff\xff\x7f\x03"),  # as a shape
    ],
)
def test_an_index_of_the_weights_that_tensorflow_dies_of(before, after, tmp_path):
    make_model(tmp_path)
    path = tmp_path / "backbone" / "model"
    index = path / "variables" / "variables.index"
    load_model(path)
    content = index.read_bytes()
    assert content.count(before) == 1
    index.write_bytes(content.replace(before, after))
    repair_checkpoint(tmp_path)  # its checksums fit
    with pytest.raises(ModelError, match=r"model: not a whole SavedModel of Keras \("):
        load_model(path)


def test_a_graph_for_essentia_can_be_trusted_too(package):
    package.edit_graph(lambda graph: setattr(node_of(graph, "Relu"), "op", "Softsign2"))
    assert "of the op 'Softsign2': refused" in refused(package.path)
    with pytest.raises(ModelError, match="TensorFlow cannot run it"):
        load_model(package.path, trust=True)


# Models of one's own


def with_many_layers():
    inputs = window_input()
    x = L.Conv1D(8, 3, padding="same", activation="gelu", kernel_regularizer="l2")(inputs)
    x = L.BatchNormalization()(x)
    x = L.LayerNormalization()(L.Dropout(0.1)(x))
    x = L.Bidirectional(L.SimpleRNN(4, return_sequences=True))(x)
    x = L.Add()([x, L.MultiHeadAttention(2, 4)(x, x)]) * 2.0 + 1.0
    x = tf.math.l2_normalize(x[:, 1:], axis=-1)
    x = tf.keras.Sequential([L.TimeDistributed(L.Dense(4, "swish")), L.Flatten()])(x)
    return tf.keras.Model(inputs, L.Dense(8, kernel_constraint="max_norm")(x))


def with_keras_cv():
    keras_cv = pytest.importorskip("keras_cv")
    inputs = window_input()
    x = L.Reshape((FRAMES, FRONT_END.bands, 1))(inputs)
    x = keras_cv.layers.SqueezeAndExcite2D(16)(L.Conv2D(16, 3)(x))
    x = keras_cv.layers.DropPath(0.1)(x)
    return tf.keras.Model(inputs, L.GlobalMaxPooling2D()(x))


def resnet():
    few = {"stackwise_filters": [8, 8], "stackwise_blocks": [1, 1], "stackwise_strides": [1, 2]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("playlist_pretrain.models.resnet50.STACKS", few)
        return BACKBONES.get("resnet50")(frames=FRAMES, bands=FRONT_END.bands)


@pytest.mark.slow
@pytest.mark.parametrize("make", [with_many_layers, with_keras_cv, resnet])
def test_models_of_stock_layers_pass(make, tmp_path, rng):
    model = make()
    save_backbone(model, FRONT_END, tmp_path / "saved_model")
    windows = rng.uniform(0, 6, (2, FRAMES, FRONT_END.bands)).astype(np.float32)
    loaded = load_backbone(tmp_path / "saved_model").model
    np.testing.assert_allclose(loaded(windows), model(windows), atol=1e-5)
