"""Devices and worker processes of a run: one device, the GPUs of a machine, or several machines."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from playlist_pretrain.errors import RecipeError, RunError
from playlist_pretrain.files import content_key, folder_lock, parse_json
from playlist_pretrain.pairs.dataset import Share
from playlist_pretrain.runs import Run, what_decides
from playlist_pretrain.training.recipes import Machine, PretrainRecipe

if TYPE_CHECKING:
    import tensorflow as tf

R = TypeVar("R", bound=Run)


def make_strategy(name: str, replicas: int | None = None) -> tf.distribute.Strategy:
    """Make the strategy of ``--strategy`` and ``--replicas``; several workers connect here.

    To be called before TensorFlow is used for anything else: devices and the connections between
    workers are settled when it starts. An unknown name is taken for ``one_device``, as it is
    refused with the other settings. Raises RecipeError if the machine has fewer devices, or
    ``TF_CONFIG`` does not describe the workers.
    """
    import tensorflow as tf
    from official.common import distribute_utils

    if name not in ("mirrored", "multi_worker_mirrored"):
        return distribute_utils.get_distribution_strategy("off")  # the first GPU, or the CPU
    if name == "multi_worker_mirrored":
        check_tf_config()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if replicas is not None and replicas > len(gpus):
            raise RecipeError(f"--replicas {replicas}: this machine has {len(gpus)} GPUs")
        tf.config.set_visible_devices(gpus[:replicas], "GPU")
        count = replicas or len(gpus)
        return distribute_utils.get_distribution_strategy(name, num_gpus=count)
    # Without a GPU several replicas are no faster; they show what several would do.
    if name == "mirrored" and (replicas or 1) > 1:
        return tf.distribute.MirroredStrategy(logical_cpus(replicas))
    return distribute_utils.get_distribution_strategy(name, num_gpus=0)


def logical_cpus(count: int) -> list[str]:
    """Split the CPU into ``count`` devices of TensorFlow's; returns their names."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    if count > 1:
        with contextlib.suppress(RuntimeError):  # it has started
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
    found = len(tf.config.list_logical_devices("CPU"))
    if found < count:
        raise RecipeError(
            f"--replicas {count}: TensorFlow has started with {found} CPU devices in this process"
        )
    return [f"CPU:{index}" for index in range(count)]


def is_chief(strategy: str) -> bool:
    """Whether this process is the one that writes the run, by ``TF_CONFIG``."""
    if strategy != "multi_worker_mirrored":
        return True
    config = json.loads(os.environ["TF_CONFIG"])
    return _is_first(config["task"]["type"], int(config["task"]["index"]), config["cluster"])


def _is_first(kind: str, index: int, cluster: Mapping[str, Any]) -> bool:
    """Whether a task of the cluster is its chief: the first worker where none is called so."""
    return (kind, index) == ("chief" if "chief" in cluster else "worker", 0)


