"""People on pictures: annotation and detection files, pictures, crops, samples and batches. Knows no network."""
