"""The pipeline's stages, a folder each. Imported as `alexnet_stages`: src/alexnet_stages is a link to this folder."""
