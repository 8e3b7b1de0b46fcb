"""What is made of results for people to look at: plots. Knows the objects of JSON, no tensors."""
