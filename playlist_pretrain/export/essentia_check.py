"""Program that runs a package in the installed Essentia, in a process of its own.

``python -P essentia_check.py FOLDER`` does what ``FOLDER/request.json`` asks for (see
``essentia.run_in_essentia``) on ``FOLDER/windows.npy`` and writes ``FOLDER/answers.npz``. Where
Essentia fails, its reason is the last line of standard error, and the exit code is 1.
"""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np


def answers(request, windows):
    """Yield name and answer [windows, size], float32, one after the other."""
    from essentia import Pool
    from essentia.standard import TensorflowPredict

    graphs, outputs = request["graphs"], request["outputs"]
    for graph, path in graphs.items():
        model = TensorflowPredict(**{graph: path}, inputs=[request["input"]], outputs=outputs)
        for batch in request["batches"]:
            pool = Pool()
            pool.set(request["input"], windows[:batch, np.newaxis])
            found = model(pool)
            for output in outputs:
                yield f"{graph} {batch} {output}", found[output].reshape(batch, -1)
    names = {}
    exec(compile(request["code"], "printed code", "exec"), names)
    for number, (audio, last) in enumerate(request["files"]):
        for output in outputs:
            found = names["predict"](graphs["graphFilename"], audio, output, last)
            yield f"file {number} {output}", np.asarray(found, np.float32)


def main():
    """Run the request of the folder on the command line; returns the exit code."""
    folder = Path(sys.argv[1])
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import essentia

    essentia.log.infoActive = essentia.log.warningActive = False
    request = json.loads((folder / "request.json").read_text())
    path, archive = folder / "answers.npz", io.BytesIO()
    try:
        np.savez(archive, **dict(answers(request, np.load(folder / "windows.npy"))))
        path.write_bytes(archive.getbuffer())
    except OSError as error:  # a full disk
        print(f"{error.filename or path}: {error.strerror or error}", file=sys.stderr)
        return 1
    except Exception as error:  # a RuntimeError, or whatever an answer of another shape leads to
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
