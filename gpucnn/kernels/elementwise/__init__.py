"""Operations on one element at a time: ReLU with a bias, sums of two arrays, values under a mask."""