def check_tf_config() -> None:
    """Raise RecipeError, with what is missing, if ``TF_CONFIG`` does not describe the workers."""
    text = os.environ.get("TF_CONFIG", "")
    example = (
        '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    try:
        content = parse_json(text)
        cluster, task = content["cluster"], content["task"]
        hosts = [host for kind in ("chief", "worker") for host in _host_list(cluster.get(kind, []))]
        known = _host_list(cluster[task["type"]])
        if not 0 <= int(task["index"]) < len(known):
            raise ValueError(f"no {task['type']} {task['index']} in the cluster")
        if task["type"] not in ("chief", "worker") or set(cluster) - {"chief", "worker"}:
            raise ValueError("only tasks of type chief and worker are used")
        if len(set(hosts)) != len(hosts):
            raise ValueError("two tasks have the same host and port")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        missing = isinstance(error, KeyError)
        reason = f"{error} is missing" if missing else error if text else "it is not set"
        raise RecipeError(
            f"--strategy multi_worker_mirrored: TF_CONFIG {text!r}: {reason}; every worker needs "
            f"its own, such as {example}"
        ) from error


def _host_list(hosts: Any) -> list[str]:
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ValueError(f"{hosts!r} is no list of host:port")
    for host in hosts:
        if not host.rpartition(":")[2].isdecimal():
            raise ValueError(f"{host!r} has no port")
    return hosts


def share_of(context: tf.distribute.InputContext) -> Share:
    """Return the parts of every batch that the input pipeline of a worker reads."""
    own = context.num_replicas_in_sync // context.num_input_pipelines
    first = context.input_pipeline_id * own
    return Share(context.num_replicas_in_sync, first, first + own)


def check_share(batch: int, strategy: tf.distribute.Strategy, smallest: int = 1) -> None:
    """Raise RecipeError if replicas cannot share a batch equally, with ``smallest`` for each."""
    count = strategy.num_replicas_in_sync
    if batch % count or batch < smallest * count:
        raise RecipeError(
            f"--batch {batch}: {count} replicas need a multiple of {count}, of "
            f"{smallest * count} at least"
        )


def check_split(recipe: PretrainRecipe, strategy: tf.distribute.Strategy) -> None:
    """Raise RecipeError for settings of pre-training that do not fit the number of replicas."""
    count = strategy.num_replicas_in_sync
    check_share(recipe.batch, strategy, smallest=2)
    own = recipe.batch // count
    if recipe.micro_batch is not None and own % recipe.micro_batch:
        raise RecipeError(
            f"--micro-batch {recipe.micro_batch}: must divide the {own} pairs that each of "
            f"{count} replicas has of --batch {recipe.batch}"
        )
    if recipe.xla and count > 1:
        raise RecipeError(f"--xla: compiles the step of one replica, --strategy has {count}")
    if recipe.micro_batch is not None and recipe.backbone == "resnet50" and count > 1:
        raise RecipeError(
            f"--micro-batch {recipe.micro_batch}: batch normalisation cannot be synchronised "
            f"slice by slice, so --backbone resnet50 takes it with one replica only, "
            f"--strategy has {count}"
        )


def shared_out(
    strategy: tf.distribute.Strategy, dataset: Callable[..., tf.data.Dataset]
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Distribute ``dataset(share=…)``, whose elements are the parts of a share, to all workers."""
    if strategy.num_replicas_in_sync == 1:
        return dataset()
    made = []

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        made.append(dataset(share=share_of(context)))
        return made[-1]

    shared = strategy.distribute_datasets_from_function(of_worker)
    shared.parts = made  # a window dataset ends when nothing refers to it
    return shared


class Workers:
    """The processes that train one model together; mostly there is one.

    The chief writes the run; the others write the same to a folder that is thrown away, since
    saving what replicas share takes all of them. Only the chief's log messages are shown, and
    everybody's warnings.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        resolver = strategy.cluster_resolver
        cluster = resolver.cluster_spec().as_dict() if resolver is not None else {}
        self._several = sum(map(len, cluster.values())) > 1
        self.is_chief, self.name = True, ""
        if self._several:
            self.is_chief = _is_first(resolver.task_type, resolver.task_id, cluster)
            self.name = f"{resolver.task_type} {resolver.task_id}"
        if not self.is_chief:
            logging.getLogger("playlist_pretrain").setLevel(logging.WARNING)

    @contextlib.contextmanager
    def folder(self, run: R) -> Iterator[R]:
        """Yield the folder that this worker writes: the locked run, or a temporary one."""
        if self.is_chief:
            with folder_lock(run.path, f"a run is being trained in {run.path}"):
                yield run
            return
        with tempfile.TemporaryDirectory() as folder:
            yield type(run)(folder)

    def together(
        self, what: str, do: Callable[[], Any], key: Callable[[Any], str] = lambda _: ""
    ) -> Any:
        """Barrier: run ``do`` on all workers and fail unless all return equal results.

        A worker that went on alone would wait for the others without end. ``what`` names the
        results in the message of the RunError; ``key`` of them is the text that must be equal.
        Returns what ``do`` returned here.
        """
        if not self._several:
            return do()
        failure = result = None
        try:
            result = do()
            own = int(content_key(key(result).encode())[:15], 16)
        except Exception as error:
            failure, own = error, -1
        keys = self._gathered(own)
        if failure is not None:
            raise failure
        if -1 in keys:
            raise RunError(f"{self.name}: another worker could not go on; it says why")
        if len(set(keys)) > 1:
            raise RunError(f"{self.name}: the {what} of the workers differ; start them all alike")
        return result

    def settled(self, settle: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
        """Settle a recipe and open its data on all workers; they must have come to the same."""
        return self.together(
            "settings or inputs", settle, lambda settled: what_decides(settled[0], settled[1].facts)
        )

    def claim(
        self, run: Run, recipe: Any, facts: Mapping[str, Any], *, overwrite: bool = False
    ) -> bool:
        """Have the chief take a run folder (:meth:`.Run.claim`); returns whether it is finished."""
        self.together(
            "run folders",
            lambda: self.is_chief and run.claim(recipe, facts, overwrite=overwrite),
        )
        return self.together("run folders", lambda: run.finished, str)

    def any_true(self, own: bool) -> bool:
        """Return whether a condition is true on any worker."""
        return own if not self._several else any(self._gathered(int(own)))

    def machine(self) -> Machine:
        """The devices that train, as the chief sees them."""
        import tensorflow as tf

        replicas = self._strategy.num_replicas_in_sync
        gpus = replicas if tf.config.list_logical_devices("GPU") else 0
        return Machine(int(self.of_chief(Machine().cores)), gpus, replicas)

    def of_chief(self, own: float) -> float:
        """Return the chief's value of a number, which rounding may have changed here."""
        if not self._several:
            return own
        return float(np.array(self._gathered(int(np.float64(own).view(np.int64)))[0]).view("f8"))

    def _gathered(self, own: int) -> list[int]:
        import tensorflow as tf

        found = self._strategy.run(self._gather, (tf.constant(own, tf.int64),))
        return self._strategy.experimental_local_results(found)[0].numpy().tolist()

    @functools.cached_property
    def _gather(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """All-gather of one number; kept, as every step asks and tracing it takes longer."""
        import tensorflow as tf

        @tf.function
        def gather(value):
            context = tf.distribute.get_replica_context()
            return context.all_gather(tf.reshape(value, [1]), axis=0)

        return gather
