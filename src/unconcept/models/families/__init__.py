"""One file for each model family: what it says of itself on top of `PipelineModel`."""
