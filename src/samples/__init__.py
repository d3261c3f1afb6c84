"""One person → the arrays of one sample: reading the picture, drawing the augmentation, cutting the crop."""
