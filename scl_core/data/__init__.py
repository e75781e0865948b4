"""From files or generated scenes to batches: decoding, lists, data sets, augmentation, sampling, loading."""
