"""The PyTorch side of benchmark_train.py, run by an interpreter that has torch and timm: a training step a line.

    python tools/benchmarks/torch_peer.py MODEL BATCH SIZE THREADS

Prints a line when it is ready and another after each line that it reads.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light.base import missing


def parse_arguments():
    parser = argparse.ArgumentParser(description="A training step a line, for benchmark_train.py.")
    parser.add_argument("name", metavar="MODEL")
    for number in ("batch", "size", "threads"):
        parser.add_argument(number, metavar=number.upper(), type=int)
    return parser.parse_args()


def main(name, batch, size, threads):
    import timm
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = timm.create_model(name).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=3e-5)
    images, labels = torch.randn(batch, 3, size, size), torch.randint(0, 1000, (batch,))
    print(torch.__version__, flush=True)
    for _ in sys.stdin:
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(loss.item(), flush=True)


if __name__ == "__main__":
    try:
        main(**vars(parse_arguments()))
    except ModuleNotFoundError as error:
        missing.leave(error)
