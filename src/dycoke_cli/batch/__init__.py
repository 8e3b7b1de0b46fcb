"""Many videos: jobs, the file with their results, and the engines that answer them."""
