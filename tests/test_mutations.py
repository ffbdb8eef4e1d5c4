"""Some mutated inputs for every reader; ``mutations.py`` takes as many as one likes."""

import numpy as np
import pytest
from mutations import TARGETS, mutate, run


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, target in TARGETS.items() if target.cost < 100])
def test_a_mutated_input_gives_a_result_or_an_error_of_the_family(name):
    read, faults = run(name, max(10, 120 // TARGETS[name].cost), seed=22)
    assert not faults, "\n".join(map(str, faults))
    assert read  # not everything is refused


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", [n for n, target in TARGETS.items() if target.cost >= 100])
def test_a_mutated_model_gives_a_result_or_an_error_of_the_family(name):
    _, faults = run(name, 6, seed=22)
    assert not faults, "\n".join(map(str, faults))


def test_a_mutation_is_known_by_its_number_and_changes_something(tmp_path):
    content = b'{"a": [1, 2, {"b": "c"}], "d": 0.5}'
    kinds = set()
    for number in range(200):
        found = []
        for attempt in "xy":
            folder = tmp_path / f"{number}{attempt}"
            folder.mkdir()
            (folder / "a.json").write_bytes(content)
            done = mutate(folder, np.random.default_rng([0, number]))
            files = {p.name: p.is_file() and p.read_bytes() for p in folder.iterdir()}
            found.append((done, files))
        assert found[0] == found[1]
        kinds.add(done.split(": ")[1])
    assert kinds >= {"mutated_json", "1 times other bytes", "copy"}
