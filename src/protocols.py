"""Numbers of the published protocols that data code and model code both need."""

# MSPN's label maps reach this where a keypoint is (0 to 255, as a grey picture).
MSPN_PEAK = 255.0
# The MSPN release decodes a heatmap inside a frame of so many zero cells.
MSPN_FRAME = 10
# A heatmap cell is this many pixels of the network's input wide and high.
PIXELS_PER_CELL = 4
