"""A bound on changed answers: where an answer isn't certain, more of the video is read."""
