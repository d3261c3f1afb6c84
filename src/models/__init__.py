"""The networks, a folder each, with what belongs to them: crops, targets, losses, decoders."""
