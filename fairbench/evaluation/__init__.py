"""One evaluation: a model, a data set and attacks in; verified, resumable rows per sample out."""
