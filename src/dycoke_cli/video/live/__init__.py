"""Videos that are watched while they come: pipes and growing files."""
