"""Signs that attacks failed for other reasons than robustness: the flags of a run, and of `fairbench check`."""
