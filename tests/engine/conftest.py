"""Tiny models run faster on one thread, and don't fight over cores with other test workers."""

import torch

torch.set_num_threads(1)
