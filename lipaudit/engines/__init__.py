"""Upper bounds: one theorem a file, all run by one harness that doubts them."""
