"""Train LeNet-5 on MNIST with a loop of one's own: what `gpucnn train --data mnist` does, in plain sight.

Run it with `python examples/train_mnist.py FOLDER`, where FOLDER has the four MNIST files, plain or .gz.
"""

import argparse

from gpucnn import Tensor, data, models, optim, training
from gpucnn import functions as F
from gpucnn.backend import choose_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="the folder of the four MNIST files")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int, default=60_000, help="how many training images to use")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    choice = choose_device(options.device)
    print(choice)
    splits = data.load("mnist", options.folder, image_size=32)
    train_set = data.ArrayDataset(
        splits.train.images[: options.limit], splits.train.labels[: options.limit], splits.preprocess
    )
    train_loader = data.DataLoader(train_set, batch_size=64, shuffle=True, seed=0)
    test_loader = data.DataLoader(splits.test, batch_size=256)

    model = models.LeNet5().to(choice.device)
    optimizer = optim.Adam(model.parameters())
    schedule = optim.one_cycle(0.003, options.epochs * len(train_loader))
    step = 0
    for epoch in range(options.epochs):
        for images, labels in train_loader:
            loss = F.cross_entropy(model(Tensor(images)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.lr = schedule(step)
            optimizer.step()
            step += 1
        scores = training.evaluate(model, test_loader)
        print(f"epoch {epoch + 1}: test accuracy {scores.accuracy:.4f} ({scores.correct}/{scores.total})", flush=True)


if __name__ == "__main__":
    main()
