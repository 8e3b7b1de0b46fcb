"""Pictures of scripts: things, cards and backgrounds, the camera, the encoder's loss."""
