"""People in pictures: annotation and detection files, pictures, crops, samples and batches. Independent of
the networks.
"""
