"""The image, built and run by whatever container engine is at hand."""
