"""Videos that are watched while they come: growing files, capture devices and streams."""
