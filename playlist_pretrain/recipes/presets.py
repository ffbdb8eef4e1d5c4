"""What settings are when they are left out: the paper's, the demo's, or fast ones.

``fast`` is for trying a command: it makes a model, in seconds, that is worth nothing.
"""

from typing import Any

PAPER_RUNS = 3
PRETRAIN_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "width": 1.0,
        "batch": 384,
        "epochs": 50,
        "learning_rate": 1e-4,
        "warmup_steps": 5000,
        "probe_epochs": 1,
        "checkpoint_epochs": 1,
    },
    "demo": {
        "width": 0.25,
        "batch": 32,
        "epochs": None,
        "learning_rate": 2e-4,
        "warmup_steps": 240,
        "probe_epochs": 20,
        "checkpoint_epochs": 20,
    },
    "fast": {
        "width": 0.05,
        "batch": 4,
        "epochs": 1,
        "learning_rate": 2e-4,
        "warmup_steps": 0,
        "probe_epochs": 1,
        "checkpoint_epochs": 1,
    },
}
FINETUNE_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "width": 1.0,
        "batch": 64,
        "epochs": 50,
        "runs": PAPER_RUNS,
        "low_learning_rate": 1e-5,
        "high_learning_rate": 1e-4,
    },
    "demo": {
        "width": 0.25,
        "batch": 16,
        "epochs": 50,
        "runs": PAPER_RUNS,
        "low_learning_rate": 1e-4,
        "high_learning_rate": 1e-3,
    },
    "fast": {
        "width": 0.05,
        "batch": 4,
        "epochs": 1,
        "runs": 1,
        "low_learning_rate": 1e-4,
        "high_learning_rate": 1e-3,
    },
}
