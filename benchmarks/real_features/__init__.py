"""What compression keeps of a published vision tower's features of photographs and footage."""
