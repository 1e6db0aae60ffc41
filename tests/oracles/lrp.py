"""Relevance propagation from its formulas, in float64, one output after the other."""

import numpy as np


def dense(weight, in_shape, stride=1, padding=0, groups=1):
    """Matrix [outputs, inputs] of a convolution, and its output shape (C, h, w)."""
    out_channels, in_group, height, width = weight.shape
    channels, rows, columns = in_shape
    out_rows = (rows + 2 * padding - height) // stride + 1
    out_columns = (columns + 2 * padding - width) // stride + 1
    matrix = np.zeros((out_channels, out_rows, out_columns, channels, rows, columns))
    for o in range(out_channels):
        first = o // (out_channels // groups) * in_group
        for y, x in np.ndindex(out_rows, out_columns):
            for c, dy, dx in np.ndindex(in_group, height, width):
                row, column = y * stride + dy - padding, x * stride + dx - padding
                if 0 <= row < rows and 0 <= column < columns:
                    matrix[o, y, x, first + c, row, column] = weight[o, c, dy, dx]
    shape = (out_channels, out_rows, out_columns)
    return matrix.reshape(int(np.prod(shape)), -1), shape


def epsilon(x, matrix, bias, relevance, size):
    """z_ij / (y_j + size sign(y_j)) R_j."""
    below = np.zeros_like(x)
    for j, row in enumerate(matrix):
        z = row * x
        y = z.sum() + bias[j]
        y += size if y >= 0 else -size
        if y != 0:
            below += z / y * relevance[j]
    return below


def alpha_beta(x, matrix, bias, relevance, alpha, beta, side=None):
    """alpha to contributions of the output's own sign (or of a given side), beta to the others."""
    below = np.zeros_like(x)
    for j, row in enumerate(matrix):
        z = row * x
        own = side or (1 if z.sum() + bias[j] >= 0 else -1)
        for share, sign in ((alpha, own), (beta, -own)):
            part = np.where(np.sign(z) == sign, z, 0)
            if part.sum() == 0:  # none on this side: to the other
                part = z
            if part.sum() != 0:
                below += share * part / part.sum() * relevance[j]
    return below


def z_box(x, matrix, low, high, relevance):
    """x_i w_ij - l_i w+_ij - h_i w-_ij, normalised over i."""
    below = np.zeros_like(x)
    for j, row in enumerate(matrix):
        z = x * row - low * np.maximum(row, 0) - high * np.minimum(row, 0)
        if z.sum() != 0:
            below += z / z.sum() * relevance[j]
    return below


def flat(matrix, relevance):
    """Equal shares to all inputs that an output sees in any channel."""
    below = np.zeros(matrix.shape[1])
    for j, row in enumerate(matrix):
        seen = row != 0
        below += seen / seen.sum() * relevance[j]
    return below


def max_pool(x, relevance, shape):
    """2 x 2 windows; the greatest input takes all."""
    x, below = x.reshape(shape), np.zeros(shape)
    relevance = relevance.reshape(shape[0], shape[1] // 2, shape[2] // 2)
    for c, row, column in np.ndindex(relevance.shape):
        window = x[c, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        dy, dx = np.unravel_index(window.argmax(), (2, 2))
        below[c, 2 * row + dy, 2 * column + dx] += relevance[c, row, column]
    return below.ravel()


def addition(first, second, relevance, by_own_sign):
    """Relevance of two summands: in proportion, or only those of the sum's sign."""
    parts = np.stack([first, second])
    total = parts.sum(axis=0)
    if by_own_sign:
        parts = np.where(np.sign(parts) == np.sign(total), parts, 0)
    whole = parts.sum(axis=0)
    return parts * np.where(whole == 0, 0, relevance / np.where(whole == 0, 1, whole))
