"""The parts of the trainer around its loop: the plan, the ranks, the optimizer, the record, the stop request."""
