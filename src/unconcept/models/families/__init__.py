"""One file for each model family: what it adds to `PipelineModel`."""
