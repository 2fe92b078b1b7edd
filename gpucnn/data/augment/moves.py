"""Augmentations that compute nothing with pixels, as what a GPU does to them while it gathers a batch."""

from gpucnn.data.augment.augment import Augment, Compose
from gpucnn.data.augment.cutout import Cutout
from gpucnn.data.augment.flip import AlternatingFlip, RandomFlip
from gpucnn.data.augment.shift import RandomShift
from gpucnn.kernels.preprocess import MOST_MOVES, MOST_PIXELS, Move, MoveKind

MOVES_TEXT = f"RandomShift, RandomFlip, AlternatingFlip and Cutout, up to {MOST_MOVES} of them"
"""What there is a kernel for, as messages say it."""


def moves_of(augment: Augment, seed: int, size: int) -> tuple[Move, ...] | None:
    """What `augment` does to images of `size` x `size`, to the same bits; None if that is more than to move or blank pixels."""
    moves: list[Move] = []
    waiting = [(augment, seed)]
    while waiting:
        one, own = waiting.pop(0)
        if type(one) is Compose:
            waiting = [*one.in_turn(own), *waiting]
        elif type(one) is RandomFlip:
            moves.append(Move(MoveKind.FLIP, "RandomFlip", own, (one.p,), one))
        elif type(one) is AlternatingFlip:
            moves.append(Move(MoveKind.ALTERNATE, "AlternatingFlip", own, (0.5,), one))
        elif type(one) is RandomShift:
            kind = MoveKind.REFLECT if one.fill == "reflect" else MoveKind.SHIFT
            moves.append(Move(kind, "RandomShift", own, one.most_pixels(size, size), one))
        elif type(one) is Cutout:
            moves.append(Move(MoveKind.BLANK, "Cutout", own, (one.size,), one))
        else:
            return None
    fit = len(moves) <= MOST_MOVES and all(number <= MOST_PIXELS for move in moves for number in move.numbers)
    return tuple(moves) if fit else None
